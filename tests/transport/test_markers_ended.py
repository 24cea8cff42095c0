"""Markers when something ends that should not: polls, calls, a closing that is given up."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

import hopx_async as hopx
from hopx_async.protocol import rate, wire
from hopx_async.transport.markers import MarkerTransport
from tests.support.shells import LocalShell, marked_sandbox, quick


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll often: what is tested is not how long a poll waits."""
    monkeypatch.setattr(rate, "FIRST_TICK", 0.02)
    monkeypatch.setattr(rate, "LAST_TICK", 0.05)


async def test_polls_that_end_by_a_bug_fail_whoever_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is left waiting for what nobody asks for any more."""
    async with marked_sandbox(tmp_path) as marked:
        handle = await marked.sandbox.commands.start("sleep 4012")

        async def broken() -> None:
            raise ZeroDivisionError("a bug")

        with monkeypatch.context() as patched:
            patched.setattr(marked.transport, "_poll", broken)
            with anyio.fail_after(30), pytest.raises(hopx.LocalProtocolError, match="a bug"):
                await handle.wait()
            [ticker] = [marked.transport._ticker]
            assert ticker is not None
            assert isinstance(ticker.exception(), ZeroDivisionError)
        assert (await handle.kill(grace=0)).reason == "killed"


async def test_a_call_that_ends_by_a_bug_fails_who_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and not left waiting."""
    transport = MarkerTransport(LocalShell(), "sbx", root=str(tmp_path / "r"), budget=quick())

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    channel = await transport.connect()
    monkeypatch.setattr(transport._calls, "call", broken)
    call = wire.Call(1, "hello", {})
    await channel.send(wire.encode([wire.Hello(wire.LINK_VERSION), call]))
    [task] = channel._tasks  # type: ignore[attr-defined]
    await asyncio.wait([task])
    assert isinstance(task.exception(), ZeroDivisionError)
    with pytest.raises(hopx.LocalProtocolError, match="hello ended by a bug"):
        await channel.receive()
    await transport.aclose()


async def test_closing_a_channel_can_be_cancelled(tmp_path: Path) -> None:
    """The cancelling gets through, also while a call takes its time to end."""
    transport = MarkerTransport(LocalShell(), "sbx", root=str(tmp_path / "r"), budget=quick())
    channel = await transport.connect()
    gate = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await gate.wait()

    call = asyncio.create_task(slow())
    await anyio.wait_all_tasks_blocked()
    channel._tasks.add(call)  # type: ignore[attr-defined]
    closing = asyncio.create_task(channel.aclose())
    await anyio.wait_all_tasks_blocked()
    closing.cancel()
    await asyncio.wait([closing], timeout=30)
    assert closing.cancelled()
    gate.set()
    await asyncio.wait([call])
    await transport.aclose()


async def test_closing_that_is_given_up_leaves_no_polls(tmp_path: Path) -> None:
    """Files that take long to be closed keep nobody polling."""

    class Stuck:
        async def aclose(self) -> None:
            await anyio.sleep_forever()

    root, files = str(tmp_path / "r"), cast("Any", Stuck())
    transport = MarkerTransport(LocalShell(), "sbx", root=root, files=files, budget=quick())
    await transport.connect()
    ticker = transport._ticker
    assert ticker is not None
    with anyio.move_on_after(0.05):
        await transport.aclose()
    assert ticker.done()


async def test_many_periods_of_grace_are_not_remembered(tmp_path: Path) -> None:
    """Nothing is kept for a grace period once its kills are through."""
    async with marked_sandbox(tmp_path) as marked:
        handle = await marked.sandbox.commands.start("true")
        await handle.wait()
        for number in range(5):
            await handle.kill(grace=number / 100)
        gc.collect()
        assert len(marked.transport._calls._kills) <= 1
