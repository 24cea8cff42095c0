"""Interactive programs, and input that arrives whole whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import hopx_async as hopx
from tests.support.agents import running_agent

if TYPE_CHECKING:
    from pathlib import Path

_INPUT_BYTES = 20_000_000
_KILLS = 3


class Screen:
    """What a terminal has shown so far."""

    def __init__(self, job: hopx.CommandHandle) -> None:
        self._pieces = job.text(strip_ansi=True)
        self._seen = ""

    async def shows(self, text: str) -> None:
        """Wait until *text* is shown, behind what was waited for before."""
        async with asyncio.timeout(60):
            while text not in self._seen:
                self._seen += (await anext(self._pieces)).text
        self._seen = self._seen.partition(text)[2]


async def test_python_is_talked_to() -> None:
    """python3 -i answers what is typed, is interrupted by Ctrl-C, and ends by Ctrl-D."""
    async with hopx.local() as sandbox:
        argv = [sys.executable, "-i", "-q", "-c", "import time, os"]
        job = await sandbox.commands.start(argv, pty=(40, 120), env={"PYTHON_BASIC_REPL": "1"})
        screen = Screen(job)
        await screen.shows(">>> ")
        await job.send_stdin("print(6 * 7, os.get_terminal_size())\n")
        await screen.shows("42 os.terminal_size(columns=120, lines=40)")
        await screen.shows(">>> ")
        await job.send_stdin("print('go' + 'ing'); time.sleep(600)\n")
        await screen.shows("going")
        await job.send_stdin(b"\x03")
        await screen.shows("KeyboardInterrupt")
        await screen.shows(">>> ")
        # Python would else end by the signal that it was interrupted by last.
        await job.send_stdin("print('we' + 'll')\n")
        await screen.shows("well")
        await screen.shows(">>> ")
        await job.close_stdin()
        assert (await job.wait(check=True)).ok


async def test_bash_survives_its_agent(tmp_path: Path) -> None:
    """A shell in a terminal is typed to, resized and interrupted, across a kill -9 of the agent."""
    async with (
        running_agent(tmp_path / "state") as agent,
        hopx.remote(agent.url, token=agent.token) as sandbox,
    ):
        job = await sandbox.commands.start(["bash", "--norc", "-i"], pty=True, env={"PS1": "$ "})
        screen = Screen(job)
        await screen.shows("$ ")
        await job.send_stdin("stty size; echo $TERM; word=kept\n")
        await screen.shows("24 80\r\nxterm-256color\r\n")
        os.kill((await sandbox.statistics())["agent"]["pid"], signal.SIGKILL)
        assert await job.resize(50, 132)
        await job.send_stdin("stty size; echo $word, $COLUMNS\n")
        await screen.shows("50 132\r\nkept, 132\r\n")
        await job.send_stdin("echo wai''ting; read word\n")
        await screen.shows("waiting")
        await job.send_stdin(b"\x03")
        await screen.shows("$ ")
        await job.send_stdin("echo code $?; exit 9\n")
        await screen.shows("code 130")
        fate = await job.wait()
    assert (fate.reason, fate.exit_code) == ("exited", 9)


async def test_input_is_whole_although_the_agent_is_killed(tmp_path: Path) -> None:
    """20 MB through cat, the agent killed with -9 three times meanwhile: every byte, once."""
    data = b"".join(b"%09d\n" % number for number in range(_INPUT_BYTES // 10))
    digest, size, kills = hashlib.sha256(), 0, 0
    async with (
        running_agent(tmp_path / "state") as agent,
        hopx.remote(agent.url, token=agent.token) as sandbox,
    ):
        job = await sandbox.commands.start("exec cat", stdin=True)
        sending = asyncio.create_task(job.send_stdin(data))
        async for event in job.events():
            if isinstance(event, hopx.Stdout):
                digest.update(event.data)
                size += len(event.data)
            if kills < _KILLS and size > (kills + 1) * _INPUT_BYTES // (_KILLS + 2):
                assert not sending.done()
                os.kill((await sandbox.statistics())["agent"]["pid"], signal.SIGKILL)
                kills += 1
            if size == len(data):
                await sending
                await job.close_stdin()
    assert (size, kills) == (len(data), _KILLS)
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
