"""Tests of hopx_async.agent.specs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hopx_async.agent.specs import digest_of, normal_spec, public_spec
from tests.agent.keeper_double import full_spec


def test_a_spec_is_made_whole() -> None:
    """What a spec leaves out counts as its default, so that both have one digest."""
    short = normal_spec({"process_id": "a", "command": "x", "timeout": 60})
    long = normal_spec(
        {
            "merge_stderr": False, "timeout": 60.0, "tags": {}, "name": None, "env": None,
            "working_dir": None, "command": "x", "process_id": "a",
            "mask_secrets": False, "secrets": [], "usage_interval": None,
        }
    )  # fmt: skip

    assert digest_of(short, b"k") == digest_of(long, b"k")
    assert len(digest_of(short, b"k")) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"command": "echo ho"},
        {"command": ["echo hi"]},
        {"env": {"A": "1"}},
        {"env": {"A": None}},
        {"working_dir": "."},
        {"timeout": 1},
        {"name": "n"},
        {"tags": {"a": ""}},
        {"merge_stderr": True},
        {"mask_secrets": True},
        {"usage_interval": 1},
    ],
)
def test_every_part_counts(changes: dict[str, Any]) -> None:
    """Changing any part of a spec, or the key, changes the digest."""
    digest = digest_of(normal_spec(full_spec()), b"k")

    assert digest_of(normal_spec(full_spec(**changes)), b"k") != digest
    assert digest_of(normal_spec(full_spec()), b"l") != digest


def test_nobody_is_shown_values_of_variables() -> None:
    """A public spec has the names of the variables, and the digest, and no value."""
    spec = normal_spec(full_spec(env={"B": "hush", "A": None}))
    public = msgspec.json.decode(public_spec(spec, "digest"))

    assert public["env_names"] == ["A", "B"]
    assert public["spec_digest"] == "digest"
    assert not {"env", "secrets"} & public.keys()
