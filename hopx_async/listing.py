"""A listing of the service, fetched page by page as it is iterated."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Self, TypeVar

from hopx_async.errors import BusyError
from hopx_async.protocol.paging import Pages

__all__ = ["Listing"]

T_co = TypeVar("T_co", covariant=True)


class Listing(AsyncIterator[T_co], Generic[T_co]):
    """An async iterator of what the service has: one page is held, and no more are asked for.

    Leaving its ``async for`` at any place leaves nothing behind; iterating again goes on there.

    Args:
        fetch: Returns the page to a query.
        make: Makes an item of what stands on a page.
    """

    def __init__(
        self,
        fetch: Callable[[dict[str, str]], Awaitable[dict[str, Any]]],
        make: Callable[[dict[str, Any]], T_co],
    ) -> None:
        self._fetch = fetch
        self._make = make
        self._pages = Pages()
        self._ready: deque[dict[str, Any]] = deque()
        self._busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        """Return the next item. Cancelling it is safe: the page is asked for again.

        Raises:
            BusyError: If another task waits for the next one.
            RemoteProtocolError: If the service's pages make no listing, or this item is none; the
                next call returns the one behind it.
            HopxError: Why a page could not be had; the next call asks for it again.
        """
        if self._busy:
            raise BusyError("another task iterates over this listing")
        self._busy = True
        try:
            while not self._ready:
                if self._pages.done:
                    raise StopAsyncIteration
                answer = await self._fetch(self._pages.query())
                self._ready.extend(self._pages.receive(answer))
        finally:
            self._busy = False
        return self._make(self._ready.popleft())
