"""``python -m hopx_async.agent`` becomes the root, which starts keeper and agent."""

from __future__ import annotations

import runpy

__all__: list[str] = []

if __name__ == "__main__":
    runpy.run_module("hopx_async.keeper.root", run_name="__main__")
