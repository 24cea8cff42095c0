"""sandbox.env: set for commands to come, told to nobody."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async.protocol.variables import MASKED
from hopx_async.testing import MemoryAgent, ScriptedCommand, VirtualTimeLoop
from tests.support.virtual import opened


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on virtual time."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def show(command: ScriptedCommand) -> int:
    """Print what a command sees."""
    lines = [f"{name}={value}\n" for name, value in sorted(command.env.items())]
    await command.stdout("".join(lines).encode())
    return 0


def agent() -> MemoryAgent:
    """Return an agent whose one command shows its variables."""
    return MemoryAgent({"env": show})


async def test_commands_started_later_get_it() -> None:
    """set replaces, update adds, delete takes away; a command's own variables win."""
    async with opened(agent()) as sandbox:
        await sandbox.env.set({"OLD": "1"})
        await sandbox.env.set({"A": "1", "B": "2", "C": None})
        await sandbox.env.update({"B": hopx.Secret("geheim"), "D": "4"})
        await sandbox.env.delete("D")
        await sandbox.env.delete("D")
        result = await sandbox.commands.run("env", env={"A": "own", "E": "5"})
        unset = await sandbox.commands.run("env", env={"A": None})

        assert result.stdout == "A=own\nB=geheim\nE=5\n"
        assert unset.stdout == "B=geheim\n"
        assert await sandbox.env.get_all() == {"A": MASKED, "B": MASKED, "C": None}


async def test_what_was_read_cannot_be_written_back() -> None:
    """The mark is refused as a value, and what was set stays."""
    async with opened(agent()) as sandbox:
        await sandbox.env.set({"A": "value"})
        with pytest.raises(hopx.InvalidArgument, match="not a value"):
            await sandbox.env.set(await sandbox.env.get_all())
        with pytest.raises(hopx.InvalidArgument, match="not a value"):
            await sandbox.env.update({"A": hopx.Secret(MASKED)})

        assert (await sandbox.commands.run("env")).stdout == "A=value\n"


@pytest.mark.parametrize(
    ("variables", "parameter"),
    [
        (None, "variables"),
        ([("A", "hush-hush")], "variables"),
        ({"": "x"}, "variables"),
        ({"A=B": "x"}, "variables"),
        ({"HOPX_SCOPE": "x"}, "variables"),
        ({"HOPX_PROCESS_ID": None}, "variables"),
        ({"A": 7}, "variables['A']"),
        ({"A": "hush-hush\0"}, "variables['A']"),
        ({"A": "hush-hush\ud800"}, "variables['A']"),
        ({"A": hopx.Secret("hush-hush\0")}, "variables['A']"),
        ({"A": hopx.Secret("hush-")}, "variables['A']"),
        ({"A": hopx.Secret("hush-" * 2000)}, "variables['A']"),
        ({str(number): hopx.Secret("hush-hush") for number in range(65)}, "secrets"),
    ],
)
async def test_bad_variables_are_refused_unseen(variables: Any, parameter: str) -> None:
    """What breaks a rule is named before anything is sent, and no value is shown."""
    far = agent()
    async with opened(far) as sandbox:
        far.stall()  # whatever is sent waits for ever
        for change in (sandbox.env.set, sandbox.env.update):
            with pytest.raises(hopx.InvalidArgument) as caught:
                await change(variables)
            assert caught.value.parameter == parameter
            assert "hush" not in str(caught.value)
        names: list[Any] = ["", "A=B", 7, None]
        for name in names:
            with pytest.raises(hopx.InvalidArgument) as caught:
                await sandbox.env.delete(name)
            assert caught.value.parameter == "name"


async def test_calls_can_be_cancelled_and_repeated() -> None:
    """A cancelled call is as if carried out or not; repeated after a lost answer it is the same."""
    far = agent()
    async with opened(far) as sandbox:
        calls: list[Any] = [
            sandbox.env.get_all,
            lambda: sandbox.env.set({"A": "1"}),
            lambda: sandbox.env.update({"B": "2"}),
            lambda: sandbox.env.delete("A"),
        ]
        for call in calls:
            far.stall()
            with anyio.move_on_after(1) as scope:
                await call()
            assert scope.cancelled_caught
            far.heal()
            far.lose_answers(1)
            await call()
        assert await sandbox.env.get_all() == {"B": MASKED}


async def test_masked_output_hides_the_secrets_of_both() -> None:
    """mask_secrets hides Secrets of the sandbox and of the start, in output and tail."""

    async def leak(command: ScriptedCommand) -> int:
        for byte in f"{command.env['A']} {command.env['B']} {command.env['C']}\n".encode():
            await command.stdout(bytes([byte]))
        await command.stderr(command.env["A"].encode()[:-1])
        return 1

    async with opened(MemoryAgent({"leak": leak})) as sandbox:
        await sandbox.env.set({"A": hopx.Secret("hunter2")})
        env: dict[str, str | hopx.Secret] = {"B": hopx.Secret("s3cret!"), "C": "hunter"}
        with pytest.raises(hopx.CommandFailed) as caught:
            await sandbox.commands.run("leak", env=env, mask_secrets=True, check=True)
        plain = await sandbox.commands.run("leak", env=env)

        assert caught.value.tail == b"******* ******* hunter\nhunter"
        assert plain.stdout == "hunter2 s3cret! hunter\n"
        (info, _) = await sandbox.commands.list()
        assert info.mask_secrets
        assert "s3cret" not in repr(info)


async def test_masking_needs_something_to_mask() -> None:
    """Without any Secret mask_secrets is refused: a plain text was most likely meant as one."""
    async with opened(agent()) as sandbox:
        with pytest.raises(hopx.InvalidArgument) as caught:
            await sandbox.commands.start("env", env={"A": "plain-text"}, mask_secrets=True)

        assert caught.value.parameter == "mask_secrets"
        assert await sandbox.commands.list() == []
