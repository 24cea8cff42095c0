"""The contract checks, on the memory sandbox and on the real agent alike."""

from __future__ import annotations

import inspect
import sys

import pytest

import hopx_async as hopx
from hopx_async.testing import (
    contract,
    contract_environment,
    contract_files,
    contract_input,
    contract_needs,
    memory,
    run,
)
from hopx_async.testing.contract import CHECKS, SCRIPTS, Check


def name_of(check: Check) -> str:
    """Return a check's name, for the report."""
    return check.__name__


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_memory_keeps_the_contract(check: Check) -> None:
    """The memory sandbox passes each check on virtual time."""

    async def main() -> None:
        async with memory(SCRIPTS) as sandbox:
            await check(sandbox)

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="the local agent needs Linux")
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
async def test_local_keeps_the_contract(check: Check) -> None:
    """The embedded agent passes each check with real processes."""
    async with hopx.local() as sandbox:
        await check(sandbox)


def test_checks_are_all_listed() -> None:
    """CHECKS holds every check of the modules, in their order."""
    found = [
        value
        for module in (
            contract,
            contract_input,
            contract_environment,
            contract_files,
            contract_needs,
        )
        for value in vars(module).values()
        if getattr(value, "__module__", "") == module.__name__
        and inspect.iscoroutinefunction(value)
        and not value.__name__.startswith("_")
    ]

    assert found == list(CHECKS)
