"""One create of a sandbox: the sandbox, or nothing left of it, or a word of what may be left.

The service knows no key that would make a create safe to repeat, so it is never sent twice.
Instead every sandbox gets a variable, ``HOPX_CREATE_ID``, with a text of its own: if the
answer is lost, the sandbox that has it is the one.
"""

# ruff: noqa: SLF001  # a client, its doors and its leases are one thing in four files

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import anyio
import attrs

from hopx_async.errors import (
    AgentFault,
    AgentUnreachable,
    ApiError,
    ClosedError,
    CreateUncertain,
    HopxError,
    NotFoundError,
    RemoteProtocolError,
    SandboxNotFound,
    TemplateNotFound,
    TlsError,
    TransportError,
    UsageError,
)
from hopx_async.protocol import cloud
from hopx_async.protocol.cloud import SandboxInfo
from hopx_async.protocol.rate import Pace
from hopx_async.providers.cloud import Client
from hopx_async.providers.reaching import access_to
from hopx_async.transport.cloud_access import TokenBox, ask_agent
from hopx_async.transport.control_plane import GATEWAY

__all__ = [
    "CREATE_SECONDS",
    "CREATE_VARIABLE",
    "SEARCH_SECONDS",
    "UNDO_SECONDS",
    "Made",
    "Wish",
    "created",
]

#: Seconds in which a create is answered.
CREATE_SECONDS = 120.0
#: Seconds for which a sandbox is looked for whose create was not answered.
SEARCH_SECONDS = 20.0
#: Seconds in which a cancelled create learns what it has created, and deletes it.
UNDO_SECONDS = 15.0
#: The variable that tells which create made a sandbox.
CREATE_VARIABLE = "HOPX_CREATE_ID"
_log = logging.getLogger("hopx_async")
# The clocks of both sides may differ by so many seconds.
_SKEW = 120.0
_MOST_ASKED = 5
_SUGGESTED = 3


@attrs.frozen(kw_only=True)
class Wish:
    """What kind of sandbox is wanted.

    Attributes:
        body: The request, without its mark.
        env_vars: Its variables.
    """

    body: Mapping[str, Any]
    env_vars: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def template(self) -> str:
        """The template's name or id."""
        return str(self.body.get("template_name") or self.body.get("template_id"))

    def may_be(self, info: SandboxInfo, since: float) -> bool:
        """Whether a sandbox may have been made by this wish, at or after a Unix time."""
        asked = self.body
        alike = (
            info.created_at is None or info.created_at >= since - _SKEW,
            self.template in {info.template_name, info.template_id} - {""}
            or not (info.template_name or info.template_id),
            asked.get("region") in {None, info.region} or not info.region,
            asked.get("timeout_seconds") == info.timeout_seconds,
        )
        return all(alike)


class Made(NamedTuple):
    """A sandbox that was created, and the box with its token, kept as long as this is."""

    info: SandboxInfo
    box: TokenBox


async def created(client: Client, wish: Wish) -> Made:
    """Create a sandbox; if a token came with it, that is in its box.

    Cancelled, what it has created is deleted again; where that cannot be learned in time, the
    log says so.

    Raises:
        TemplateNotFound: If there is no such template, with names that come near.
        CreateUncertain: If its answer was lost, and no sandbox is proven to be its.
        ApiError: If the service says no.
        AgentUnreachable: If the service could not be reached; nothing was created.
    """
    # A task of its own: if this await is cancelled, what it made is still learned.
    call = asyncio.ensure_future(_create(client, wish))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await _undo(client, call)
        raise


