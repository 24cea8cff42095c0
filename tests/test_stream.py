"""Streams of events: subscriptions that come and go."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any, Self

import anyio
import pytest

import hopx_async as hopx
from hopx_async.errors import InvalidArgument
from hopx_async.protocol.events import Exited, Started
from hopx_async.protocol.text import Line
from hopx_async.sandbox import Sandbox
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop, memory
from tests.support.virtual import CHATTER, SLEEP, STEPS, agent_of, opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def live(sandbox: Sandbox) -> int:
    """Return how many subscriptions the sandbox's link holds."""
    return len(sandbox._client._pump._link._live)


async def test_a_dropped_stream_unsubscribes() -> None:
    """A stream that nobody refers to any more leaves no subscription."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        async for _ in handle.events():
            break
        gc.collect()
        assert live(sandbox) == 0


async def test_a_stream_dropped_in_another_thread_unsubscribes() -> None:
    """A finalizer that runs in another thread reaches the loop safely."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        held = [handle.events()]
        await anext(held[0])
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
        await anyio.wait_all_tasks_blocked()
        assert live(sandbox) == 0


async def test_aclose_ends_the_reading_only() -> None:
    """aclose and the block end the reading; the command goes on."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        async with handle.events() as events:
            assert isinstance(await anext(events), Started)
        assert [event async for event in events] == []
        other = handle.events()
        await other.aclose()
        await other.aclose()
        assert live(sandbox) == 0
        assert (await handle.info()).status == "running"


class Turns:
    """Counts the turns of the loop while a block runs."""

    def __enter__(self) -> Self:
        self.count = 0
        self._handle = asyncio.get_running_loop().call_soon(self._turn)
        return self

    def _turn(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._turn)

    def __exit__(self, *_: object) -> None:
        self._handle.cancel()


async def buffered(sandbox: Sandbox) -> hopx.CommandHandle:
    """Return an ended command with 600 short events of three lines."""
    handle = await sandbox.commands.start("lots")
    await handle.wait()
    return handle


async def lots(command: ScriptedCommand) -> int:
    """Write three lines six hundred times."""
    for number in range(600):
        await command.stdout(b"a%d\nb\nc\n" % number)
    return 0


async def test_a_reader_of_what_is_here_lets_others_run() -> None:
    """However much is here already, a reader takes little of it in one turn of the loop."""
    async with opened(MemoryAgent({"lots": lots})) as sandbox:
        handle = await buffered(sandbox)
        with Turns() as turns:
            count = len([event async for event in handle.events()])
        assert count > 600
        assert turns.count > count / 64

        with Turns() as turns:
            lines = len([line async for line in handle.lines()])
        assert lines == 1800
        assert turns.count > 600 / 64


async def test_many_readers_let_others_run_together() -> None:
    """A hundred readers take hardly more in one turn of the loop than one."""
    async with opened(MemoryAgent({"lots": lots})) as sandbox:
        handle = await buffered(sandbox)
        streams = [handle.events() for _ in range(20)]
        taken = most = 0

        async def read(stream: hopx.EventStream) -> None:
            nonlocal taken
            async for _ in stream:
                taken += 1

        async with anyio.create_task_group() as group:
            for stream in streams:
                group.start_soon(read, stream)
            seen = 0
            while taken < 20 * 602:
                await asyncio.sleep(0)
                most, seen = max(most, taken - seen), taken
        assert most <= 64 + 2 * len(streams)


async def test_a_reader_cancelled_in_its_turn_for_others_loses_nothing() -> None:
    """Cancelling where a reader lets others run leaves the event for the next time."""
    async with opened(MemoryAgent({"lots": lots})) as sandbox:
        handle = await buffered(sandbox)
        stream = handle.lines()
        texts: list[str] = []
        cancelled = 0
        while len(texts) < 1800:
            with anyio.CancelScope() as scope:
                asyncio.get_running_loop().call_soon(scope.cancel)
                while True:
                    texts.append((await anext(stream)).text)
                    if len(texts) == 1800:
                        break
            cancelled += scope.cancelled_caught
        assert texts == [text for n in range(600) for text in (f"a{n}", "b", "c")]
        assert cancelled > 10


async def test_an_ended_stream_stays_ended() -> None:
    """Iterating on after the last event yields nothing more."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(SLEEP)
        await handle.kill()
        events = handle.events()
        assert isinstance([event async for event in events][-1], Exited)
        assert [event async for event in events] == []


