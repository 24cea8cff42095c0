"""What is wrong with an argument."""

from __future__ import annotations

import pytest

from hopx_async.protocol.problems import (
    LIMITS,
    Problem,
    problem_with_limits,
    problem_with_size,
)


def test_problem_is_a_sentence_of_bounded_length() -> None:
    """A problem names the argument, shows its value, cut if it is long, and the rule."""
    assert str(Problem("grace", -1, "0 or more")) == "grace=-1: 0 or more"
    long = Problem("command", "x" * 1000, "shorter")

    assert len(long.value) < 150
    assert "1002 characters" in long.value


@pytest.mark.parametrize("size", [(1, 1), [24, 80], (65535, 65535)])
def test_size_of_a_terminal_is_two_numbers(size: object) -> None:
    """Rows and columns are whole numbers within what a terminal can be told."""
    assert problem_with_size("pty", size) is None


@pytest.mark.parametrize(
    "size", [(0, 1), (1, 65536), (1,), (1, 2, 3), 5, "24x80", (1.0, 2), (True, 2), None]
)
def test_other_sizes_are_refused(size: object) -> None:
    """Anything else is named."""
    problem = problem_with_size("pty", size)

    assert problem is not None
    assert problem.parameter == "pty"


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_has_its_bounds(name: str) -> None:
    """The least and the greatest value are taken, and None; those beyond are refused."""
    least, most = LIMITS[name]
    for value in (least, most, None):
        assert problem_with_limits({name: value}) is None
    for wrong in (least - 1, most + 1, True, 1.5, "1"):
        problem = problem_with_limits({name: wrong})
        assert problem is not None
        assert problem.parameter == f"limits.{name}"


@pytest.mark.parametrize("limits", [[], 1, {"stack": 1}, {1: 1}])
def test_what_is_no_limit_is_refused(limits: object) -> None:
    """Names that nobody knows and what is no mapping are refused; nothing is no limit."""
    problem = problem_with_limits(limits)

    assert problem is not None
    assert problem.parameter == "limits"
    assert problem_with_limits(None) is problem_with_limits({}) is None
