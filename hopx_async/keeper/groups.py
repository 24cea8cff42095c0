"""The cgroups of a keeper's commands: made, asked, killed, and removed when they are empty."""

from __future__ import annotations

import contextlib
import os
import signal

from hopx_async.keeper import proc
from hopx_async.keeper.cgroup import Group, Places, sweep
from hopx_async.keeper.scan import EVERYTHING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from hopx_async.keeper.command import Command

__all__ = ["Groups"]


class Groups:
    """Which commands have a cgroup of their own, and what it tells.

    Args:
        places: Where cgroups can be made.
        name: Of the one that holds those of this keeper's commands.
    """

    def __init__(self, places: Places, name: str) -> None:
        self._places = places
        self._name = name
        self._groups: dict[str, Group] = {}
        self._ended: set[str] = set()
        self._asked_to_die: set[str] = set()
        self._made = False
        # An earlier keeper may have left some; whoever was in them has been ended.
        sweep(places, name)

    @contextlib.contextmanager
    def around(self, process_id: str, public: dict[str, Any]) -> Generator[None]:
        """Start a command in a cgroup of its own, if it shall have one.

        Raises:
            OSError: If it asked for a limit that cannot be set. Nothing was started.
        """
        most = (public.get("limits") or {}).get("processes")
        if most is None and not self._places.cheap:
            yield
            return
        self._made = True
        group: Group | None = None
        entered = contextlib.ExitStack()
        try:
            group = self._places.make(self._name, process_id)
            entered.enter_context(group.entered(most))
        except OSError:
            if group is not None:
                group.remove()
            if most is not None:
                raise
            # It was to be evidence only; there is other.
            yield
            return
        try:
            with entered:
                yield
        except BaseException:
            group.remove()
            raise
        self._groups[process_id] = group

    def known(self, process_id: str) -> list[tuple[int, int]]:
        """Return pid and start ticks of what is in the command's cgroup."""
        group = self._groups.get(process_id)
        stats = ((pid, proc.read_stat(pid)) for pid in (group.members() if group else ()))
        return [(pid, stat.start_ticks) for pid, stat in stats if stat is not None]

    def slay(self, process_id: str) -> None:
        """Send SIGKILL to all of the command at once, where the kernel can; others do the rest."""
        concerned = self._groups if process_id == EVERYTHING else {process_id} & self._groups.keys()
        for one in concerned:
            self._groups[one].kill()

    def means(self, process_id: str) -> str:
        """Return by which means it is known who is left of the command."""
        return "cgroup" if process_id in self._groups else "ancestry"

    def asked_to_die(self, process_id: str) -> None:
        """Take note that somebody sends the command a SIGKILL: the next one tells nothing."""
        if process_id in self._groups:
            self._asked_to_die.add(process_id)

    def explain(self, command: Command, status: int) -> None:
        """Blame it on memory if that ran out in the command's cgroup, and a SIGKILL ended it.

        Not if somebody asked for one: the kernel does not tell the two apart.
        """
        group = self._groups.get(command.process_id)
        if group is None or command.process_id in self._asked_to_die:
            return
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and group.oom_kills():
            command.blame("oom_killed")

    def ended(self, process_id: str) -> None:
        """Remove the command's cgroup as soon as nobody is in it."""
        self._asked_to_die.discard(process_id)
        if process_id in self._groups:
            self._ended.add(process_id)
            self.tidy()

    def tidy(self) -> None:
        """Remove the cgroups of ended commands that have become empty."""
        for process_id in list(self._ended):
            if self._groups[process_id].remove():
                self._ended.discard(process_id)
                del self._groups[process_id]

    def close(self) -> None:
        """Remove what is left and empty."""
        if self._made:
            sweep(self._places, self._name)
