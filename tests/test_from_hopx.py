"""The long example of ``docs/howto/from-hopx.md`` on every kind of far side."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hopx_async as hopx
from hopx_async.testing import ScriptedCommand, memory
from tests.support.serving import Served
from tests.support.stock import stock_sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

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


@asynccontextmanager
async def created(*arguments: str) -> AsyncGenerator[hopx.Sandbox]:
    """A sandbox of a local server, by the door of the service."""
    served = await asyncio.to_thread(Served, *arguments)
    try:
        url, key = await asyncio.to_thread(served.announced)
        async with hopx.Sandbox.create("code-interpreter", base_url=url, api_key=key) as one:
            yield one
    finally:
        assert (await asyncio.to_thread(served.end))[0] == 0


@pytest.fixture(params=["local", "memory", "stock", "cloud", "cloud with stock agents"])
async def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[hopx.Sandbox]:
    """A sandbox of each kind, by each kind of door."""
    scripts = {"process_data": clean, "train_model": train, "generate_report": report}
    async with AsyncExitStack() as stack:
        if request.param == "local":
            yield await stack.enter_async_context(hopx.local())
        elif request.param == "memory":
            texts = {f"python3 {name}.py": script for name, script in scripts.items()}
            yield await stack.enter_async_context(memory(texts))
        elif request.param == "stock":
            yield (await stack.enter_async_context(stock_sandbox(tmp_path))).sandbox
        else:
            arguments = ("--agent", "stock") if "stock" in request.param else ()
            yield await stack.enter_async_context(created(*arguments))


async def test_the_table_is_the_same_everywhere(
    sandbox: hopx.Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints what the page shows: on our agent, on a stock agent, in memory, by each door."""
    program, printed = shown()
    names: dict[str, Any] = {}
    exec(compile(program.replace("asyncio.run(main())", ""), str(PAGE), "exec"), names)  # noqa: S102  # the page
    await names["workflow"](sandbox)

    assert capsys.readouterr().out == printed
