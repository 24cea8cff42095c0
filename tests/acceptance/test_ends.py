"""Ends: of leaders, trees, clients and sandboxes. Nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

import hopx_async as hopx
from tests.support.agents import descriptors_of, running_agent, scope_members


async def test_a_thousand_commands_over_one_socket(tmp_path: Path) -> None:
    """A thousand live commands, all waited for, each with its own code; no descriptor for any."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    async with running_agent(tmp_path / "state") as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            await sandbox.commands.run(["true"])
            before = descriptors_of(os.getpid()), descriptors_of(agent.agent_pid)
            handles = await asyncio.gather(
                *(
                    sandbox.commands.start(["sh", "-c", f"read x < {fifo}; exit {number % 256}"])
                    for number in range(1000)
                )
            )
            waits = [asyncio.create_task(handle.wait()) for handle in handles]
            assert len(await sandbox.commands.list(status="running")) == 1000
            after = descriptors_of(os.getpid()), descriptors_of(agent.agent_pid)
            assert after[0] - before[0] <= 4
            assert after[1] - before[1] <= 16
            # Opening for reading waits for a writer, reading for its end: all go at once.
            with fifo.open("wb"):
                pass
            await _release(fifo, waits)
            fates = await asyncio.gather(*waits)
    assert [fate.exit_code for fate in fates] == [number % 256 for number in range(1000)]


async def _release(fifo: Path, waits: list[asyncio.Task[hopx.Exit]]) -> None:
    # A shell that had not yet opened the pipe when its writer closed waits for the next one.
    while not all(wait.done() for wait in waits):
        with contextlib.suppress(OSError):  # no reader at this moment
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        await asyncio.wait(waits, timeout=0.05)


async def test_a_grandchild_does_not_hold_back_the_exit() -> None:
    """wait returns after the leader's exit although a child holds the pipes; kill ends that."""
    async with hopx.local() as sandbox:
        handle = await sandbox.commands.start("sleep 300 & echo bye")
        fate = await handle.wait()
        assert (fate.reason, fate.exit_code, fate.survivors) == ("exited", 0, 1)
        assert (await handle.output()).stdout == "bye\n"
        assert scope_members(sandbox.sandbox_id) != []
        assert await handle.kill() == fate
        assert scope_members(sandbox.sandbox_id) == []


async def test_a_daemon_that_hides_is_killed(tmp_path: Path) -> None:
    """Double fork, setsid, no environment, TERM ignored: kill leaves nothing of it."""
    pid_file, hidden = tmp_path / "pid", tmp_path / "hidden"
    told = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}"
    hidden.write_text(f"trap '' TERM; {told}; sleep 300")
    script = (
        f"env -i PATH=$PATH setsid sh -c '(sh {hidden} >/dev/null 2>&1 </dev/null &)'; "
        f"while [ ! -e {pid_file} ]; do sleep 0.05; done; sleep 300"
    )
    async with hopx.local() as sandbox, hopx.local() as other:
        handle = await sandbox.commands.start(script, process_id="same")
        bystander = await other.commands.start("exec sleep 300", process_id="same")
        path = anyio.Path(pid_file)
        while not await path.exists():
            await anyio.sleep(0.02)
        pid = int(await path.read_text())
        assert Path(f"/proc/{pid}").exists()
        fate = await handle.kill(grace=0.5)
        assert fate.reason == "killed"
        assert not Path(f"/proc/{pid}").exists()
        assert (await bystander.info()).status == "running"


async def test_a_time_limit_ends_the_whole_tree() -> None:
    """timeout reaches children too, also those that ignore TERM."""
    async with hopx.local() as sandbox:
        handle = await sandbox.commands.start(
            "trap '' TERM; sh -c 'trap \"\" TERM; sleep 300' & sleep 300", timeout=0.2
        )
        fate = await handle.kill(grace=0)
        assert fate.reason in {"timed_out", "killed"}
        assert scope_members(sandbox.sandbox_id) == []
        other = await sandbox.commands.start("sleep 300 & sleep 300", timeout=0.2)
        assert (await other.wait()).reason == "timed_out"
        await other.kill()
        assert scope_members(sandbox.sandbox_id) == []


