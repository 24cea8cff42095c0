"""The part of the contract about input; `test_contract.py` runs it."""

from __future__ import annotations

from hopx_async.testing import contract, contract_input


def test_checks_of_input_are_all_listed() -> None:
    """CHECKS holds every check of the module, and the contract holds CHECKS and SCRIPTS."""
    found = [
        value
        for value in vars(contract_input).values()
        if getattr(value, "__module__", "") == contract_input.__name__
        and callable(value)
        and not value.__name__.startswith("_")
    ]

    assert found == list(contract_input.CHECKS)
    assert set(contract_input.CHECKS) < set(contract.CHECKS)
    assert contract_input.SCRIPTS.items() <= contract.SCRIPTS.items()
