"""Who listens: seen in /proc, told when it begins and when the command ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path

import pytest

from hopx_async.agent import readiness
from hopx_async.agent.board import Board, Command
from hopx_async.agent.readiness import answers, listens, wait_port
from tests.agent.harness import serving

END = b'{"reason":"exited","exit_code":1}'


def a_command(process_id: str = "x", pid: int | None = None) -> tuple[Board, Command]:
    """Return a board and a command on it whose leader is this process."""
    board, command = Board(), Command(process_id)
    command.pid = os.getpid() if pid is None else pid
    return board, board.put(command)


@contextlib.contextmanager
def listening(host: str = "127.0.0.1") -> Generator[int]:
    """Listen on a port, in this process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def other_process(program: str, **env: str) -> Generator[subprocess.Popen[bytes]]:
    """Run a program of ours that prints a line when it is there, and ends with its stdin."""
    command = [sys.executable, "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env={**os.environ, **env}) as process:
        try:
            yield process
        finally:
            process.communicate()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_listening_process_of_the_command_is_seen(host: str) -> None:
    """A port is open while a process of the command's tree listens, on either loopback."""
    with listening(host) as port:
        assert listens("x", os.getpid(), port)
        assert not listens("x", os.getpid(), port % 60000 + 1)
    assert not listens("x", os.getpid(), port)


def test_a_stranger_on_the_port_is_not_the_command() -> None:
    """What another process listens on does not make this command ready."""
    with listening() as port, other_process("print(flush=True); input()") as other:
        assert not listens("x", other.pid, port)
        assert not listens("x", None, port)


def test_a_server_that_outlives_its_leader_is_known_by_its_scope() -> None:
    """A process with the command's scope belongs to it, whoever its parents are."""
    program = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    print(server.getsockname()[1], flush=True)\n"
        "    try: input()\n"
        "    except EOFError: pass"
    )
    with other_process(program, HOPX_SCOPE="outer/z:nonce/abc") as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert listens("abc", None, port)
        assert not listens("ab", None, port)


def test_a_server_whose_owner_cannot_be_seen_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket of a process in a container, say, is taken for the command's."""
    monkeypatch.setattr(readiness, "_owners", lambda _: iter(()))
    with listening() as port:
        assert listens("x", None, port)


@contextlib.asynccontextmanager
async def replying(reply: Callable[[bytes], bytes | None]) -> AsyncGenerator[int]:
    """Serve one request a connection; None breaks it off."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = reply(await reader.readuntil(b"\r\n\r\n"))
        if answer is not None:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("reply", "ready"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 204\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"HTTP/1.1 503 Busy\r\n\r\n", False),
        (b"SSH-2.0-x\r\n", False),
        (b"\r\n", False),
        (b"x" * 200_000, False),
        (None, False),
    ],
)
async def test_an_answer_below_400_is_ready(reply: bytes | None, ready: bool) -> None:
    """Only a status below 400 counts; what speaks something else is not ready."""
    requests: list[bytes] = []

    def note(request: bytes) -> bytes | None:
        requests.append(request)
        return reply

    async with replying(note) as port:
        assert await answers(port, "/health?x") is ready
    assert requests[0].startswith(b"GET /health?x HTTP/1.1\r\nHost: localhost:")


async def test_nobody_there_does_not_answer() -> None:
    """A port without a server is not ready."""
    with listening() as port:
        pass
    assert not await answers(port, "/")


async def test_a_port_that_opens_later_is_waited_for() -> None:
    """wait_port answers when the port opens, and its first answer may be the path's."""
    board, command = a_command()
    with listening() as port:
        pass
    task = asyncio.create_task(wait_port(board, command, port, None))
    await asyncio.sleep(0.05)
    assert not task.done()
    with socket.create_server(("127.0.0.1", port)):
        assert await task == {"ready": True, "ended": False}
        assert await wait_port(board, command, port, "/", hang=0.1) == {
            "ready": False,
            "ended": False,
        }


async def test_the_loop_is_not_held_up_by_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are looked through in a thread: an agent serves others meanwhile."""
    looked: list[bool] = []

    def look(process_id: str, pid: int | None, port: int) -> bool:
        looked.append(threading.current_thread() is threading.main_thread())
        return True

    monkeypatch.setattr(readiness, "listens", look)
    board, command = a_command()
    assert (await wait_port(board, command, 80, None))["ready"]
    assert looked == [False]


async def test_the_end_of_the_command_answers_at_once() -> None:
    """wait_port answers when the command ends, and tells of a server that goes on."""
    board, command = a_command()
    with listening() as port:
        pass
    task = asyncio.create_task(wait_port(board, command, port, None, hang=3600))
    await asyncio.sleep(0.05)
    command.exit = END
    board._waiting.release(command.process_id)
    assert await task == {"ready": False, "ended": True}
    with socket.create_server(("127.0.0.1", port)):
        assert await wait_port(board, command, port, None) == {"ready": True, "ended": True}


async def test_a_wait_that_is_cancelled_leaves_nothing() -> None:
    """Cancelling wait_port gives up its wait for the end."""
    board, command = a_command()
    task = asyncio.create_task(wait_port(board, command, 1, None, hang=3600))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0)
    assert not board._waiting


async def test_the_call_reaches_it(tmp_path: Path) -> None:
    """The link carries the call to the command that it names."""
    async with serving(tmp_path / "s") as server, server.link() as client:
        server.keeper.running("a")
        server.keeper.finish("a")
        with listening() as port:
            pass
        answer = await client.call("wait_port", process_id="a", port=port, path=None)
        assert answer == {"ready": False, "ended": True}
