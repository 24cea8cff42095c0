"""Handshakes of TLS that fail, and would fail the same way again."""

from __future__ import annotations

import ssl

from hopx_async.errors import TlsError

__all__ = ["hopeless"]

# OpenSSL's words for what only another far side, or another address, changes. What may be the
# haste of one that starts (an alert without a reason, an early end) is not among them.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})
_NO_COMMON_VERSION = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})
# Its numbers (X509_V_ERR_...) for certificates that are trusted, but not this one here or now.
_NOT_NOW = frozenset({9, 10})
_NOT_HERE = frozenset({62, 64})


def hopeless(name: str, error: BaseException) -> TlsError | None:
    """Return the error that *error* of a connection to *name* is, None if it may pass."""
    if isinstance(error, ssl.SSLCertVerificationError):
        # Those that OpenSSL did not make lack what it knows.
        problem: str = getattr(error, "verify_message", "") or str(error)
        advice = _advice(getattr(error, "verify_code", 0))
        return TlsError(f"cannot trust {name}: {problem.rstrip('.')}; {advice}")
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    if reason in _NO_TLS:
        return TlsError(f"{name} speaks no TLS: is it http://, or another port?")
    if reason in _NO_COMMON_VERSION:
        return TlsError(f"{name} speaks no version of TLS that is spoken here: {reason}")
    return None


def _advice(code: int) -> str:
    if code in _NOT_NOW:
        return "it needs another certificate, or one of the clocks is wrong"
    if code in _NOT_HERE:
        return "use a name that stands in its certificate"
    return (
        "if its certificate, or that of its authority, is to be trusted, name the file that "
        "holds it as SSL_CERT_FILE in the environment in which Python starts"
    )
