"""The tokens that open a sandbox's agent: signed with the sandbox's own secret."""

from __future__ import annotations

import time

from hopx_async.control.records import Sandbox

__all__ = ["LIFETIME_SECONDS", "issue"]

#: Seconds that a token is good for. One that is refreshed stays good until then, too:
#: HopX's JavaScript client goes on using the old one.
LIFETIME_SECONDS = 24 * 3600.0


def issue(sandbox: Sandbox) -> tuple[str, float]:
    """Return a fresh token for *sandbox*, and the Unix time at which it expires."""
    import jwt

    now = time.time()
    expires = int(now + LIFETIME_SECONDS)
    claims = {"sub": sandbox.id, "iat": int(now), "exp": expires}
    return jwt.encode(claims, bytes.fromhex(sandbox.token_secret), algorithm="HS256"), expires
