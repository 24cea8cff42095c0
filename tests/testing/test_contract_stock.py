"""The contract checks on an emulated stock agent: all that needs neither input nor terminals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hopx_async.protocol import rate
from hopx_async.providers.stock import stock_capabilities
from hopx_async.testing.contract import CHECKS, Check, checks_for
from hopx_async.testing.contract_needs import NEEDS
from tests.support.stock import stock_sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulation needs Linux")
KEPT = checks_for(stock_capabilities({}), CHECKS)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll often: what is tested is not how long a poll waits."""
    monkeypatch.setattr(rate, "FIRST_TICK", 0.02)
    monkeypatch.setattr(rate, "LAST_TICK", 0.05)


@pytest.mark.parametrize("check", KEPT, ids=lambda check: check.__name__)
async def test_a_stock_agent_keeps_the_contract(check: Check, tmp_path: Path) -> None:
    """Real processes, by markers, over HTTP."""
    async with stock_sandbox(tmp_path) as place:
        await check(place.sandbox)


def test_what_is_left_out_needs_an_agent_of_ours() -> None:
    """Input, terminals, variables of the sandbox, masks and usage: nothing else is missing."""
    needs = {need for check in set(CHECKS) - set(KEPT) for need in NEEDS[check]}
    assert needs == {"stdin", "pty", "env", "mask_secrets", "usage"}
