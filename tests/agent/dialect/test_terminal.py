"""Tests of hopx_async.agent.dialect.terminal, through an agent that runs."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent.board import Command
from hopx_async.agent.dialect import terminal as module
from hopx_async.errors import AgentFault
from hopx_async.protocol import lifecycle
from tests.agent.dialect.served import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiohttp import ClientWebSocketResponse

    from tests.agent.dialect.served import Asked


async def until(
    socket: ClientWebSocketResponse, ready: Callable[[dict[str, Any], str], bool]
) -> tuple[dict[str, Any], str]:
    """Receive until *ready* of a message and the output so far; return both."""
    shown = ""
    while True:
        message = await socket.receive_json(timeout=60)
        shown += message["data"] if message["type"] == "output" else ""
        if ready(message, shown):
            return message, shown


async def typed(socket: ClientWebSocketResponse, text: str) -> None:
    await socket.send_json({"type": "input", "data": text})


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Asked]:
    async with served(tmp_path) as asked:
        yield asked


async def test_a_shell_is_typed_into(agent: Asked) -> None:
    """It runs in the workspace, in a terminal of the size that was asked for, to its exit code."""
    async with agent.http.ws_connect("/terminal") as socket:
        await socket.send_json({"type": "resize", "rows": 33, "cols": 77})
        await typed(socket, "stty size; pwd; printf 'é%s' done\n")
        _, shown = await until(socket, lambda _, shown: "édone" in shown)
        await typed(socket, "exit 7\n")
        last, _ = await until(socket, lambda message, _: message["type"] == "exit")
        closed = await socket.receive(timeout=60)

        assert "33 77" in shown
        assert str(agent.workspace) in shown
        assert last["code"] == 7
        assert closed.data == 1000


async def test_a_client_that_goes_ends_it(agent: Asked) -> None:
    """What runs in the terminal ends with the connection."""
    async with agent.http.ws_connect("/terminal") as socket:
        await typed(socket, "sleep 600 & echo begun\n")
        await until(socket, lambda _, shown: "begun\r\n" in shown)
        assert [row["name"] for row in (await agent.rows()).values()] == ["terminal"]
    while await agent.rows():
        await asyncio.sleep(0.05)


async def test_a_client_that_goes_while_nobody_reads(agent: Asked) -> None:
    """What was typed ahead of a program that does not read holds up no end."""
    async with agent.http.ws_connect("/terminal") as socket:
        await typed(socket, "echo be''gun; exec sleep 600\n")
        await until(socket, lambda _, shown: "begun\r\n" in shown)
        for _ in range(8):
            await typed(socket, "x" * 100_000 + "\n")
    while await agent.rows():
        await asyncio.sleep(0.05)


async def test_what_is_typed_ahead_is_bounded() -> None:
    """At the bound the next message waits; cancelled there, it is not added, and none is lost."""
    typed_ahead = module._Typed()
    messages = [{"type": "input", "data": "é" * (module.MAX_TYPED_BYTES // 8)} for _ in range(4)]
    for message in messages:
        await asyncio.wait_for(typed_ahead.put(message), 30)
    waiting = asyncio.create_task(typed_ahead.put({"type": "input", "data": "late"}))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    found = [await typed_ahead.get() for _ in messages]
    asking = asyncio.create_task(typed_ahead.get())
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await typed_ahead.put({"type": "resize"})

    assert found == messages
    assert await typed_ahead.get() == {"type": "resize"}


async def test_what_is_no_message_changes_nothing(agent: Asked) -> None:
    """It is told in HopX's words, and the shell goes on."""
    bad: list[Any] = [
        {"type": "dance"},
        {"type": "input", "data": 7},
        {"type": "resize", "rows": 0, "cols": 80},
        [],
    ]
    async with agent.http.ws_connect("/terminal") as socket:
        codes = []
        for message in bad:
            await socket.send_json(message)
            told, _ = await until(socket, lambda message, _: message["type"] == "error")
            codes.append(told["code"])
        await typed(socket, "echo s''till\n")
        await until(socket, lambda _, shown: "still\r\n" in shown)

        assert codes == ["INVALID_REQUEST"] * 3 + ["INVALID_JSON"]


async def test_more_than_a_call_takes_is_typed_whole(agent: Asked) -> None:
    """A long input arrives byte for byte, as fast as it is read."""
    text = "".join(f"{number:09d}\n" for number in range(20_000))
    async with agent.http.ws_connect("/terminal") as socket:
        await typed(socket, "stty -echo; cat | md5sum; exit\n")
        await typed(socket, text + "\x04")
        _, shown = await until(socket, lambda message, _: message["type"] == "exit")

        import hashlib

        assert hashlib.md5(text.encode()).hexdigest() in shown  # noqa: S324  # no secret


async def test_what_is_typed_after_a_fault_is_not_taken_for_a_repeat() -> None:
    """Of a text that was taken in part, the part counts, and the next one goes behind it."""
    offsets: list[int] = []
    typed = module._Typed()
    typing: list[asyncio.Task[None]] = []

    async def call(_method: str, params: dict[str, Any]) -> dict[str, int]:
        offsets.append(params["offset"])
        if len(offsets) == 2:
            raise AgentFault("stalled")
        if len(offsets) == 3:
            typing[0].cancel()
        return {"offset": params["offset"] + len(b64decode(params["data"]))}

    async def send(_kind: str, **_fields: object) -> None: ...

    no: Any = SimpleNamespace(call=call, send=send)
    route = module.TerminalRoute(no, no, no, no)
    for text in ("x" * (lifecycle.STDIN_BYTES + 1), "next"):
        await typed.put({"type": "input", "data": text})
    typing.append(asyncio.create_task(route._type(no, Command("one"), typed)))
    await asyncio.wait(typing)

    assert offsets == [0, lifecycle.STDIN_BYTES, lifecycle.STDIN_BYTES]
