"""Whether isolation can be had here, and how to run tests as an ordinary user."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hopx_async.keeper import enter
from hopx_async.keeper.options import Options, RootError

__all__ = ["as_nobody", "can_become_nobody", "needs_isolation", "why_not"]

_REPOSITORY = Path(__file__).parents[2]
_NOBODY = "65534"
_OWN_TMP = ["--perms", "1777", "--tmpfs", "/var/tmp"]  # a mount point


@functools.cache
def why_not() -> str | None:
    """Return why there is no isolation here, None if it can be had."""
    options = Options()
    options.isolation, options.state_dir = "namespace", "/nowhere"
    try:
        enter.prepare(options)
    except RootError as error:
        return str(error)
    return None


#: Skips a test, and says why, where there is no isolation.
needs_isolation = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


def as_nobody(command: list[str]) -> list[str]:
    """Return the command line that runs *command* as an ordinary user who can read our files.

    Its ``/var/tmp`` is its own. Python may lie in the home of root, which that user
    cannot enter: then the way to it is replaced by empty directories, for this command alone.
    """
    places = {str(_REPOSITORY), sys.prefix, os.path.realpath(sys.base_prefix)}
    closed = {parent for place in places if (parent := _closed_parent(place)) is not None}
    view = [word for parent in sorted(closed) for word in ("--perms", "0755", "--tmpfs", parent)]
    for place in sorted(places):
        parent = _closed_parent(place)
        if parent is not None:
            between = [str(path) for path in reversed(Path(place).parents)]
            for path in between[between.index(parent) + 1 :]:
                view += ["--perms", "0755", "--dir", path]
            view += ["--dev-bind", place, place]
    ids = ["--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups"]
    return [
        "bwrap",
        "--dev-bind",
        "/",
        "/",
        *view,
        *_OWN_TMP,
        "--",
        "setpriv",
        *ids,
        "--",
        *command,
    ]


def _closed_parent(place: str) -> str | None:
    for parent in reversed(Path(place).parents):
        if not parent.stat().st_mode & 0o001:
            return str(parent)
    return None


def can_become_nobody() -> bool:
    """Return whether this process may run another one as an ordinary user."""
    if os.geteuid() != 0 or shutil.which("bwrap") is None:
        return False
    done = subprocess.run(as_nobody(["true"]), capture_output=True, check=False)
    return done.returncode == 0
