"""Files behind faults: calls are repeated where that is harmless, watches are made anew."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from hopx_async.errors import ConnectionLost
from hopx_async.testing import Faults, MemoryAgent, VirtualTimeLoop, contract_files, memory, run
from hopx_async.testing.faulty_files import FaultyFiles
from hopx_async.testing.memory_files import MemoryFiles, MemoryStore
from hopx_async.transport.files import Changes, Download


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.mark.parametrize("check", contract_files.FILE_CHECKS, ids=lambda check: check.__name__)
def test_files_keep_the_contract_through_every_fault(check: Any) -> None:
    """Repeated and held calls change nothing, whichever they are."""

    async def main() -> None:
        faults = Faults()
        async with memory(faults=faults) as sandbox:
            faults.duplicate()
            faults.delay(0.001)
            await check(sandbox)

    run(main())


async def test_a_cut_watch_is_made_anew() -> None:
    """Cut, a watch says that something may have been missed, and goes on."""
    agent, faults = MemoryAgent({}), Faults()
    async with memory(agent=agent, faults=faults) as sandbox:
        async with sandbox.files.watch() as watch:
            agent.files.put("/workspace/a", b"1")
            assert (await anext(watch)).kind == "created"
            faults.drop()
            await sandbox.files.write("b", b"2")
            assert (await anext(watch)).path.endswith("b")
            with anyio.move_on_after(1):
                await anext(watch)
            async with anyio.create_task_group() as tasks:

                async def drop() -> None:
                    await anyio.sleep(1)
                    faults.drop()

                tasks.start_soon(drop)
                assert (await anext(watch)).kind == "missed"


class _Open(Download, Changes):
    """Something open, which counts itself."""

    def __init__(self, still_open: set[_Open]) -> None:
        self._still_open = still_open
        still_open.add(self)

    async def receive(self) -> Any:
        raise AssertionError("nobody reads it")

    async def aclose(self) -> None:
        self._still_open.discard(self)

    def abandon(self) -> None:
        raise AssertionError("it can be closed")


@pytest.mark.parametrize("kind", ["download", "watch"])
@pytest.mark.parametrize("end", ["drop", "cancel"])
@pytest.mark.parametrize("after", [1, 11])
async def test_what_was_opened_for_nobody_is_closed(
    monkeypatch: pytest.MonkeyPatch, kind: str, end: str, after: int
) -> None:
    """Where the answer to an opening is lost, or not waited for, nothing is left open."""
    still_open: set[_Open] = set()

    async def opening(_store: MemoryStore, _path: str) -> _Open:
        return _Open(still_open)

    monkeypatch.setattr(MemoryStore, kind, opening)
    faults = Faults()
    faults.delay(10)
    files = FaultyFiles(MemoryStore(MemoryFiles(), lambda act: act()), faults)
    task = asyncio.ensure_future(getattr(files, kind)("/workspace/a"))
    await anyio.sleep(after)
    assert len(still_open) == (after > 10)
    if end == "drop":
        faults.drop()
    else:
        task.cancel()
    await asyncio.wait([task])
    with pytest.raises((ConnectionLost, asyncio.CancelledError)):
        task.result()
    assert not still_open


async def test_a_file_whose_reading_is_cut_is_read_again() -> None:
    """Cut between its pieces, a file is read from the beginning, and is whole."""
    agent, faults = MemoryAgent({}), Faults()
    agent.files.put("/workspace/a", b"x" * 1_000_000)
    async with memory(agent=agent, faults=faults) as sandbox:
        faults.delay(10)
        async with anyio.create_task_group() as tasks:

            async def drop() -> None:
                await anyio.sleep(35)
                faults.heal()
                faults.drop()

            tasks.start_soon(drop)
            assert await sandbox.files.read("a") == b"x" * 1_000_000
            assert anyio.current_time() == pytest.approx(35)
