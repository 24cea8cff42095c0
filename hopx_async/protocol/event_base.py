"""What all events have in common."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

import attrs

from hopx_async.model import Exit

__all__ = ["EventBase"]


@attrs.frozen(kw_only=True)
class EventBase:
    """What every event carries.

    Attributes:
        process_id: The command it is about.
        cursor: The position behind it: ``events(after=event.cursor)`` goes on there.
        at: Unix time at which it was observed on the far side.
    """

    type: ClassVar[str] = ""
    process_id: str
    cursor: str
    at: float

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON can hold it, with its ``type``.

        Output is ``data`` where it is valid UTF-8, else ``data_base64``.
        """
        value: dict[str, Any] = {"type": self.type}
        for field in attrs.fields(type(self)):
            item = getattr(self, field.name)
            if isinstance(item, bytes):
                try:
                    value["data"] = item.decode()
                except UnicodeDecodeError:
                    value["data_base64"] = base64.b64encode(item).decode()
            else:
                value[field.name] = item.to_dict() if isinstance(item, Exit) else item
        return value
