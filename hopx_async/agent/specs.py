"""Specs as they come: made whole, told apart, and without what nobody is to see."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from hopx_async.model import refuse
from hopx_async.protocol import lifecycle

__all__ = ["digest_of", "normal_spec", "public_spec"]

_UNSEEN = frozenset({"env", "secrets"})
_canonical = msgspec.json.Encoder(order="sorted")


def normal_spec(params: dict[str, Any]) -> dict[str, Any]:
    """Return a full spec with everything in it that *params* may leave out.

    Raises:
        InvalidArgument: If something in it breaks a rule.
    """
    refuse(lifecycle.problem_with_spec(params))
    timeout, idle_timeout = params.get("timeout"), params.get("idle_timeout")
    pty = params.get("pty")
    limits = params.get("limits") or {}
    interval = params.get("usage_interval")
    masked = params.get("mask_secrets", False)
    return {
        "process_id": params["process_id"],
        "command": params["command"],
        "env": params.get("env") or {},
        "working_dir": params.get("working_dir"),
        "timeout": None if timeout is None else float(timeout),
        "name": params.get("name"),
        "tags": params.get("tags") or {},
        "merge_stderr": params.get("merge_stderr", False) or pty is not None,
        "idle_timeout": None if idle_timeout is None else float(idle_timeout),
        "stdin": params.get("stdin", False) or pty is not None,
        "pty": pty,
        "overflow": params.get("overflow", "drop"),
        "limits": {name: limits[name] for name in limits if limits[name] is not None} or None,
        "usage_interval": None if interval is None else float(interval),
        "mask_secrets": masked,
        "secrets": sorted({*(params.get("secrets") or ())}) if masked else [],
    }


def digest_of(spec: Mapping[str, Any], secret: bytes) -> str:
    """Return what tells two full specs apart without telling what is in them."""
    return hmac.digest(secret, _canonical.encode(spec), "sha256").hex()


def public_spec(spec: Mapping[str, Any], digest: str) -> bytes:
    """Return as JSON what may be shown of a full spec, made now.

    Left out is what everybody takes for granted: false, null, empty, and ``overflow`` if it is
    "drop". It is kept for each command, and read and written several times.
    """
    public = {name: value for name, value in spec.items() if value and name not in _UNSEEN}
    if public["overflow"] == "drop":
        del public["overflow"]
    if spec["env"]:
        public["env_names"] = sorted(spec["env"])
    public["spec_digest"] = digest
    public["created_at"] = time.time()
    return msgspec.json.encode(public)
