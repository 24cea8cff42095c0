"""HopX's Python client. It has types, but not such as a strict checker would take: all is Any."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["AsyncSandbox", "Sandbox", "errors"]

_theirs = importlib.import_module("hopx_ai")
Sandbox: Any = _theirs.Sandbox
AsyncSandbox: Any = _theirs.AsyncSandbox
errors: Any = importlib.import_module("hopx_ai.errors")
