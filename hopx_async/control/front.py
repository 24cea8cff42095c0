"""What answers bytes that never become a request of the control plane's."""

from __future__ import annotations

from aiohttp import web

from hopx_async.control.answers import error_answer
from hopx_async.front import FirstRequest

__all__ = ["Handler"]


class Handler(FirstRequest):
    """Says in JSON, too, what is wrong with bytes that are no request.

    It logs nothing of them: a header may hold a key.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that is none."""
        word = "INTERNAL_ERROR" if status >= 500 else "INVALID_REQUEST"
        response = error_answer(status, word, "this is no request, or a header too long", {})
        response.force_close()
        return response
