"""A client of the HopX service: what all its sandboxes share."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Awaitable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio

from hopx_async.arguments import check_seconds
from hopx_async.errors import (
    AgentFault,
    AgentUnreachable,
    ConflictError,
    InvalidArgument,
    MissingApiKey,
    NotFoundError,
    SandboxNotFound,
    TemplateNotFound,
    TransportError,
)
from hopx_async.listing import Listing
from hopx_async.protocol import cloud
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.protocol.cloud import SandboxInfo, TemplateInfo
from hopx_async.protocol.rate import Pace
from hopx_async.transport.cloud_access import Tokens
from hopx_async.transport.control_plane import ControlPlane

__all__ = ["BASE_URL", "KEY_VARIABLE", "URL_VARIABLE", "Client"]

#: Where the service is.
BASE_URL = "https://api.hopx.dev"
KEY_VARIABLE = "HOPX_API_KEY"
URL_VARIABLE = "HOPX_BASE_URL"

T = TypeVar("T")
_log = logging.getLogger("hopx_async")
_PASSING = frozenset({"creating", "starting", "pausing", "resuming"})
_REMEMBERED = 10_000


class Client:
    """A client of the HopX service, or of ``hopx-async serve``.

    One pool of connections and one rate budget for all sandboxes that are opened with
    ``client=``: share it wherever there is more than one. Making it does no I/O, and needs no
    event loop; it belongs to that in which it is used first.

    Args:
        api_key: The key, None for what ``HOPX_API_KEY`` holds.
        base_url: Where the service is, None for what ``HOPX_BASE_URL`` holds, and without that
            for ``https://api.hopx.dev``.
        give_up_after: Seconds without an answer after which a call fails.

    Raises:
        MissingApiKey: If there is no key, or an empty one.
        InvalidArgument: If an argument breaks a rule; the key is never shown.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        give_up_after: float = GIVE_UP_AFTER,
    ) -> None:
        check_seconds("give_up_after", give_up_after)
        key = _key(api_key)
        url = base_url if base_url is not None else os.environ.get(URL_VARIABLE) or BASE_URL
        self._plane = ControlPlane(url, key, give_up_after=give_up_after)
        self._tokens = Tokens(self._plane)
        self._give_up_after = give_up_after
        # Ids that this client has created or opened: none of them is a lost create's.
        self._known: deque[str] = deque(maxlen=_REMEMBERED)

    def __repr__(self) -> str:
        return f"<Client {self._plane.name}>"

    @property
    def base_url(self) -> str:
        """Where the service is, without a slash at its end."""
        return self._plane.name

    def list_sandboxes(
        self, *, status: str | None = None, region: str | None = None
    ) -> Listing[SandboxInfo]:
        """Iterate over the sandboxes of the account; each page is asked for when it is needed.

        Args:
            status: Only those with this status, such as ``"running"``; None for all.
            region: Only those of this region, None for all.

        Raises:
            InvalidArgument: If an argument breaks a rule; raised by the call.
        """
        chosen = {"status": status, "region": region}
        given = {
            name: cloud.check_id(name, value) for name, value in chosen.items() if value is not None
        }
        return Listing(partial(self._page, "/v1/sandboxes", given), cloud.sandbox_info)

    async def list_templates(
        self, *, category: str | None = None, language: str | None = None
    ) -> list[TemplateInfo]:
        """Return the templates that sandboxes can be made of. Cancelling it is safe.

        Args:
            category: Only those of this category, None for all.
            language: Only those for this language, None for all.

        Raises:
            ApiError: If the service says no.
            AgentUnreachable: If nobody answered until the policy gave up.
            InvalidArgument: If an argument breaks a rule.
        """
        given: dict[str, str] = {}
        for name, value in (("category", category), ("language", language)):
            if value is not None:
                if not isinstance(value, str) or not value.isprintable():
                    raise InvalidArgument(name, repr(value)[:80], "a text, or None for all")
                given[name] = value
        # The service has been seen to ignore them.
        return [
            info
            async for info in Listing(
                partial(self._page, "/v1/templates", given), cloud.template_info
            )
            if all(getattr(info, name) in {value, ""} for name, value in given.items())
        ]

    async def get_template(self, name: str) -> TemplateInfo:
        """Return one template, by its name or id. Cancelling it is safe.

        Raises:
            TemplateNotFound: If there is none.
            InvalidArgument: If *name* can be none.
        """
        path = f"/v1/templates/{cloud.check_id('name', name)}"
        try:
            return cloud.template_info(await self._plane.ask("GET", path))
        except NotFoundError as error:
            raise TemplateNotFound(error.message) from error

    async def get_sandbox(self, sandbox_id: str) -> SandboxInfo:
        """Return what the service knows of one sandbox. Cancelling it is safe.

        Raises:
            SandboxNotFound: If there is none.
            InvalidArgument: If *sandbox_id* can be none.
        """
        path = self._path(sandbox_id)
        return cloud.sandbox_info(await _of_sandbox(self._plane.ask("GET", path)))

    async def kill_sandbox(self, sandbox_id: str) -> None:
        """Delete a sandbox with everything in it, without opening it.

        Sent again while nobody answers. Cancelled, it may or may not have happened.

        Raises:
            SandboxNotFound: If there is none, or none any more: an answer may have been lost.
            InvalidArgument: If *sandbox_id* can be none.
        """
        await _of_sandbox(self._plane.ask("DELETE", self._path(sandbox_id)))
        self._tokens.of(sandbox_id).clear()

    async def aclose(self) -> None:
        """Close the connections. Sandboxes that were opened with it are closed before it.

        May be called again.
        """
        with anyio.CancelScope(shield=True):
            await self._tokens.aclose()
            await self._plane.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # For the doors.

    async def _page(
        self, path: str, given: dict[str, str], query: dict[str, str]
    ) -> dict[str, Any]:
        return await self._plane.ask("GET", path, query={**given, **query})

    def _path(self, sandbox_id: str, rest: str = "") -> str:
        return f"/v1/sandboxes/{cloud.check_id('sandbox_id', sandbox_id)}{rest}"

    async def _set_timeout(self, sandbox_id: str, seconds: int) -> None:
        body = {"timeout_seconds": cloud.check_timeout(seconds)}
        await _of_sandbox(self._plane.ask("PUT", self._path(sandbox_id, "/timeout"), body=body))

    async def _turn(self, sandbox_id: str, verb: str, wanted: str) -> SandboxInfo:
        """Pause or resume a sandbox. What may have been done is looked at before it is sent again.

        Raises:
            ConflictError: If it is in a state from which that is not possible.
            AgentUnreachable: If it did not come to pass until the policy gave up.
        """
        path = self._path(sandbox_id, f"/{verb}")
        pace = Pace()
        told = False
        with anyio.move_on_after(self._give_up_after):
            while True:
                refused: ConflictError | None = None
                try:
                    if not told:
                        await _of_sandbox(self._plane.ask("POST", path, repeatable=False))
                    told = True
                except (AgentFault, TransportError) as error:
                    _log.debug("%s of %s: %s", verb, sandbox_id, error)
                except ConflictError as error:
                    refused = error
                info = await self._settled(sandbox_id)
                if info.status == wanted:
                    return info
                if refused is not None:
                    raise refused
                await anyio.sleep(pace.after(news=False))
        raise self._stuck(sandbox_id, f"did not become {wanted}")

    async def _settled(self, sandbox_id: str) -> SandboxInfo:
        """Return what is known of a sandbox once its status is not just changing.

        Raises:
            AgentUnreachable: If it went on changing until the policy gave up.
        """
        pace = Pace()
        with anyio.move_on_after(self._give_up_after):
            while True:
                info = await self.get_sandbox(sandbox_id)
                if info.status not in _PASSING:
                    return info
                await anyio.sleep(pace.after(news=False))
        raise self._stuck(sandbox_id, "kept changing its status")

    def _stuck(self, sandbox_id: str, what: str) -> AgentUnreachable:
        seconds = self._give_up_after
        return AgentUnreachable(f"{sandbox_id} {what} in {seconds:g} s", seconds=seconds)


async def _of_sandbox(call: Awaitable[T]) -> T:
    """Return what *call* does, with the class for a sandbox that is not there."""
    try:
        return await call
    except NotFoundError as error:
        raise SandboxNotFound(
            error.message, status=error.status, request_id=error.request_id
        ) from error


def _key(given: str | None) -> str:
    key = os.environ.get(KEY_VARIABLE, "") if given is None else given
    if not isinstance(key, str):
        raise InvalidArgument("api_key", "(not shown)", "a text")
    key = key.strip()
    if not key:
        raise MissingApiKey
    if not key.isascii() or not key.isprintable():
        raise InvalidArgument("api_key", "(not shown)", "a key is printable ASCII")
    return key
