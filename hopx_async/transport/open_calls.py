"""Calls that were put on a connection and have no answer yet."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from hopx_async.errors import ConnectionLost
from hopx_async.protocol import wire
from hopx_async.protocol.link import Link

__all__ = ["OpenCalls", "Sent"]


class Sent(NamedTuple):
    """A call on its way.

    Attributes:
        feed: The connection it was put on.
        number: What its reply will carry.
        answer: Gets the result, why not, or `ConnectionLost`: then nobody knows.
    """

    feed: int
    number: int
    answer: asyncio.Future[Any]


class OpenCalls:
    """The open calls of one link.

    Args:
        link: Where they are put.
        name: What errors call the far side.
    """

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self._name = name
        self._open: dict[int, asyncio.Future[Any]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def put(self, feed: int, method: str, params: dict[str, Any]) -> Sent:
        """Put a call on a connection.

        Raises:
            InvalidArgument: If it is larger than a far side takes.
        """
        number = self._link.call(feed, method, params)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        return Sent(feed, number, answer)

    def forget(self, sent: Sent) -> None:
        """Wait for it no more; it is taken back if it has not left yet."""
        self._open.pop(sent.number, None)
        self._link.withdraw(sent.feed, sent.number)

    def answer(self, reply: wire.Reply) -> None:
        """Hand a reply to whoever waits for it."""
        answer = self._open.pop(reply.call, None)
        if answer is None or answer.done():
            return
        if reply.error is None:
            answer.set_result(reply.result)
        else:
            answer.set_exception(wire.error_from_dict(reply.error))

    def drop(self, error: BaseException | None = None) -> None:
        """Let all fail with *error*, or because the connection was lost."""
        answers, self._open = self._open, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(
                    error or ConnectionLost(f"{self._name} broke off during a call")
                )
