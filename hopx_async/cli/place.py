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
    "DOOR_SECONDS",
    "TOKEN_VARIABLE",
    "URL_VARIABLE",
    "Isolation",
    "Place",
    "find_place",
]

Isolation: TypeAlias = Literal["none", "namespace", "auto"]

URL_VARIABLE = "HOPX_AGENT_URL"
TOKEN_VARIABLE = "HOPX_AGENT_TOKEN"  # noqa: S105  # the name of a variable
#: Seconds in which an agent that is said to run has to answer at first.
DOOR_SECONDS = 5.0


class Place(NamedTuple):
    """An agent: its url and token, both None for the embedded one.

    For that one *isolation* and *internet_access* are as for ``local()``.
    """

    url: str | None = None
    token: str | None = None
    isolation: Isolation = "none"
    internet_access: bool = True

    async def open(self) -> Sandbox:
        """Return its sandbox; the embedded agent's works in the current directory.

        Cancelling it is safe: nothing is left.

        Raises:
            AgentUnreachable: If nobody answered within `DOOR_SECONDS`.
            HopxError: As for ``local()`` and ``remote()``.
        """
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
        return f"Place(url={self.url!r})"


def find_place(
    url: str | None,
    token_file: Path | None,
    *,
    needed: bool,
    isolation: Isolation = "none",
    internet_access: bool = True,
) -> Place:
    """Return the place that the options and the environment name.

    Args:
        url: As told by ``--url`` or `URL_VARIABLE`, None for neither.
        token_file: As told by ``--token-file``, None for what `TOKEN_VARIABLE` holds.
        needed: Whether the embedded agent will not do.
        isolation: As for ``local()``; another agent has the isolation that it has.
        internet_access: As for ``local()``.

    Raises:
        InvalidArgument: If they do not make one.
        OSError: If the file cannot be read.
    """
    if url is None:
        if needed:
            raise InvalidArgument("--url", "None", f"name an agent by it, or by {URL_VARIABLE}")
        if token_file is not None:
            raise InvalidArgument("--token-file", repr(str(token_file)), "it needs --url")
        return Place(isolation=isolation, internet_access=internet_access)
    if isolation != "none" or not internet_access:
        rule = "an agent that runs already has the isolation that it was started with"
        raise InvalidArgument("--isolation", repr(isolation), rule)
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
