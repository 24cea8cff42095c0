"""Streams of lines and text that are left, and gone on with by their own cursor."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.testing import ScriptedCommand, VirtualTimeLoop, memory


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest.mark.parametrize("after", [None, hopx.END])
async def test_the_cursor_of_lines_and_text_follows_what_was_taken(after: str | None) -> None:
    """It passes over no line that came with the one taken, and none that is unfinished."""

    async def script(command: ScriptedCommand) -> int:
        await anyio.sleep(10)
        await command.stdout(b"one")
        await anyio.sleep(10)
        await command.stdout(b"\ntwo\nthree\nfo")
        await anyio.sleep(10)
        await command.stdout(b"ur\n")
        return 0

    async with memory({"x": script}) as sandbox:
        handle = await sandbox.commands.start("x")
        await anyio.sleep(5)
        lines = handle.lines(after=after)
        with anyio.move_on_after(10):
            await anext(lines)
        assert (await anext(handle.lines(after=lines.cursor))).text == "one"
        lines, texts = handle.lines(), handle.text()
        left = ["one", "two", "three", "four"]
        async for line in lines:
            left.remove(line.text)
            assert lines.cursor == line.cursor
            again = handle.lines(after=lines.cursor)
            assert [rest.text async for rest in again] == left
        async for text in texts:
            assert texts.cursor == text.cursor
