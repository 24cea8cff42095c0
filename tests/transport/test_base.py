"""The seam: what has to be implemented, and nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from hopx_async.testing.memory import MemoryChannel, MemoryTransport
from hopx_async.transport.base import Channel, Transport
from hopx_async.transport.http import HttpTransport
from hopx_async.transport.websocket import WebSocketChannel


@pytest.mark.parametrize("kind", [Channel, Transport])
def test_the_seam_is_abstract(kind: Any) -> None:
    """A transport that lacks a method cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_the_seam_is_small() -> None:
    """A transport has three methods, a channel has three."""
    assert Transport.__abstractmethods__ == {"request", "connect", "aclose"}
    assert Channel.__abstractmethods__ == {"send", "receive", "aclose"}


def test_ours_stand_behind_it() -> None:
    """Everything that we ship is an implementation of the seam."""
    assert issubclass(MemoryTransport, Transport)
    assert issubclass(HttpTransport, Transport)
    assert issubclass(MemoryChannel, Channel)
    assert issubclass(WebSocketChannel, Channel)
