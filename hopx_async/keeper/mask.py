"""Hiding secrets in output, as it passes: the same length, whatever the reads cut apart."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Masks", "StreamMask"]

_STAR = b"*"


class StreamMask:
    """Masks one stream: every byte that belongs to an occurrence of a secret becomes a star.

    Occurrences may overlap. Held back is only the longest suffix that may be the
    beginning of one, hence at most a byte less than the longest secret has.

    Args:
        secrets: What is to be hidden, none of them empty.
    """

    __slots__ = ("_covered", "_held", "_secrets")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = secrets
        self._held = b""
        # So many bytes of what is held belong to an occurrence that began before.
        self._covered = 0

    @property
    def held(self) -> int:
        """Bytes that are held back."""
        return len(self._held)

    def feed(self, data: bytes | memoryview) -> memoryview:
        """Return what can be told now that *data* has come."""
        text = b"".join((self._held, data))
        size = len(text) - _begun(text, self._secrets)
        return self._tell(text, size)

    def end(self) -> memoryview:
        """Return what was held back; nothing follows it."""
        return self._tell(self._held, len(self._held))

    def _tell(self, text: bytes, size: int) -> memoryview:
        """Keep what is behind *size*, and return what is before it, masked."""
        spans = [(0, self._covered)] if self._covered else []
        covered = self._covered - size
        for secret in self._secrets:
            for start, stop in _spans(text, secret):
                spans.append((start, stop))
                if start < size:
                    covered = max(covered, stop - size)
        self._held = text[size:]
        self._covered = max(covered, 0)
        if not spans:
            return memoryview(text)[:size]
        masked = bytearray(text)
        for start, stop in spans:
            masked[start:stop] = _STAR * (stop - start)
        return memoryview(masked)[:size]


class Masks:
    """Masks the streams of one command.

    Args:
        secrets: The texts to hide.
    """

    __slots__ = ("_secrets", "_streams")

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]
        self._streams: dict[int, StreamMask] = {}

    @property
    def held(self) -> int:
        """Bytes of all streams that are held back."""
        return sum(stream.held for stream in self._streams.values())

    def feed(self, kind: int, data: bytes | memoryview) -> memoryview:
        """Return what can be told of a stream now that *data* has come."""
        stream = self._streams.get(kind)
        if stream is None:
            stream = self._streams[kind] = StreamMask(self._secrets)
        return stream.feed(data)

    def end(self, kind: int) -> memoryview:
        """Return what was held back of a stream that is at its end."""
        stream = self._streams.get(kind)
        return memoryview(b"") if stream is None else stream.end()


def _spans(text: bytes, secret: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of occurrences that overlap or touch."""
    size = len(secret)
    start = text.find(secret)
    while start >= 0:
        stop = start + size
        # The last one that begins in what is covered covers farthest; so a run takes few looks.
        while (last := text.rfind(secret, stop - size + 1, stop + size)) >= 0:
            stop = last + size
        yield start, stop
        start = text.find(secret, stop)


def _begun(text: bytes, secrets: Sequence[bytes]) -> int:
    """Return the length of the longest suffix with which one of *secrets* begins, but not ends."""
    longest = 0
    for secret in secrets:
        place = max(0, len(text) - len(secret) + 1)
        while (place := text.find(secret[:1], place)) >= 0 and len(text) - place > longest:
            if secret.startswith(text[place:]):
                longest = len(text) - place
                break
            place += 1
    return longest
