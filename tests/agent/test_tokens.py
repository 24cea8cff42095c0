"""Tests of hopx_async.agent.tokens, alone and through an agent that serves."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from hopx_async.agent.tokens import TokenError, verifier
from tests.agent.harness import TOKEN, serving

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "7a" * 64
OTHER = "7b" * 64


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    claims = {"sub": "sbx_test", "exp": time.time() + 3600, **claims}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, bytes.fromhex(secret), algorithm=algorithm)


def unsigned() -> str:
    """Return a token that says itself that nobody need sign it."""
    parts = [{"alg": "none", "typ": "JWT"}, {"sub": "sbx_test", "exp": 2**40}]
    texts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
    return ".".join([*texts, ""])


BAD = {
    "expired": (token(exp=time.time() - 1), "TOKEN_EXPIRED"),
    "another key": (token(OTHER), "TOKEN_INVALID"),
    "another sandbox": (token(sub="sbx_other"), "TOKEN_INVALID"),
    "nobody": (token(sub=None), "TOKEN_INVALID"),
    "for ever": (token(exp=None), "TOKEN_INVALID"),
    "unsigned": (unsigned(), "TOKEN_INVALID"),
    "another algorithm": (token(algorithm="HS512"), "TOKEN_INVALID"),
    "not yet": (token(nbf=time.time() + 1800), "TOKEN_INVALID"),
    "cut": (token()[:-4], "TOKEN_INVALID"),
    "no token": ("eyJ", "TOKEN_INVALID"),
    "empty key": (token("00" * 64), "TOKEN_INVALID"),
    "long": ("x" * 5000, "TOKEN_INVALID"),
}


@pytest.mark.parametrize("name", BAD)
async def test_forged_tokens_open_nothing(tmp_path: Path, name: str) -> None:
    """Forged, expired and foreign tokens are 401 with HopX's code; nothing is started."""
    text, word = BAD[name]
    verify = verifier(SECRET, "sbx_test")
    assert verify is not None
    with pytest.raises(TokenError):
        verify(text)
    async with serving(tmp_path / "s", token_secret=SECRET) as server:
        headers = {"Authorization": f"Bearer {text}"}
        for path in ("/commands/run", "/execute/kill/x", "/nowhere"):
            status, told = await server.ask("POST", path, headers=headers, json={"command": "x"})
            assert (status, told["code"]) == (401, word)
            assert told["error"] == told["message"] == "Invalid or expired token"
        status, told = await server.ask("PUT", "/v1/commands/x", headers=headers, json={})
        assert (status, told["error"]["code"]) == (401, "unauthorized")
        assert server.keeper.requests == []


async def test_a_good_token_and_the_agents_own(tmp_path: Path) -> None:
    """Every token that is whole and not expired opens the agent, beside its own."""
    async with serving(tmp_path / "s", token_secret=SECRET) as server:
        for text in (token(), token(exp=time.time() + 5, iat=time.time()), TOKEN):
            headers = {"Authorization": f"Bearer {text}"}
            assert (await server.ask("GET", "/execute/processes", headers=headers))[0] == 200


async def test_without_a_secret_no_token_is_taken(tmp_path: Path) -> None:
    """An agent that no control plane started takes its own token alone."""
    async with serving(tmp_path / "s") as server:
        headers = {"Authorization": f"Bearer {token()}"}

        assert (await server.ask("GET", "/env", headers=headers))[0] == 401
