"""An agent of ours that runs somewhere already, by its URL and token."""

from __future__ import annotations

from typing import Any

import attrs

from hopx_async.arguments import check_seconds
from hopx_async.client import AgentClient
from hopx_async.errors import InvalidArgument, RemoteProtocolError, Unsupported
from hopx_async.model import Capabilities
from hopx_async.opening import Opening
from hopx_async.protocol import wire
from hopx_async.protocol.backoff import GIVE_UP_AFTER
from hopx_async.sandbox import Lease, Sandbox
from hopx_async.transport.access import Access, TokenAccess, check_url
from hopx_async.transport.base import Transport
from hopx_async.transport.http import HttpTransport

__all__ = ["Elsewhere", "open_agent", "open_transport", "remote"]


def remote(url: str, *, token: str, give_up_after: float = GIVE_UP_AFTER) -> Opening[Sandbox]:
    """Open the sandbox of an agent that runs already (``python -m hopx_async.agent``).

    Its commands are detached: closing the sandbox ends nothing there.

    Args:
        url: Where it listens, such as ``"http://127.0.0.1:8080"``.
        token: Its bearer token; sent in a header only.
        give_up_after: Seconds without an answer after which calls, streams and waits fail.

    Raises:
        InvalidArgument: If *url* or *token* cannot be one; raised by the call.
        AuthenticationError: If the agent does not accept the token.
        AgentUnreachable: If nobody answered until the policy gave up.
        RemoteProtocolError: If what answers is no agent of ours.
    """
    check_url(url)
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise InvalidArgument("token", "(not shown)", "a token is printable ASCII, not empty")
    check_seconds("give_up_after", give_up_after)
    return Opening(open_agent(TokenAccess(url, token), Elsewhere(), give_up_after=give_up_after))


async def open_agent(access: Access, lease: Lease, *, give_up_after: float) -> Sandbox:
    """Return the sandbox of an agent of ours, once it has said what it is.

    *access* is closed with it, and if it cannot be opened.
    """
    return await open_transport(HttpTransport(access), lease, give_up_after=give_up_after)


async def open_transport(transport: Transport, lease: Lease, *, give_up_after: float) -> Sandbox:
    """Return the sandbox that a transport leads to, once its agent has said what it is."""
    client = AgentClient(transport, "", give_up_after=give_up_after)
    try:
        facts = await client.call("hello")
        sandbox_id, capabilities = _read_facts(transport.name, facts)
    except BaseException:
        await client.aclose()
        raise
    client.sandbox_id = sandbox_id
    return Sandbox(client, lease, capabilities)


def _read_facts(name: str, facts: Any) -> tuple[str, Capabilities]:
    try:
        if facts["link_version"] != wire.LINK_VERSION:
            raise RemoteProtocolError(
                f"{name} speaks link version {facts['link_version']}, not {wire.LINK_VERSION}"
            )
        known = facts.get("capabilities") or {}
        return str(facts["sandbox_id"]), Capabilities(
            agent=str(facts["agent"]),
            version=str(facts["version"]),
            **{name: known[name] for name in _optional() if name in known},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RemoteProtocolError(f"{name} is no agent of ours: {facts!r:.80}") from error


def _optional() -> list[str]:
    """Return the names of what a far side may leave out: then it is as if it had no such thing."""
    fields = attrs.fields_dict(Capabilities)
    return [name for name, field in fields.items() if field.default is not attrs.NOTHING]


class Elsewhere:
    """The lease of an agent that is not ours to end."""

    async def release(self, grace: float | None) -> None:
        """Leave everything as it is."""

    async def kill(self) -> None:
        """Refuse: who started it ends it."""
        raise Unsupported("a remote agent is ended where it was started")
