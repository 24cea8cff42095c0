"""Bodies of requests, as they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import HTTP

import pytest

from hopx_async.transport.bodies import JsonBody, MultipartBody

DATA = b"--\r\n\r\n--edge--" + bytes(range(256))


async def pieces() -> AsyncIterator[bytes]:
    """Yield some bytes."""
    yield DATA[:10]
    yield DATA[10:]


def test_an_object_is_sent_as_json() -> None:
    """Bytes in it travel as base64."""
    body = JsonBody({"path": "\u00fc", "content": b"\xff"})

    assert body.content() == '{"path":"\u00fc","content":"/w=="}'.encode()
    assert body.headers == {"Content-Type": "application/json"}


async def test_a_form_has_path_and_file_as_they_are() -> None:
    """What any parser of forms reads is what was given, each time it is sent, of known length."""
    path = '/workspace/a\r\n"b";\u00fc'
    body = MultipartBody(path, pieces, len(DATA))
    taken: list[int] = []
    body.taken = lambda: taken.append(1)

    first = b"".join([piece async for piece in body.content()])
    again = b"".join([piece async for piece in body.content()])

    assert first == again
    assert len(first) == int(body.headers["Content-Length"])
    assert len(taken) == 4
    head = f"Content-Type: {body.headers['Content-Type']}\r\n\r\n".encode()
    form = message_from_bytes(head + first, policy=HTTP)
    names = [part.get_param("name", header="content-disposition") for part in form.iter_parts()]
    raw = [part.split(b"\r\n\r\n", 1)[1] for part in first.split(b"\r\n--")[0:1]]
    assert names == ["path", "file"]
    assert raw == [path.encode()]
    assert first.endswith(DATA + f"\r\n--{form.get_boundary()}--\r\n".encode())


async def test_what_reading_raises_is_kept() -> None:
    """A source that fails leaves its error with the body."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError("the disk")

    body = MultipartBody("/workspace/a", broken, 2)
    with pytest.raises(OSError, match="the disk"):
        _ = [piece async for piece in body.content()]

    assert str(body.failure) == "the disk"
