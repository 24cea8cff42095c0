"""Secrets with real processes: nowhere in what is stored, told or listed."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import pytest

import hopx_async as hopx
from hopx_async.protocol.variables import MASKED
from tests.support.agents import running_agent, scope_members

SECRET = "s3cr3t-k3y-of-nobody"  # noqa: S105  # it opens nothing
PLAIN = "pl41n-v4lue-of-nobody"
LEAK = """
import os, sys, time
for stream, name in ((sys.stdout, "KEY"), (sys.stderr, "API")):
    for character in f"<{os.environ[name]}>\\n":
        stream.write(character); stream.flush(); time.sleep(0.001)
sys.stdout.write(os.environ["KEY"][:-1]); sys.stdout.flush()
sys.exit(1)
"""


def files_with(directory: Path, text: str) -> list[str]:
    """Return the names of files below *directory* that hold *text*."""
    return sorted(
        path.name
        for path in directory.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    )


def titles(pids: list[int]) -> str:
    """Return the command lines of processes, as ``ps`` shows them."""
    return " ".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)


async def test_a_secret_is_masked_everywhere(tmp_path: Path) -> None:
    """Printed byte by byte with flushes: stars in events, text, tail and the log's files."""
    state = tmp_path / "state"
    async with hopx.local(state_dir=state) as sandbox:
        await sandbox.env.set({"API": hopx.Secret(SECRET[::-1])})
        env = {"KEY": hopx.Secret(SECRET)}
        handle = await sandbox.commands.start(
            [sys.executable, "-c", LEAK], env=env, mask_secrets=True, process_id="leak"
        )
        with pytest.raises(hopx.CommandFailed) as caught:
            await handle.wait(check=True)
        stars = b"*" * len(SECRET)
        events = [event async for event in handle.events()]
        out = b"".join(event.data for event in events if isinstance(event, hopx.Stdout))
        err = b"".join(event.data for event in events if isinstance(event, hopx.Stderr))

        assert out == b"<" + stars + b">\n" + SECRET[:-1].encode()
        assert err == b"<" + stars + b">\n"
        assert (await handle.output()).stdout_bytes == out
        assert [line.text for line in [x async for x in handle.lines(stream="stderr")]] == [
            f"<{stars.decode()}>"
        ]
        # Whole it stands nowhere; what is no whole secret is not hidden.
        assert SECRET.encode() not in caught.value.tail
        assert stars in caught.value.tail
        shown = repr([events, handle, await handle.info(), caught.value, sandbox])
        assert SECRET not in shown
        assert SECRET[::-1] not in shown
        assert files_with(state, SECRET) == []
        assert files_with(state, SECRET[::-1]) == ["env.json"]


async def test_the_environment_outlives_the_agent(tmp_path: Path) -> None:
    """After kill -9 of the agent it is there, and under a new root on the same state, too."""
    state = tmp_path / "state"
    async with running_agent(state) as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            await sandbox.env.set({"A": PLAIN})
            os.kill(agent.agent_pid, signal.SIGKILL)
            assert await sandbox.env.get_all() == {"A": MASKED}
            assert (await sandbox.commands.run(["printenv", "A"])).stdout == f"{PLAIN}\n"
    async with running_agent(state) as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            assert (await sandbox.commands.run(["printenv", "A"])).stdout == f"{PLAIN}\n"


async def test_values_are_seen_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No title of a process, no listing, no stderr and no file but one of mode 0600 has a value."""
    state = tmp_path / "state"
    async with running_agent(state) as agent:
        async with hopx.remote(agent.url, token=agent.token) as sandbox:
            await sandbox.env.set({"A": PLAIN, "B": hopx.Secret(SECRET)})
            env: dict[str, str | hopx.Secret] = {"C": PLAIN, "D": hopx.Secret(SECRET)}
            argv = ["sh", "-c", "echo up; exec sleep 60"]
            handle = await sandbox.commands.start(argv, env=env, mask_secrets=True)
            await anext(handle.lines())  # a moment before, /proc has no environment for it
            with pytest.raises(hopx.InvalidArgument) as refused:
                await sandbox.commands.start("true", env={"C": PLAIN}, mask_secrets=True, name="")
            ours = [agent.pid, agent.agent_pid, os.getpid(), *scope_members(sandbox.sandbox_id)]
            shown = repr(
                [
                    *(titles(ours), str(refused.value), sandbox, sandbox.env, handle),
                    *(await sandbox.commands.list(), await sandbox.statistics()),
                    *(await sandbox.env.get_all(), hopx.CommandSpec.make("true", env=env)),
                ]
            )
            assert handle.pid in ours
            await handle.kill(grace=0)
        told = capfd.readouterr()
        for value in (PLAIN, SECRET):
            assert value not in shown + told.out + told.err
            assert files_with(state, value) == ["env.json"]
        assert stat.S_IMODE((state / "env.json").stat().st_mode) == 0o600
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
