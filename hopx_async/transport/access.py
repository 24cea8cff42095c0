"""How one agent is reached by HTTP: its address, its token, a pool of connections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import aiohttp
import anyio
import anyio.lowlevel

from hopx_async.errors import ConnectError, ConnectionLost, RequestTimeout

__all__ = ["Access", "translated"]


class Access(ABC):
    """The way to an agent that is shared by all who send requests there."""

    #: Its base URL, without a slash at its end; no secrets in it.
    name: str

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
        """Wait until one more request may be sent: here at once."""
        await anyio.lowlevel.checkpoint()


@contextmanager
def translated(name: str, what: str, seconds: float) -> Generator[anyio.CancelScope]:
    """Turn what goes wrong on the way into our errors, and end it after *seconds*.

    Yields:
        The scope, whose deadline may be moved.

    Raises:
        RequestTimeout: If the time is over.
        ConnectError: If no connection could be made.
        ConnectionLost: If one broke.
    """
    try:
        with anyio.fail_after(seconds) as scope:
            yield scope
    except TimeoutError:
        raise RequestTimeout(f"{name} did not answer {what} in {seconds:g} s") from None
    except aiohttp.ClientConnectorError as error:
        raise ConnectError(f"cannot reach {name}: {error.os_error}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLost(f"{name} broke off: {error!r}") from error
