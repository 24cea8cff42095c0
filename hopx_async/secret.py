"""A text that does not show itself."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any, NoReturn, Self

from hopx_async.errors import InvalidArgument

__all__ = ["Secret", "plain_env"]

_SHOWN = "***MASKED***"


class Secret:
    """A text that no ``repr``, message, JSON or pickle shows; `reveal` gives it away.

    As a value of *env* it reaches the command like any other text. With *mask_secrets*
    its every occurrence in the command's output is masked before anybody can read it.

    Args:
        value: The text.

    Raises:
        InvalidArgument: If it is no text.
    """

    __slots__ = ("_value",)
    _value: str

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise InvalidArgument("value", type(value).__name__, "a secret is a text")
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({_SHOWN})"

    def __str__(self) -> str:
        return _SHOWN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # How long it takes tells nothing of where they differ.
        return hmac.compare_digest(self._bytes(), other._bytes())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled; what is meant to travel is reveal()ed on purpose")

    def _bytes(self) -> bytes:
        return self._value.encode("utf-8", "surrogatepass")


def plain_env(env: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the variables as they travel, and the names of those that are secret, sorted."""
    plain = {
        name: value.reveal() if isinstance(value, Secret) else value for name, value in env.items()
    }
    return plain, sorted(name for name, value in env.items() if isinstance(value, Secret))
