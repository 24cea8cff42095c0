"""The local server's process: keys, its socket, its sandboxes, and a clean end."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from hopx_async.control.answers import MAX_BODY_BYTES
from hopx_async.control.front import Handler
from hopx_async.control.machines import Machines
from hopx_async.control.plane import MAX_SANDBOXES, Plane
from hopx_async.control.records import Shelf
from hopx_async.control.routes import ControlRoutes
from hopx_async.errors import BusyError, InvalidArgument

__all__ = ["ControlServer", "read_keys", "serve"]

_SHUTDOWN_SECONDS = 1.0
_ANY = {"", "0.0.0.0", "::"}  # noqa: S104  # named in order to be refused
_KEY_BYTES = 32


class ControlServer:
    """A control plane that listens.

    Args:
        state_dir: Where its sandboxes are.
        machines: Runs them.
        api_keys: What opens it.
        max_sandboxes: How many there may be.

    Attributes:
        url: Where it listens, once it does.
    """

    def __init__(
        self,
        state_dir: Path,
        machines: Machines,
        api_keys: list[str],
        *,
        max_sandboxes: int = MAX_SANDBOXES,
    ) -> None:
        self._plane = Plane(Shelf(state_dir / "sandboxes"), machines, max_sandboxes=max_sandboxes)
        routes = ControlRoutes(self._plane, api_keys)
        app = web.Application(middlewares=[routes.middleware()], client_max_size=MAX_BODY_BYTES)
        routes.add_to(app)
        self._runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._server: asyncio.Server | None = None
        self.url = ""

    async def open(self, host: str, port: int) -> None:
        """Take over the sandboxes that are there, then listen; if it cannot, they are left alone.

        Raises:
            InvalidArgument: If it cannot listen there.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        try:
            # Before they are taken over: what is, ends with this server.
            self._server = await loop.create_server(self._protocol, host, port, start_serving=False)
        except OSError as error:
            raise InvalidArgument("port", f"{host}:{port}", str(error.strerror)) from error
        await self._plane.open()
        await self._server.start_serving()
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._server.sockets[0].getsockname()[1]}"

    async def aclose(self, grace: float | None = None) -> None:
        """Listen no more, and end every agent with its commands."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        await self._plane.aclose(grace)

    def _protocol(self) -> asyncio.Protocol:
        server = self._runner.server
        assert server is not None
        # No access log: a request may say a key where none is looked for.
        nothing: Any = None
        return Handler(server, loop=asyncio.get_running_loop(), access_log=nothing)


def read_keys(state_dir: Path, key_file: Path | None) -> list[str]:
    """Return the keys in *key_file*, one a line; without one the state directory's own.

    Raises:
        InvalidArgument: If the file holds none.
        OSError: If it cannot be read.
    """
    own = state_dir / "api-key"
    if key_file is None and not own.exists():
        # Whole or not at all: half a key would be the key from then on.
        fresh = state_dir / "api-key.new"
        fresh.touch(mode=0o600)
        fresh.write_text(f"hopx_live_{secrets.token_hex(6)}.{secrets.token_urlsafe(_KEY_BYTES)}\n")
        fresh.replace(own)
    lines = (key_file or own).read_text(encoding="utf-8").splitlines()
    keys = [line.strip() for line in lines if line.strip()]
    if not keys:
        raise InvalidArgument("--api-key-file", repr(str(key_file or own)), "it holds no key")
    return keys


async def serve(
    machines: Callable[[str, bool], Machines],
    *,
    host: str,
    port: int,
    state_dir: Path | None,
    key_file: Path | None,
    max_sandboxes: int,
    ready: Callable[[dict[str, Any]], None],
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Args:
        machines: Makes what runs sandboxes, from the host and whether they outlive this process.
        host: Address for this server and the agents.
        port: Port of this server, 0 for any that is free.
        state_dir: Where the sandboxes are; None for a fresh directory, removed at the end.
        key_file: Holds the API keys, None for one of its own.
        max_sandboxes: How many sandboxes there may be.
        ready: Called once with url, key and the place of the key.

    Raises:
        InvalidArgument: If an argument breaks a rule.
        BusyError: If another server holds the state directory.
        OSError: If a file cannot be used.
    """
    if host in _ANY:
        raise InvalidArgument("--host", repr(host), "an address that clients can reach")
    if max_sandboxes < 1:
        raise InvalidArgument("--max-sandboxes", str(max_sandboxes), "1 or more")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    place = state_dir or Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="hopx-serve-"))
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _hold(place)
        try:
            keys = read_keys(place, key_file)
            # What is removed at the end may not outlive this process.
            runs = machines(host, state_dir is not None)
            server = ControlServer(place, runs, keys, max_sandboxes=max_sandboxes)
            try:
                await server.open(host, port)
                kept = str(key_file or place / "api-key")
                ready({"url": server.url, "api_key": keys[0], "key_file": kept})
                await stop.wait()
            finally:
                await server.aclose()
        finally:
            os.close(lock)
    finally:
        if state_dir is None:
            await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
    return 0


def _hold(state_dir: Path) -> int:
    fd = os.open(state_dir / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise BusyError(f"{state_dir} is held by another server") from None
    return fd
