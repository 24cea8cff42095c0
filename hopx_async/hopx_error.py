"""The base of every error of this library; `hopx_async.errors` has the tree."""

from __future__ import annotations

import copyreg
from typing import Any, ClassVar

__all__ = ["HopxError"]


class HopxError(Exception):
    """Everything that this library raises on purpose.

    Attributes:
        code: A stable word for the kind of error, as it travels between client and agent.
    """

    code: ClassVar[str] = "error"

    def __init_subclass__(cls, *, code: str | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.code = code or cls.code

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state, so that keyword-only arguments survive a process pool."""
        return (copyreg.__newobj__, (type(self), *self.args), self.__dict__)  # type: ignore[attr-defined]
