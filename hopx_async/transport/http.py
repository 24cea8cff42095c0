"""Calls over HTTP, by aiohttp."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from hopx_async.errors import (
    ConnectError,
    InvalidArgument,
    RemoteProtocolError,
)
from hopx_async.protocol import poll, wire
from hopx_async.protocol.envelopes import read_json
from hopx_async.transport.access import Access, authorized, read_body, send, translated
from hopx_async.transport.base import Channel, Transport
from hopx_async.transport.bodies import RawBody
from hopx_async.transport.files import FileStore
from hopx_async.transport.http_files import HttpFiles
from hopx_async.transport.poll import Poster, open_poll
from hopx_async.transport.websocket import PASSING_STATUSES, open_channel

__all__ = ["CALL_SECONDS", "POST_SECONDS", "HttpTransport"]

#: Seconds in which a call is answered, beyond the time that it asks for itself.
CALL_SECONDS = 60.0
#: Seconds in which a post is answered, beyond those that it hangs.
POST_SECONDS = 15.0
_MAX_ANSWER = 64 * 1024 * 1024
_ENV_VERBS = {"env_get": "GET", "env_set": "PUT", "env_update": "PATCH"}
_JSON, _BYTES = "application/json", "application/octet-stream"


class HttpTransport(Transport, Poster):
    """Our agent behind an HTTP address.

    A token that is refused is renewed once, where the access can, for whatever was asked:
    calls, files, the websocket and the long-poll.

    Args:
        access: The way to the agent; closed with the transport.
    """

    polls = True

    def __init__(self, access: Access) -> None:
        self.name = access.name
        self._access = access
        self._files = HttpFiles(access)

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
        with translated(self.name, method, seconds):
            status, answer = await self._exchange(verb, path, data, query)
            return self._result(status, answer)

    async def connect(self) -> Channel:
        """Open the websocket of the agent."""
        url = "ws" + self.name.removeprefix("http") + "/v1/link"
        return await authorized(
            self._access, lambda headers: open_channel(url, headers, name=self.name)
        )

    async def connect_poll(self) -> Channel:
        """Begin a long-poll session with the agent."""
        return await open_poll(self)

    async def post(self, session: str, body: bytes) -> bytes:
        """Send a post of a session and return its answer."""
        with translated(self.name, "a post", poll.HANG_SECONDS + POST_SECONDS):
            status, answer = await self._exchange("POST", f"/v1/link/{session}", body, kind=_BYTES)
            if status == 200:
                return answer
            self._result(status, answer, polled=True)
            raise RemoteProtocolError(f"{self.name} answered a post with status {status}")

    async def leave(self, session: str) -> None:
        """Say that a session is over."""
        with translated(self.name, "a leave", POST_SECONDS):
            await self._exchange("DELETE", f"/v1/link/{session}")

    def files(self) -> FileStore:
        """Return the sandbox's files, by HopX's routes."""
        return self._files

    async def aclose(self) -> None:
        """Close idle connections, and watches."""
        await self._files.aclose()
        await self._access.aclose()

    async def _exchange(
        self,
        verb: str,
        path: str,
        data: bytes | None = None,
        query: list[tuple[str, str]] | None = None,
        kind: str = _JSON,
    ) -> tuple[int, bytes]:
        """Return status and body of an answer; one that is too long is none of ours."""
        body = None if data is None else RawBody(data, kind)
        async with await send(self._access, verb, path, query or (), body) as answer:
            return answer.status, await read_body(answer, _MAX_ANSWER)

    def _result(self, status: int, body: bytes, *, polled: bool = False) -> Any:
        value = read_json(body)
        if status < 400 and value is not None:
            return value
        error = value.get("error") if isinstance(value, dict) else None
        if isinstance(error, dict):
            raise wire.error_from_dict(error, status=status)
        if status in PASSING_STATUSES and polled:
            raise ConnectError(f"{self.name} is not ready: status {status}")
        shown = body[:80].decode(errors="replace")
        raise RemoteProtocolError(f"{self.name} answered {status} with {shown!r}: no agent of ours")


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
    if method in {"kill", "stdin", "resize"}:
        body = {key: value for key, value in params.items() if key != "process_id"}
        return "POST", f"{command}/{method}", body, []
    return _other_route(method, params)


def _other_route(
    method: str, params: dict[str, Any]
) -> tuple[str, str, dict[str, Any] | None, list[tuple[str, str]]]:
    if method == "wait_port":
        command = "/v1/commands/" + quote(str(params["process_id"]), safe="")
        body = {"port": params["port"], "path": params["path"]}
        return "POST", f"{command}/wait-port", body, []
    if method == "env_delete":
        return "DELETE", "/v1/env", None, [("name", params["name"])]
    if method in _ENV_VERBS:
        return _ENV_VERBS[method], "/v1/env", params or None, []
    if method in {"hello", "statistics"}:
        return "GET", f"/v1/{method}", None, []
    raise ValueError(f"no such call: {method}")


def _list_query(params: dict[str, Any]) -> list[tuple[str, str]]:
    query = [(key, str(params[key])) for key in ("after", "status", "name") if params.get(key)]
    return query + [("tag", f"{key}={value}") for key, value in (params.get("tags") or {}).items()]
