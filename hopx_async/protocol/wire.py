"""Frames between client and agent, as bytes: the only file that knows the control keys.

Control travels as a text frame: a JSON array of objects.  Log bytes travel as a
binary frame: one or many pieces, each ``ask (u32) log offset (u64) length (u32)``
and the bytes.  The same frames travel over a socket and in a long-poll.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from hopx_async import errors
from hopx_async.errors import HopxError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

__all__ = [
    "LINK_VERSION",
    "MAX_CALL_BYTES",
    "MAX_CONTROL_BYTES",
    "MAX_DATA_BYTES",
    "PIECE",
    "AgentControl",
    "Ask",
    "Call",
    "ClientControl",
    "Credit",
    "Hello",
    "Leave",
    "Outbox",
    "Over",
    "Refused",
    "Reply",
    "decode_agent",
    "decode_client",
    "encode",
    "error_from_dict",
    "error_to_dict",
    "pieces",
]

LINK_VERSION = 1
#: Bytes of one call of a client, as JSON; also the bound of an HTTP body.
MAX_CALL_BYTES = 1024 * 1024
#: Bytes of one text frame.
MAX_CONTROL_BYTES = 4 * MAX_CALL_BYTES
# Several controls share a text frame up to this size; a larger one travels alone.
_SHARED_BYTES = 256 * 1024
#: Bytes of one binary frame.
MAX_DATA_BYTES = 256 * 1024
PIECE = struct.Struct("<IQI")

_AskNumber = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]  # as wide as in a piece
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Control(msgspec.Struct, tag_field="t", omit_defaults=True, frozen=True, gc=False):
    """One object of a text frame."""


class Hello(_Control, tag="hello", frozen=True):
    """First word of both sides on a new connection."""

    version: int
    sandbox: str = ""


class Ask(_Control, tag="ask", frozen=True):
    """Subscribe to a log from offset *after*; without *output* only to its last record."""

    ask: _AskNumber
    id: str
    after: _Count = 0
    total: _Count = 0
    output: bool = True


class Credit(_Control, tag="credit", frozen=True):
    """From now on *total* log bytes may be sent on this asking, counted from its beginning."""

    ask: _AskNumber
    total: _Count


class Leave(_Control, tag="leave", frozen=True):
    """Forget an asking."""

    ask: _AskNumber


class Call(_Control, tag="call", frozen=True):
    """A request, answered by the `Reply` of the same number."""

    call: int
    method: str
    params: dict[str, Any]


class Refused(_Control, tag="refused", frozen=True):
    """An asking that cannot be served."""

    ask: _AskNumber
    error: dict[str, Any]


class Over(_Control, tag="over", frozen=True):
    """Nothing follows on an asking that began behind the last record."""

    ask: _AskNumber


class Reply(_Control, tag="reply", frozen=True):
    """The answer to a `Call`: a result, or an error."""

    call: int
    result: Any = None
    error: dict[str, Any] | None = None


ClientControl: TypeAlias = Hello | Ask | Credit | Leave | Call
AgentControl: TypeAlias = Hello | Refused | Over | Reply

_encoder = msgspec.json.Encoder()
_from_client = msgspec.json.Decoder(list[ClientControl])
_from_agent = msgspec.json.Decoder(list[AgentControl])


class Outbox:
    """Controls that wait to be sent, already encoded, and handed out in frames.

    What has a key takes the place of what waits under the same one, and can be taken back:
    so what nobody wants any more does not pile up while nothing can be sent.

    Attributes:
        size: Bytes that wait.
    """

    __slots__ = ("_added", "_waiting", "size")

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, bytes] = OrderedDict()
        self._added = 0
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(
        self,
        control: ClientControl | AgentControl,
        *,
        limit: int = MAX_CONTROL_BYTES,
        key: tuple[str, int] | None = None,
    ) -> bool:
        """Queue a control; False says that its frame would exceed *limit*: it was not queued."""
        encoded = _encoder.encode(control)
        if len(encoded) + len("[]") > limit:
            return False
        if key is not None:
            self.drop(key)
        self._added += 1
        self._waiting[self._added if key is None else key] = encoded
        self.size += len(encoded)
        return True

    def drop(self, key: tuple[str, int]) -> bool:
        """Take a control back; False says that it is sent already, or never was queued."""
        encoded = self._waiting.pop(key, None)
        self.size -= len(encoded or b"")
        return encoded is not None

    def next_frame(self) -> str | None:
        """Return the next text frame, or None."""
        taken: list[bytes] = []
        room = _SHARED_BYTES
        while self._waiting:
            key, encoded = self._waiting.popitem(last=False)
            if taken and len(encoded) > room:
                self._waiting[key] = encoded
                self._waiting.move_to_end(key, last=False)
                break
            taken.append(encoded)
            self.size -= len(encoded)
            room -= len(encoded) + len(",")
        return (b"[" + b",".join(taken) + b"]").decode() if taken else None


def encode(controls: Iterable[ClientControl | AgentControl]) -> str:
    """Return the text frame that carries *controls*."""
    return _encoder.encode(list(controls)).decode()


def decode_client(text: str | bytes) -> list[ClientControl]:
    """Return what a client's text frame says.

    Raises:
        RemoteProtocolError: If it is too large, or no frame of this version.
    """
    controls: list[ClientControl] = _decode(_from_client, text)
    return controls


def decode_agent(text: str | bytes) -> list[AgentControl]:
    """Return what an agent's text frame says.

    Raises:
        RemoteProtocolError: If it is too large, or no frame of this version.
    """
    controls: list[AgentControl] = _decode(_from_agent, text)
    return controls


def _decode(decoder: msgspec.json.Decoder[Any], text: str | bytes) -> Any:
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > MAX_CONTROL_BYTES:
            raise RemoteProtocolError(
                f"a text frame of {len(data)} bytes, at most {MAX_CONTROL_BYTES}"
            )
        return decoder.decode(data)
    except (ValueError, RecursionError) as error:  # DecodeError is a ValueError
        raise RemoteProtocolError(f"an unknown frame: {error}") from error


def pieces(frame: bytes) -> Iterator[tuple[int, int, bytes | memoryview]]:
    """Yield ask, log offset and bytes of each piece of a binary *frame*.

    The piece that is most of the frame is a view of it, for copies are what large ones cost.
    Others are not: a view of little would hold on to much.

    Raises:
        RemoteProtocolError: If it is too large or not made of whole pieces.
    """
    if len(frame) > MAX_DATA_BYTES:
        raise RemoteProtocolError(f"a binary frame of {len(frame)} bytes, at most {MAX_DATA_BYTES}")
    place = 0
    view = memoryview(frame)
    while place < len(frame):
        try:
            ask, offset, size = PIECE.unpack_from(frame, place)
        except struct.error:
            raise RemoteProtocolError("a binary frame that ends within a piece") from None
        place += PIECE.size
        end = place + size
        if end > len(frame):
            raise RemoteProtocolError("a binary frame that ends within a piece")
        yield ask, offset, view[place:end] if 2 * size > len(frame) else frame[place:end]
        place = end


# Errors, as they travel: {"code", "message", data...}.


class _Told(msgspec.Struct, omit_defaults=True):
    """What an answer says of an error."""

    code: str = ""
    message: str = "the far side gave no reason"
    status: int | None = None
    errno: int | None = None
    filename: str | None = None
    parameter: str | None = None
    value: str | None = None
    rule: str | None = None
    process_id: str | None = None
    retry_after: float | None = None
    suggestions: tuple[str, ...] | None = None
    survivors: tuple[tuple[int, str], ...] | None = None
    means: str | None = None


_PLAIN: dict[str, type[errors.ApiError]] = {
    cls.code: cls
    for cls in (
        errors.AuthenticationError,
        errors.NotFoundError,
        errors.SandboxNotFound,
        errors.ConflictError,
        errors.AgentFault,
        errors.ApiError,
    )
}
_SPECIAL: dict[str, Callable[[_Told], HopxError]] = {
    errors.InvalidArgument.code: lambda told: errors.InvalidArgument(
        told.parameter or "?", told.value or "?", told.rule or told.message
    ),
    errors.BadCursor.code: lambda told: errors.BadCursor(
        told.parameter or "?", told.value or "?", told.rule or told.message
    ),
    errors.CommandNotFound.code: lambda told: errors.CommandNotFound(
        told.process_id or "?", message=told.message
    ),
    errors.TemplateNotFound.code: lambda told: errors.TemplateNotFound(
        told.message, suggestions=told.suggestions or ()
    ),
    errors.SpawnError.code: lambda told: errors.SpawnError(
        told.message, errno=told.errno, filename=told.filename or ""
    ),
    errors.RateLimited.code: lambda told: errors.RateLimited(
        told.message, retry_after=told.retry_after
    ),
    errors.SurvivorsLeft.code: lambda told: errors.SurvivorsLeft(
        told.process_id or "?", told.survivors or (), told.means or "ancestry"
    ),
    errors.StdinClosed.code: lambda told: errors.StdinClosed(
        told.message, process_id=told.process_id or ""
    ),
    errors.ClosedError.code: lambda told: errors.ClosedError(told.message),
    errors.BusyError.code: lambda told: errors.BusyError(told.message),
    errors.MisuseError.code: lambda told: errors.MisuseError(told.message),
    errors.Unsupported.code: lambda told: errors.Unsupported(told.message),
}
_DATA = tuple(field for field in _Told.__struct_fields__ if field not in {"code", "message"})


def error_to_dict(error: HopxError) -> dict[str, Any]:
    """Return *error* as it travels from an agent to a client."""
    value: dict[str, Any] = {"code": error.code, "message": getattr(error, "message", str(error))}
    for name in _DATA:
        item = getattr(error, name, None)
        if item is not None:
            value[name] = item
    return value


def error_from_dict(value: object, *, status: int | None = None) -> HopxError:
    """Return the error that *value* stands for; an unknown code or form becomes an `ApiError`.

    Args:
        value: What `error_to_dict` returned on the other side.
        status: HTTP status of the answer, where it came by HTTP and *value* names none.
    """
    try:
        told = msgspec.convert(value, _Told)
    except msgspec.ValidationError:
        told = _Told(message=f"an answer of unknown form: {str(value)[:200]}")
    if told.code in _SPECIAL:
        return _SPECIAL[told.code](told)
    status = status if told.status is None else told.status
    theirs = status is not None and status >= errors.AgentFault.status
    fault = errors.AgentFault if theirs else errors.ApiError
    return _PLAIN.get(told.code, fault)(told.message, status=status)
