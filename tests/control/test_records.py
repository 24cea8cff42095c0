"""Tests of hopx_async.control.records."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from hopx_async.control.records import Sandbox, Shelf, new_id
from hopx_async.protocol.lifecycle import problem_with_id

if TYPE_CHECKING:
    from pathlib import Path


def test_ids_are_never_given_twice() -> None:
    """A thousand ids differ, and an agent takes them."""
    ids = {new_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert [one for one in ids if problem_with_id(one)] == []


def test_a_sandbox_is_written_down_for_its_owner(tmp_path: Path) -> None:
    """What is saved is loaded again, and nobody else may read it."""
    shelf = Shelf(tmp_path / "s")
    sandbox = Sandbox(id="1x", template="base", token_secret="00", created_at=1.5)
    shelf.save(sandbox)
    file = shelf.place("1x") / "sandbox.json"

    assert shelf.load() == [sandbox]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(shelf.place("1x").stat().st_mode) == 0o700


def test_half_a_sandbox_is_none(tmp_path: Path) -> None:
    """A directory without its record, from a creation that was cut off, is removed."""
    shelf = Shelf(tmp_path)
    (tmp_path / "2x" / "state").mkdir(parents=True)
    shelf.save(Sandbox(id="1x", template="base", token_secret="00", created_at=1.5))
    shelf.forget("1x")

    assert shelf.load() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"{", b'{"id":1}', b"\xff", b'"\xff"'])
def test_a_record_that_is_damaged_keeps_no_other_from_being_found(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, and its files stay."""
    shelf = Shelf(tmp_path)
    whole, damaged = (
        Sandbox(id=one, template="base", token_secret="00", created_at=1.5) for one in ("2x", "1x")
    )
    shelf.save(whole)
    shelf.save(damaged)
    (shelf.place("1x") / "sandbox.json").write_bytes(data)

    assert shelf.load() == [whole]
    assert f"{tmp_path / '1x'} is left out" in capsys.readouterr().err
    assert (shelf.place("1x") / "sandbox.json").read_bytes() == data


def test_a_deadline_counts_from_now() -> None:
    """A timeout makes a deadline, and none takes it away."""
    sandbox = Sandbox(id="1x", template="base", token_secret="00", created_at=1.5)
    sandbox.expire_after(60)
    assert sandbox.expires_at is not None
    sandbox.expire_after(None)

    assert sandbox.expires_at is None
