"""Sending a command its input while its output is read, so that neither waits for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from hopx_async.errors import StdinClosed
from hopx_async.handle import CommandHandle

__all__ = ["fed"]

T = TypeVar("T")


async def fed(handle: CommandHandle, data: bytes, reading: Coroutine[Any, Any, T]) -> T:
    """Return what *reading* returns, while *data* and the end of the input are sent.

    A command that does not read all of it is no error. Cancelling it cancels both.

    Raises:
        HopxError: Why *reading* failed, or why *data* could not be sent.
    """
    reader = asyncio.ensure_future(reading)
    feeder = asyncio.ensure_future(_feed(handle, data))
    try:
        await asyncio.wait([reader, feeder], return_when=asyncio.FIRST_COMPLETED)
        if feeder.done():
            feeder.result()
        return await reader
    finally:
        reader.cancel()
        feeder.cancel()
        await asyncio.gather(reader, feeder, return_exceptions=True)


async def _feed(handle: CommandHandle, data: bytes) -> None:
    try:
        await handle.send_stdin(data)
        await handle.close_stdin()
    except StdinClosed:
        pass  # as a shell's pipe: the rest is nobody's
