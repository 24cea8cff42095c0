"""Which feed is next, and when the socket is probed."""

from __future__ import annotations

from hopx_async.protocol.feeds import PROBE_FIRST, PROBE_LAST, Feeds


def test_the_socket_comes_first() -> None:
    """A new link is tried by socket, and one failure does not change that."""
    feeds = Feeds(polls=True)
    tried = [feeds.next]
    feeds.failed()

    assert [*tried, feeds.next] == ["socket", "socket"]


def test_refused_sockets_are_followed_by_the_poll() -> None:
    """A refusal makes the long-poll next; it is told of once it works, and only once."""
    feeds = Feeds(polls=True)
    assert feeds.refused()
    tried = [feeds.next]
    assert [feeds.opened(), feeds.opened()] == [True, False]
    feeds.probed()
    tried.append(feeds.next)
    assert tried == ["poll", "socket"]
    assert not feeds.opened()
    feeds.refused()

    assert not feeds.opened()


def test_sockets_that_fail_again_and_again_are_followed_by_the_poll() -> None:
    """Two failures in a row may be something in the way; a success between them counts anew."""
    feeds = Feeds(polls=True)
    feeds.failed()
    feeds.opened()
    tried = [feeds.next]
    feeds.failed()
    tried.append(feeds.next)
    feeds.failed()

    assert [*tried, feeds.next] == ["socket", "socket", "poll"]


def test_a_poll_after_an_outage_is_told_of_when_a_probe_fails() -> None:
    """Sockets that failed alone may fail with the agent; while the poll works, they are blocked."""
    feeds = Feeds(polls=True)
    feeds.failed()
    feeds.failed()
    assert not feeds.opened()
    assert [feeds.probe_failed(), feeds.probe_failed()] == [True, False]
    feeds.probed()
    feeds.refused()

    assert not feeds.opened()


def test_an_outage_goes_round() -> None:
    """If the long-poll fails as well, the socket is next, twice, and so on."""
    feeds = Feeds(polls=True)
    tried = []
    for _ in range(6):
        tried.append(feeds.next)
        feeds.failed()

    assert tried == ["socket", "socket", "poll"] * 2


def test_without_a_poll_there_is_the_socket_only() -> None:
    """A far side without long-poll is asked by socket, whatever happens."""
    feeds = Feeds(polls=False)
    assert not feeds.refused()
    for _ in range(5):
        feeds.failed()

    assert feeds.next == "socket"


def test_probes_become_rare() -> None:
    """Each probe comes twice as long after the one before, up to a bound; a socket resets it."""
    feeds = Feeds(polls=True)
    feeds.refused()
    delays = [feeds.probe_after() for _ in range(12)]
    assert delays[:3] == [PROBE_FIRST, 2 * PROBE_FIRST, 4 * PROBE_FIRST]
    assert delays[-1] == PROBE_LAST
    feeds.probed()
    feeds.opened()

    assert feeds.probe_after() == PROBE_FIRST
