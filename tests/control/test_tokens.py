"""Tests of hopx_async.control.tokens."""

from __future__ import annotations

import time

import jwt

from hopx_async.control.records import Sandbox
from hopx_async.control.tokens import LIFETIME_SECONDS, issue


def test_a_token_is_signed_with_the_sandboxs_secret() -> None:
    """It names the sandbox and its end, and is good for much longer than clients refresh."""
    secret = "7a" * 64
    sandbox = Sandbox(id="1x", template="base", token_secret=secret, created_at=1.5)
    token, expires = issue(sandbox)
    claims = jwt.decode(token, bytes.fromhex(secret), algorithms=["HS256"])

    assert (claims["sub"], claims["exp"]) == ("1x", expires)
    assert token.startswith("eyJ")
    assert LIFETIME_SECONDS - 5 < expires - time.time() <= LIFETIME_SECONDS
