"""The events of one command, as an object to iterate."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import anyio.lowlevel

from hopx_async.client import AgentClient
from hopx_async.errors import BusyError
from hopx_async.protocol.cursor import START, Position, print_cursor
from hopx_async.protocol.events import Event

__all__ = ["EventStream"]


class EventStream:
    """An async iterator of events, made by ``handle.events()``.

    It is its own subscription: two streams of one handle see the same events.
    Leaving the ``async for`` ends nothing but the reading; go on from
    ``event.cursor`` with another stream, or iterate the same one again. Memory is
    bounded: at most 1 MiB of the log is held for a stream that nobody reads.
    """

    __slots__ = ("__weakref__", "_busy", "_client", "_process_id", "_subscription")

    def __init__(self, client: AgentClient, process_id: str, position: Position = START) -> None:
        self._client = client
        self._process_id = process_id
        self._busy = False
        self._subscription = client.subscribe(process_id, position)

    @property
    def cursor(self) -> str:
        """The position behind the last event taken."""
        return print_cursor(self._process_id, self._subscription.position)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Cancelling it is safe: no event is lost.

        Raises:
            BusyError: If another task waits in it.
            AgentUnreachable: If nobody answered until the policy gave up.
            ClosedError: If the sandbox has been closed.
        """
        if self._busy:
            raise BusyError(f"two tasks read one stream of {self._process_id}; call events() twice")
        self._client.check()
        self._busy = True
        try:
            event = await self._client.next_event(self._subscription)
        finally:
            self._busy = False
        if event is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        """Stop reading. The command goes on; what was not read stays in its log."""
        self._client.unsubscribe(self._subscription)
        await anyio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.unsubscribe(self._subscription)

    def __del__(self) -> None:
        # A dropped stream unsubscribes by itself; a constructor that raised left nothing.
        subscription = getattr(self, "_subscription", None)
        if subscription is not None and not subscription.done:
            self._client.unsubscribe(subscription)

    def __repr__(self) -> str:
        return f"<EventStream of {self._process_id} at {self.cursor}>"
