"""What is known of each sandbox, on the disk: a control plane that comes back finds them."""

from __future__ import annotations

import secrets
import shutil
import sys
import time
from pathlib import Path

import msgspec

__all__ = ["Sandbox", "Shelf", "new_id"]

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class Sandbox(msgspec.Struct):
    """One sandbox.

    Attributes:
        id: Its id; never given twice.
        template: The name of its template.
        token_secret: Key of its tokens, as hex.
        created_at: Unix time of its creation.
        status: HopX's word: running, paused or stopped.
        url: Where its agent is.
        env_vars: What its commands' environment begins with.
        timeout_seconds: After how long it is deleted, None for never.
        expires_at: Unix time at which it is deleted, None for never.
        region: As it was asked for.
        internet_access: Whether it has the network of this machine.
        isolation: What surrounds it since its agent was started: ``none`` or ``namespace``.
    """

    id: str
    template: str
    token_secret: str
    created_at: float
    status: str = "creating"
    url: str = ""
    env_vars: dict[str, str] = {}
    timeout_seconds: int | None = None
    expires_at: float | None = None
    region: str = "local"
    internet_access: bool = True
    isolation: str = "none"

    def expire_after(self, seconds: int | None) -> None:
        """Let it be deleted so many seconds from now, None for never."""
        self.timeout_seconds = seconds
        self.expires_at = None if seconds is None else time.time() + seconds


def new_id() -> str:
    """Return a fresh id of a sandbox, in HopX's form."""
    return str(int(time.time())) + "".join(secrets.choice(_ALPHABET) for _ in range(10))


class Shelf:
    """The directories of all sandboxes. What it does touches the disk: call it in a thread.

    Args:
        directory: Holds one directory for each.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def place(self, sandbox_id: str) -> Path:
        """Return the directory of a sandbox."""
        return self._directory / sandbox_id

    def save(self, sandbox: Sandbox) -> None:
        """Write a sandbox down, whole or not at all."""
        place = self.place(sandbox.id)
        place.mkdir(mode=0o700, exist_ok=True)
        fresh = place / "sandbox.json.new"
        fresh.touch(mode=0o600)
        fresh.write_bytes(msgspec.json.encode(sandbox))
        fresh.replace(place / "sandbox.json")

    def forget(self, sandbox_id: str) -> None:
        """Remove everything of a sandbox."""
        place = self.place(sandbox_id)
        # First what makes it one: half a removal is none that comes back.
        (place / "sandbox.json").unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)

    def load(self) -> list[Sandbox]:
        """Return every sandbox that is written down; what is none is removed.

        One whose record cannot be read, as after a loss of power, is left as it is, and said.
        """
        found = []
        for place in sorted(self._directory.iterdir()):
            try:
                data = (place / "sandbox.json").read_bytes()
                found.append(msgspec.json.decode(data, type=Sandbox))
            except (FileNotFoundError, NotADirectoryError):
                shutil.rmtree(place, ignore_errors=True)
            except (OSError, msgspec.MsgspecError, UnicodeError) as error:
                sys.stderr.write(f"hopx-async: {place} is left out, it cannot be read: {error}\n")
        return found
