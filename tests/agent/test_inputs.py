"""Tests of hopx_async.agent.inputs."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest

from hopx_async.agent import inputs as module
from hopx_async.agent.board import Board, Command
from hopx_async.agent.inputs import Inputs
from hopx_async.agent.keeper_link import Answer, Refusal, _Failure
from hopx_async.errors import (
    CommandNotFound,
    HopxError,
    InvalidArgument,
    RateLimited,
    StdinClosed,
    Unsupported,
)
from hopx_async.protocol.lifecycle import STDIN_BYTES
from tests.agent.harness import serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


class _Keeper:
    """Takes what it is sent, refuses, or does not answer."""

    def __init__(self, refusal: str | None = None, *, hang: bool = False) -> None:
        self.refusal = refusal
        self.hang = hang
        self.got: list[Any] = []

    async def ask(self, command: Command, request: Callable[[Any], Awaitable[Answer]]) -> Answer:
        assert command.process_id == "one"
        return await request(self)

    async def stdin(self, *arguments: Any, eof: bool) -> Answer:
        return await self._answer(*arguments, eof)

    async def resize(self, *arguments: Any) -> Answer:
        return await self._answer(*arguments)

    async def _answer(self, *arguments: Any) -> Answer:
        self.got.append(arguments)
        if self.refusal is not None:
            raise Refusal(_Failure(self.refusal, "said so"))
        if self.hang:
            await asyncio.Event().wait()
        return Answer(offset=3)


def _inputs(keeper: Any) -> Inputs:
    board = Board()
    board.put(Command("one"))
    return Inputs(board, keeper)


async def test_stdin_is_passed_on_as_it_came() -> None:
    """Offset, text and end reach the keeper, its offset comes back; an offset can be asked for."""
    keeper = _Keeper()
    inputs = _inputs(keeper)
    params = {"process_id": "one", "offset": 0, "data": "YWJj", "eof": True}

    assert await inputs.stdin(params) == {"offset": 3}
    assert await inputs.stdin({"process_id": "one"}) == {"offset": 3}
    assert await inputs.resize({"process_id": "one", "rows": 1, "cols": 2}) == {"delivered": True}
    assert keeper.got == [("one", 0, "YWJj", True), ("one", None, "", False), ("one", [1, 2])]


@pytest.mark.parametrize(
    ("method", "params", "parameter"),
    [
        ("stdin", {"offset": -1}, "offset"),
        ("stdin", {"offset": 1.0}, "offset"),
        ("stdin", {"offset": 0, "eof": 1}, "eof"),
        ("stdin", {"offset": 0, "data": "secret?"}, "data"),
        ("stdin", {"offset": 0, "data": "é"}, "data"),
        ("stdin", {"offset": 0, "data": 7}, "data"),
        (
            "stdin",
            {"offset": 0, "data": base64.b64encode(bytes(STDIN_BYTES + 1)).decode()},
            "data",
        ),
        ("resize", {"rows": 0, "cols": 1}, "size"),
        ("resize", {"rows": 1}, "size"),
    ],
)
async def test_bad_arguments_reach_no_keeper(
    method: str, params: dict[str, Any], parameter: str
) -> None:
    """An argument that breaks a rule is named; what is typed is not shown."""
    keeper = _Keeper()
    with pytest.raises(InvalidArgument) as caught:
        await getattr(_inputs(keeper), method)({"process_id": "one", **params})

    assert caught.value.parameter == parameter
    assert "secret" not in str(caught.value)
    assert keeper.got == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("stdin_closed", StdinClosed),
        ("command_ended", StdinClosed),
        ("no_stdin", StdinClosed),
        ("no_terminal", Unsupported),
        ("stdin_gap", InvalidArgument),
        ("stopping", HopxError),
    ],
)
async def test_refusals_have_names(code: str, error: type[HopxError]) -> None:
    """What a keeper refuses is an error that says what is wrong."""
    with pytest.raises(error):
        await _inputs(_Keeper(code)).stdin({"process_id": "one", "offset": 0})


async def test_resize_after_the_end_is_no_error() -> None:
    """A command that has ended is not resized, another refusal is raised, nobody is unknown."""
    size = {"process_id": "one", "rows": 1, "cols": 1}
    assert await _inputs(_Keeper("command_ended")).resize(size) == {"delivered": False}
    with pytest.raises(Unsupported):
        await _inputs(_Keeper("no_terminal")).resize(size)
    with pytest.raises(CommandNotFound):
        await _inputs(_Keeper()).resize({**size, "process_id": "two"})


async def test_hanging_call_is_answered_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose command does not read is told the offset that it came with, after a time."""
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    inputs = _inputs(_Keeper(hang=True))

    assert await inputs.stdin({"process_id": "one", "offset": 7}) == {"offset": 7}


async def test_writers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than so many that wait are refused; one that is cancelled makes room."""
    monkeypatch.setattr(module, "MAX_WRITERS", 1)
    inputs = _inputs(_Keeper(hang=True))
    waiting = asyncio.create_task(inputs.stdin({"process_id": "one", "offset": 0}))
    await asyncio.sleep(0)
    with pytest.raises(RateLimited):
        await inputs.stdin({"process_id": "one", "offset": 0})
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    again = asyncio.create_task(inputs.stdin({"process_id": "one", "offset": 0}))
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_hanging_writers_hold_back_no_other_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection with more hanging writers than it may have calls, others are answered."""
    monkeypatch.setattr("hopx_async.agent.errands._MAX_CALLS", 2)
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("one")
        server.keeper.silent = True
        params = {"process_id": "one", "offset": 0, "data": "eA=="}
        writers = [asyncio.create_task(client.call("stdin", **params)) for _ in range(10)]
        assert (await server.keeper.asked(10))["op"] == "stdin"
        assert (await client.call("info", process_id="one"))["info"]["pid"]
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
