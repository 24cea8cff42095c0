"""Tests of hopx_async.keeper.mask: streams cut anywhere, against masking the whole text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hopx_async.keeper.mask import Masks, StreamMask
from hopx_async.protocol import records


def masked_whole(text: bytes, secrets: list[bytes]) -> bytes:
    """Return *text* with a star for each byte of each occurrence: the reference."""
    out = bytearray(text)
    for secret in secrets:
        for start in range(len(text) - len(secret) + 1):
            if text[start : start + len(secret)] == secret:
                out[start : start + len(secret)] = b"*" * len(secret)
    return bytes(out)


def may_begin(text: bytes, secrets: list[bytes]) -> int:
    """Return how long the longest suffix is with which a secret begins and does not end."""
    lengths = [
        length
        for secret in secrets
        for length in range(1, len(secret))
        if text.endswith(secret[:length])
    ]
    return max(lengths, default=0)


# Few letters, so that secrets occur, overlap and begin in each other.
letters = st.lists(st.sampled_from([b"a", b"b", b"c"])).map(b"".join)
secrets_of = st.lists(letters.filter(bool).map(lambda text: text[:7]), min_size=1, max_size=4)


@given(letters, secrets_of, st.lists(st.integers(0, 60)))
@example(b"zzsecret99", [b"zzsecret99", b"secret"], [8])
@example(b"aaaaaaaaaaaa", [b"aaaaaa"], [1, 2, 3, 5, 8])
@example(b"abcabcabc", [b"abcabc"], [6])
def test_cuts_make_no_difference(text: bytes, secrets: list[bytes], cuts: list[int]) -> None:
    """Cut anywhere, the output is that of masking the whole, byte for byte as long."""
    mask = StreamMask(secrets)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    told = b""
    for start, stop in pairwise([*places, len(text)]):
        told += mask.feed(memoryview(text)[start:stop])
        assert mask.held == may_begin(text[:stop], secrets)
        assert len(told) + mask.held == stop
    told += mask.end()

    assert told == masked_whole(text, secrets)
    assert mask.held == 0


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_a_secret_is_masked_however_it_is_written(size: int) -> None:
    """Byte by byte or at once: stars of the same length, and the rest as it was."""
    text = b"the key is s3cr3t-key, s3cr3t-ke!" * 20
    mask = StreamMask([b"s3cr3t-key"])
    told = b"".join(bytes(mask.feed(text[at : at + size])) for at in range(0, len(text), size))

    assert told + mask.end() == b"the key is **********, s3cr3t-ke!" * 20


def test_nothing_is_held_that_begins_no_secret() -> None:
    """A prompt without a newline is told at once, the beginning of a secret is not."""
    mask = StreamMask([b"hunter2"])

    assert bytes(mask.feed(b"password: ")) == b"password: "
    assert bytes(mask.feed(b"h")) == b""
    assert bytes(mask.feed(b"ello")) == b"hello"
    assert bytes(mask.feed(b"hunter")) == b""
    assert bytes(mask.end()) == b"hunter"
    assert bytes(mask.end()) == b""


def test_streams_do_not_mix() -> None:
    """What stdout holds back is no beginning for stderr."""
    masks = Masks(["hunter2", "geheim€"])

    assert bytes(masks.feed(records.STDOUT, b"hunt")) == b""
    assert bytes(masks.feed(records.STDERR, b"er2")) == b"er2"
    assert masks.held == 4
    assert bytes(masks.feed(records.STDOUT, b"er2")) == b"*******"
    assert bytes(masks.feed(records.STDERR, "geheim€".encode())) == b"*********"
    assert bytes(masks.end(records.STDOUT)) == b""
    assert bytes(Masks(["x"]).end(records.STDOUT)) == b""


@pytest.mark.parametrize("secret", [b"a" * 8192, b"a" * 8191 + b"b", b"ab" * 4096])
def test_repeating_secrets_take_few_looks(secret: bytes) -> None:
    """A secret of one letter in a megabyte of it is masked, and is not looked for at each byte."""
    text = b"a" * (1 << 20)
    mask = StreamMask([secret])
    told = bytes(mask.feed(text)) + bytes(mask.end())

    assert len(told) == len(text)
    assert told == (b"*" * len(text) if set(secret) == {97} and len(secret) == 8192 else text)
