"""The way to the agent of a sandbox of the service: tokens that are renewed, and a pace."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
import anyio

from hopx_async.errors import (
    AgentFault,
    ApiError,
    ConnectError,
    RateLimited,
    RemoteProtocolError,
    TlsError,
    TransportError,
)
from hopx_async.protocol import cloud
from hopx_async.protocol.rate import DEFAULT_RETRY_AFTER
from hopx_async.protocol.token_life import TokenLife
from hopx_async.transport.access import Access, check_url, exchange, read_body, send
from hopx_async.transport.bodies import JsonBody
from hopx_async.transport.control_plane import ControlPlane
from hopx_async.transport.single_flight import SingleFlight

__all__ = ["LOOK_SECONDS", "CloudAccess", "TokenBox", "Tokens", "ask_agent"]

#: Seconds between two looks whether a sandbox that was paused here has been resumed elsewhere.
LOOK_SECONDS = 15.0
#: Seconds in which an agent answers a plain request.
_ANSWER_SECONDS = 30.0
_MAX_ANSWER = 1024 * 1024
# Said by what stands before an agent, or by one that starts.
_NOT_YET = frozenset({408, 425, 502, 503, 504})


class TokenBox:
    """The token of one sandbox, renewed once however many ask.

    Args:
        plane: Gives tokens.
        sandbox_id: The sandbox.
    """

    def __init__(self, plane: ControlPlane, sandbox_id: str) -> None:
        self._plane = plane
        self._sandbox_id = sandbox_id
        self._token: str | None = None
        self._life = TokenLife()
        self._flight = SingleFlight(self._refresh)

    def put(self, answer: Mapping[str, Any]) -> bool:
        """Keep the token in an answer of the control plane; return whether there was one."""
        found = cloud.read_token(answer)
        if found is None:
            return False
        self._token, expires_at = found
        self._life = TokenLife.of(expires_at, wall=time.time(), now=anyio.current_time())
        return True

    def clear(self) -> None:
        """Forget the token."""
        self._token, self._life = None, TokenLife()

    async def get(self) -> str:
        """Return the token, renewed if that is due. Cancelling it is safe for all who wait.

        Raises:
            ApiError: If there is none to be had.
            TransportError: If nobody answered who could give one.
        """
        if self._token is not None and self._life.is_due(anyio.current_time()):
            try:
                await self._flight.join()
            except (TransportError, TlsError, AgentFault, RateLimited):
                # It has not ended yet: whoever has work is not to wait for a new one.
                if not self._life.failed(anyio.current_time()):
                    raise
        while self._token is None:
            await self._flight.join()
        return self._token

    async def renew(self, refused: str) -> bool:
        """Return whether there is another token than *refused*. Cancelling it is safe for all."""
        if self._token == refused:
            await self._flight.join()
        return self._token is not None and self._token != refused

    async def aclose(self) -> None:
        """Forget the token, and end a renewal under way."""
        self.clear()
        await self._flight.aclose()

    async def _refresh(self) -> None:
        # Sent again if its answer is lost: it gives a token, and changes nothing else.
        path = f"/v1/sandboxes/{self._sandbox_id}/token/refresh"
        if not self.put(await self._plane.ask("POST", path)):
            raise RemoteProtocolError(f"{self._plane.name} gave no token")


class Tokens:
    """The tokens that one client holds: one for each sandbox, as long as somebody uses it."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._boxes: WeakValueDictionary[str, TokenBox] = WeakValueDictionary()

    def of(self, sandbox_id: str) -> TokenBox:
        """Return the box of a sandbox, the same for all."""
        box = self._boxes.get(sandbox_id)
        if box is None:
            box = self._boxes[sandbox_id] = TokenBox(self._plane, sandbox_id)
        return box

    async def aclose(self) -> None:
        """Forget all tokens."""
        for box in list(self._boxes.values()):
            await box.aclose()


