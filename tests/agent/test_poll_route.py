"""Tests of hopx_async.agent.poll_route, over real requests: sessions, bounds, ends."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from hopx_async.agent import poll_route as module
from hopx_async.protocol import poll, wire
from tests.agent.harness import greeting, serving
from tests.agent.keeper_double import PATIENCE, full_spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.agent.harness import Serving

ONE = "/v1/link/a-session-of-the-tests"


def body(number: int, first: int, ack: int, *frames: str) -> bytes:
    """Return a post."""
    packed = [poll.FRAME.pack(0, len(frame.encode())) + frame.encode() for frame in frames]
    return poll.POST.pack(number, first, ack) + b"".join(packed)


async def post(server: Serving, data: bytes, path: str = ONE) -> tuple[int, int, int, bytes]:
    """Return status, number, frames taken, and the frames of an answer."""
    async with asyncio.timeout(PATIENCE), server.http.post(path, data=io.BytesIO(data)) as answer:
        content = await answer.read()
        if answer.status != 200:
            return answer.status, 0, 0, content
        assert answer.headers["Cache-Control"] == "no-store"
        return (200, *poll.ANSWER.unpack_from(content), content[poll.ANSWER.size :])


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


def hanging(server: Serving) -> int:
    """Return how many posts are being answered."""
    return sum(session._posts for session in server.agent._sessions._open.values())


async def test_a_session_greets_and_answers(tmp_path: Path) -> None:
    """The first post is greeted; news end the one that hangs."""
    async with serving(tmp_path / "s") as server:
        status, number, taken, frames = await post(server, body(1, 0, 0))
        assert (status, number, taken) == (200, 1, 0)
        assert b"sbx_test" in frames
        log = server.keeper.running("one")
        ask = wire.Ask(1, "one", total=1 << 20)
        status, number, taken, _ = await post(server, body(2, 0, 1, greeting(ask)))
        assert (status, number, taken) == (200, 2, 1)
        waiting = asyncio.create_task(post(server, body(3, 1, 2)))
        await until(lambda: hanging(server))
        log.write(b"here it is")
        server.keeper.tell(log)
        status, number, taken, frames = await waiting
        assert (status, number, taken) == (200, 3, 1)
        assert b"here it is" in frames
        assert len(server.agent._sessions) == 1


async def test_an_answer_is_repeated_and_a_frame_taken_once(tmp_path: Path) -> None:
    """A post that comes again gets the same answer, and its calls are not carried out again."""
    async with serving(tmp_path / "s") as server:
        await post(server, body(1, 0, 0))
        again = body(2, 0, 1, greeting(wire.Call(1, "start", full_spec("one"))))
        first = await post(server, again)
        assert b"created" in first[3]
        assert await post(server, again) == first
        assert await post(server, body(3, 0, 1, greeting())) == first

        assert len(server.keeper.requests) == 1


async def test_a_new_post_ends_the_one_that_hangs(tmp_path: Path) -> None:
    """The older of two posts is answered with nothing, one that was overtaken likewise."""
    async with serving(tmp_path / "s") as server:
        await post(server, body(1, 0, 0))
        old = asyncio.create_task(post(server, body(5, 0, 1, greeting())))
        await until(lambda: hanging(server))
        new = asyncio.create_task(post(server, body(6, 0, 1, greeting())))
        assert await old == (200, 0, 1, b"")
        assert await post(server, body(4, 0, 1)) == (200, 0, 1, b"")
        assert not new.done()
        server.keeper.running("one")
        assert (await post(server, body(7, 1, 1, wire.encode([wire.Call(1, "list", {})]))))[1] == 2

        assert await new == (200, 0, 2, b"")


async def test_a_post_hangs_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A post to which there is nothing to say is answered with nothing in the end."""
    monkeypatch.setattr(poll, "HANG_SECONDS", 0.02)
    async with serving(tmp_path / "s") as server:
        await post(server, body(1, 0, 0))

        assert await post(server, body(2, 0, 1, greeting())) == (200, 0, 1, b"")


async def test_a_client_that_leaves_leaves_nothing_hanging(tmp_path: Path) -> None:
    """A post whose client is gone ends; what it would have been answered is kept."""
    async with serving(tmp_path / "s") as server:
        await post(server, body(1, 0, 0))
        waiting = asyncio.create_task(post(server, body(2, 0, 1, greeting())))
        await until(lambda: hanging(server))
        waiting.cancel()
        await asyncio.wait([waiting])
        await until(lambda: not hanging(server))
        frame = wire.encode([wire.Call(1, "list", {})])

        assert (await post(server, body(3, 1, 1, frame)))[:3] == (200, 2, 2)


