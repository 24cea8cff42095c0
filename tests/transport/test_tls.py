"""Far sides that cannot be trusted, and never will be: told at once, with what helps."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys

import pytest

import hopx_async as hopx
from hopx_async.errors import AuthenticationError, TlsError
from hopx_async.transport.tls import hopeless
from hopx_async.transport.websocket import open_channel
from tests.support.tls import CERTIFICATE, secured

ASKS = """
import asyncio, sys
import hopx_async as hopx

async def main():
    async with hopx.Client(api_key="k", base_url=sys.argv[1]) as client:
        await client.get_template("base")

try:
    asyncio.run(main())
except hopx.HopxError as error:
    print(type(error).__name__, error)
"""


def refused(reason: str, *, verify_code: int = 0, message: str = "") -> ssl.SSLError:
    """Return an error as the ssl module makes it."""
    kind = ssl.SSLCertVerificationError if message else ssl.SSLError
    error = kind(1, f"[SSL: {reason}]")
    error.reason = reason
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_code, error.verify_message = verify_code, message
    return error


async def test_an_untrusted_certificate_is_told_at_once() -> None:
    """A door does not try for minutes what waiting does not mend; the error says what does."""
    async with secured() as server:
        url = f"https://localhost:{server.port}"
        with pytest.raises(TlsError, match=rf"{url}: self-signed certificate; .*SSL_CERT_FILE"):
            await hopx.remote(url, token="t", give_up_after=10_000)
        assert server.requests == 0


async def test_a_create_is_not_looked_for_where_nobody_is_trusted() -> None:
    """Nothing was sent, so that there is nothing that may be left."""
    async with secured() as server:
        url = f"https://localhost:{server.port}"
        with pytest.raises(TlsError, match="cannot trust"):
            await hopx.Sandbox.create(api_key="k", base_url=url, give_up_after=10_000)
        assert server.requests == 0


async def test_a_websocket_needs_a_certificate_that_is_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The link is refused like a call; with the certificate named it gets through."""
    async with secured() as server:
        url = f"wss://localhost:{server.port}/v1/link"
        with pytest.raises(TlsError, match="cannot trust there: self-signed certificate"):
            await open_channel(url, {}, name="there")
        assert server.requests == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        with pytest.raises(AuthenticationError):
            await open_channel(url, {}, name="there", refused=lambda *_: AuthenticationError("no"))
        assert server.requests == 1


@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_an_address_without_tls_is_told_at_once(scheme: str) -> None:
    """A server of plain HTTP behind an https address is no outage."""
    async with secured(tls=False) as server:
        url = f"{scheme}://localhost:{server.port}"
        with pytest.raises(TlsError, match="speaks no TLS"):
            if scheme == "wss":
                await open_channel(url, {}, name="there")
            await hopx.remote(url, token="t", give_up_after=10_000)


@pytest.mark.parametrize(
    ("host", "said"),
    [("localhost", "AuthenticationError"), ("127.0.0.1", "TlsError cannot trust")],
)
async def test_the_advice_helps(host: str, said: str) -> None:
    """SSL_CERT_FILE makes a certificate trusted, for the names that stand in it."""
    async with secured() as server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ASKS, f"https://{host}:{server.port}"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "SSL_CERT_FILE": str(CERTIFICATE)},
        )
        told, _ = await program.communicate()

    assert told.decode().startswith(said)
    assert ("use a name that stands in its certificate" in told.decode()) == (host != "localhost")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refused("CERTIFICATE_VERIFY_FAILED", verify_code=10, message="expired"), "the clocks"),
        (refused("CERTIFICATE_VERIFY_FAILED", verify_code=62, message="x."), "x; use a name"),
        (refused("CERTIFICATE_VERIFY_FAILED", verify_code=20, message="x"), "SSL_CERT_FILE"),
        (refused("WRONG_VERSION_NUMBER"), "speaks no TLS"),
        (refused("TLSV1_ALERT_PROTOCOL_VERSION"), "no version of TLS"),
    ],
)
def test_what_will_not_pass_says_why(error: ssl.SSLError, said: str) -> None:
    """Each kind has its sentence, with the far side's name."""
    told = hopeless("https://there", error)
    assert told is not None
    assert "https://there" in str(told)
    assert said in str(told)


@pytest.mark.parametrize(
    "error",
    [
        refused("TLSV1_ALERT_INTERNAL_ERROR"),
        ssl.SSLEOFError(8, "[SSL: UNEXPECTED_EOF_WHILE_READING]"),
        ConnectionResetError("reset"),
    ],
)
def test_what_may_pass_is_tried_again(error: BaseException) -> None:
    """A far side that only starts may break a handshake off."""
    assert hopeless("there", error) is None
