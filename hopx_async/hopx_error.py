"""The base of every error of this library, and of every no; `hopx_async.errors` has the tree."""

from __future__ import annotations

import copyreg
from typing import Any, ClassVar

__all__ = ["ApiError", "HopxError"]


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


class ApiError(HopxError, code="api_error"):
    """The far side answered, and its answer is no.

    Attributes:
        message: The far side's own sentence.
        status: HTTP status of the answer.
        request_id: The far side's id of the request, None where it gave none.
    """

    status: int = 400

    def __init_subclass__(cls, *, status: int | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.status = status or cls.status

    def __init__(
        self, message: str, *, status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return f"{self.message} (request {self.request_id})" if self.request_id else self.message
