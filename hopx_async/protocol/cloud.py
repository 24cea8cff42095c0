"""What the service's control plane says of sandboxes, templates and tokens, and of failures.

As little as can be is believed: what a caller does not need may be missing, null or odd.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from hopx_async.errors import (
    AgentFault,
    ApiError,
    AuthenticationError,
    ConflictError,
    InvalidArgument,
    NotFoundError,
    RateLimited,
    RemoteProtocolError,
    Unsupported,
)
from hopx_async.protocol.envelopes import read_envelope, read_json, unix_time

__all__ = [
    "MAX_TIMEOUT",
    "SandboxInfo",
    "TemplateInfo",
    "check_id",
    "check_timeout",
    "exhausted_for",
    "is_ours",
    "preview_url",
    "read_object",
    "read_token",
    "refusal",
    "sandbox_info",
    "template_info",
]

#: Seconds after which a sandbox may be asked to be deleted, at most: ten years.
MAX_TIMEOUT = 10 * 365 * 24 * 3600
Json: TypeAlias = dict[str, Any]
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_NUMBERED = re.compile(r"\d{1,5}-(?P<rest>[A-Za-z0-9-]+\..+)")
_BASE = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9a-fA-F:.]+\]|[^/:\[\]@?#]+)(:\d+)?(/.*)?")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_MOST_EXHAUSTED = 120.0
_LOGINS = frozenset({"AUTHENTICATION_REQUIRED", "AUTHENTICATION_ERROR", "INVALID_TOKEN"})


@attrs.frozen(kw_only=True)
class SandboxInfo:
    """What the service says of a sandbox; no token is in it.

    Attributes:
        sandbox_id: Its id.
        status: HopX's word: creating, running, paused, stopped, or one that is newer.
        template_name: The template that it was made of, "" where not said.
        template_id: That template's id, "" where not said.
        region: Where it is, "" where not said.
        public_host: Its agent's base URL, "" where it has none.
        created_at: Unix time, None where not said.
        expires_at: Unix time at which it is deleted, None for never or not said.
        timeout_seconds: Seconds from the last time that this was set to then, None for never.
        internet_access: Whether it reaches the network, None where not said.
        vcpu: Processors, None where not said.
        memory_mb: Memory, None where not said.
        disk_mb: Disk, None where not said.
    """

    sandbox_id: str
    status: str
    template_name: str = ""
    template_id: str = ""
    region: str = ""
    public_host: str = ""
    created_at: float | None = None
    expires_at: float | None = None
    timeout_seconds: int | None = None
    internet_access: bool | None = None
    vcpu: int | None = None
    memory_mb: int | None = None
    disk_mb: int | None = None


@attrs.frozen(kw_only=True)
class TemplateInfo:
    """What the service says of a template.

    Attributes:
        name: Its name, as ``template=`` takes it.
        template_id: Its id, as ``template_id=`` takes it; "" where not said.
        display_name: Its title.
        description: What it is for.
        category: Its kind.
        language: The language that it is for.
        is_active: Whether sandboxes can be made of it, None where not said.
    """

    name: str
    template_id: str = ""
    display_name: str = ""
    description: str = ""
    category: str = ""
    language: str = ""
    is_active: bool | None = None


def check_id(parameter: str, value: object) -> str:
    """Return the id of a sandbox or the name of a template, which becomes part of a path.

    Raises:
        InvalidArgument: If it can be none.
    """
    if not isinstance(value, str) or not _ID.fullmatch(value):
        rule = "letters, digits, '_', '.' and '-', at most 128, the first a letter or digit"
        raise InvalidArgument(parameter, repr(value)[:160], rule)
    return value


def check_timeout(value: object) -> int:
    """Return the seconds after which a sandbox is deleted.

    Raises:
        InvalidArgument: If they are none.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 0 < value <= MAX_TIMEOUT:  # type: ignore[operator]
        rule = f"a whole number of seconds, 1 to {MAX_TIMEOUT}"
        raise InvalidArgument("timeout_seconds", repr(value)[:80], rule)
    return value  # type: ignore[return-value]


def read_object(body: bytes) -> Json:
    """Return the object that an answer of 2xx is; an empty one for none at all.

    Raises:
        RemoteProtocolError: If it is something else.
    """
    value = read_json(body) if body.strip() else {}
    if not isinstance(value, dict):
        shown = body[:80].decode(errors="replace")
        raise RemoteProtocolError(f"no answer of a control plane: {shown!r}")
    return value


