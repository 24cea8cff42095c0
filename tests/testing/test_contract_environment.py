"""The checks of what commands are given are among all checks, and can fail."""

from __future__ import annotations

import pytest

from hopx_async.errors import CommandNotFound
from hopx_async.protocol.variables import Variables
from hopx_async.testing import MemoryAgent, ScriptedCommand, contract, memory, run
from hopx_async.testing.contract_environment import (
    ENVIRONMENT_CHECKS,
    ENVIRONMENT_SCRIPTS,
    usage_is_told_if_asked_for,
)


def test_they_are_among_all_checks() -> None:
    """Whoever runs CHECKS with SCRIPTS runs these as well."""
    assert set(ENVIRONMENT_CHECKS) < set(contract.CHECKS)
    assert ENVIRONMENT_SCRIPTS.items() <= contract.SCRIPTS.items()


class _Forgetful(Variables):
    """Variables on which nothing sticks, and that mask nothing."""

    def after(self, method: str, params: object) -> Variables:
        return self

    def to_mask(self, spec: object) -> list[str]:
        return []


@pytest.mark.parametrize("check", ENVIRONMENT_CHECKS[:2], ids=lambda check: check.__name__)
def test_a_far_side_without_them_breaks_the_contract(check: contract.Check) -> None:
    """Each check fails where the environment is not kept and nothing is masked."""

    async def main() -> None:
        agent = MemoryAgent(ENVIRONMENT_SCRIPTS)
        agent.commands.variables = _Forgetful()
        async with memory(agent=agent) as sandbox:
            await check(sandbox)

    with pytest.raises((AssertionError, CommandNotFound)):
        run(main())


def test_samples_that_nobody_asked_for_break_the_contract() -> None:
    """The check of usage fails where every command is sampled."""

    async def nosy(command: ScriptedCommand) -> int:
        command.spec["usage_interval"] = 1.0
        return await ENVIRONMENT_SCRIPTS["echo here; sleep 3600; echo gone"](command)

    async def main() -> None:
        scripts = dict.fromkeys(ENVIRONMENT_SCRIPTS, nosy)
        async with memory(scripts) as sandbox:
            await usage_is_told_if_asked_for(sandbox)

    with pytest.raises(AssertionError):
        run(main())
