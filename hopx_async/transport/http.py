"""Calls over HTTP, by aiohttp."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import anyio
import msgspec

from hopx_async.errors import (
    ConnectError,
    ConnectionLost,
    InvalidArgument,
    RemoteProtocolError,
    RequestTimeout,
)
from hopx_async.protocol import wire
from hopx_async.transport.base import Channel, Transport
from hopx_async.transport.websocket import open_channel

__all__ = ["CALL_SECONDS", "CONNECT_SECONDS", "HttpTransport", "check_url"]

#: Seconds to make a connection.
CONNECT_SECONDS = 10.0
#: Seconds in which a call is answered, beyond the time that it asks for itself.
CALL_SECONDS = 60.0
_MAX_ANSWER = 64 * 1024 * 1024


def check_url(url: str) -> str:
    """Return the base URL of an agent without a slash at its end.

    Raises:
        InvalidArgument: If it is no http(s) URL, or carries a user, a query or a fragment.
    """
    rule = "http://HOST:PORT or https://HOST, without a user, a query or a fragment"
    if not isinstance(url, str):
        raise InvalidArgument("url", repr(url), rule)
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        odd = parts.username or parts.query or parts.fragment or (parts.port == 0)
    except ValueError as error:
        raise InvalidArgument("url", repr(url), rule) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or odd:
        shown = repr(url) if not parts.username else "(not shown: it carries a user)"
        raise InvalidArgument("url", shown, rule)
    return url.rstrip("/")


class HttpTransport(Transport):
    """Our agent behind an HTTP address.

    The token travels in a header only; it stands in no URL, log or ``repr``.
    """

    def __init__(self, url: str, token: str) -> None:
        self.name = check_url(url)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<HttpTransport {self.name}>"

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """Carry out one call as one HTTP request. Cancelling it closes its connection."""
        verb, path, body, query = _route(method, params)
        seconds = CALL_SECONDS + float(params.get("grace") or 0.0)
        data = None if body is None else msgspec.json.encode(body)
        if data is not None and len(data) > wire.MAX_CALL_BYTES:
            rule = f"all arguments together take at most {wire.MAX_CALL_BYTES} bytes as JSON"
            raise InvalidArgument(method, f"{len(data)} bytes", rule)
        try:
            with anyio.fail_after(seconds):
                return await self._send(verb, path, data, query)
        except TimeoutError:
            raise RequestTimeout(f"{self.name} did not answer {method} in {seconds:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise ConnectError(f"cannot reach {self.name}: {error.os_error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionLost(f"{self.name} broke off: {error!r}") from error

    async def connect(self) -> Channel:
        """Open the websocket of the agent."""
        url = "ws" + self.name.removeprefix("http") + "/v1/link"
        return await open_channel(url, self._headers, name=self.name)

    async def aclose(self) -> None:
        """Close idle connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(
        self, verb: str, path: str, data: bytes | None, query: list[tuple[str, str]]
    ) -> Any:
        session = self._ensure_session()
        headers = {"Content-Type": "application/json"} if data is not None else None
        async with session.request(
            verb, self.name + path, data=data, params=query, headers=headers, allow_redirects=False
        ) as answer:
            body = await answer.content.read(_MAX_ANSWER + 1)
            chunks = [body]
            while body and sum(map(len, chunks)) <= _MAX_ANSWER:
                body = await answer.content.read(_MAX_ANSWER)
                chunks.append(body)
        return self._result(answer.status, b"".join(chunks))

    def _result(self, status: int, body: bytes) -> Any:
        try:
            value = msgspec.json.decode(body)
        except msgspec.DecodeError:
            value = None
        if status < 400 and value is not None and len(body) <= _MAX_ANSWER:
            return value
        error = value.get("error") if isinstance(value, dict) else None
        if isinstance(error, dict):
            raise wire.error_from_dict(error, status=status)
        shown = body[:80].decode(errors="replace")
        raise RemoteProtocolError(f"{self.name} answered {status} with {shown!r}: no agent of ours")

    def _ensure_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit on connections: a hundred kills may each wait for a grace period.
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                loop=asyncio.get_running_loop(),
            )
        return self._session


def _route(
    method: str, params: dict[str, Any]
) -> tuple[str, str, dict[str, Any] | None, list[tuple[str, str]]]:
    """Return verb, path, body and query of a call."""
    command = "/v1/commands/" + quote(str(params.get("process_id", "")), safe="")
    if method == "start":
        return "PUT", command, params, []
    if method == "info":
        return "GET", command, None, []
    if method == "list":
        return "GET", "/v1/commands", None, _list_query(params)
    if method == "signal":
        body = {"name": params["name"], "cause": params.get("cause")}
        return "POST", f"{command}/signals/{quote(params['signal_id'], safe='')}", body, []
    if method == "kill":
        return "POST", f"{command}/kill", {"grace": params["grace"]}, []
    if method in {"hello", "statistics"}:
        return "GET", f"/v1/{method}", None, []
    raise ValueError(f"no such call: {method}")


def _list_query(params: dict[str, Any]) -> list[tuple[str, str]]:
    query = [(key, str(params[key])) for key in ("after", "status", "name") if params.get(key)]
    return query + [("tag", f"{key}={value}") for key, value in (params.get("tags") or {}).items()]
