"""What checks expect to be raised; there is no pytest in the library."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["raises"]

E = TypeVar("E", bound=Exception)


async def raises(kind: type[E], awaitable: Awaitable[Any]) -> E:
    """Return the error that *awaitable* raises.

    Raises:
        AssertionError: If it raises none of this kind.
    """
    try:
        value = await awaitable
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised, but {value!r} returned")
