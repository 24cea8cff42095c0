"""Paths as HopX's clients write them, and where they lead: nowhere but into the workspace."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

from hopx_async.agent.dialect.answers import Refused

__all__ = ["WORKSPACE", "Places"]

#: What clients call the workspace.
WORKSPACE = "/workspace"


class Places:
    """Where ``/workspace`` is.

    Args:
        workspace: The directory that clients mean by it.
    """

    def __init__(self, workspace: str) -> None:
        self.root = Path(workspace).resolve()

    def outside(self, path: str) -> Path:
        """Return where *path* leads, wherever that is: commands may go anywhere."""
        return self.root / self._below(path)

    def inside(self, path: object) -> Path:
        """Return where *path* leads within the workspace, its links followed.

        Raises:
            Refused: If it is no path, or leads out of the workspace.
        """
        if not isinstance(path, str) or not path:
            raise Refused("MISSING_PARAMETER", "path is missing")
        if "\0" in path:
            raise Refused("INVALID_PATH", "a path has no NUL character")
        try:
            path.encode()
            found = self.outside(path).resolve()
            _refuse_loop(found)
        except (OSError, RuntimeError, UnicodeEncodeError):
            raise Refused("INVALID_PATH", f"{path[:200]!a} leads nowhere") from None
        if not found.is_relative_to(self.root):
            message = f"{path[:200]!r} is not in {WORKSPACE}"
            raise Refused("PATH_NOT_ALLOWED", message, status=403)
        return found

    def named(self, path: object) -> Path:
        """Return what *path* names within the workspace: a link itself, wherever it leads.

        Raises:
            Refused: If it is no path, or is not in the workspace.
        """
        if isinstance(path, str) and path:
            named = self.outside(path)
            with suppress(OSError, ValueError):  # a name that nothing can have
                if named.is_symlink():
                    return self.inside(str(named.parent)) / named.name
        return self.inside(path)

    def told(self, place: Path) -> str:
        """Return *place* in the workspace as clients write it."""
        below = place.relative_to(self.root).as_posix()
        return WORKSPACE if below == "." else f"{WORKSPACE}/{below}"

    def _below(self, path: str) -> str:
        if path == WORKSPACE:
            return "."
        if path.startswith(f"{WORKSPACE}/"):
            return path.removeprefix(WORKSPACE).lstrip("/") or "."
        return path


def _refuse_loop(place: Path) -> None:
    """Refuse links that lead to each other, which `Path.resolve` does up to Python 3.12."""
    try:
        place.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
