"""Isolation as it must be seen: what a command inside of namespaces reaches, and what is left.

Whoever runs this is root or not; as root, the whole file runs once more as an ordinary user.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hopx_async as hopx
from hopx_async.errors import Unsupported
from tests.support.agents import scope_members
from tests.support.namespaces import as_nobody, can_become_nobody, needs_isolation

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = needs_isolation


async def said(sandbox: hopx.Sandbox, command: str) -> str:
    """Return what a command that must succeed prints."""
    return (await sandbox.commands.run(command, check=True)).stdout


async def test_the_host_is_not_there() -> None:
    """Homes, other sandboxes and temporary files cannot be read; the system not be written."""
    with tempfile.TemporaryDirectory() as place:
        secret = Path(place) / "secret"
        secret.write_text("hunter2")
        async with hopx.local() as other:
            theirs = (await said(other, "pwd")).strip()
            await other.commands.run("echo hunter2 > mine", check=True)
            async with hopx.local(isolation="namespace") as sandbox:
                assert sandbox.capabilities.isolation == "namespace"
                for path in (secret, theirs, Path.home() / ".profile", "/etc/shadow", "/home"):
                    assert not (await sandbox.commands.run(["cat", str(path)])).ok
                    assert not (await sandbox.commands.run(["ls", f"{path}/"])).ok
                for path in ("/x", "/usr/x", "/etc/x", "/proc/sys/kernel/core_pattern"):
                    assert not (await sandbox.commands.run(f": 2>/dev/null >> {path}")).ok
                assert "hunter2" not in await said(sandbox, "cat /proc/*/environ 2>&1; true")


async def test_the_workspace_is_theirs() -> None:
    """A workspace of the user's is /workspace and HOME inside, is written, and stays."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "in").write_text("from outside")
        async with hopx.local(isolation="namespace", workspace=place) as sandbox:
            assert await said(sandbox, "pwd; echo $HOME") == "/workspace\n/workspace\n"
            assert await said(sandbox, "cat in; echo from inside > out") == "from outside"
            assert await said(sandbox, "echo $TMPDIR; touch /tmp/x; ls /tmp") != ""
        assert (Path(place) / "out").read_text() == "from inside\n"


async def test_only_its_own_processes_are_there() -> None:
    """The listing of processes holds the sandbox's few, the agent's first, and no other's."""
    async with hopx.local(isolation="namespace") as sandbox:
        handle = await sandbox.commands.start("exec sleep 300")
        command = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done"
        lines = (await said(sandbox, command)).splitlines()
        assert "--luggage-fd" in lines[0]
        assert "sleep 300 " in lines
        assert len(lines) < 12
        await handle.kill(grace=0)