async def test_sessions_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session without posts is forgotten; one that is unknown and does not begin is refused."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.01)
    async with serving(tmp_path / "s") as server:
        await post(server, body(1, 0, 0))
        await until(lambda: not server.agent._sessions)

        status, _, _, told = await post(server, body(2, 0, 1))
        assert (status, b"not_found" in told) == (404, True)


async def test_sessions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One session too many is refused with 429; when one leaves, there is room."""
    monkeypatch.setattr(module, "MAX_SESSIONS", 1)
    async with serving(tmp_path / "s") as server:
        other = "/v1/link/another-session-of-the-tests"
        await post(server, body(1, 0, 0))
        assert (await post(server, body(1, 0, 0), other))[0] == 429
        for _ in range(2):
            async with server.http.delete(ONE) as answer:
                assert answer.status == 204

        assert (await post(server, body(1, 0, 0), other))[0] == 200


@pytest.mark.parametrize(
    ("data", "status", "problem"),
    [
        (b"short", 400, b"head"),
        (body(2, 0, 7), 400, b"acknowledged"),
        (body(2, 3, 1), 400, b"frame 3"),
        (body(2, 0, 1, "nonsense"), 400, b"unknown frame"),
        (body(2, 0, 1, wire.encode([wire.Leave(1)])), 400, b"hello"),
        (bytes(poll.MAX_POST_BYTES + 1), 413, b"at most"),
    ],
)
async def test_breaking_the_protocol_ends_the_session(
    tmp_path: Path, data: bytes, status: int, problem: bytes
) -> None:
    """A post against the protocol is refused in words, and its session is gone."""
    async with serving(tmp_path / "s") as server:
        await post(server, body(1, 0, 0))
        told = await post(server, data)

        assert (told[0], problem in told[3]) == (status, True)
        assert len(server.agent._sessions) == (status == 413)


async def test_odd_names_and_strangers_are_refused(tmp_path: Path) -> None:
    """A session's name has its form, and its posts need the token like everything else."""
    async with serving(tmp_path / "s") as server:
        assert (await post(server, body(1, 0, 0), "/v1/link/short"))[0] == 400
        async with aiohttp.ClientSession(server.url) as stranger:
            async with stranger.post(ONE, data=body(1, 0, 0)) as answer:
                assert answer.status == 401

        assert len(server.agent._sessions) == 0


async def test_the_largest_call_fits_a_post(tmp_path: Path) -> None:
    """A call of nearly 1 MiB is taken."""
    async with serving(tmp_path / "s") as server:
        await post(server, body(1, 0, 0))
        await post(server, body(2, 0, 1, greeting(wire.Call(1, "list", {}))))
        room = wire.MAX_CALL_BYTES - len(wire.encode([wire.Call(2, "nonsense", {"x": ""})]))
        frame = wire.encode([wire.Call(2, "nonsense", {"x": "y" * room})])
        assert len(frame) == wire.MAX_CALL_BYTES

        assert (await post(server, body(3, 1, 2, frame)))[:3] == (200, 3, 2)


async def test_a_full_session_takes_calls_when_answers_have_left(tmp_path: Path) -> None:
    """Posts of many calls are taken piece by piece, and every call is answered once."""
    async with serving(tmp_path / "s") as server:
        for n in range(8):
            spec = full_spec(f"c{n}", command="x" * 100_000)
            await server.ask("PUT", f"/v1/commands/c{n}", json=spec)
        frames = [greeting(), *[wire.encode([wire.Call(n, "list", {})]) for n in range(60)]]
        answered: list[int] = []
        number = taken = seen = 0
        while len(answered) < 60:
            number += 1
            _, got, taken, rest = await post(server, body(number, taken, seen, *frames[taken:]))
            if got:
                assert got == seen + 1
                seen = got
                answered += replies(rest)

    assert sorted(answered) == list(range(60))


def replies(rest: bytes) -> list[int]:
    """Return the numbers of the calls that an answer's frames answer."""
    found: list[int] = []
    while rest:
        _, size = poll.FRAME.unpack_from(rest)
        controls = wire.decode_agent(rest[poll.FRAME.size : poll.FRAME.size + size])
        found += [control.call for control in controls if isinstance(control, wire.Reply)]
        rest = rest[poll.FRAME.size + size :]
    return found


async def test_a_stop_ends_posts_that_hang(tmp_path: Path) -> None:
    """An agent that stops answers what hangs with 503, at once."""
    async with serving(tmp_path / "s") as server:
        await post(server, body(1, 0, 0))
        waiting = asyncio.create_task(post(server, body(2, 0, 1, greeting())))
        await until(lambda: hanging(server))
        stopping = asyncio.create_task(server.agent.aclose())

        assert (await waiting)[0] == 503
        await stopping
