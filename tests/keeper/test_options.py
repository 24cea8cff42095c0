from __future__ import annotations

import os
import resource

import pytest

from hopx_async.keeper.options import (
    KEEPER_COMMANDS,
    Options,
    RootError,
    default_env,
    parse_arguments,
    read_config,
)
from hopx_async.protocol import lifecycle, records


def test_defaults_are_those_of_the_rules() -> None:
    """A root told nothing but its directory uses the numbers of the protocol."""
    options = parse_arguments(["--state-dir", "x"])
    options.check()

    assert options.retention_bytes == records.RETENTION_BYTES
    assert options.segment_bytes == records.SEGMENT_BYTES
    assert options.grace == lifecycle.GRACE
    assert options.drain_time == lifecycle.DRAIN_TIME
    assert (options.host, options.port) == ("127.0.0.1", 0)


def test_config_overrules_and_null_does_not() -> None:
    """take_config changes what it names; null leaves it as it was."""
    options = parse_arguments(["--state-dir", "x", "--grace", "1"])
    options.take_config(b'{"grace":2,"workspace":null,"retention_bytes":null,"detached":true}')

    assert options.grace == 2
    assert options.workspace is None
    assert options.retention_bytes == records.RETENTION_BYTES
    assert options.detached


@pytest.mark.parametrize("line", [b"", b"[]", b"nonsense", b'{"grace":"1"}', b'{"x":1}'])
def test_bad_config_is_refused(line: bytes) -> None:
    """take_config raises invalid_argument for what was not agreed upon."""
    with pytest.raises(RootError) as caught:
        Options().take_config(line)

    assert caught.value.code == "invalid_argument"
    assert caught.value.to_dict()["error"]


def test_bad_sandbox_id_is_refused() -> None:
    """check wants a sandbox id without the characters that separate scopes."""
    options = parse_arguments(["--state-dir", "x"])
    options.sandbox_id = "a/b:c"
    with pytest.raises(RootError) as caught:
        options.check()

    assert caught.value.data["parameter"] == "sandbox_id"


def test_read_config_splits_the_first_line() -> None:
    """read_config returns the first line and what came behind it, None if nobody is there."""
    reader, writer = os.pipe()
    os.write(writer, b'{"a":1}\n{"stop"')
    assert read_config(reader) == (b'{"a":1}', b'{"stop"')
    os.close(writer)
    assert read_config(reader) is None
    os.close(reader)


def test_default_env_is_clean() -> None:
    """default_env has six names and takes nothing else from the root's environment."""
    env = default_env("/work", {"PATH": "/p", "SECRET": "s", "HOPX_X": "y", "HOME": "/root"})

    assert env.keys() == {"PATH", "HOME", "LANG", "TERM", "USER", "TMPDIR"}
    assert env["PATH"] == "/p"
    assert env["HOME"] == "/work"


@pytest.mark.parametrize(
    ("hard", "held"),
    [(resource.RLIM_INFINITY, KEEPER_COMMANDS), (4096, 1322), (16384, KEEPER_COMMANDS), (100, 1)],
)
def test_a_keeper_holds_no_more_than_it_has_descriptors_for(
    monkeypatch: pytest.MonkeyPatch, hard: int, held: int
) -> None:
    """Where few files may be open there are more keepers instead."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, hard))

    assert Options().keeper_commands == held
    assert parse_arguments(["--state-dir", "x", "--keeper-commands", "7"]).keeper_commands == 7