async def test_no_network_when_forbidden() -> None:
    """A server on the host's loopback is reached if that is allowed, and not if it is not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        async with hopx.local(isolation="namespace", internet_access=False) as closed:
            assert not closed.capabilities.internet_access
            assert not (await closed.commands.run(connect)).ok
            # Its own loopback is there, and so is the way to the agent.
            assert "lo:" in await said(closed, "cat /proc/net/dev")
        async with hopx.local(isolation="namespace") as opened:
            assert (await opened.commands.run(connect)).ok


async def test_the_agent_keeps_its_secrets() -> None:
    """Neither the token nor a log is found by path or through the processes of the agent."""
    with tempfile.TemporaryDirectory() as place:
        state = Path(place) / "state"
        async with hopx.local(isolation="namespace", state_dir=state) as sandbox:
            token = (state / "token").read_text().strip()
            look = "cat /proc/[123]/fd/*/token /proc/[123]/environ /proc/[123]/cmdline"
            mine = await sandbox.commands.run(f"{look}; ls {state}; grep -rs HOPX_NONE {place}")
            assert token not in mine.stdout
            assert "Permission denied" in mine.stderr
            for pid in (1, 2, 3):
                assert not (await sandbox.commands.run(f": < /proc/{pid}/mem")).ok
        assert (state / "logs").is_dir()


async def test_it_keeps_its_past_and_can_be_found_again() -> None:
    """Detached, it is attached to, killed by its pid, and a new one lists its commands."""
    with tempfile.TemporaryDirectory() as place:
        state = Path(place) / "state"
        async with hopx.local(isolation="namespace", state_dir=state, detached=True) as first:
            await first.commands.run("echo once", process_id="once")
            running = await first.commands.start("exec sleep 300", process_id="on")
        async with hopx.local(isolation="namespace", state_dir=state, detached=True) as again:
            assert again.capabilities.isolation == "namespace"
            assert (await again.commands.get("on")).process_id == running.process_id
            with pytest.raises(Unsupported, match="internet"):
                await hopx.local(
                    isolation="namespace", internet_access=False, state_dir=state, detached=True
                )
            await again.kill()
        assert scope_members(again.sandbox_id) == []
        async with hopx.local(isolation="namespace", state_dir=state) as later:
            assert (await (await later.commands.get("once")).output()).stdout == "once\n"
            fate = await (await later.commands.get("on")).wait()
            assert fate.reason == "sandbox_stopped"
    _reap()


@pytest.mark.parametrize("victim", ["client", "watcher", "root", "nobody"])
def test_its_end_leaves_no_process(victim: str) -> None:
    """Whoever dies, no process is left, escaped ones included."""
    with tempfile.TemporaryDirectory() as place:
        program = Path(place) / "client.py"
        program.write_text(_CLIENT)
        python = {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}
        command = [sys.executable, str(program), place]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=python) as client:
            assert client.stdout is not None
            root, watcher, sandbox_id = client.stdout.readline().split()
            inside = _below(int(root))
            assert len(inside) >= 6
            pidfds = [os.pidfd_open(pid) for pid in (int(root), int(watcher), *inside)]
            victims = {"client": client.pid, "watcher": int(watcher), "root": int(root)}
            if victim == "nobody":
                client.terminate()
            else:
                os.kill(victims[victim], signal.SIGKILL)
            for fd in pidfds:
                assert select.select([fd], [], [], 60)[0], "something lives on"
                os.close(fd)
            assert scope_members(sandbox_id) == []
            client.kill()
    _reap()


_CLIENT = """
import asyncio, json, signal, sys
from pathlib import Path
import hopx_async as hopx

async def main():
    state = Path(sys.argv[1]) / "state"
    async with hopx.local(isolation="namespace", state_dir=state, grace=0.5) as sandbox:
        await sandbox.commands.start("trap '' TERM; sleep 300 & sleep 300")
        await sandbox.commands.run("env -i setsid sh -c 'sleep 300 >/dev/null 2>&1 &'")
        root = json.loads((state / "agent.json").read_text())["pid"]
        watcher = Path(f"/proc/{root}/status").read_text().split("PPid:")[1].split()[0]
        print(root, watcher, sandbox.sandbox_id, flush=True)
        told = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
        await told.wait()
        await sandbox.kill()

asyncio.run(main())
"""


@pytest.mark.bench
async def test_isolation_costs_nothing_per_command(
    record_property: Callable[[str, object], None],
) -> None:
    """A command that starts, ends and is heard of takes the same time inside as outside."""
    async with hopx.local() as bare, hopx.local(isolation="namespace") as jailed:
        took: dict[str, list[float]] = {"none": [], "namespace": []}
        for _ in range(300):
            # In turns, so that whatever else goes on here meets both.
            for name, sandbox in (("none", bare), ("namespace", jailed)):
                begun = time.perf_counter()
                await sandbox.commands.run(["true"])
                took[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(times) for name, times in took.items()}
    record_property("medians", medians)
    assert medians["namespace"] < 1.5 * medians["none"]


def _reap() -> None:
    """Wait for the orphans that became this process's children; all of them are ending."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_below(int(child))]
    return found


@pytest.mark.skipif(not can_become_nobody(), reason="only root can become somebody else")
def test_all_of_it_as_an_ordinary_user() -> None:
    """Every other test of this file holds for a user without privileges."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        as_nobody([*command, "-k", "not ordinary"]),
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": "/var/tmp", "HOME": "/var/tmp"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " skipped" not in done.stdout, done.stdout
