"""The root: binds the socket, holds the state directory, starts and restarts the others.

``python -m hopx_async.agent`` is this. It holds no command itself; it adopts and reaps
whatever the others leave behind, and looks through /proc for them.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys

from hopx_async.keeper.enter import arrive, enter, prepare
from hopx_async.keeper.options import Options, RootError, parse_arguments, read_config
from hopx_async.keeper.state import StateDir
from hopx_async.keeper.store import complain
from hopx_async.keeper.supervise import python_module
from hopx_async.keeper.supervisor import Root, say, url_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["listen", "main"]

_BACKLOG = 4096


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on *host* and *port*.

    Raises:
        RootError: ``address_in_use``, or ``invalid_argument`` if there is no such address.
    """
    where = f"{url_host(host)}:{port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise RootError.about("host", host, f"a host name or address ({error})") from error
    sock = socket.socket(family, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise RootError("address_in_use", f"{where} is in use by another program") from error
        raise RootError.about("host", where, f"an address to listen on ({error})") from error
    return sock


def main(
    arguments: Sequence[str] | None = None,
    *,
    agent_command: Sequence[str] | None = None,
    silence: float = 30.0,
) -> int:
    """Be the root; return the exit status.

    Args:
        arguments: The command line, None for the process's own.
        agent_command: What to run as the agent instead of ours (for tests).
        silence: Seconds without a word after which an agent counts as dead.
    """
    options = Options()
    try:
        options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
        if options.luggage_fd is not None:
            options, state, listening, said = arrive(options.luggage_fd)
            with socket.socket(fileno=listening) as sock:
                command = agent_command or python_module("hopx_async.agent.server")
                return Root(options, state, sock, agent_command=command, silence=silence).run(said)
        said = b""
        if options.parent_fd is not None:
            config = read_config(options.parent_fd)
            if config is None:
                return 0
            options.take_config(config[0])
            said = config[1]
            if options.detached and os.fork():
                # The one that goes on is nobody's child: whoever started it need not wait for it.
                os._exit(0)
        options.check()
        namespaces = prepare(options)
        state = StateDir(options.state_dir)
        _make_workspace(options.workspace or state.file("workspace"))
        with listen(options.host, options.port) as sock:
            if namespaces is not None:
                enter(namespaces, options, state, sock, said)
            command = agent_command or python_module("hopx_async.agent.server")
            root = Root(options, state, sock, agent_command=command, silence=silence)
            return root.run(said)
    except RootError as error:
        _say_failure(error, announce=options.announce)
        return 1
    finally:
        if options.ephemeral is not None:
            import shutil

            shutil.rmtree(options.ephemeral, ignore_errors=True)


def _make_workspace(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise RootError.about("workspace", path, f"a directory ({error})") from error


def _say_failure(error: RootError, *, announce: bool) -> None:
    if announce:
        # A parent reads it; it may know better than to bother its user.
        say(json.dumps(error.to_dict()))
    else:
        complain(str(error))


if __name__ == "__main__":
    sys.exit(main())
