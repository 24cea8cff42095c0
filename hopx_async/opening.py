"""What every door returns: to be awaited, or entered."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

__all__ = ["Closable", "Opening"]


class Closable(Protocol):
    """Something that its user ends."""

    async def aclose(self) -> None:
        """End it."""


T_co = TypeVar("T_co", bound=Closable, covariant=True)


class Opening(Coroutine[Any, Any, T_co], AbstractAsyncContextManager[T_co, None]):
    """A door: ``x = await door(...)`` or ``async with door(...) as x``.

    Awaited, the caller ends what it got with ``aclose()``, from any task and in
    any order. Entered, leaving the block ends it. Like any coroutine it is used
    once, and Python warns if it is forgotten.
    """

    __slots__ = ("_coroutine", "_value")

    def __init__(self, coroutine: Coroutine[Any, Any, T_co]) -> None:
        self._coroutine = coroutine
        self._value: T_co | None = None

    if not TYPE_CHECKING:  # a type checker says it better, and must not think that all is there

        def __getattr__(self, name: str) -> Any:
            """Say what was forgotten: nearly always an await."""
            if name in {"__name__", "__qualname__"}:  # for asyncio's debug mode
                return getattr(self._coroutine, name)
            raise AttributeError(
                f"it is not open yet, so there is no {name!r}: "
                "say 'x = await ...' or 'async with ... as x'",
                name=name,
                obj=self,
            )

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        """Resume it, as an event loop does."""
        return self._coroutine.send(value)

    def throw(self, *args: Any) -> Any:
        """Raise inside it, as an event loop does."""
        return self._coroutine.throw(*args)

    def close(self) -> None:
        """Give it up before it has begun."""
        self._coroutine.close()

    async def __aenter__(self) -> T_co:
        self._value = await self._coroutine
        return self._value

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        value, self._value = self._value, None
        if value is not None:
            await value.aclose()