CLIENT = """
import asyncio, json
import hopx_async as hopx

async def main():
    async with hopx.local() as sandbox:
        handles = [
            await sandbox.commands.start("setsid sleep 300 & trap '' TERM; sleep 300; sleep 300")
            for _ in range(3)
        ]
        root = sandbox._lease._root._process.pid
        print(json.dumps([sandbox.sandbox_id, root, str(sandbox._lease._home)]), flush=True)
        await handles[0].wait()

asyncio.run(main())
"""


@pytest.mark.leaves_orphans
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
async def test_a_client_that_is_killed_leaves_nothing(number: signal.Signals) -> None:
    """kill -9 of the client, or Ctrl-C, ends its agent, its commands and its files."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert client.stdout is not None
    sandbox_id, root, home = json.loads(await client.stdout.readline())
    assert scope_members(sandbox_id) != []
    root_fd = os.pidfd_open(root)
    try:
        client.send_signal(number)
        await client.communicate()
        await anyio.wait_readable(root_fd)
    finally:
        os.close(root_fd)
    assert scope_members(sandbox_id) == []
    assert not Path(home).exists()


TWICE = """
import asyncio, sys
import hopx_async as hopx

async def main():
    async with hopx.local(grace=3600) as sandbox:
        stubborn = "trap 'echo told >> told' TERM; echo up > up; while :; do sleep 0.05; done"
        if sys.argv[1] == "run":
            # Its own grace is shorter: what ends it is seen in the time that it takes.
            sandbox.commands.run.__globals__["lifecycle"].GRACE = 3600
            started = asyncio.create_task(sandbox.commands.run(stubborn))
        else:
            await sandbox.commands.start(stubborn)
        print(sandbox.sandbox_id, (await sandbox.commands.run("pwd")).stdout.strip(), flush=True)
        await started if sys.argv[1] == "run" else await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.mark.parametrize("what", ["run", "sandbox"])
async def test_a_second_ctrl_c_loses_patience(what: str) -> None:
    """One Ctrl-C gives an hour of grace as asked; a second one while it lasts ends it at once."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TWICE, what, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert client.stdout is not None
    sandbox_id, workspace = (await client.stdout.readline()).decode().split()
    up, told = anyio.Path(workspace, "up"), anyio.Path(workspace, "told")
    while not await up.exists():
        await anyio.sleep(0.02)
    client.send_signal(signal.SIGINT)
    while not await told.exists():
        await anyio.sleep(0.02)
    assert client.returncode is None
    client.send_signal(signal.SIGINT)
    await client.communicate()
    assert scope_members(sandbox_id) == []


async def test_sandboxes_close_in_any_order() -> None:
    """Opened by one task and closed by another, gathered, out of order, by an exception."""
    first = await asyncio.create_task(hopx.local())
    second, third = await asyncio.gather(hopx.local(), hopx.local())
    handle = await first.commands.start("sleep 300")
    await asyncio.create_task(first.aclose())
    assert scope_members(first.sandbox_id) == []
    with pytest.raises(KeyError) as caught:
        async with third as entered:
            await second.aclose()
            await entered.commands.run("true", check=True)
            raise KeyError("mine")
    assert type(caught.value) is KeyError
    with pytest.raises(hopx.ClosedError):
        await handle.wait()


@pytest.mark.leaves_orphans
async def test_detached_commands_outlive_the_client(tmp_path: Path) -> None:
    """A detached sandbox is found again by its state directory, with its commands; kill ends it."""
    async with hopx.local(state_dir=tmp_path / "state", detached=True) as sandbox:
        handle = await sandbox.commands.start("exec sleep 300", name="long")
        ref = handle.ref
    async with hopx.local(state_dir=tmp_path / "state", detached=True) as again:
        assert again.sandbox_id == ref.sandbox
        found = await again.commands.get(ref)
        assert (await found.info()).status == "running"
        with pytest.raises(hopx.BusyError, match="state"):
            await hopx.local(state_dir=tmp_path / "state")
        await again.kill()
    assert scope_members(ref.sandbox) == []
