"""What checks expect to be raised."""

from __future__ import annotations

import pytest

from hopx_async.testing.expecting import raises


async def fail(error: Exception | None) -> int:
    """Raise it, or return."""
    if error is not None:
        raise error
    return 3


async def test_the_error_is_returned_and_another_passes() -> None:
    """An error of the kind is the result; any other is raised, and none is a failure."""
    error = ValueError("x")
    assert await raises(ValueError, fail(error)) is error
    with pytest.raises(KeyError):
        await raises(ValueError, fail(KeyError("x")))
    with pytest.raises(AssertionError, match="ValueError was not raised, but 3 returned"):
        await raises(ValueError, fail(None))
