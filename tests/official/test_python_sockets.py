"""The websockets of HopX's Python clients: streams, watches and terminals of both of them."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from hopx_async.agent.dialect.sockets import MAX_SOCKETS
from tests.official.clients import AsyncSandbox, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.official.conftest import Place

pytestmark = pytest.mark.official


@pytest.fixture(scope="module")
def known(place: Place) -> Iterator[str]:
    """A sandbox for all of these tests."""
    one = Sandbox.create("code-interpreter", **place.door)
    yield one.sandbox_id
    one.kill()


@pytest.fixture(params=["sync", "async"])
async def sandbox(place: Place, known: str, request: pytest.FixtureRequest) -> Any:
    if request.param == "sync":
        return await asyncio.to_thread(Sandbox.connect, known, **place.door)
    return await AsyncSandbox.connect(known, **place.door)


async def collected(messages: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message async for message in messages]


def output(messages: list[dict[str, Any]], kind: str = "stdout") -> str:
    return "".join(one["data"] for one in messages if one["type"] == kind)


async def test_a_stream(sandbox: Any) -> None:
    """Both streams, the code and ``complete`` come, with the variables that were given."""
    code = "import os, sys; print(os.environ['X']); print('e', file=sys.stderr); sys.exit(3)"
    messages = await collected(sandbox.run_code_stream(code, env={"X": "1"}))

    assert (output(messages), output(messages, "stderr")) == ("1\n", "e\n")
    assert messages[-2]["exit_code"] == 3
    assert messages[-1]["type"] == "complete"


async def test_two_thousand_frames(sandbox: Any) -> None:
    """Nothing is lost, neither of frames back to back nor of lines one by one."""
    large = await collected(sandbox.run_code_stream("for n in range(2000): print(f'{n:08191d}')"))
    code = "import time\nfor n in range(2000): print(n); time.sleep(0.0002)"
    small = await collected(sandbox.run_code_stream(code))

    assert len(large) >= 2000
    assert output(large) == "".join(f"{n:08191d}\n" for n in range(2000))
    assert output(small) == "".join(f"{n}\n" for n in range(2000))


async def test_a_large_output(sandbox: Any) -> None:
    """Frames are small: this client ends silently at one above 1 MiB."""
    messages = await collected(sandbox.run_code_stream("print('x' * 4_000_000)"))

    assert len(output(messages)) == 4_000_001
    assert messages[-1] == {**messages[-1], "type": "complete", "success": True}


async def test_an_error_ends_with_complete(sandbox: Any) -> None:
    """What cannot be run is an error with its code, and the stream ends."""
    messages = await collected(sandbox.run_code_stream("1", language="cobol"))

    assert [one["type"] for one in messages] == ["error", "complete"]
    assert messages[0]["code"] == "INVALID_REQUEST"


async def test_a_watch(sandbox: Any) -> None:
    """Changes of files arrive as they happen."""
    seen: list[tuple[str, str]] = []
    watching = sandbox.files.watch("/workspace")
    assert "Watching /workspace" in (await anext(watching))["status"]
    wrote = sandbox.files.write("/workspace/seen.txt", "x")
    if wrote is not None:
        await wrote
    while ("/workspace/seen.txt", "created") not in seen:
        change = await asyncio.wait_for(anext(watching), 60)
        seen.append((change["path"], change["event"]))
    removed = sandbox.files.remove("/workspace/seen.txt")
    if removed is not None:
        await removed
    while ("/workspace/seen.txt", "deleted") not in seen:
        change = await asyncio.wait_for(anext(watching), 60)
        seen.append((change["path"], change["event"]))
    await watching.aclose()


async def test_one_socket_too_many(sandbox: Any) -> None:
    """It is answered with 429, which this client tells as an error; the others stay."""
    token = sandbox.get_token()
    token = token if isinstance(token, str) else await token
    info = sandbox.get_info()
    host = (await info if inspect.isawaitable(info) else info).public_host
    headers = {"Authorization": f"Bearer {token}"}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            aiohttp.ClientSession(host, headers=headers, connector=aiohttp.TCPConnector(limit=0))
        )
        for _ in range(MAX_SOCKETS):
            await stack.enter_async_context(http.ws_connect("/execute/stream"))
        with pytest.raises(Exception, match="429"):
            await collected(sandbox.run_code_stream("1"))
        async with http.get("/execute/stream") as refused:
            told = await refused.json()

    assert (refused.status, told["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    hints = (told["retry_after"], told["details"]["retry_after_seconds"])
    assert hints == (1, 1)
    assert refused.headers["Retry-After"] == "1"


async def test_a_terminal(sandbox: Any) -> None:
    """A shell is connected to, resized, typed into, and tells its exit code."""
    if isinstance(sandbox, Sandbox):
        sandbox._ensure_ws_client()
    terminal = sandbox.terminal
    shown, code = "", None
    async with await terminal.connect() as socket:
        await terminal.resize(socket, cols=77, rows=33)
        await terminal.send_input(socket, "stty size; exit 7\n")
        async for message in terminal.iter_output(socket):
            shown += message.get("data", "")
            if message["type"] == "exit":
                code = message["code"]
                break

    assert "33 77" in shown
    assert code == 7
