"""What the root tells its agent, as one line of JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from hopx_async.agent.keepers import KeeperFacts
from hopx_async.protocol import records

__all__ = ["Config"]


class Config(msgspec.Struct, frozen=True):
    """What the root tells its agent.

    Attributes:
        sandbox_id: The sandbox.
        workspace: Absolute path in which commands run.
        keepers: Those there are; nothing is served before each has told of its commands.
        keeper_commands: Live commands that one of them takes.
        base_env: Environment that commands start from.
        state_dir: Where logs and index are.
        token: What clients must show.
        secret: Key of the spec digests, as hex.
        url_host: Host name or address in the agent's url.
        port: Port in it.
        allow_hosts: Further hosts that are served.
        retention_bytes: Log bytes kept of each command.
        isolation: What surrounds it: ``none`` or ``namespace``.
        internet_access: Whether it has the host's network.
        proof: By which means a kill is proven.
        process_limit: Whether a command's processes can be limited in number.
        token_secret: Key of the control plane's tokens, as hex; None if none are taken.
    """

    sandbox_id: str
    workspace: str
    state_dir: str
    token: str
    secret: str
    port: int
    keepers: list[KeeperFacts]
    keeper_commands: int
    base_env: dict[str, str] = {}
    url_host: str = "127.0.0.1"
    allow_hosts: list[str] = []
    retention_bytes: int = records.RETENTION_BYTES
    isolation: str = "none"
    internet_access: bool = True
    proof: str = "ancestry"
    process_limit: bool = False
    token_secret: str | None = None

    @property
    def place(self) -> dict[str, Any]:
        """What its capabilities say of where it runs."""
        names = ("isolation", "internet_access", "proof", "process_limit")
        return {name: getattr(self, name) for name in names}
