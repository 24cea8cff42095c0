"""The same words for scripts and notebooks, without ``async``: every call blocks.

What is awaited there returns its value here, what is iterated by ``async for`` by
``for``, and what a door returns is open already::

    from hopx_async import blocking

    with blocking.local() as sandbox:
        job = sandbox.commands.start("make test")
        for line in job.lines():
            print(line.text)
        print(job.wait())

Values, events and errors are those of ``hopx_async``. Everything runs in one thread with
an event loop, which is there as long as something is open.
"""

from __future__ import annotations

from hopx_async.blocking.doors import (
    as_completed,
    group,
    local,
    merge,
    opened,
    pool,
    remote,
    through,
    wait_any,
)
from hopx_async.blocking.files import Files, FileWatch
from hopx_async.blocking.sandboxes import Client, Listing, Pool, PoolLease, Sandbox
from hopx_async.blocking.words import (
    AsCompleted,
    CommandHandle,
    Commands,
    Environment,
    EventStream,
    Group,
    GroupCompleted,
    LineStream,
    MapStream,
    MergedStream,
    TextStream,
)

__all__ = [
    "AsCompleted",
    "Client",
    "CommandHandle",
    "Commands",
    "Environment",
    "EventStream",
    "FileWatch",
    "Files",
    "Group",
    "GroupCompleted",
    "LineStream",
    "Listing",
    "MapStream",
    "MergedStream",
    "Pool",
    "PoolLease",
    "Sandbox",
    "TextStream",
    "as_completed",
    "group",
    "local",
    "merge",
    "opened",
    "pool",
    "remote",
    "through",
    "wait_any",
]
