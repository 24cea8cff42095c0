"""Tests of hopx_async.transport.open_calls."""

from __future__ import annotations

import msgspec
import pytest

from hopx_async.errors import ClosedError, ConnectionLost, NotFoundError
from hopx_async.protocol import wire
from hopx_async.protocol.link import Link
from hopx_async.transport.open_calls import OpenCalls


def linked() -> tuple[Link, OpenCalls]:
    link = Link()
    link.connected(1)
    return link, OpenCalls(link, "the far side")


def said(link: Link) -> list[str]:
    return [control["t"] for control in msgspec.json.decode(link.data_to_send(1) or "[]")]


async def test_answers_find_who_asked() -> None:
    """A result and an error come to their calls; what nobody waits for is ignored."""
    _, calls = linked()
    one, two = calls.put(1, "hello", {}), calls.put(1, "info", {})
    error = wire.error_to_dict(NotFoundError("no such thing"))
    calls.answer(wire.Reply(two.number, error=error))
    calls.answer(wire.Reply(one.number, result={"a": 1}))
    calls.answer(wire.Reply(one.number, result={"a": 2}))

    assert await one.answer == {"a": 1}
    with pytest.raises(NotFoundError, match="no such thing"):
        await two.answer
    assert len(calls) == 0


async def test_what_has_not_left_is_taken_back() -> None:
    """A call that is forgotten before it was sent is not sent; its late answer harms nobody."""
    link, calls = linked()
    gone, sent = calls.put(1, "hello", {}), calls.put(1, "info", {})
    calls.forget(gone)
    assert said(link) == ["hello", "call"]
    calls.forget(sent)
    calls.answer(wire.Reply(sent.number, result={}))

    assert not sent.answer.done()
    assert len(calls) == 0


async def test_a_lost_connection_fails_all() -> None:
    """Open calls fail with what is said, or with ConnectionLost; a cancelled one is left alone."""
    _, calls = linked()
    one, cancelled = calls.put(1, "hello", {}), calls.put(1, "hello", {})
    cancelled.answer.cancel()
    calls.drop()
    two = calls.put(1, "hello", {})
    calls.drop(ClosedError("closed"))

    with pytest.raises(ConnectionLost, match="the far side"):
        await one.answer
    with pytest.raises(ClosedError):
        await two.answer
    assert len(calls) == 0
