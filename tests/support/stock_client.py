"""A client of an emulated stock sandbox as a process of its own, for tests that kill it.

``python -m tests.support.stock_client URL SANDBOX_ID start COMMAND ID`` starts a command,
says so and waits; ``... read ID CURSOR`` prints what is behind a cursor, and the end.
"""

from __future__ import annotations

import asyncio
import sys

from hopx_async.providers.stock import open_stock
from tests.support.shells import quick
from tests.support.stock import Nothing, StockAccess

__all__ = ["main"]


async def main(url: str, sandbox_id: str, what: str, *arguments: str) -> None:
    """Open the sandbox and do one of the two."""
    access = StockAccess(url, quick())
    try:
        async with await open_stock(access, sandbox_id, Nothing(), {}, give_up_after=30) as sandbox:
            if what == "start":
                await sandbox.commands.start(arguments[0], process_id=arguments[1])
                print("started", flush=True)  # noqa: T201
                await asyncio.Event().wait()
            handle = await sandbox.commands.get(arguments[0])
            async for line in handle.lines(after=arguments[1] or None):
                print(line.text, flush=True)  # noqa: T201
            print(await handle.wait(), flush=True)  # noqa: T201
    finally:
        await access.http.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
