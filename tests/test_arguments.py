"""Arguments, checked at the boundary."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from hopx_async.arguments import check_flag, check_last, check_stream, new_collector, signal_name
from hopx_async.errors import InvalidArgument


@pytest.mark.parametrize("given", ["INT", "SIGINT", signal.SIGINT, 2])
def test_a_signal_has_one_name(given: Any) -> None:
    """A signal may be given in any of the usual ways."""
    assert signal_name(given) == "SIGINT"


@pytest.mark.parametrize("given", ["", "SIGSEGV", "sigint", 0, 99, True, None, b"INT"])
def test_what_is_no_signal_is_refused(given: Any) -> None:
    """A signal that cannot be sent is refused by name, with those that can."""
    with pytest.raises(InvalidArgument, match="SIGTERM"):
        signal_name(given)


@pytest.mark.parametrize("given", [0, -1, 1.5, "1", True])
def test_what_is_no_number_of_lines_is_refused(given: Any) -> None:
    """last is a number above 0, and stands alone."""
    with pytest.raises(InvalidArgument, match="last"):
        check_last(given, None)
    with pytest.raises(InvalidArgument, match="not both"):
        check_last(1, "cursor")
    check_last(1, None)
    check_last(None, "cursor")


@pytest.mark.parametrize("given", ["", "stdin", 1])
def test_what_is_no_stream_is_refused(given: Any) -> None:
    """A stream is stdout or stderr."""
    with pytest.raises(InvalidArgument, match="stream"):
        check_stream(given)
    check_stream("stdout")
    check_stream(None)


@pytest.mark.parametrize(("max_bytes", "keep"), [(0, None), (True, None), ("1", None), (1, "head")])
def test_what_is_no_bound_is_refused(max_bytes: Any, keep: Any) -> None:
    """A bound is a number of bytes, and what is kept has one name."""
    with pytest.raises(InvalidArgument):
        new_collector(max_bytes, keep)


@pytest.mark.parametrize("given", ["no", "", 0, 1, None])
def test_only_true_and_false_are_flags(given: Any) -> None:
    """What Python would take for either is refused: a misread flag may leave a sandbox running."""
    with pytest.raises(InvalidArgument, match="detached="):
        check_flag("detached", given)
    check_flag("detached", value=False)
