"""Tokens as a server that knows the sandbox's secret could have made them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["expire"]


def expire(state: Path, sandbox_id: str, **claims: Any) -> str:
    """Return a token of this sandbox that was good until a minute ago."""
    record = json.loads((state / "sandboxes" / sandbox_id / "sandbox.json").read_text())
    now = int(time.time())
    told = {"sub": sandbox_id, "iat": now - 3600, "exp": now - 60, **claims}
    return jwt.encode(told, bytes.fromhex(record["token_secret"]), algorithm="HS256")
