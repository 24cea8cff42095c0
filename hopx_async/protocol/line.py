"""What output is as lines and as text, each with a cursor."""

from __future__ import annotations

import attrs

from hopx_async.model import Stream
from hopx_async.protocol.cursor import Position, print_cursor

__all__ = ["Line", "Text", "WholeLine"]


# No slots: a frozen object with them takes half as long again to make, and there are millions.
@attrs.frozen(kw_only=True, slots=False)
class _Piece:
    """What a line and a text have in common."""

    stream: Stream
    text: str
    at: float
    # The command, and the numbers of a `Position`.
    _place: tuple[str, int, int, int] = attrs.field(alias="place", repr=False)

    @property
    def cursor(self) -> str:
        """The position behind it; what waits in the other stream is not passed over."""
        process_id, *numbers = self._place
        return print_cursor(process_id, Position(*numbers))


class Text(_Piece):
    """A piece of one stream, decoded; cut anywhere, but never within a character.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``.
        text: The text; bytes that are not UTF-8 became U+FFFD.
        at: Unix time at which its last bytes were observed.
    """


@attrs.frozen(kw_only=True, slots=False)
class Line(_Piece):
    """A line of one stream, without its newline.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``.
        text: The text; bytes that are not UTF-8 became U+FFFD.
        at: Unix time at which its last bytes were observed.
        lost_before: Bytes of its stream that retention freed before this line was read.
        partial: Whether the line goes on in the next one of its stream: it is over 16 MiB, or
            its rest was freed.
    """

    lost_before: int = 0
    partial: bool = False


class WholeLine:
    """A line in the making: `attrs` takes twice as long to make one, and there are millions.

    It has what a `Line` has, and becomes one by its class.
    """

    def __init__(self, stream: Stream, text: str, at: float, place: tuple[str, int, int, int]):
        self.stream = stream
        self.text = text
        self.at = at
        self._place = place
        self.lost_before = 0
        self.partial = False
