"""Checks of what goes with a command: the sandbox's variables, masks over secrets, usage."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from hopx_async.errors import InvalidArgument
from hopx_async.protocol.events import Event, Started, Usage
from hopx_async.protocol.variables import MASKED
from hopx_async.sandbox import Sandbox
from hopx_async.secret import Secret
from hopx_async.testing.memory import ScriptedCommand

__all__ = [
    "ENVIRONMENT_CHECKS",
    "ENVIRONMENT_SCRIPTS",
    "commands_get_the_environment",
    "secrets_are_masked",
    "usage_is_told_if_asked_for",
]

_IDLE = "echo here; sleep 3600; echo gone"
_SHOW = 'printf "%s %s\\n" "$FIRST" "$SECOND"'


async def _show(command: ScriptedCommand) -> int:
    first, second = command.env.get("FIRST", ""), command.env.get("SECOND", "")
    for byte in f"{first} {second}\n".encode():
        await command.stdout(bytes([byte]))
    return 0


async def _idle(command: ScriptedCommand) -> int:
    await command.stdout(b"here\n")
    while True:
        await anyio.sleep(1.0)
        await command.usage(cpu_seconds=0.1, rss_bytes=4096)


#: What the commands of these checks do, for a far side without a shell.
ENVIRONMENT_SCRIPTS: dict[str, Callable[[ScriptedCommand], Awaitable[int]]] = {
    _SHOW: _show,
    _IDLE: _idle,
}


async def commands_get_the_environment(sandbox: Sandbox) -> None:
    """What is set counts for commands started later, names are told, values never."""
    await sandbox.env.set({"FIRST": "geheim", "SECOND": "2"})
    assert (await sandbox.commands.run(_SHOW)).stdout == "geheim 2\n"
    await sandbox.env.update({"SECOND": None})
    assert (await sandbox.commands.run(_SHOW, env={"FIRST": "own"})).stdout == "own \n"
    told = await sandbox.env.get_all()
    assert told == {"FIRST": MASKED, "SECOND": None}
    try:
        await sandbox.env.set(told)
    except InvalidArgument:
        pass
    else:
        raise AssertionError("the mark was taken for a value")
    await sandbox.env.delete("FIRST")
    await sandbox.env.delete("FIRST")
    assert (await sandbox.commands.run(_SHOW)).stdout == " \n"


async def secrets_are_masked(sandbox: Sandbox) -> None:
    """Secrets of the sandbox and of the start are stars in output, of the same length."""
    await sandbox.env.set({"FIRST": Secret("geheimnis")})
    env = {"SECOND": Secret("hunter2")}
    masked = await sandbox.commands.run(_SHOW, env=env, mask_secrets=True)
    assert masked.stdout == "********* *******\n"
    assert (await sandbox.commands.run(_SHOW, env=env)).stdout == "geheimnis hunter2\n"
    listed = repr(await sandbox.commands.list())
    assert "geheimnis" not in listed
    assert "hunter2" not in listed


async def usage_is_told_if_asked_for(sandbox: Sandbox) -> None:
    """Samples come among the output, in order, of the command that asked and of no other."""
    quiet = await sandbox.commands.start(_IDLE)
    assert not (await quiet.info()).usage_interval
    handle = await sandbox.commands.start(_IDLE, usage_interval=0.1)
    events: list[Event] = []
    async for event in handle.events():
        events.append(event)
        if sum(isinstance(event, Usage) for event in events) == 2:
            break
    await handle.kill(grace=0)
    await quiet.kill(grace=0)
    samples = [event for event in events if isinstance(event, Usage)]
    assert isinstance(events[0], Started)
    assert samples[0].rss_bytes > 0
    assert samples[0].cpu_seconds <= samples[1].cpu_seconds
    assert [line.text async for line in handle.lines()] == ["here"]
    assert not any([isinstance(event, Usage) async for event in quiet.events()])


#: Every check, in the order of this file.
ENVIRONMENT_CHECKS: tuple[Callable[[Sandbox], Awaitable[None]], ...] = (
    commands_get_the_environment,
    secrets_are_masked,
    usage_is_told_if_asked_for,
)
