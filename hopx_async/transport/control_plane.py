"""Requests to the service's control plane: one key, one pool of connections, one rate budget."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anyio
import msgspec

from hopx_async.errors import (
    AgentFault,
    ClosedError,
    ConnectionLost,
    MisuseError,
    RateLimited,
    RemoteProtocolError,
)
from hopx_async.protocol import cloud
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.protocol.rate import DEFAULT_RETRY_AFTER, RateBudget
from hopx_async.transport.access import check_url, open_session, read_body, translated
from hopx_async.transport.patience import Patience

__all__ = ["ANSWER_SECONDS", "BURST", "GATEWAY", "REQUESTS_PER_SECOND", "ControlPlane"]

#: Seconds in which the control plane answers, unless a call says otherwise.
ANSWER_SECONDS = 60.0
#: Requests in a second: with `BURST` below the published 100 a minute.
REQUESTS_PER_SECOND = 1.3
#: Requests that may follow one another at once after a rest.
BURST = 20
#: Said by what stands before the service, and does not know what came of a request.
GATEWAY = frozenset({502, 504})
#: Where these limits are published for; who serves elsewhere says by 429 what is too much.
_PACED = ".hopx.dev"
_MAX_ANSWER = 16 * 1024 * 1024
_UNPACED = 10_000


class ControlPlane:
    """The way to a control plane, for all who use one key.

    The key travels in a header to this one host only; redirects are not followed. It is
    bound to the event loop that uses it first.

    Args:
        url: Its base URL.
        api_key: The key; stands in no URL, log, error or ``repr``.
        give_up_after: Seconds without an answer after which a call fails.

    Attributes:
        name: The URL; what errors call it.
    """

    def __init__(self, url: str, api_key: str, *, give_up_after: float = GIVE_UP_AFTER) -> None:
        self.name = check_url(url, "base_url")
        self._headers = {"X-API-Key": api_key, "Accept": "application/json"}
        host = urlsplit(self.name).hostname or ""
        pace = (REQUESTS_PER_SECOND, BURST) if host.endswith(_PACED) else (_UNPACED, _UNPACED)
        self._budget = RateBudget(per_second=pace[0], burst=int(pace[1]))
        self._patience = Patience(self.name, give_up_after)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._closed = False

    def __repr__(self) -> str:
        return f"<ControlPlane {self.name}>"

    def session(self) -> aiohttp.ClientSession:
        """Return the pool of connections, for requests to agents as well; it knows no secret.

        Raises:
            ClosedError: After `aclose`.
            MisuseError: In another event loop or process than that of the first use.
        """
        self.check()
        if self._session is None:
            self._session = open_session()
        return self._session

    def check(self) -> None:
        """Refuse a use after the end, or from elsewhere.

        Raises:
            ClosedError: After `aclose`.
            MisuseError: In another event loop or process than that of the first use.
        """
        if self._closed:
            raise ClosedError("the client of the service is closed")
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop or os.getpid() != self._pid:
            raise MisuseError(
                f"the client of {self.name} belongs to the event loop and the process that used "
                "it first: make another one"
            )

    async def ask(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        repeatable: bool = True,
        seconds: float = ANSWER_SECONDS,
    ) -> dict[str, Any]:
        """Return the object that is answered; asked again while nobody answers.

        What asks for fewer requests is obeyed. Cancelling it closes its connection; the far
        side may act on it all the same.

        Args:
            verb: HTTP's method.
            path: From the base URL on.
            query: What goes behind the path.
            body: What goes with it as JSON, None for nothing.
            repeatable: Whether it may be sent again although it may have been carried out.
            seconds: In which it is answered.

        Raises:
            ApiError: If the answer is no.
            AgentUnreachable: If nobody answered until the policy gave up.
            TransportError: If it is not *repeatable*, and whether it was carried out is not known.
            RemoteProtocolError: If what answers is no control plane.
            ClosedError: After `aclose`.
        """
        data = None if body is None else msgspec.json.encode(body)

        async def attempt() -> dict[str, Any] | AgentFault:
            try:
                return await self._ask_once(verb, path, query, data, seconds)
            except AgentFault as error:
                if not repeatable:
                    return error  # with 503, too: it may have been carried out
                if error.status in GATEWAY:
                    raise ConnectionLost(f"{self.name}: {error}") from error
                raise

        answer = await self._patience.call(attempt, self.check, repeatable=repeatable, polite=True)
        if isinstance(answer, AgentFault):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Close the connections. May be called again."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask_once(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        seconds: float,
    ) -> dict[str, Any]:
        await anyio.sleep(self._budget.take(anyio.current_time()))
        with translated(self.name, f"{verb} {path}", seconds):
            headers = {"Content-Type": "application/json"} if data is not None else {}
            async with self.session().request(
                verb,
                self.name + path,
                params=query,
                data=data,
                headers={**self._headers, **headers},
                allow_redirects=False,
            ) as response:
                body = await read_body(response, _MAX_ANSWER)
        now = anyio.current_time()
        self._budget.refused(now, cloud.exhausted_for(response.headers, time.time()))
        if response.status < 300:
            return cloud.read_object(body)
        if response.status < 400:
            raise RemoteProtocolError(f"{self.name} answered {verb} {path} with a redirect")
        error = cloud.refusal(response.status, body, response.headers)
        if isinstance(error, RateLimited):
            self._budget.refused(now, error.retry_after or DEFAULT_RETRY_AFTER)
        raise error
