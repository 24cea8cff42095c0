"""What is wrong with an argument, as a value; and the checks of terminals and limits."""

from __future__ import annotations

__all__ = [
    "LIMITS",
    "OVERFLOWS",
    "Problem",
    "problem_with_limits",
    "problem_with_overflow",
    "problem_with_size",
]

#: What a command may do when its log is full: lose the oldest output, or wait for its readers.
OVERFLOWS = ("drop", "wait")

#: What a start may limit, with the least and the greatest value.
LIMITS = {
    "cpu_seconds": (1, 2**31 - 1),
    "address_space_bytes": (1, 2**62),
    "open_files": (3, 2**31 - 1),
    "file_size_bytes": (0, 2**62),
    "nice": (0, 19),
    "processes": (1, 2**31 - 1),
}
# Characters of a wrong value that a sentence shows.
_SHOWN = 100
_MOST_CELLS = 65535


class Problem:
    """What is wrong with an argument: its name, its value as shown, and the rule it breaks."""

    __slots__ = ("parameter", "rule", "value")

    def __init__(self, parameter: str, value: object, rule: str) -> None:
        self.parameter = parameter
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}... ({len(shown)} characters)"
        self.value = shown
        self.rule = rule

    def __str__(self) -> str:
        return f"{self.parameter}={self.value}: {self.rule}"


def problem_with_size(parameter: str, size: object) -> Problem | None:
    """Return what is wrong with the rows and columns of a terminal, or None."""
    good = isinstance(size, (list, tuple)) and len(size) == 2
    if good and all(_is_whole(cells, 1, _MOST_CELLS) for cells in size):  # type: ignore[attr-defined]
        return None
    return Problem(parameter, size, f"rows and columns, whole numbers from 1 to {_MOST_CELLS}")


def problem_with_overflow(overflow: object) -> Problem | None:
    """Return what is wrong with what a full log means, or None."""
    if isinstance(overflow, str) and overflow in OVERFLOWS:
        return None
    return Problem("overflow", overflow, f"one of {', '.join(OVERFLOWS)}")


def problem_with_limits(limits: object) -> Problem | None:
    """Return what is wrong with what a command may use, or None."""
    if not isinstance(limits, (dict, type(None))):
        return Problem("limits", limits, "limits map names to whole numbers")
    for name, value in (limits or {}).items():
        if name not in LIMITS:
            return Problem("limits", name, f"one of {', '.join(LIMITS)}")
        if value is not None and not _is_whole(value, *LIMITS[name]):
            least, most = LIMITS[name]
            rule = f"a whole number from {least} to {most}, or None for no limit"
            return Problem(f"limits.{name}", value, rule)
    return None


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
