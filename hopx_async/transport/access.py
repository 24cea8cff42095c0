"""How one agent is reached by HTTP: its address, its token, a pool of connections."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
import anyio
import anyio.lowlevel

from hopx_async.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    InvalidArgument,
    RemoteProtocolError,
    RequestTimeout,
)
from hopx_async.protocol.rate import RateBudget
from hopx_async.transport.bodies import Body
from hopx_async.transport.files import PIECE_BYTES
from hopx_async.transport.tls import hopeless

__all__ = [
    "CONNECT_SECONDS",
    "Access",
    "TokenAccess",
    "authorized",
    "check_url",
    "exchange",
    "open_session",
    "read_body",
    "send",
    "translated",
]

#: Seconds to make a connection.
CONNECT_SECONDS = 10.0
T = TypeVar("T")


class Access(ABC):
    """The way to an agent that is shared by all who send requests there."""

    #: Its base URL, without a slash at its end; no secrets in it.
    name: str
    #: When requests may be sent, for all who send there together; None where nobody counts them.
    budget: RateBudget | None = None

    @abstractmethod
    def session(self) -> aiohttp.ClientSession:
        """Return the pool of connections; it follows no redirects and has no time limit."""

    @abstractmethod
    async def headers(self) -> Mapping[str, str]:
        """Return what goes with a request: the token, renewed if it is about to expire.

        Raises:
            ApiError: If there is none to be had.
            TransportError: If nobody answered who could give one.
        """

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """Return whether there are other headers now than *refused*, which got a 401."""
        return False

    async def admit(self) -> None:
        """Wait until one more request may be sent. Cancelled, its turn has gone by."""
        budget = self.budget
        await anyio.sleep(0.0 if budget is None else budget.take(anyio.current_time()))

    def refused(self, retry_after: float) -> None:
        """Note that the far side wants to hear nothing for so many seconds."""
        if self.budget is not None:
            self.budget.refused(anyio.current_time(), retry_after)

    async def aclose(self) -> None:
        """Free what is held between requests. May be called again."""
        await anyio.lowlevel.checkpoint()


class TokenAccess(Access):
    """The way to an agent whose one token is known.

    Args:
        url: Where it is.
        token: Its token; travels in a header only, and stands in no URL, log or ``repr``.
    """

    def __init__(self, url: str, token: str) -> None:
        self.name = check_url(url)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<TokenAccess {self.name}>"

    def session(self) -> aiohttp.ClientSession:
        """Return the pool of connections."""
        if self._session is None:
            self._session = open_session()
        return self._session

    async def headers(self) -> Mapping[str, str]:
        """Return the header with the token."""
        return self._headers

    async def aclose(self) -> None:
        """Close the connections. May be called again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def open_session() -> aiohttp.ClientSession:
    """Return a pool of connections that sends nothing which its user did not say: no cookies."""
    # No limit on connections: a hundred kills may each wait for a grace period.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        loop=asyncio.get_running_loop(),
    )


def check_url(url: str, parameter: str = "url") -> str:
    """Return a base URL without a slash at its end.

    Raises:
        InvalidArgument: If it is no http(s) URL, or carries a user, a query or a fragment.
    """
    rule = "http://HOST:PORT or https://HOST, without a user, a query or a fragment"
    if not isinstance(url, str):
        raise InvalidArgument(parameter, repr(url)[:160], rule)
    # Each of these may be a secret, and goes into no error.
    plain = "@" not in url and "?" not in url and "#" not in url
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not (good and plain and url.isprintable() and " " not in url):
        shown = (
            repr(url)[:160] if plain else "(not shown: it carries a user, a query or a fragment)"
        )
        raise InvalidArgument(parameter, shown, rule)
    return url.rstrip("/")


async def send(
    access: Access,
    verb: str,
    path: str,
    query: Mapping[str, str] | Sequence[tuple[str, str]],
    body: Body | None = None,
    *,
    admitted: bool = False,
) -> aiohttp.ClientResponse:
    """Send a request once; again only after a 401, if the token could be renewed.

    Cancelling it closes the connection; the far side may have got the request all the same.

    Args:
        access: The way.
        verb: The method.
        path: Behind the base URL.
        query: What stands behind the path; it is escaped here.
        body: What goes along; made anew when it is sent again.
        admitted: Whether its turn has come already, as within `exchange`.

    Returns:
        The answer; whoever asked closes it.
    """
    renewed = False
    while True:
        if not admitted or renewed:
            await access.admit()
        headers = await access.headers()
        # What is stored is what is wanted, not a squeezed form of it.
        more = {"Accept-Encoding": "identity", **(body.headers if body else {})}
        response = await access.session().request(
            verb,
            access.name + path,
            params=query,
            data=None if body is None else body.content(),
            headers={**headers, **more},
            allow_redirects=False,
        )
        if response.status != 401 or renewed:
            return response
        try:
            renewed = await access.renew(headers)
        except BaseException:
            response.close()
            raise
        if not renewed:
            return response
        response.close()


async def authorized(access: Access, attempt: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
    """Return what *attempt* returns, made with the headers of *access* when its turn has come.

    Once more only if these were refused and there are others now. Cancelling it is safe if
    cancelling *attempt* is.

    Raises:
        AuthenticationError: If the headers are refused.
        HopxError: What *attempt* raises else.
    """
    renewed = False
    while True:
        await access.admit()
        headers = await access.headers()
        try:
            return await attempt(headers)
        except AuthenticationError:
            if renewed or not await access.renew(headers):
                raise
            renewed = True


@asynccontextmanager
async def exchange(access: Access, what: str, seconds: float) -> AsyncGenerator[anyio.CancelScope]:
    """Wait until a request may be sent, however long; only then begins the time of `translated`.

    A sandbox that is paused, and a far side that has had enough, are not silent.
    """
    await access.admit()
    with translated(access.name, what, seconds) as scope:
        yield scope


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body of an answer.

    Raises:
        RemoteProtocolError: If it has more than *limit* bytes.
    """
    body = bytearray()
    while piece := await response.content.read(PIECE_BYTES):
        body += piece
        if len(body) > limit:
            raise RemoteProtocolError(f"an answer of more than {limit} bytes")
    return bytes(body)


@contextmanager
def translated(name: str, what: str, seconds: float) -> Generator[anyio.CancelScope]:
    """Turn what goes wrong on the way into our errors, and end it after *seconds*.

    Yields:
        The scope, whose deadline may be moved.

    Raises:
        RequestTimeout: If the time is over.
        ConnectError: If no connection could be made.
        ConnectionLost: If one broke.
        TlsError: If the far side is not to be trusted.
    """
    try:
        with anyio.fail_after(seconds) as scope:
            yield scope
    except aiohttp.ConnectionTimeoutError as error:
        raise ConnectError(
            f"cannot reach {name}: no connection in {CONNECT_SECONDS:g} s"
        ) from error
    except TimeoutError:
        raise RequestTimeout(f"{name} did not answer {what} in {seconds:g} s") from None
    except aiohttp.ClientConnectorError as error:
        cause = _cause(error)
        raise hopeless(name, cause) or ConnectError(f"cannot reach {name}: {cause}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLost(f"{name} broke off: {error!r}") from error


def _cause(error: aiohttp.ClientConnectorError) -> BaseException:
    # Older versions of aiohttp have no os_error where it is about a certificate.
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return error.certificate_error
    return error.os_error
