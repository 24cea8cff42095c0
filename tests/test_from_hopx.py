"""The long example of ``docs/howto/from-hopx.md`` on every kind of far side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hopx_async as hopx
from hopx_async.testing import ScriptedCommand, memory
from tests.support.stock import stock_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "from-hopx.md"


def shown() -> tuple[str, str]:
    """Return the program and what the page says it prints."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## All of it\n")[2]
    pattern = r"```python\n((?:(?!```).)*def workflow.*?)```\n\n```text\n(.*?)```"
    [(program, printed)] = re.findall(pattern, section, re.DOTALL)
    return str(program), str(printed)


async def clean(command: ScriptedCommand) -> int:
    await command.stdout(b"1200 rows cleaned\n")
    return 0


async def train(command: ScriptedCommand) -> int:
    await command.stdout(b"accuracy 0.93\n")
    return 0


async def report(command: ScriptedCommand) -> int:
    await command.stderr(b"no figures for June\n")
    return 1


@pytest.fixture(params=["local", "memory", "stock"])
async def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[hopx.Sandbox]:
    """A sandbox of each kind."""
    if request.param == "local":
        async with hopx.local() as one:
            yield one
    elif request.param == "memory":
        scripts = {"process_data": clean, "train_model": train, "generate_report": report}
        async with memory({f"python3 {k}.py": one for k, one in scripts.items()}) as one:
            yield one
    else:
        async with stock_sandbox(tmp_path) as place:
            yield place.sandbox


async def test_the_table_is_the_same_everywhere(
    sandbox: hopx.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints what the page shows: on our agent, on a stock agent, in memory."""
    program, printed = shown()
    names: dict[str, Any] = {}
    exec(compile(program.replace("asyncio.run(main())", ""), str(PAGE), "exec"), names)  # noqa: S102  # the page
    await names["workflow"](sandbox)

    assert capsys.readouterr().out == printed
