"""The processes of this machine, as far as the operating system lets them be seen."""

from __future__ import annotations

import asyncio
from typing import Any

from hopx_async.agent.dialect.answers import Refused

__all__ = ["extra", "system_processes"]

_ASKED = ("pid", "name", "status", "cmdline", "username", "cpu_percent", "memory_info")
_MIB = 1024 * 1024


def extra(module: str) -> Refused:
    """Return the no of an agent to which a *module* is missing."""
    message = f"this needs {module}: pip install 'hopx-async[serve]'"
    return Refused("NOT_IMPLEMENTED", message, status=501)


async def system_processes() -> list[dict[str, Any]]:
    """Return a row for each process.

    Raises:
        Refused: If psutil is not installed.
    """
    return await asyncio.to_thread(_look)


def _look() -> list[dict[str, Any]]:
    try:
        import psutil
    except ImportError:
        raise extra("psutil") from None
    rows = []
    for process in psutil.process_iter(_ASKED):
        seen = process.info
        memory = seen["memory_info"]
        name = seen["name"] or ""
        rows.append(
            {
                "pid": seen["pid"],
                "name": name,
                "command": " ".join(seen["cmdline"] or ()) or f"[{name}]",
                "user": seen["username"] or "",
                "status": seen["status"] or "",
                "cpu_percent": seen["cpu_percent"] or 0.0,
                "memory_mb": round(memory.rss / _MIB, 1) if memory else 0.0,
            }
        )
    return rows
