"""Tests of hopx_async.control.plane, over machines that run nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from hopx_async.control.answers import Refused
from hopx_async.control.plane import Plane
from hopx_async.control.records import Sandbox, Shelf
from hopx_async.errors import AgentFault
from tests.control.plane_double import FakeMachines

if TYPE_CHECKING:
    from pathlib import Path


async def opened(path: Path, machines: FakeMachines, **options: int) -> Plane:
    plane = Plane(Shelf(path), machines, **options)
    await plane.open()
    return plane


async def test_a_plane_that_comes_back_finds_its_sandboxes(tmp_path: Path) -> None:
    """Those that run are taken over as they are; those that do not are started again."""
    machines = FakeMachines()
    first = await opened(tmp_path, machines)
    kept = await first.create("base", "local", {"A": "1"})
    ended = await first.create("base", "local", {})
    stopped = await first.create("base", "local", {})
    paused = await first.create("base", "local", {})
    await first.turn(stopped.id, "stopped")
    await first.turn(paused.id, "paused")
    del machines.running[ended.id], machines.running[stopped.id]

    second = await opened(tmp_path, machines)

    assert second.get(kept.id) == kept
    assert machines.starts[4:] == [ended.id]
    assert second.get(stopped.id).status == "stopped"
    assert second.get(paused.id).status == "paused"


async def test_a_plane_that_dies_while_it_creates_leaves_no_machine(tmp_path: Path) -> None:
    """What runs for a sandbox that was never created to its end is ended by the next plane."""
    machines = FakeMachines()
    half = Sandbox("1", template="base", token_secret="", created_at=0.0)
    Shelf(tmp_path).save(half)
    machine = await machines.start(half, tmp_path / "1")

    plane = await opened(tmp_path, machines)

    assert plane.page(10, None, lambda _: True) == ([], False)
    assert machine.told == ["stop"]
    assert [*tmp_path.iterdir()] == []


async def test_one_that_cannot_be_taken_over_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said which one that is."""
    machines = FakeMachines()
    first = await opened(tmp_path, machines)
    odd, kept, late = [await first.create("base", "local", {}) for _ in range(3)]
    await first.set_timeout(late.id, 1)
    late.expires_at = time.time() - 1
    Shelf(tmp_path).save(late)
    machines.running[late.id].deaf = True
    find = machines.find

    async def finds(sandbox: Sandbox, place: Path) -> object:
        if sandbox.id == odd.id:
            raise OSError(5, "Input/output error")
        return await find(sandbox, place)

    monkeypatch.setattr(machines, "find", finds)
    second = await opened(tmp_path, machines)
    assert second.get(kept.id).status == "running"
    assert second.get(odd.id).status == "stopped"
    assert second.get(late.id).status == "running"
    told = capsys.readouterr().err
    assert f"{odd.id} cannot be taken over" in told
    assert f"{late.id} cannot be taken over: it does not end" in told
    assert list(second._timers) == [late.id]
    await second.aclose()
    assert machines.running[kept.id].told == ["stop"]
    assert f"{late.id} may be left: it does not end" in capsys.readouterr().err


async def test_there_are_only_so_many(tmp_path: Path) -> None:
    """One too many is refused with the figures, at once asked for or one after another."""
    machines = FakeMachines()
    plane = await opened(tmp_path, machines, max_sandboxes=2)
    asked = [plane.create("base", "local", {}) for _ in range(4)]
    told = await asyncio.gather(*asked, return_exceptions=True)

    refused = [one for one in told if isinstance(one, Refused)]
    assert len(refused) == 2
    assert "limit" in str(refused[0])
    assert refused[0].details == {"limit": 2, "current": 2, "available": 0}
    assert len(machines.starts) == 2


async def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A sandbox whose agent does not come up is no sandbox, and its place is free."""
    machines = FakeMachines()
    machines.broken = True
    plane = await opened(tmp_path, machines, max_sandboxes=1)
    with pytest.raises(AgentFault):
        await plane.create("base", "local", {})
    assert list(tmp_path.iterdir()) == []
    machines.broken = False

    await plane.create("base", "local", {})


async def test_a_machine_that_cannot_be_written_down_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full once the agent runs: it does not run on, known to nobody."""
    machines = FakeMachines()
    plane = await opened(tmp_path, machines)
    stopped = await plane.create("base", "local", {})
    await plane.turn(stopped.id, "stopped")
    save = Shelf.save

    def full(shelf: Shelf, sandbox: Sandbox) -> None:
        if sandbox.status == "running":
            raise OSError(28, "No space left on device")
        save(shelf, sandbox)

    monkeypatch.setattr(Shelf, "save", full)
    with pytest.raises(OSError, match="No space"):
        await plane.create("base", "local", {})
    with pytest.raises(OSError, match="No space"):
        await plane.turn(stopped.id, "running")

    assert [machine.told for machine in machines.running.values()] == [["stop"], ["stop"]]
    assert plane.get(stopped.id).status == "stopped"
    assert [place.name for place in tmp_path.iterdir()] == [stopped.id]


