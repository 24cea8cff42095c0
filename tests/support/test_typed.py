"""What counts as looked at by an ``assert_type``, and what does not."""

from __future__ import annotations

import pytest

from hopx_async import CommandHandle, CommandLost, Exit, LineStream, SpawnError
from tests.support import typed


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("assert_type(a.b, int)", {("A", "b")}),
        ("assert_type(await a.b(1), int)", {("A", "b")}),
        ("assert_type((a.b, a.c()), tuple[int, int])", {("A", "b"), ("A", "c")}),
        ("a.b()", set()),
        ("assert_type(unknown.b, int)", set()),
        ("assert_type(await a, int)", {("A", "__await__")}),
        ("assert_type(await anext(a), int)", {("A", "__anext__")}),
        ("assert_type(next(a), int)", {("A", "__next__")}),
        ("async for x in a: pass", {("A", "__anext__")}),
        ("async with a as x: pass", {("A", "__aenter__")}),
        ("async with a.b() as x: pass", {("A", "b")}),
        ("with a as x: pass", {("A", "__enter__")}),
        ("assert_type(x, m.B); assert_type(x.c, int)", {("B", "c")}),
        ("assert_type(x.y, m.B[int]); assert_type(x.y.c, int)", {("B", "c")}),
        ("assert_type(m.B.make(), m.B)", {("B", "make")}),
        ("if isinstance(a, m.B): assert_type(a.c, int)", {("B", "c")}),
        ("if isinstance(a, (m.B, m.C)): assert_type(a.c, int)", {("A", "c")}),
        ("if isinstance(a, m.B): pass\nelse: assert_type(a.c, int)", {("A", "c")}),
        ("match a:\n case m.B(c=d): assert_type(a.e, int)", {("B", "c"), ("A", "e")}),
    ],
)
def test_what_is_looked_at(line: str, wanted: set[tuple[str, str]]) -> None:
    """Pairs are found where a name's class is told, and only inside an assert_type."""
    body = "\n".join(f"    {part}" for part in line.split("\n"))

    assert typed.exercised(f"async def f(a: m.A) -> None:\n{body}\n") == wanted


def test_members_are_all_that_a_user_meets() -> None:
    """Methods, fields, what a docstring lists and protocols are members; Python's own are not."""
    assert {"exit_code", "ok", "to_dict"} <= typed.members(Exit)
    assert {"events", "wait", "kill", "process_id", "pid", "__aenter__"} <= typed.members(
        CommandHandle
    )
    assert {"__anext__", "__aenter__", "cursor"} <= typed.members(LineStream)
    assert {"exit", "tail", "code"} <= typed.members(CommandLost)
    assert {"errno", "filename", "status"} <= typed.members(SpawnError)
    assert not {"args", "add_note", "_client"} & typed.members(CommandHandle)


def test_names_are_plain_and_dotted() -> None:
    """The names of a program are those it uses, whichever module they are of."""
    assert typed.names_used("a.b(C)") == {"a", "b", "C"}