async def _undo(client: Client, call: asyncio.Future[Made]) -> None:
    doubt = "whether it has left a sandbox is not known"
    try:
        with anyio.CancelScope(shield=True), anyio.fail_after(UNDO_SECONDS):
            await asyncio.wait([call])
            if isinstance(call.exception(), (ApiError, AgentUnreachable, TlsError)):
                return  # it was refused, or never sent
            sandbox_id = call.result().info.sandbox_id
            doubt = f"sandbox {sandbox_id} is not known to be deleted"
            with contextlib.suppress(SandboxNotFound):
                await client.kill_sandbox(sandbox_id)
    except (Exception, asyncio.CancelledError) as error:
        _log.warning(
            "a create was cancelled, and %s (%s): look for it in Client.list_sandboxes()",
            doubt,
            str(error) or "no answer in time",
        )
        if isinstance(error, asyncio.CancelledError):
            raise  # cancelled once more: whoever does so does not wait for this
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def _create(client: Client, wish: Wish) -> Made:
    mark = secrets.token_urlsafe(16)
    body = {**wish.body, "env_vars": {**wish.env_vars, CREATE_VARIABLE: mark}}
    client._plane.check()
    began = time.time()
    try:
        answer = await client._plane.ask(
            "POST", "/v1/sandboxes", body=body, repeatable=False, seconds=CREATE_SECONDS
        )
        info = cloud.sandbox_info(answer)
    except AgentUnreachable:
        raise  # not even a connection: nothing was sent
    except ClosedError as error:
        # Meanwhile, and what is closed cannot look for what it has made.
        message = f"a create of {wish.template!r} was not answered: the client was closed"
        raise CreateUncertain(message) from error
    except NotFoundError as error:
        raise await _without_template(client, wish, error) from error
    except (AgentFault, TransportError, RemoteProtocolError) as error:
        answer, info = {}, await _search(client, wish, mark, began, error)
    client._known.append(info.sandbox_id)
    box = client._tokens.of(info.sandbox_id)
    box.put(answer)
    return Made(info, box)


async def _search(
    client: Client, wish: Wish, mark: str, began: float, reason: HopxError
) -> SandboxInfo:
    """Return the sandbox that a create has made whose answer was *reason*.

    Raises:
        CreateUncertain: If none is proven to be it.
        HopxError: That reason, if it was an answer and none is there that may be it.
    """
    asked: set[str] = set()
    others: set[str] = set()
    candidates: dict[str, SandboxInfo] = {}
    # What stands in between does not know what came of it.
    refused = reason if isinstance(reason, AgentFault) and reason.status not in GATEWAY else None
    looked = False
    pace = Pace()
    with anyio.move_on_after(SEARCH_SECONDS), contextlib.suppress(UsageError):
        while True:
            try:
                candidates = {
                    info.sandbox_id: info
                    async for info in client.list_sandboxes()
                    if info.sandbox_id not in client._known and wish.may_be(info, began)
                }
                looked = True
            except HopxError as error:
                if isinstance(error, UsageError):
                    raise
                _log.debug("a sandbox is looked for: %s", error)
            for sandbox_id, info in candidates.items():
                allowed = sandbox_id in asked or len(asked) < _MOST_ASKED
                if allowed and sandbox_id not in others and info.status == "running":
                    asked.add(sandbox_id)
                    found = await _mark_of(client, info)
                    if found == mark:
                        return info
                    if found is not None:
                        others.add(sandbox_id)
            if refused is not None and looked and not candidates:
                break  # it has said no
            await anyio.sleep(pace.after(news=False))
    if refused is not None and looked and not candidates:
        raise await _without_template(client, wish, refused) from refused
    told = ", ".join(candidates) or "none that may be it is there so far"
    raise CreateUncertain(
        f"a create of {wish.template!r} was not answered ({reason}); it may have made a sandbox, "
        f"in Client.list_sandboxes(): {told}",
        candidates=tuple(candidates),
    ) from reason


async def _mark_of(client: Client, info: SandboxInfo) -> str | None:
    """Return the mark of the create that made it, "" if it has none; None if it does not say."""
    body = {"command": "printenv", "args": [CREATE_VARIABLE], "timeout": 10}
    try:
        access = access_to(client, info)
        try:
            answer = await ask_agent(access, "POST", "/commands/run", body)
        finally:
            await access.aclose()
    except HopxError as error:
        _log.debug("%s does not say which create made it: %s", info.sandbox_id, error)
        return None  # its agent may only be starting: it is asked again
    return str(answer.get("stdout") or "").strip()


async def _without_template(
    client: Client, wish: Wish, reason: NotFoundError | AgentFault
) -> HopxError:
    """Return the error of a create that was refused: the template's, if there is no such one."""
    try:
        known = await client.list_templates()
    except HopxError:
        known = []
    names = [info.name for info in known]
    if not known and isinstance(reason, AgentFault):
        return reason
    if any(wish.template in {info.name, info.template_id} for info in known):
        return reason
    near = get_close_matches(wish.template, names, n=_SUGGESTED, cutoff=0.5)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    error = TemplateNotFound(f"no template {wish.template!r}{hint}", suggestions=near or names)
    error.request_id = reason.request_id
    return error
