"""Seeded bugs of the long-poll, and of the link where only the long-poll carries it.

The schedules themselves run in ``test_schedules.py``, with all the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hopx_async.protocol import poll
from hopx_async.protocol.poll import AgentSession, ClientSession
from tests.protocol import test_schedules as link_bugs
from tests.protocol.test_schedules import caught

if TYPE_CHECKING:
    from collections.abc import Callable


def answer_is_not_repeated(patch: pytest.MonkeyPatch) -> None:
    """The agent forgets an answer once it is sent."""
    answer = AgentSession.answer

    def forgetful(session: AgentSession) -> bytes | None:
        body = answer(session)
        session._kept = None
        return body

    patch.setattr(AgentSession, "answer", forgetful)


def acknowledgement_is_ignored(patch: pytest.MonkeyPatch) -> None:
    """The agent goes on repeating what was acknowledged."""
    begin = AgentSession.begin

    def deaf(session: AgentSession, post: poll.Post) -> int:
        kept = session._kept
        turn = begin(session, post)
        session._kept = kept
        return turn

    patch.setattr(AgentSession, "begin", deaf)


def answer_is_new_twice(patch: pytest.MonkeyPatch) -> None:
    """The client takes a repeated answer for a new one."""
    new = ClientSession._new

    def credulous(session: ClientSession, number: int, body: bytes) -> list[str | bytes]:
        if number:
            session._seen = number - 1
        return new(session, number, body)

    patch.setattr(ClientSession, "_new", credulous)


def frames_are_posted_once(patch: pytest.MonkeyPatch) -> None:
    """The client forgets what it has posted, taken or not."""
    post = ClientSession.post

    def hasty(session: ClientSession) -> bytes:
        body = post(session)
        session._first += len(session._frames)
        session._frames.clear()
        session._size = poll.POST.size
        return body

    patch.setattr(ClientSession, "post", hasty)


def frames_are_taken_twice(patch: pytest.MonkeyPatch) -> None:
    """The agent takes what a repeated post carries as new."""
    begin = AgentSession.begin

    def credulous(session: AgentSession, post: poll.Post) -> int:
        turn = begin(session, post)
        if turn:
            session._taken = post.first
        return turn

    patch.setattr(AgentSession, "begin", credulous)


def more_is_not_posted(patch: pytest.MonkeyPatch) -> None:
    """The client waits for the post that hangs before it says more."""
    patch.setattr(ClientSession, "wants_post", property(lambda session: not session._under_way))


@pytest.mark.parametrize(
    ("bug", "kinds"),
    [
        (answer_is_not_repeated, ["poll with faults", "poll with drops"]),
        (acknowledgement_is_ignored, ["poll", "poll with faults"]),
        (answer_is_new_twice, ["poll with faults", "poll with drops"]),
        (frames_are_posted_once, ["poll with faults"]),
        (frames_are_taken_twice, ["poll with faults"]),
        (more_is_not_posted, ["poll"]),
        (link_bugs.credit_is_never_renewed, ["poll"]),
        (link_bugs.end_is_not_noticed, ["poll", "poll with faults"]),
        (link_bugs.stale_cursor_on_asking_again, ["poll with drops"]),
        (link_bugs.duplicates_are_not_dropped, ["socket and poll"]),
        (link_bugs.agent_forgets_to_go_on, ["poll"]),
    ],
)
def test_a_seeded_bug_is_caught(
    bug: Callable[[pytest.MonkeyPatch], None], kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in either half makes the kinds of schedule fail that are made to find it."""
    bug(monkeypatch)

    assert [kind for kind in kinds if caught(kind)] == kinds
