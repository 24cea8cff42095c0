"""Tests of who gives way."""

from __future__ import annotations

from hopx_async.protocol.budget import PATIENCE, Holders


def holders(*names: str) -> Holders[str]:
    """Return holders that got bytes in this order and looked in vain since."""
    held: Holders[str] = Holders()
    for name in names:
        held.received(name)
        held.looked(name, took=False, empty=False)
    return held


def wait(held: Holders[str]) -> None:
    """Let frames come for nobody."""
    for _ in range(PATIENCE):
        held.rung([])


def test_a_single_holder_never_gives_way() -> None:
    """give_way returns None for one or none."""
    assert Holders[str]().give_way() is None
    assert holders("a").give_way() is None


def test_the_newest_gives_way_while_all_are_awake() -> None:
    """Those that waited longer for the rest of a record keep what they have."""
    held = holders("a", "b", "c")

    assert held.give_way() == "c"
    assert held.give_way() == "b"
    assert len(held) == 1


def test_the_one_idle_longest_gives_way_first() -> None:
    """A holder that was rung and did not look for long goes before the newest."""
    held = holders("a", "b", "c")
    held.rung(["b", "stranger"])
    held.rung(["a"])
    wait(held)

    assert held.give_way() == "b"
    assert held.give_way() == "a"


def test_a_holder_that_was_just_rung_is_not_idle() -> None:
    """Nobody gives way for idleness before PATIENCE frames."""
    held = holders("a", "b")
    held.rung(["a"])

    assert held.give_way() == "b"


def test_looking_ends_idleness() -> None:
    """A holder that looked in vain waits, however long."""
    held = holders("a", "b")
    held.rung(["a"])
    held.looked("a", took=False, empty=False)
    wait(held)

    assert held.give_way() == "b"


def test_taking_makes_a_holder_the_newest_and_expects_it_again() -> None:
    """Whoever took an event and has more stands behind the others, and may become idle."""
    held = holders("a", "b")
    held.looked("a", took=True, empty=False)

    assert held.give_way() == "a"
    held = holders("a", "b")
    held.looked("a", took=True, empty=False)
    held.looked("b", took=False, empty=False)
    held.received("c")
    wait(held)
    assert held.give_way() == "a"


def test_who_holds_nothing_more_is_forgotten() -> None:
    """A holder that took all, or was removed, is none."""
    held = holders("a", "b", "c")
    held.looked("a", took=True, empty=True)
    held.remove("b")

    assert len(held) == 1
