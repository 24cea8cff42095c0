"""The agent's config as the root sends it."""

from __future__ import annotations

import msgspec

from hopx_async.agent.config import Config

_LEAST = (
    b'{"op":"config","sandbox_id":"s","workspace":"/w","state_dir":"/d","token":"t","secret":"",'
    b'"keepers":[],"keeper_commands":9,'
)


def test_what_is_not_told_is_the_least() -> None:
    """A config without a word of it has no isolation, and the network."""
    config = msgspec.json.decode(_LEAST + b'"port":1}', type=Config)
    least = {"proof": "ancestry", "process_limit": False}
    assert config.place == {"isolation": "none", "internet_access": True, **least}


def test_where_it_runs_is_told() -> None:
    """What the root says of isolation is what capabilities will say."""
    told = _LEAST + b'"port":1,"isolation":"namespace","internet_access":false}'
    config = msgspec.json.decode(told, type=Config)
    assert config.place["isolation"] == "namespace"
    assert not config.place["internet_access"]
