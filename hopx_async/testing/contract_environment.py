"""Checks of what commands are given: the sandbox's variables, and masks over secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hopx_async.errors import InvalidArgument
from hopx_async.protocol.variables import MASKED
from hopx_async.sandbox import Sandbox
from hopx_async.secret import Secret
from hopx_async.testing.memory import ScriptedCommand

__all__ = [
    "ENVIRONMENT_CHECKS",
    "ENVIRONMENT_SCRIPTS",
    "commands_get_the_environment",
    "secrets_are_masked",
]

_SHOW = 'printf "%s %s\\n" "$FIRST" "$SECOND"'


async def _show(command: ScriptedCommand) -> int:
    first, second = command.env.get("FIRST", ""), command.env.get("SECOND", "")
    for byte in f"{first} {second}\n".encode():
        await command.stdout(bytes([byte]))
    return 0


#: What the commands of these checks do, for a far side without a shell.
ENVIRONMENT_SCRIPTS: dict[str, Callable[[ScriptedCommand], Awaitable[int]]] = {_SHOW: _show}


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


#: Every check, in the order of this file.
ENVIRONMENT_CHECKS: tuple[Callable[[Sandbox], Awaitable[None]], ...] = (
    commands_get_the_environment,
    secrets_are_masked,
)
