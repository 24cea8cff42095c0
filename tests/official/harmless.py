"""Hooks for schemathesis: nothing that it makes up is run, and some of what it asks for exists."""

from __future__ import annotations

import os
from typing import Any

import schemathesis

__all__ = ["tame"]

#: By the key of a body: what stands there instead of a text.
_TAME = {"command": "echo", "code": "0"}


def tame(_context: Any, case: Any, _options: Any) -> None:
    """Replace what would be executed; every other lawful case asks for what is there."""
    if isinstance(case.body, dict):
        for name, harmless in _TAME.items():
            text = case.body.get(name)
            if isinstance(text, str) and text:
                case.body[name] = harmless
            elif isinstance(text, list) and text:
                case.body[name] = [harmless, *text[1:]]
    lawful = case.meta is not None and case.meta.generation.mode.is_positive
    if lawful and case.method != "DELETE":
        for place, name in (("path_parameters", "sandbox_id"), ("query", "path")):
            values, known = getattr(case, place), os.environ.get(f"HOPX_FUZZ_{name.upper()}")
            if known and values and len(str(values.get(name, ""))) % 2:
                values[name] = known


schemathesis.hook("before_call")(tame)