def sandbox_info(value: Mapping[str, Any]) -> SandboxInfo:
    """Return what an answer says of a sandbox.

    Raises:
        RemoteProtocolError: If it has no id that could be one.
    """
    resources = value.get("resources")
    sizes: Mapping[str, Any] = resources if isinstance(resources, dict) else {}
    disk = _whole(sizes.get("disk_mb"))
    if disk is None and (gigabytes := _whole(sizes.get("disk_gb"))) is not None:
        disk = 1024 * gigabytes
    internet = value.get("internet_access")
    return SandboxInfo(
        sandbox_id=_id_in(value),
        status=(_text(value.get("status")) or "unknown").lower(),
        template_name=_text(value.get("template_name")),
        template_id=_text(value.get("template_id")),
        region=_text(value.get("region")),
        public_host=(_text(value.get("public_host")) or _text(value.get("direct_url"))).rstrip("/"),
        created_at=unix_time(value.get("created_at")),
        expires_at=unix_time(value.get("expires_at")),
        timeout_seconds=_whole(value.get("timeout_seconds")),
        internet_access=internet if isinstance(internet, bool) else None,
        vcpu=_whole(sizes.get("vcpu")),
        memory_mb=_whole(sizes.get("memory_mb")),
        disk_mb=disk,
    )


def template_info(value: Mapping[str, Any]) -> TemplateInfo:
    """Return what an answer says of a template.

    Raises:
        RemoteProtocolError: If it has no name.
    """
    name = _text(value.get("name"))
    if not name:
        raise RemoteProtocolError(f"a template without a name: {value!r:.200}")
    active = value.get("is_active")
    return TemplateInfo(
        name=name,
        template_id=_text(value.get("id")) or _text(value.get("template_id")),
        display_name=_text(value.get("display_name")),
        description=_text(value.get("description")),
        category=_text(value.get("category")),
        language=_text(value.get("language")),
        is_active=active if isinstance(active, bool) else None,
    )


def read_token(value: Mapping[str, Any]) -> tuple[str, float | None] | None:
    """Return the agent's token in an answer and the Unix time of its end, None for no token.

    The time is None where it is not said, or not as one would say it.

    Raises:
        RemoteProtocolError: If it cannot be a token; it is not shown.
    """
    token = value.get("auth_token")
    if token is None or token == "":
        return None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise RemoteProtocolError("the control plane gave a token that cannot be one")
    return token, unix_time(value.get("token_expires_at"))


def refusal(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """Return the error that an answer of the control plane stands for.

    Args:
        status: Its HTTP status, 400 or above.
        body: What came with it.
        headers: Its headers.
    """
    told = read_envelope(body, headers)
    shown = body[:80].decode(errors="replace")
    message = told.message or (
        f"status {status}" if told.enveloped else f"status {status}: {shown!r}"
    )
    error: ApiError
    if status == 401 or told.code in _LOGINS:
        error = AuthenticationError(message)
    elif told.code == "RESOURCE_LIMIT_ERROR":
        error = ApiError(message)  # waiting does not raise it
    elif status == 429 or told.code == "RATE_LIMIT_EXCEEDED":
        error = RateLimited(message, retry_after=told.retry_after)
    elif status in {404, 410}:
        error = NotFoundError(message)
    elif status == 409:
        error = ConflictError(message)
    else:
        error = (AgentFault if status >= 500 else ApiError)(message)
    error.status = status
    error.request_id = told.request_id
    return error


def exhausted_for(headers: Mapping[str, str], wall: float) -> float:
    """Return the seconds for which no request is left, as an answer's headers say; 0 for none.

    Args:
        headers: ``X-RateLimit-Remaining`` and ``X-RateLimit-Reset`` are looked at.
        wall: Unix time now. What lies far ahead of it is another clock, and not waited for.
    """
    try:
        remaining = int(headers.get("X-RateLimit-Remaining", "1"))
        seconds = float(headers.get("X-RateLimit-Reset", "0")) - wall
    except ValueError:
        return 0.0
    return seconds if remaining <= 0 and 0 < seconds <= _MOST_EXHAUSTED else 0.0


def is_ours(info: Mapping[str, Any]) -> bool:
    """Whether what an agent says at ``/info`` says that it is one of ours."""
    version = info.get("link_version")
    return info.get("agent") == "hopx_async" and isinstance(version, int)


def preview_url(public_host: str, port: int) -> str:
    """Return where what listens on *port* in a sandbox is reached from outside.

    Args:
        public_host: The base URL of the sandbox's agent.
        port: A port in the sandbox.

    Raises:
        InvalidArgument: If *port* is none.
        Unsupported: If the sandbox's address does not tell.
    """
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise InvalidArgument("port", repr(port)[:80], "a whole number from 1 to 65535")
    parts = _BASE.fullmatch(public_host)
    if parts is not None:
        if numbered := _NUMBERED.fullmatch(parts["host"]):
            return f"{parts['scheme']}://{port}-{numbered['rest']}/"
        if parts["host"] in _LOOPBACK:
            return f"http://{parts['host']}:{port}/"
    raise Unsupported(f"{public_host} does not tell where other ports of the sandbox are reached")


def _id_in(value: Mapping[str, Any]) -> str:
    found = next((value[key] for key in ("id", "sandbox_id", "sandboxId") if value.get(key)), None)
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise RemoteProtocolError(f"a sandbox without an id that could be one: {found!r:.80}")
    return found


def _text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