class CloudAccess(Access):
    """The way to one agent.

    Args:
        plane: Its connections are used; its key never goes this way.
        box: The sandbox's token.
        public_host: The agent's base URL, as the control plane said.
        is_running: Looks whether the sandbox runs, for one that was paused here.

    Raises:
        RemoteProtocolError: If *public_host* is no such URL.
    """

    def __init__(
        self,
        plane: ControlPlane,
        box: TokenBox,
        public_host: str,
        is_running: Callable[[], Awaitable[bool]],
    ) -> None:
        try:
            self.name = check_url(public_host)
        except ValueError as error:
            raise RemoteProtocolError(f"no address of an agent: {error}") from error
        self._plane = plane
        self._box = box
        self._running: anyio.Event | None = None
        self._look = SingleFlight(is_running)
        self._look_at = 0.0
        #: What is closed with it.
        self.closers: list[Callable[[], Awaitable[None]]] = []

    def __repr__(self) -> str:
        return f"<CloudAccess {self.name}>"

    def session(self) -> aiohttp.ClientSession:
        """Return the client's pool of connections."""
        return self._plane.session()

    async def headers(self) -> Mapping[str, str]:
        """Return the header with the token, renewed if that is due."""
        return {"Authorization": f"Bearer {await self._box.get()}"}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Return whether there is another token now, renewed once for all who wait."""
        return await self._box.renew(refused["Authorization"].removeprefix("Bearer "))

    async def admit(self) -> None:
        """Wait while the sandbox is paused, then until the budget has one more request."""
        while (running := self._running) is not None:
            with anyio.move_on_after(LOOK_SECONDS):
                await running.wait()
            now = anyio.current_time()
            # One look serves all who wait, whenever each of them began to.
            if self._running is running and now >= self._look_at:
                self._look_at = now + LOOK_SECONDS
                if await self._look.join():
                    self.go_on()
        await super().admit()

    def hold(self) -> None:
        """Send nothing until `go_on`: the sandbox is paused."""
        self._running = self._running or anyio.Event()

    def go_on(self) -> None:
        """Send again: it runs, and its token may be another."""
        self._box.clear()
        self._release()

    def _release(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.set()

    async def aclose(self) -> None:
        """Free what was opened for this sandbox alone. May be called again."""
        self._release()
        await self._look.aclose()
        closers, self.closers = self.closers, []
        for close in closers:
            await close()


async def ask_agent(access: Access, verb: str, path: str, body: object = None) -> dict[str, Any]:
    """Return the object with which an agent answers one plain request, sent once; see `send`.

    Its time begins when its turn to be sent has come, however long that takes. Cancelling it
    closes its connection; the agent may act on it all the same.

    Args:
        access: The way there.
        verb: HTTP's method.
        path: From the agent's base URL on.
        body: What goes with it as JSON, None for nothing.

    Raises:
        ApiError: If the answer is no.
        ConnectError: If what answers says that nobody is there yet.
        TransportError: If nobody answered.
        RemoteProtocolError: If the answer is no object.
    """
    content = None if body is None else JsonBody(body)
    async with (
        exchange(access, f"{verb} {path}", _ANSWER_SECONDS),
        await send(access, verb, path, (), content, admitted=True) as response,
    ):
        answer = await read_body(response, _MAX_ANSWER)
    return _judged(access, response, answer)


def _judged(access: Access, response: aiohttp.ClientResponse, answer: bytes) -> dict[str, Any]:
    if response.status < 300:
        return cloud.read_object(answer)
    if response.status < 400:
        raise RemoteProtocolError(f"{access.name} answered with a redirect")
    error: ApiError = cloud.refusal(response.status, answer, response.headers)
    if isinstance(error, RateLimited):
        access.refused(error.retry_after or DEFAULT_RETRY_AFTER)
    elif response.status in _NOT_YET:
        raise ConnectError(f"{access.name} is not ready: {error}") from error
    raise error