async def test_cursor_and_repr_follow_the_reading() -> None:
    """The stream's cursor is that of the event taken last."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        events = handle.events()
        first = await anext(events)
        assert events.cursor == first.cursor
        assert first.cursor in repr(events)


async def test_lines_come_as_they_are_completed() -> None:
    """lines yields each line when its newline has come, the unfinished one at the end."""

    async def script(command: ScriptedCommand) -> int:
        await command.stdout(b"one\ntw")
        await command.stderr(b"err")
        await anyio.sleep(10)
        await command.stdout(b"o\nthree")
        return 0

    async with memory({"x": script}) as sandbox:
        handle = await sandbox.commands.start("x")
        seen = [(line.stream, line.text, line.at) async for line in handle.lines()]
    assert [(stream, text) for stream, text, _ in seen] == [
        ("stdout", "one"),
        ("stdout", "two"),
        ("stderr", "err"),
        ("stdout", "three"),
    ]
    assert seen[1][2] - seen[0][2] == pytest.approx(10)


async def test_lines_resume_by_cursor_through_another_handle() -> None:
    """Reading one line at a time, each time by a new stream, is reading them all."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(STEPS)
        await handle.wait()
        whole = [line async for line in handle.lines()]
        found: list[Line] = []
        cursor = None
        while True:
            again = await sandbox.commands.get(handle.ref)
            async for line in again.lines(after=cursor):
                found.append(line)
                cursor = line.cursor
                break
            else:
                break
        assert found == whole


@pytest.mark.parametrize("count", [1, 3, 100, 5000])
async def test_the_last_lines_come_first(count: int) -> None:
    """With last, lines begins so many lines before the end, and goes on with what comes."""

    async def script(command: ScriptedCommand) -> int:
        for number in range(0, 200_000, 1000):
            data = b"".join(b"line %d\n" % n for n in range(number, number + 1000))
            await command.stdout(data)
        await anyio.sleep(10)
        await command.stdout(b"more\n")
        return 0

    async with memory({"x": script}) as sandbox:
        handle = await sandbox.commands.start("x")
        await anyio.sleep(5)
        lines = [line.text async for line in handle.lines(last=count)]
        assert lines == [f"line {n}" for n in range(200_000 - count, 200_000)] + ["more"]
        short = [line async for line in handle.lines(last=2)]
        assert [line.text async for line in handle.lines(after=short[0].cursor)] == ["more"]


async def test_the_last_lines_can_be_looked_for_again() -> None:
    """Cancelled at any moment while it looks farther back, last finds the same lines after."""

    async def script(command: ScriptedCommand) -> int:
        for number in range(400):
            await command.stdout(b"%d" % number + b" " * 9000 + b"\n")
        return 0

    async with memory({"x": script}) as sandbox:
        handle = await sandbox.commands.start("x")
        await handle.wait()
        moment = 0
        for moment in range(1000):
            lines = handle.lines(last=100)
            task = asyncio.ensure_future(anext(lines))
            for _ in range(moment):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            await asyncio.wait([task])
            assert [int(line.text) async for line in lines] == list(range(300, 400))
        assert moment > 10


async def test_more_last_lines_than_there_are_is_all() -> None:
    """last may ask for more than there is."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(STEPS)
        await handle.wait()
        assert len([line async for line in handle.lines(last=100)]) == 6


async def test_reading_from_the_end_yields_what_comes() -> None:
    """With after=END, streams begin behind what is there now."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(CHATTER)
        await anyio.sleep(49.5)
        events, lines, texts = (
            handle.events(after=hopx.END),
            handle.lines(after=hopx.END),
            handle.text(after=hopx.END),
        )
        first = await anext(events)
        assert isinstance(first, hopx.Stdout)
        assert first.data == b"line 50\n"
        assert (await anext(lines)).text == "line 51"
        assert (await anext(texts)).text == "line 52\n"
        assert len([line async for line in lines]) == 48
        rest = [line.text async for line in handle.lines(after=first.cursor)]
        assert rest == [f"line {n}" for n in range(51, 100)]
        assert [event async for event in handle.events(after=hopx.END)] == []


async def test_text_is_decoded_across_pieces() -> None:
    """text joins a character that was cut, filters by stream, and takes out escapes."""

    async def script(command: ScriptedCommand) -> int:
        for byte in "\x1b[1mgrün €\x1b[0m".encode():
            await command.stdout(bytes([byte]))
        await command.stderr(b"\xff!")
        return 0

    async with memory({"x": script}) as sandbox:
        handle = await sandbox.commands.start("x")
        out = [piece.text async for piece in handle.text(stream="stdout", strip_ansi=True)]
        err = [piece.text async for piece in handle.text(stream="stderr")]
    assert "".join(out) == "grün €"
    assert "".join(err) == "\N{REPLACEMENT CHARACTER}!"


@pytest.mark.parametrize("kind", ["events", "lines", "text"])
@pytest.mark.parametrize("moment", range(8))
async def test_every_stream_can_be_cancelled(kind: str, moment: int) -> None:
    """A reader that is cancelled at any turn loses nothing."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(STEPS)
        await handle.wait()
        whole = [item async for item in getattr(handle, kind)()]
        stream = getattr(handle, kind)()
        task = asyncio.create_task(anext(stream))
        for _ in range(moment):
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        first = [] if task.cancelled() else [task.result()]
        assert first + [item async for item in stream] == whole


@pytest.mark.parametrize("options", [{"last": 0}, {"last": 1, "after": "END"}, {"stream": "x"}])
async def test_bad_options_are_refused_at_the_call(options: dict[str, Any]) -> None:
    """lines names what breaks a rule before anything is asked."""
    async with opened(agent_of()) as sandbox:
        handle = await sandbox.commands.start(STEPS)
        with pytest.raises(InvalidArgument):
            handle.lines(**options)
