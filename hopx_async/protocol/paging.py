"""Which page of a listing to ask for next: with cursors, without, and never for ever."""

from __future__ import annotations

from typing import Any

from hopx_async.errors import RemoteProtocolError

__all__ = ["MAX_EMPTY", "MOST", "PAGE", "Pages"]

#: Items asked for on a page.
PAGE = 100
#: ... and where the far side has more, but does not say where: the most that a page may have.
MOST = 1000
#: Pages without anything new that may follow one another.
MAX_EMPTY = 20


class Pages:
    """The way through a listing: `query` says what to ask for, `receive` takes the answer.

    Items are told apart by *key*, so that one which moved to the next page meanwhile comes once.

    Args:
        key: The key of an item that is its id.
    """

    __slots__ = ("_cursor", "_cursors", "_empty", "_key", "_limit", "_seen", "done")

    def __init__(self, key: str = "id") -> None:
        self._key = key
        self._limit = PAGE
        self._cursor: str | None = None
        self._cursors: set[str] = set()
        self._seen: set[str] = set()
        self._empty = 0
        #: Whether there is nothing more to ask for.
        self.done = False

    def query(self) -> dict[str, str]:
        """Return what goes with the next request."""
        query = {"limit": str(self._limit)}
        return query if self._cursor is None else {**query, "cursor": self._cursor}

    def receive(self, answer: object) -> list[dict[str, Any]]:
        """Return the items of an answer that are new.

        Raises:
            RemoteProtocolError: If it is no page, goes in circles, or has more and does not say
                where.
        """
        if not isinstance(answer, dict) or "data" not in answer:
            raise RemoteProtocolError(f"no page of a listing: {answer!r:.200}")
        data = [] if answer["data"] is None else answer["data"]
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise RemoteProtocolError(f"no page of a listing: {answer!r:.200}")
        fresh = [item for item in data if self._is_new(item)]
        self._empty = 0 if fresh else self._empty + 1
        self._go_on(answer.get("has_more"), answer.get("next_cursor"), len(data))
        return fresh

    def _is_new(self, item: dict[str, Any]) -> bool:
        name = str(item.get(self._key))
        known = name in self._seen
        self._seen.add(name)
        return not known

    def _go_on(self, has_more: object, cursor: object, count: int) -> None:
        where = cursor if isinstance(cursor, str) and cursor else None
        # Whoever says neither has said all.
        if has_more is False or (has_more is None and where is None):
            self.done = True
        elif where is not None:
            if where in self._cursors or self._empty >= MAX_EMPTY:
                raise RemoteProtocolError(f"the listing goes in circles, at {where[:80]!r}")
            self._cursors.add(where)
            self._cursor = where
        elif count < self._limit:
            self.done = True  # the page was not even full
        elif self._limit < MOST:
            self._limit, self._cursor = MOST, None
        else:
            raise RemoteProtocolError(f"more than {MOST} items, and no word of where they are")
