"""The shell over HopX's route, against servers that answer as agents have been seen to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

from hopx_async import errors
from hopx_async.transport import hopx_shell
from hopx_async.transport.access import Access
from hopx_async.transport.hopx_shell import HopxShell
from hopx_async.transport.shell import ShellAnswer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FINE = {"stdout": "hello \u00fc\U0001f600", "stderr": "", "exit_code": 0}


class Way(Access):
    """A way that renews its token as often as it is told to."""

    def __init__(self, url: str, tokens: list[str]) -> None:
        self.name = url
        self.http = aiohttp.ClientSession()
        self.tokens = tokens
        self.admitted = 0
        self.quiet = 0.0

    def session(self) -> aiohttp.ClientSession:
        """Return the pool of connections."""
        return self.http

    async def headers(self) -> Mapping[str, str]:
        """Return the token."""
        return {"Authorization": f"Bearer {self.tokens[0]}"}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Take the next token."""
        self.tokens = self.tokens[1:] or self.tokens
        return refused != await self.headers()

    async def admit(self) -> None:
        """Count."""
        self.admitted += 1

    def refused(self, retry_after: float) -> None:
        """Note it."""
        self.quiet = retry_after


class Far:
    """A far side that counts what it is asked."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.bodies: list[Any] = []
        self.arrived = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with the handler."""
        self.bodies.append(await request.json())
        self.arrived.set()
        if request.headers["Authorization"] != "Bearer good":
            return web.json_response({"error": "INVALID", "message": "expired"}, status=401)
        return await self.handler(request)


@asynccontextmanager
async def far(handler: Handler, *tokens: str) -> AsyncGenerator[tuple[HopxShell, Far, Way]]:
    """Serve a handler, and give a shell there."""
    there = Far(handler)
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/commands/run", there.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    way = Way(f"http://{host}:{port}", list(tokens or ("good",)))
    try:
        yield HopxShell(way), there, way
    finally:
        await way.http.close()
        await runner.cleanup()


def told(body: Any, status: int = 200, **headers: str) -> Handler:
    """Return a handler that always says the same."""

    async def handler(_: web.Request) -> web.Response:
        return web.json_response(body, status=status, headers=headers)

    return handler


async def test_a_program_runs_and_its_text_is_exact() -> None:
    """What is sent is whole; what comes back is what was printed."""
    async with far(told(FINE)) as (shell, there, way):
        answer = await shell.run(["perl", "-e", "x\ny"], env={"A": "\u00fc"}, seconds=9.5)
        await shell.aclose()
        assert answer == ShellAnswer(FINE["stdout"], "", 0)  # type: ignore[arg-type]
        assert there.bodies == [
            {
                "command": "perl",
                "args": ["-e", "x\ny"],
                "timeout": 10,
                "workdir": "/tmp",
                "env": {"A": "\u00fc"},
            }
        ]
        assert way.admitted == 1
        assert not way.http.closed, "the way is not the shell's to close"


async def test_a_large_request_passes() -> None:
    """A full batch of starts travels without a warning."""
    async with far(told(FINE)) as (shell, there, _):
        await shell.run(["x", *["a" * 100_000] * 12], seconds=1.0)
        assert sum(map(len, there.bodies[0]["args"])) == 1_200_000


async def test_a_token_is_renewed_once() -> None:
    """An expired one is renewed and the request sent again, for it was not carried out."""
    async with far(told(FINE), "old", "good") as (shell, there, way):
        assert (await shell.run(["x"], seconds=1.0)).exit_code == 0
        assert (len(there.bodies), way.admitted) == (2, 2)


@pytest.mark.parametrize("tokens", [("old",), ("old", "older", "good")], ids=["none", "bad"])
async def test_a_token_that_stays_bad_is_an_error(tokens: tuple[str, ...]) -> None:
    """Nobody asks a third time."""
    async with far(told(FINE), *tokens) as (shell, there, _):
        with pytest.raises(errors.AuthenticationError, match="expired"):
            await shell.run(["x"], seconds=1.0)
        assert len(there.bodies) == len(tokens[:2])


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (told({"error": "broken"}, 500), errors.AgentFault),
        (told({"error": "late"}, 408), errors.RequestTimeout),
        (told({"error": "no"}, 400), errors.ApiError),
        (told({"agent": "HopX VM Agent (Go)", "message": "success"}), errors.Unsupported),
        (told([]), errors.RemoteProtocolError),
    ],
    ids=["500", "408", "400", "catch-all", "list"],
)
async def test_nothing_is_sent_twice(handler: Handler, kind: type[Exception]) -> None:
    """Whatever the answer is, repeating the request is for others to decide."""
    async with far(handler) as (shell, there, way):
        with pytest.raises(kind):
            await shell.run(["x"], seconds=1.0)
        assert len(there.bodies) == 1
        assert way.quiet == 0.0


async def test_a_refusal_quiets_the_whole_way() -> None:
    """Everybody who sends there waits as long as the far side asks for."""
    async with far(told({"error": "slow"}, 429, **{"Retry-After": "7"})) as (shell, _, way):
        with pytest.raises(errors.RateLimited) as caught:
            await shell.run(["x"], seconds=1.0)
        assert caught.value.retry_after == way.quiet == 7.0


async def test_a_connection_that_breaks_is_told_and_not_mended() -> None:
    """The program may have run: it is not sent again."""

    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with far(cut) as (shell, there, _):
        with pytest.raises(errors.ConnectionLost):
            await shell.run(["x"], seconds=1.0)
        assert len(there.bodies) == 1


async def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer one is an error, not a full memory."""
    monkeypatch.setattr(hopx_shell, "MAX_ANSWER_BYTES", 100)
    async with far(told({**FINE, "stdout": "x" * 100})) as (shell, _, _):
        with pytest.raises(errors.RemoteProtocolError, match="more than 100 bytes"):
            await shell.run(["x"], seconds=1.0)


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait covers what the program may take, and then a bounded time."""
    monkeypatch.setattr(hopx_shell, "ANSWER_SECONDS", 0.05)

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with far(never) as (shell, _, _):
        with pytest.raises(errors.RequestTimeout, match=r"in 0\.15 s"):
            await shell.run(["x"], seconds=0.1)


async def test_running_can_be_cancelled() -> None:
    """The connection is closed, and the way serves the next."""
    gone = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        if len(there.bodies) > 1:
            return web.json_response(FINE)
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        raise AssertionError(request)

    async with far(hang) as (shell, there, _):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: shell.run(["x"], seconds=9.0))
            await there.arrived.wait()
            group.cancel_scope.cancel()
        await gone.wait()
        assert (await shell.run(["x"], seconds=1.0)).exit_code == 0


async def test_waiting_for_a_turn_is_not_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of an answer begins when the request may be sent; waiting can be cancelled."""
    monkeypatch.setattr(hopx_shell, "ANSWER_SECONDS", 0.02)
    async with far(told(FINE)) as (shell, there, way):
        monkeypatch.setattr(way, "admit", anyio.sleep_forever)  # a sandbox that is paused
        waiting = asyncio.create_task(shell.run(["x"], seconds=0.01))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert there.bodies == []
