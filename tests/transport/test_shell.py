"""The seam of shells: what implements it says how programs run."""

from __future__ import annotations

import pytest

from hopx_async.transport.shell import Shell, ShellAnswer


def test_a_shell_that_cannot_run_is_none() -> None:
    """Whoever implements the seam implements all of it."""

    class Half(Shell):
        async def aclose(self) -> None:
            return

    with pytest.raises(TypeError, match="run"):
        Half()  # type: ignore[abstract]


def test_answers_are_values() -> None:
    """Equal answers are equal, whoever gave them."""
    assert ShellAnswer("out", "err", 3) == ShellAnswer("out", "err", 3)
