"""Where commands run: the embedded agent, or one that runs already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import anyio

from hopx_async.errors import AgentUnreachable, InvalidArgument
from hopx_async.providers.local import local
from hopx_async.providers.remote import remote
from hopx_async.sandbox import Sandbox

__all__ = [
    "CLOUD_DOOR_SECONDS",
    "DOOR_SECONDS",
    "SANDBOX_VARIABLE",
    "TOKEN_VARIABLE",
    "URL_VARIABLE",
    "Isolation",
    "Place",
    "find_place",
]

Isolation: TypeAlias = Literal["none", "namespace", "auto"]

URL_VARIABLE = "HOPX_AGENT_URL"
TOKEN_VARIABLE = "HOPX_AGENT_TOKEN"  # noqa: S105  # the name of a variable
SANDBOX_VARIABLE = "HOPX_SANDBOX"
#: Seconds in which a sandbox of the service is open, resumed if need be, or its service answers.
CLOUD_DOOR_SECONDS = 60.0
#: Seconds in which an agent that is said to run has to answer at first.
DOOR_SECONDS = 5.0


class Place(NamedTuple):
    """An agent: its url and token, or its sandbox of the service; all None for the embedded one.

    For that one *isolation* and *internet_access* are as for ``local()``.
    """

    url: str | None = None
    token: str | None = None
    isolation: Isolation = "none"
    internet_access: bool = True
    sandbox_id: str | None = None

    @property
    def owned(self) -> bool:
        """Whether it ends with its use."""
        return self.url is None and self.sandbox_id is None

    async def open(self) -> Sandbox:
        """Return its sandbox; the embedded agent's works in the current directory.

        Cancelling it is safe: nothing is left.

        Raises:
            AgentUnreachable: If nobody answered within `DOOR_SECONDS`, for a sandbox of the
                service `CLOUD_DOOR_SECONDS`.
            HopxError: As for ``local()``, ``remote()`` and ``Sandbox.connect()``.
        """
        if self.sandbox_id is not None:
            with anyio.move_on_after(CLOUD_DOOR_SECONDS):
                return await Sandbox.connect(self.sandbox_id)
            what, seconds = f"sandbox {self.sandbox_id} was not open", CLOUD_DOOR_SECONDS
            raise AgentUnreachable(f"{what} within {seconds:g} s", seconds=seconds)
        if self.url is None or self.token is None:
            return await local(
                workspace=Path.cwd(),
                isolation=self.isolation,
                internet_access=self.internet_access,
            )
        with anyio.move_on_after(DOOR_SECONDS):
            return await remote(self.url, token=self.token)
        raise AgentUnreachable(
            f"nobody answered at {self.url} within {DOOR_SECONDS:g} s", seconds=DOOR_SECONDS
        )

    def __repr__(self) -> str:
        return f"Place(url={self.url!r}, sandbox_id={self.sandbox_id!r})"


def find_place(
    url: str | None,
    token_file: Path | None,
    *,
    sandbox_id: str | None = None,
    needed: bool,
    isolation: Isolation = "none",
    internet_access: bool = True,
) -> Place:
    """Return the place that the options and the environment name.

    Args:
        url: As told by ``--url`` or `URL_VARIABLE`, None for neither.
        token_file: As told by ``--token-file``, None for what `TOKEN_VARIABLE` holds.
        sandbox_id: As told by ``--sandbox``; `SANDBOX_VARIABLE` is looked at here.
        needed: Whether the embedded agent will not do.
        isolation: As for ``local()``; another agent has the isolation that it has.
        internet_access: As for ``local()``.

    Raises:
        InvalidArgument: If they do not make one.
        OSError: If the file cannot be read.
    """
    url, sandbox_id = _one_of(url, sandbox_id)
    if sandbox_id is not None:
        if token_file is not None:
            raise InvalidArgument("--token-file", repr(str(token_file)), "it needs --url")
        _check_embedded(isolation, internet_access)
        return Place(sandbox_id=sandbox_id)
    if url is None:
        if needed:
            rule = f"name a sandbox by it, or an agent by --url; or set {SANDBOX_VARIABLE}, or "
            raise InvalidArgument("--sandbox", "None", rule + URL_VARIABLE)
        if token_file is not None:
            raise InvalidArgument("--token-file", repr(str(token_file)), "it needs --url")
        return Place(isolation=isolation, internet_access=internet_access)
    _check_embedded(isolation, internet_access)
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="ascii").strip()
        except UnicodeDecodeError:
            token = ""
        if not token:
            raise InvalidArgument("--token-file", repr(str(token_file)), "it holds no token")
    else:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise InvalidArgument("token", "None", f"set {TOKEN_VARIABLE}, or give --token-file")
    return Place(url, token)


def _one_of(url: str | None, sandbox_id: str | None) -> tuple[str | None, str | None]:
    """Return the one of both that counts: what the arguments say, else what the environment says.

    Raises:
        InvalidArgument: If both are named alike.
    """
    variable = os.environ.get(URL_VARIABLE)
    argued = url if url != variable else None
    if argued is None and sandbox_id is not None:
        return None, sandbox_id
    known = sandbox_id or (os.environ.get(SANDBOX_VARIABLE) or None)
    if argued is not None and sandbox_id is None:
        return argued, None
    if url is not None and known is not None:
        raise InvalidArgument("--sandbox", repr(known), f"either this, or the agent at {url}")
    return url, known


def _check_embedded(isolation: Isolation, internet_access: bool) -> None:
    if isolation != "none" or not internet_access:
        rule = "an agent that runs already has the isolation that it was started with"
        raise InvalidArgument("--isolation", repr(isolation), rule)