async def test_a_sandbox_has_its_time_from_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is ever written down as running without the end that it was created with."""
    saved: list[tuple[str, int | None]] = []
    save = Shelf.save

    def noting(shelf: Shelf, sandbox: Sandbox) -> None:
        saved.append((sandbox.status, sandbox.timeout_seconds))
        save(shelf, sandbox)

    monkeypatch.setattr(Shelf, "save", noting)
    plane = await opened(tmp_path, FakeMachines())
    sandbox = await plane.create("base", "local", {}, timeout_seconds=60)
    assert saved == [("creating", None), ("running", 60)]
    assert sandbox.id in plane._timers
    await plane.aclose()


@pytest.mark.parametrize("how", ["delete", "stop", "expire"])
async def test_what_does_not_end_is_not_forgotten(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine whose end failed is ended by the next try, and its sandbox is there till then."""
    machines = FakeMachines()
    plane = await opened(tmp_path, machines)
    sandbox = await plane.create("base", "local", {})
    machine = machines.running[sandbox.id]
    machine.deaf = True
    if how == "expire":
        plane._expire(sandbox.id)
        await asyncio.gather(*plane._ending)
        assert "has outlived its time: it does not end" in capsys.readouterr().err
        assert sandbox.id in plane._timers
    else:
        with pytest.raises(AgentFault):
            await (
                plane.delete(sandbox.id) if how == "delete" else plane.turn(sandbox.id, "stopped")
            )
    assert plane.get(sandbox.id).status == "running"
    machine.deaf = False

    await plane.delete(sandbox.id)
    assert machine.told == ["stop"]


async def test_a_sandbox_ends_in_its_time(tmp_path: Path) -> None:
    """When its time is over a sandbox is deleted, and its machine stopped."""
    machines = FakeMachines()
    plane = await opened(tmp_path, machines)
    sandbox = await plane.create("base", "local", {})
    machine = machines.running[sandbox.id]
    await plane.set_timeout(sandbox.id, 1)
    plane._expire(sandbox.id)  # what the timer does
    await asyncio.gather(*plane._ending)

    assert machine.told == ["stop"]
    with pytest.raises(Refused):
        plane.get(sandbox.id)
    assert plane._timers == {}


async def test_time_goes_on_while_the_plane_is_away(tmp_path: Path) -> None:
    """One whose time was over meanwhile is deleted when the plane comes back."""
    machines = FakeMachines()
    first = await opened(tmp_path, machines)
    sandbox = await first.create("base", "local", {})
    await first.set_timeout(sandbox.id, 1)
    sandbox.expires_at = time.time() - 1
    Shelf(tmp_path).save(sandbox)

    second = await opened(tmp_path, machines)

    assert machines.running[sandbox.id].told == ["stop"]
    with pytest.raises(Refused):
        second.get(sandbox.id)
    await first.aclose()


async def test_the_end_stops_every_machine(tmp_path: Path) -> None:
    """At its end each machine is stopped, and the sandboxes stay written down."""
    machines = FakeMachines()
    plane = await opened(tmp_path, machines)
    ids = [(await plane.create("base", "local", {})).id for _ in range(3)]
    await plane.aclose()

    assert [machines.running[one].told for one in ids] == [["stop"]] * 3
    assert [one.id for one in Shelf(tmp_path).load()] == sorted(ids)


async def test_one_thing_after_another(tmp_path: Path) -> None:
    """Two deletes at once: one does it, the other hears that it is gone."""
    machines = FakeMachines()
    plane = await opened(tmp_path, machines)
    sandbox = await plane.create("base", "local", {})
    told = await asyncio.gather(
        plane.delete(sandbox.id), plane.delete(sandbox.id), return_exceptions=True
    )

    assert [type(one).__name__ for one in told] == ["NoneType", "Refused"]
