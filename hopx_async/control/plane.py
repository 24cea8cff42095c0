"""The sandboxes of a local server, from their creation to their end."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Callable

from hopx_async.control.answers import Refused
from hopx_async.control.machines import Machine, Machines
from hopx_async.control.records import Sandbox, Shelf, new_id
from hopx_async.errors import HopxError

__all__ = ["MAX_SANDBOXES", "Plane"]

#: Sandboxes at a time, unless told otherwise.
MAX_SANDBOXES = 64
_SECRET_BYTES = 64
_GRACE = 5.0
# Seconds after which a sandbox is to be ended again whose time is over.
_AGAIN = 60.0


class Plane:
    """All sandboxes. What happens to one of them happens one after another.

    Args:
        shelf: Where they are written down.
        machines: Runs them.
        max_sandboxes: How many there may be.
        grace: Seconds between TERM and KILL when one ends.
    """

    def __init__(
        self,
        shelf: Shelf,
        machines: Machines,
        *,
        max_sandboxes: int = MAX_SANDBOXES,
        grace: float = _GRACE,
    ) -> None:
        self._shelf = shelf
        self._machines = machines
        self._most = max_sandboxes
        self._grace = grace
        self._known: dict[str, Sandbox] = {}
        self._running: dict[str, Machine] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._creating = 0

    async def open(self) -> None:
        """Take over the sandboxes that are written down: those that run, as they run."""
        for sandbox in await asyncio.to_thread(self._shelf.load):
            if sandbox.status == "creating":
                await self._clear(sandbox)
                continue
            self._known[sandbox.id] = sandbox
            self._locks[sandbox.id] = asyncio.Lock()
        await asyncio.gather(*(self._taken_over(sandbox) for sandbox in [*self._known.values()]))

    async def aclose(self, grace: float | None = None) -> None:
        """End every agent with its commands; the sandboxes stay written down."""
        for timer in self._timers.values():
            timer.cancel()
        wait = self._grace if grace is None else grace
        machines, self._running = self._running, {}
        stops = [machine.stop(wait) for machine in machines.values()]
        # One that does not end keeps none of the others from it.
        told = await asyncio.gather(*stops, return_exceptions=True)
        await asyncio.gather(*self._ending)
        for sandbox_id, problem in zip(machines, told, strict=True):
            if problem is not None:
                _complain(sandbox_id, f"may be left: {problem}")

    async def create(
        self,
        template: str,
        region: str,
        env_vars: dict[str, str],
        *,
        timeout_seconds: int | None = None,
        internet_access: bool = True,
    ) -> Sandbox:
        """Create a sandbox and return it once its agent runs; its time begins then.

        Raises:
            Refused: If there are too many.
            HopxError: If its agent does not come up.
        """
        if not internet_access and self._machines.isolation == "none":
            message = "internet_access: this server cannot keep a sandbox from the network"
            raise Refused(400, "INVALID_REQUEST", message)
        current = len(self._known) + self._creating
        if current >= self._most:
            message = f"the limit of {self._most} sandboxes is reached"
            counts = {"limit": self._most, "current": current, "available": 0}
            raise Refused(403, "RESOURCE_LIMIT_ERROR", message, **counts)
        sandbox = Sandbox(
            id=new_id(),
            template=template,
            token_secret=secrets.token_hex(_SECRET_BYTES),
            created_at=time.time(),
            env_vars=env_vars,
            region=region,
            internet_access=internet_access,
        )
        self._creating += 1
        try:
            await asyncio.to_thread(self._shelf.save, sandbox)
            await self._start(sandbox, timeout_seconds)
        except BaseException:
            await asyncio.to_thread(self._shelf.forget, sandbox.id)
            raise
        finally:
            self._creating -= 1
        self._known[sandbox.id] = sandbox
        self._locks[sandbox.id] = asyncio.Lock()
        self._arm(sandbox)
        return sandbox

    def get(self, sandbox_id: str) -> Sandbox:
        """Return a sandbox.

        Raises:
            Refused: If there is none.
        """
        sandbox = self._known.get(sandbox_id)
        if sandbox is None:
            raise Refused(404, "RESOURCE_NOT_FOUND", f"sandbox {sandbox_id[:80]!r} not found")
        return sandbox

    def page(
        self, limit: int, after: str | None, chosen: Callable[[Sandbox], bool]
    ) -> tuple[list[Sandbox], bool]:
        """Return sandboxes behind one, oldest first, and whether there are more."""
        found = [
            sandbox
            for _, sandbox in sorted(self._known.items())
            if (after is None or sandbox.id > after) and chosen(sandbox)
        ]
        return found[:limit], len(found) > limit

    async def delete(self, sandbox_id: str) -> None:
        """End a sandbox and remove everything of it.

        Raises:
            Refused: If there is none.
        """
        async with self._lock(sandbox_id):
            self.get(sandbox_id)
            await self._stop(sandbox_id)
            await asyncio.to_thread(self._shelf.forget, sandbox_id)
            self._disarm(sandbox_id)
            del self._known[sandbox_id], self._locks[sandbox_id]

    async def set_timeout(self, sandbox_id: str, seconds: int | None) -> Sandbox:
        """Let a sandbox be deleted so many seconds from now, None for never.

        Raises:
            Refused: If there is none.
        """
        async with self._lock(sandbox_id):
            sandbox = self.get(sandbox_id)
            sandbox.expire_after(seconds)
            await asyncio.to_thread(self._shelf.save, sandbox)
            self._arm(sandbox)
            return sandbox

    async def turn(self, sandbox_id: str, wanted: str) -> Sandbox:
        """Bring a sandbox into the state ``running``, ``paused`` or ``stopped``.

        Raises:
            Refused: If there is none, or it is not in a state from which that is possible.
            HopxError: If its agent does not come up.
        """
        async with self._lock(sandbox_id):
            sandbox = self.get(sandbox_id)
            if sandbox.status == wanted:
                return sandbox
            if "stopped" in {sandbox.status, wanted}:
                if "paused" in {sandbox.status, wanted}:
                    message = f"a sandbox that is {sandbox.status} cannot be {wanted}"
                    raise Refused(409, "CONFLICT", message)
                await self._stop_or_start(sandbox, wanted)
            else:
                machine = self._running[sandbox_id]
                await (machine.pause() if wanted == "paused" else machine.resume())
            sandbox.status = wanted
            await asyncio.to_thread(self._shelf.save, sandbox)
            return sandbox

    async def _stop_or_start(self, sandbox: Sandbox, wanted: str) -> None:
        if wanted == "stopped":
            await self._stop(sandbox.id)
        else:
            await self._start(sandbox)

    async def _stop(self, sandbox_id: str) -> None:
        machine = self._running.get(sandbox_id)
        if machine is not None:
            await machine.stop(self._grace)
            # Not before: one that could not be ended is not forgotten.
            self._running.pop(sandbox_id, None)

    async def _clear(self, sandbox: Sandbox) -> None:
        """Remove what a plane left that died while it created a sandbox."""
        try:
            # It may have died when the agent had been let go, and was not written down yet.
            machine = await self._machines.find(sandbox, self._shelf.place(sandbox.id))
            if machine is not None:
                await machine.stop(0.0)
        except HopxError as error:
            _complain(sandbox.id, f"may be left: {error}")
            return
        await asyncio.to_thread(self._shelf.forget, sandbox.id)

    async def _taken_over(self, sandbox: Sandbox) -> None:
        try:
            await self._reattach(sandbox)
        except Exception as error:  # noqa: BLE001  # it keeps no other from being taken over
            _complain(sandbox.id, f"cannot be taken over: {error}")
            self._arm(sandbox)
            if sandbox.id not in self._running:
                sandbox.status = "stopped"

    async def _reattach(self, sandbox: Sandbox) -> None:
        if sandbox.expires_at is not None and sandbox.expires_at <= time.time():
            machine = await self._machines.find(sandbox, self._shelf.place(sandbox.id))
            if machine is not None:
                self._running[sandbox.id] = machine
            await self.delete(sandbox.id)
            return
        self._arm(sandbox)
        if sandbox.status == "stopped":
            return
        machine = await self._machines.find(sandbox, self._shelf.place(sandbox.id))
        if machine is not None:
            self._running[sandbox.id] = machine
            if sandbox.isolation != self._machines.isolation:
                _complain(
                    sandbox.id, f"goes on as it was started, with isolation {sandbox.isolation}"
                )
            return
        try:
            # Its files are here, its commands are not.
            await self._start(sandbox)
        except HopxError as error:
            _complain(sandbox.id, f"does not start: {error}")
            sandbox.status = "stopped"

    async def _start(self, sandbox: Sandbox, timeout_seconds: int | None = None) -> None:
        machine = await self._machines.start(sandbox, self._shelf.place(sandbox.id))
        before = sandbox.url, sandbox.status, sandbox.isolation
        sandbox.url, sandbox.status = machine.url, "running"
        sandbox.isolation = self._machines.isolation
        if timeout_seconds is not None:
            sandbox.expire_after(timeout_seconds)
        try:
            await asyncio.to_thread(self._shelf.save, sandbox)
        except BaseException:
            # What is written down nowhere would run on, known to nobody.
            sandbox.url, sandbox.status, sandbox.isolation = before
            await machine.stop(0.0)
            raise
        self._running[sandbox.id] = machine

    def _lock(self, sandbox_id: str) -> asyncio.Lock:
        self.get(sandbox_id)
        return self._locks[sandbox_id]

    def _arm(self, sandbox: Sandbox) -> None:
        self._disarm(sandbox.id)
        if sandbox.expires_at is not None:
            seconds = max(0.0, sandbox.expires_at - time.time())
            loop = asyncio.get_running_loop()
            self._timers[sandbox.id] = loop.call_later(seconds, self._expire, sandbox.id)

    def _disarm(self, sandbox_id: str) -> None:
        timer = self._timers.pop(sandbox_id, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, sandbox_id: str) -> None:
        loop = asyncio.get_running_loop()

        async def delete() -> None:
            try:
                await self.delete(sandbox_id)
            except Refused:
                return  # somebody was faster
            except Exception as error:  # noqa: BLE001  # nobody else would hear of it
                _complain(sandbox_id, f"has outlived its time: {error}")
                self._timers[sandbox_id] = loop.call_later(_AGAIN, self._expire, sandbox_id)

        task = asyncio.create_task(delete())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _complain(sandbox_id: str, what: str) -> None:
    sys.stderr.write(f"hopx-async: sandbox {sandbox_id} {what}\n")
