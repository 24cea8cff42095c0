"""The ids of commands that were forgotten: nobody may start them again by mistake."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping

from hopx_async.protocol import records

__all__ = ["Tombstones"]


class Tombstones:
    """Ids with the Unix times at which they were forgotten, for a day, and not too many."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, process_id: object) -> bool:
        at = self._times.get(process_id) if isinstance(process_id, str) else None
        return at is not None and at > time.time() - records.TOMBSTONE_SECONDS

    def put(self, process_id: str, at: float) -> None:
        """Remember an id; the oldest give way."""
        self._times[process_id] = at
        limit = time.time() - records.TOMBSTONE_SECONDS
        while self._times:
            oldest = next(iter(self._times))
            if len(self._times) <= records.MAX_TOMBSTONES and self._times[oldest] > limit:
                break
            del self._times[oldest]

    def fill(self, times: Mapping[str, float]) -> None:
        """Remember many at once."""
        for process_id, at in sorted(times.items(), key=lambda pair: pair[1]):
            self.put(process_id, at)
