"""The channel over long-poll: on virtual time over a memory agent, with its losses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from hopx_async.errors import (
    ApiError,
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    HopxError,
    NotFoundError,
    RateLimited,
    RemoteProtocolError,
)
from hopx_async.protocol import poll, wire
from hopx_async.testing import VirtualTimeLoop
from hopx_async.transport.poll import RETRY_SECONDS, PollChannel, Poster, open_poll
from tests.support.polling import PollingTransport
from tests.support.virtual import agent_of

HELLO = wire.encode([wire.Hello(wire.LINK_VERSION)])


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@asynccontextmanager
async def opened() -> AsyncGenerator[tuple[PollChannel, PollingTransport]]:
    """Open a channel to a memory agent."""
    agent = agent_of()
    transport = PollingTransport(agent)
    channel = await open_poll(transport)
    try:
        yield channel, transport
    finally:
        await channel.aclose()
        await channel.aclose()
        await transport.aclose()
        await agent.aclose()


def call(number: int) -> str:
    """Return a frame that asks for the list."""
    return wire.encode([wire.Call(number, "list", {})])


async def test_frames_go_both_ways() -> None:
    """The agent greets, and calls are answered although a post hangs meanwhile."""
    async with opened() as (channel, transport):
        [hello] = wire.decode_agent(await channel.receive())
        assert isinstance(hello, wire.Hello)
        await channel.send(HELLO)
        later = asyncio.create_task(say_later(channel, call(7)))
        [reply] = wire.decode_agent(await channel.receive())
        await later
        assert isinstance(reply, wire.Reply)
        assert (reply.call, anyio.current_time() < poll.HANG_SECONDS) == (7, True)
        assert transport.under_way == 0


async def say_later(channel: PollChannel, frame: str) -> None:
    """Send a frame a second from now."""
    await anyio.sleep(1)
    await channel.send(frame)


async def test_a_post_hangs_as_long_as_said() -> None:
    """A silent hour costs a post every so many seconds, and no more."""
    async with opened() as (channel, transport):
        await channel.receive()
        with anyio.move_on_after(3600):
            await channel.receive()

        assert transport.posts == pytest.approx(3600 / poll.HANG_SECONDS, abs=3)


async def test_a_lost_answer_comes_again() -> None:
    """Answers that get lost are repeated: nothing is missing, nothing comes twice."""
    async with opened() as (channel, transport):
        await channel.receive()
        await channel.send(HELLO)
        for number in range(1, 20):
            transport.losses = number % 3
            await channel.send(call(number))
            [reply] = wire.decode_agent(await channel.receive())
            assert isinstance(reply, wire.Reply)
            assert reply.call == number


async def test_a_forgotten_session_is_a_lost_connection() -> None:
    """An agent that does not know the session any more makes the channel end, to be made anew."""
    async with opened() as (channel, transport):
        await channel.receive()
        await channel.send(HELLO)
        await anyio.wait_all_tasks_blocked()
        transport.cut()
        with pytest.raises(ConnectionLost):
            await channel.receive()
        with pytest.raises(ConnectionLost):
            await channel.send(HELLO)


async def test_an_agent_out_of_reach_is_a_lost_connection() -> None:
    """Posts are tried again for so long; then the channel is lost."""
    async with opened() as (channel, transport):
        await channel.receive()
        began = anyio.current_time()
        transport.losses = 1 << 30
        await channel.send(HELLO)
        with pytest.raises(ConnectionLost, match="on purpose"):
            await channel.receive()
        waited = anyio.current_time() - began
        transport.losses = 0

    assert RETRY_SECONDS <= waited <= RETRY_SECONDS + 2 * poll.HANG_SECONDS


async def test_sending_waits_while_a_post_is_full() -> None:
    """What is said and not yet taken is bounded: send waits, and cancelling it sends nothing."""
    async with opened() as (channel, transport):
        await channel.receive()
        await channel.send(HELLO)
        await anyio.wait_all_tasks_blocked()
        transport._agent.stall()
        large = wire.encode([wire.Call(1, "info", {"process_id": "x" * 600_000})])
        await channel.send(large)
        with anyio.move_on_after(5) as scope:
            await channel.send(large)
        assert scope.cancelled_caught
        transport._agent.heal()
        await channel.send(call(2))
        with anyio.fail_after(5):
            answers = [wire.decode_agent(await channel.receive()) for _ in range(2)]
        assert sorted(getattr(one, "call", 0) for frame in answers for one in frame) == [1, 2]


async def test_who_receives_hears_of_an_answer_that_a_sender_waits_for_as_well() -> None:
    """An answer wakes both who waits to send and who waits to receive."""
    async with opened() as (channel, _):
        await channel.receive()
        await channel.send(HELLO)
        receiving = asyncio.create_task(channel.receive())
        await anyio.wait_all_tasks_blocked()
        for number in (1, 2):
            params = {"process_id": "x" * 600_000}
            await channel.send(wire.encode([wire.Call(number, "info", params)]))
        with anyio.fail_after(5):
            await receiving


async def test_receive_can_be_cancelled() -> None:
    """A cancelled receive loses no frame, and the post that hangs goes on."""
    async with opened() as (channel, _):
        await channel.receive()
        await channel.send(HELLO)
        with anyio.move_on_after(3) as scope:
            await channel.receive()
        assert scope.cancelled_caught
        await channel.send(call(1))
        await anyio.wait_all_tasks_blocked()

        assert "reply" in str(await channel.receive())


@pytest.mark.parametrize("moment", range(6))
async def test_opening_and_closing_can_be_cancelled(moment: int) -> None:
    """A session whose opening or closing is cancelled leaves no task."""
    before = asyncio.all_tasks()
    agent = agent_of()
    transport = PollingTransport(agent)
    task = asyncio.create_task(open_and_close(transport))
    for _ in range(moment):
        await anyio.lowlevel.checkpoint()
    task.cancel()
    await asyncio.wait([task])
    await transport.aclose()
    await agent.aclose()

    assert asyncio.all_tasks() == before


async def open_and_close(transport: PollingTransport) -> None:
    """Open a channel, and close it in any case, as a pump does."""
    channel = await open_poll(transport)
    try:
        await channel.receive()
        await channel.send(HELLO)
        await channel.receive()
    finally:
        with anyio.CancelScope(shield=True):
            await channel.aclose()


class Refusing(Poster):
    """Greets, then answers every post with an error."""

    def __init__(self, error: Exception, *, at_once: bool = False) -> None:
        self.error = error
        self.left = 0
        self.answers = [] if at_once else [poll.ANSWER.pack(0, 0)]

    async def post(self, session: str, body: bytes) -> bytes:
        """Answer once, then refuse."""
        await anyio.lowlevel.checkpoint()
        if self.answers:
            return self.answers.pop()
        raise self.error

    async def leave(self, session: str) -> None:
        """Be told, and fail."""
        self.left += 1
        raise ConnectError("gone")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFoundError("no such session"), ConnectionLost),
        (RateLimited("too many"), ConnectionLost),
        (ApiError("frame 3 after 1", status=400), RemoteProtocolError),
        (AuthenticationError("the token was revoked"), AuthenticationError),
        (RemoteProtocolError("<html>"), RemoteProtocolError),
        (ZeroDivisionError("a bug"), ZeroDivisionError),
    ],
)
async def test_a_refused_post_says_whose_fault(error: Exception, kind: type[Exception]) -> None:
    """A refusal ends the channel with what it means; who left is not told again."""
    poster = Refusing(error)
    channel = await open_poll(poster)
    with pytest.raises(kind):
        await channel.receive()
    await channel.aclose()

    assert poster.left == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RateLimited("too many"), ConnectError), (AuthenticationError("no"), AuthenticationError)],
)
async def test_a_refused_opening_says_whose_fault(error: HopxError, kind: type[Exception]) -> None:
    """Too many sessions may be fewer in a moment; a wrong token stays wrong."""
    with pytest.raises(kind):
        await open_poll(Refusing(error, at_once=True))


async def test_leaving_may_fail() -> None:
    """An agent that cannot be told forgets the session by itself."""
    poster = Refusing(ConnectionLost("x"))
    channel = await open_poll(poster)
    await channel.aclose()
    await channel.aclose()

    assert poster.left == 1
