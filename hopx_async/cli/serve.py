"""``hopx-async serve``: the local server that HopX's official clients run against."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from hopx_async.control.machines import Machines
from hopx_async.errors import InvalidArgument, Unsupported

__all__ = ["AGENTS", "run_server"]

#: The agents that a server can give to its sandboxes.
AGENTS: dict[str, str] = {
    "ours": "commands that can be followed and killed",
    "stock": "an emulation of HopX's own agent with its flaws, for tests",
}
#: The program of each that is not our own.
_PROGRAMS = {"stock": ("hopx_async.testing.stock",)}
_NEEDED = ("jwt", "psutil", "watchfiles")


async def run_server(
    *,
    host: str,
    port: int,
    state_dir: Path | None,
    key_file: Path | None,
    max_sandboxes: int,
    isolation: str,
    agent: str,
    announce: bool,
) -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit status.

    Raises:
        Unsupported: Elsewhere than on Linux, without the extra ``serve``, and if the isolation
            that was asked for cannot be had.
        InvalidArgument: If an argument breaks a rule.
        OSError: If a file cannot be used.
    """
    if sys.platform != "linux":
        raise Unsupported(f"serve needs Linux, this is {sys.platform}")
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Unsupported(f"{', '.join(missing)} missing: pip install 'hopx-async[serve]'")
    if agent not in AGENTS:
        raise InvalidArgument("--agent", repr(agent), f"one of {', '.join(sorted(AGENTS))}")
    from hopx_async.control.server import serve
    from hopx_async.providers.isolation import resolve
    from hopx_async.providers.machines import AgentMachines
    from hopx_async.providers.root_process import OURS

    if agent != "ours" and isolation == "namespace":
        raise Unsupported(f"--isolation namespace needs an agent of ours, not {agent}")
    place = str(state_dir or tempfile.gettempdir())
    became, why = "none", f"the agent is {agent}" if isolation == "auto" else ""
    if agent == "ours":
        became, why = await asyncio.to_thread(resolve, isolation, place)
    if why:
        print(f"hopx-async: sandboxes run without isolation: {why}", file=sys.stderr, flush=True)

    def machines(address: str, detached: bool) -> Machines:
        program = _PROGRAMS.get(agent, OURS)
        return AgentMachines(address, detached=detached, program=program, isolation=became)

    def ready(facts: dict[str, Any]) -> None:
        if announce:
            print(json.dumps({"url": facts["url"], "api_key": facts["api_key"]}), flush=True)
            return
        print(f"serving at {facts['url']}; the API key is in {facts['key_file']}", flush=True)

    return await serve(
        machines,
        host=host,
        port=port,
        state_dir=state_dir,
        key_file=key_file,
        max_sandboxes=max_sandboxes,
        ready=ready,
    )
