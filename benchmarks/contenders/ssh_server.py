"""An asyncssh server for the contender `ssh`: any command, by ``sh -c``; it prints its port."""

from __future__ import annotations

import asyncio
import sys

import asyncssh

from benchmarks.worker import use_pidfd_watcher

__all__: list[str] = []

_PIECE = 256 * 1024


class _Open(asyncssh.SSHServer):
    """Lets everybody in: it listens on loopback for one client."""

    def begin_auth(self, username: str) -> bool:
        return False


async def _run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    child = await asyncio.create_subprocess_exec(
        *("sh", "-c", process.command or "true"), stdin=asyncio.subprocess.DEVNULL, stdout=-1
    )
    if child.stdout is None:
        raise AssertionError("stdout was asked for as a pipe")
    # asyncssh's own redirect, ended by the child's exit, loses the connection on long output.
    while data := await child.stdout.read(_PIECE):
        process.stdout.write(data)
        await process.stdout.drain()
    process.exit(await child.wait())


async def _serve() -> None:
    use_pidfd_watcher()
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Open,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=_run,
        encoding=None,
    )
    print(server.get_port(), flush=True)
    # The client's end is the end.
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
