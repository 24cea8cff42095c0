"""Which checks a far side keeps, and that one which claims less than it does is found out."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from hopx_async.model import Capabilities
from hopx_async.testing import ScriptedCommand, memory, run
from hopx_async.testing.contract import CHECKS, SCRIPTS
from hopx_async.testing.contract_needs import NEEDS, checks_for, what_is_lacking_is_refused

NOTHING = Capabilities(agent="x", version="1")


async def leave(_: ScriptedCommand) -> int:
    """Do nothing."""
    return 0


def test_what_a_check_needs_is_a_capability() -> None:
    """Every need is a name of `Capabilities`, and belongs to a check that there is."""
    names = {field.name for field in attrs.fields(Capabilities)}
    assert {need for needs in NEEDS.values() for need in needs} <= names
    assert NEEDS.keys() <= set(CHECKS)


def test_a_far_side_keeps_what_it_can() -> None:
    """Whoever can do everything keeps all; whoever can do nothing, what needs nothing."""
    can: dict[str, Any] = {need: True for one in NEEDS.values() for need in one}
    everything = attrs.evolve(NOTHING, **can)
    assert checks_for(everything, CHECKS) == CHECKS
    least = checks_for(NOTHING, CHECKS)
    assert set(CHECKS) - set(least) == NEEDS.keys()
    assert what_is_lacking_is_refused in least


def test_who_does_what_it_says_it_cannot_is_found_out() -> None:
    """The check fails where input is said to be lacking, and is taken."""

    async def main() -> None:
        async with memory({**SCRIPTS, "exit 0": leave}) as sandbox:
            await what_is_lacking_is_refused(sandbox)
            sandbox.capabilities = attrs.evolve(sandbox.capabilities, stdin=False)
            with pytest.raises(AssertionError, match="Unsupported was not raised"):
                await what_is_lacking_is_refused(sandbox)

    run(main())
