"""How an asynchronous door becomes what is open already."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from hopx_async.blocking.portal import Portal
from hopx_async.blocking.wrapping import stand_for
from hopx_async.opening import Opening

__all__ = ["enter", "open_now", "unopened"]

#: Whether a door is only to be made ready: a pool opens what its factory returns itself.
unopened: ContextVar[bool] = ContextVar("unopened", default=False)


def enter(opening: Opening[Any]) -> Any:
    """Return what stands for what *opening* opens, or itself where somebody else opens it.

    Raises:
        HopxError: As for the door.
    """
    return opening if unopened.get() else open_now(opening)


def open_now(opening: Opening[Any]) -> Any:
    """Return what stands for what *opening* opens.

    Raises:
        HopxError: As for the door.
        MisuseError: In the thread of the portal's own event loop.
    """
    try:
        portal = Portal.take()
    except BaseException:
        opening.close()
        raise
    try:
        inner: Any = portal.call(lambda: opening)
    except BaseException:
        opening.close()
        portal.release()
        raise
    portal.keep(inner)
    return stand_for(portal, inner)
