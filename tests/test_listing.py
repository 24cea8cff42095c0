"""A listing: lazy, cancellable, one page at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from hopx_async.errors import AgentUnreachable, BusyError, RemoteProtocolError
from hopx_async.listing import Listing


class Far:
    """Pages of numbers, each fetched when the gate is open."""

    def __init__(self, *pages: dict[str, Any] | Exception) -> None:
        self.pages = list(pages)
        self.asked: list[dict[str, str]] = []
        self.gate = anyio.Event()
        self.gate.set()

    async def fetch(self, query: dict[str, str]) -> dict[str, Any]:
        self.asked.append(query)
        await self.gate.wait()
        page = self.pages.pop(0)
        if isinstance(page, Exception):
            raise page
        return page

    def listing(self) -> Listing[str]:
        return Listing(self.fetch, lambda item: str(item["id"]))


def page(*names: str, cursor: str | None = None) -> dict[str, Any]:
    """Return a page."""
    data = [{"id": name} for name in names] or None
    return {"data": data, "has_more": cursor is not None, "next_cursor": cursor}


async def test_pages_are_fetched_when_they_are_needed() -> None:
    """Nothing is asked for before the first item is wanted, nor a page before its turn."""
    far = Far(page("a", "b", cursor="c1"), page(cursor="c2"), page("c"))
    listing = far.listing()
    await anyio.lowlevel.checkpoint()
    assert far.asked == []
    assert await anext(listing) == "a"
    assert await anext(listing) == "b"
    assert len(far.asked) == 1
    assert [name async for name in listing] == ["c"]
    assert [query.get("cursor") for query in far.asked] == [None, "c1", "c2"]
    assert [name async for name in listing] == []


async def test_leaving_and_going_on() -> None:
    """A loop that is left leaves nothing behind; the next one goes on there."""
    listing = Far(page("a", "b", cursor="c1"), page("c")).listing()
    async for name in listing:
        assert name == "a"
        break

    assert [name async for name in listing] == ["b", "c"]


async def test_a_cancelled_page_is_asked_for_again() -> None:
    """Cancelled in the middle of a page, nothing is lost and nothing comes twice."""
    far = Far(page("a", cursor="c1"), page("b"))
    far.gate = anyio.Event()
    listing = far.listing()
    with anyio.move_on_after(0):
        await anext(listing)
    far.gate.set()

    assert [name async for name in listing] == ["a", "b"]
    assert [query.get("cursor") for query in far.asked] == [None, None, "c1"]


async def test_a_page_that_failed_is_asked_for_again() -> None:
    """An error is raised bare; the next call asks for the same page."""
    listing = Far(AgentUnreachable("nobody"), page("a")).listing()
    with pytest.raises(AgentUnreachable):
        await anext(listing)

    assert [name async for name in listing] == ["a"]


async def test_two_tasks_do_not_share_it() -> None:
    """A second task that wants the next item is told so."""
    far = Far(page("a"))
    far.gate = anyio.Event()
    listing = far.listing()
    task = asyncio.ensure_future(listing.__anext__())
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    with pytest.raises(BusyError):
        await anext(listing)
    far.gate.set()

    assert await task == "a"


async def test_an_item_that_is_none_takes_no_other_along() -> None:
    """It is told where it stands; those around it come all the same."""
    far = Far(page("a", "bad", "b", cursor="c1"), page("c"))

    def make(item: dict[str, Any]) -> str:
        if item["id"] == "bad":
            raise RemoteProtocolError("no item")
        return str(item["id"])

    listing = Listing(far.fetch, make)
    assert await anext(listing) == "a"
    with pytest.raises(RemoteProtocolError):
        await anext(listing)
    assert [name async for name in listing] == ["b", "c"]
