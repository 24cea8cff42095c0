"""What events have in common, and the event of a sample."""

from __future__ import annotations

from typing import Any

import pytest

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol import records
from hopx_async.protocol.cursor import parse_cursor
from hopx_async.protocol.event_base import EventBase
from hopx_async.protocol.events import EventReader, Started, Usage
from hopx_async.protocol.text import LineReader, TextReader
from tests.protocol.test_events import Log, drain

FIGURES = {"cpu_seconds": 1, "rss_bytes": 4096, "read_bytes": 512, "write_bytes": None}


def usage_log(**figures: Any) -> Log:
    """Return a log with output, a sample, and more output."""
    log = Log()
    log.out(b"on")
    log.json(records.USAGE, FIGURES | figures)
    log.out(b"e\n")
    return log


def test_a_sample_is_an_event() -> None:
    """Usage comes where it was taken, with a cursor behind it, and is JSON like any other."""
    log, reader = usage_log(), EventReader("cmd_1")
    log.send(reader)
    started, first, usage, second = drain(reader)
    rest = EventReader("cmd_1", parse_cursor("cmd_1", usage.cursor))
    log.send(rest)

    assert isinstance(usage, Usage)
    assert isinstance(usage, EventBase)
    assert (usage.cpu_seconds, usage.rss_bytes) == (1.0, 4096)
    assert (usage.read_bytes, usage.write_bytes, usage.at) == (512, None, 5.0)
    assert usage.to_dict() == {
        "type": "usage", "process_id": "cmd_1", "cursor": usage.cursor, "at": 5.0,
        "cpu_seconds": 1.0, "rss_bytes": 4096, "read_bytes": 512, "write_bytes": None,
    }  # fmt: skip
    assert drain(rest) == [second]
    assert isinstance(started, Started)
    assert first != second


@pytest.mark.parametrize(
    "figures",
    [{"cpu_seconds": None}, {"rss_bytes": "many"}, {"rss_bytes": None}, {"read_bytes": []}],
)
def test_a_sample_without_figures_is_refused(figures: dict[str, Any]) -> None:
    """A record of usage that lacks something is an error of the far side."""
    log, reader = usage_log(**figures), EventReader("cmd_1")
    log.send(reader)

    with pytest.raises(RemoteProtocolError, match="no usage"):
        drain(reader)


def test_lines_and_texts_pass_samples_over() -> None:
    """A sample in the middle of a line changes neither lines nor texts."""
    log, reader = usage_log(), EventReader("cmd_1")
    log.send(reader)
    start = reader.position
    lines = LineReader("cmd_1", start, None, strip=False)
    texts = TextReader("cmd_1", start, None, strip=False)
    found: list[Any] = []
    before = start
    while (event := reader.read()) is not None:
        found += lines.feed(event, before, reader.position)
        found += texts.feed(event, before, reader.position)
        before = reader.position

    assert [item.text for item in found] == ["on", "one", "e\n"]
