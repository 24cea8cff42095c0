"""The control plane's tokens, as its agents check them: HS256 with the sandbox's own secret."""

from __future__ import annotations

from collections.abc import Callable

from hopx_async.errors import AuthenticationError

__all__ = ["TokenError", "verifier"]

_ALGORITHMS = ["HS256"]
_MAX_TOKEN = 4096


class TokenError(AuthenticationError):
    """A token that opens nothing here.

    Attributes:
        word: HopX's code for it.
    """

    def __init__(self, word: str) -> None:
        super().__init__("Invalid or expired token")
        self.word = word


def verifier(secret: str | None, sandbox_id: str) -> Callable[[str], None] | None:
    """Return what raises `TokenError` unless a token is this sandbox's, whole, and not expired.

    Args:
        secret: Key of the sandbox's tokens, as hex; None where there are none.
        sandbox_id: What a token must name as its subject.
    """
    if secret is None:
        return None
    import jwt

    key = bytes.fromhex(secret)

    def verify(token: str) -> None:
        if len(token) > _MAX_TOKEN:
            raise TokenError("TOKEN_INVALID")
        try:
            claims = jwt.decode(
                token, key, algorithms=_ALGORITHMS, options={"require": ["exp", "sub"]}
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("TOKEN_EXPIRED") from None
        except jwt.InvalidTokenError:
            raise TokenError("TOKEN_INVALID") from None
        if claims["sub"] != sandbox_id:
            raise TokenError("TOKEN_INVALID")

    return verify
