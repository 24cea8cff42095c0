"""How an asynchronous object becomes a blocking one, whichever it is.

A method of a blocking class is named after the asynchronous method that it calls, and
has its signature: type checkers read it off that method, ``help`` shows it.  Nothing
is copied, nothing is generated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial, wraps
from types import TracebackType
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from hopx_async.blocking.portal import Portal
from hopx_async.errors import OutputTooLarge

__all__ = ["Closing", "Iterated", "Method", "Stream", "Wrapper", "awaited", "giving", "stand_for"]

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)
W = TypeVar("W", bound="Wrapper[Any]")
T_co = TypeVar("T_co", covariant=True)


class Method(Protocol[P, R_co]):
    """A method with the parameters of an asynchronous one."""

    def __get__(self, instance: object, owner: type | None = None, /) -> Callable[P, R_co]:
        """Return it bound."""
        ...


def awaited(function: Callable[Concatenate[Any, P], Awaitable[R]]) -> Method[P, R]:
    """Return the blocking twin of a method that is awaited."""
    return cast("Method[P, R]", _twin(function))


def giving(function: Callable[Concatenate[Any, P], object], kind: type[W]) -> Method[P, W]:  # noqa: ARG001
    """Return the blocking twin of a method whose result becomes a *kind*, as type checkers see."""
    return cast("Method[P, W]", _twin(function))


def _twin(function: Callable[..., Any]) -> Callable[..., Any]:
    name = function.__name__

    @wraps(function)
    def method(self: Wrapper[Any], *args: Any, **kwargs: Any) -> Any:
        return self._carry_out(partial(getattr(self._inner, name), *args, **kwargs))

    return method


class Wrapper(Generic[A]):
    """What stands for an asynchronous object. It is equal to whatever stands for the same."""

    _kinds: ClassVar[dict[type, type[Wrapper[Any]]]] = {}

    def __init_subclass__(cls, of: type | None = None) -> None:
        super().__init_subclass__()
        if of is not None:
            Wrapper._kinds[of] = cls

    def __init__(self, portal: Portal, inner: A) -> None:
        self._portal = portal
        self._inner = inner

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapper) and self._inner is other._inner

    def __hash__(self) -> int:
        return hash(id(self._inner))

    def __repr__(self) -> str:
        return f"<blocking {repr(self._inner).removeprefix('<')}"

    def _carry_out(self, function: Callable[[], Any]) -> Any:
        try:
            return self._as_ours(self._portal.call(function))
        except OutputTooLarge as error:
            error.handle = self._as_ours(error.handle)
            raise

    def _as_ours(self, value: Any) -> Any:
        return stand_for(self._portal, value)


def stand_for(portal: Portal, value: Any) -> Any:
    """Return what stands for *value*, which is itself if it has no asynchronous methods."""
    found: Wrapper[Any] | None = portal.known.get(id(value))
    if found is not None and found._inner is value:  # noqa: SLF001  # its own
        return found
    kinds = Wrapper._kinds  # noqa: SLF001
    kind = next((kinds[base] for base in type(value).__mro__ if base in kinds), None)
    if kind is None:
        return value
    made = portal.known[id(value)] = kind(portal, value)
    return made


class Closing(Wrapper[A], Generic[A]):
    """What its user closes, or enters to have it closed."""

    def close(self) -> None:
        """Do what ``aclose`` does for the asynchronous one; nothing once everything is closed."""
        if self._portal.running:
            inner: Any = self._inner
            self._carry_out(inner.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Iterated(Wrapper[Any], Iterator[T_co], Generic[T_co]):
    """An iterator."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T_co:
        """Return the next item; see the asynchronous one.

        Raises:
            HopxError: As for the asynchronous one.
        """
        try:
            return cast("T_co", self._carry_out(self._inner.__anext__))
        except StopAsyncIteration:
            raise StopIteration from None


class Stream(Closing[Any], Iterated[T_co], Generic[T_co]):
    """An iterator. Leaving its ``for`` ends nothing but the reading; dropped, it asks no more."""
