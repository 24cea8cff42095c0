"""Pages of a listing: every item once, and an end whatever the far side says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hopx_async.errors import RemoteProtocolError
from hopx_async.protocol.paging import MAX_EMPTY, MOST, PAGE, Pages


def items(*names: str) -> list[dict[str, Any]]:
    """Return items with these ids."""
    return [{"id": name} for name in names]


def test_cursors_are_followed() -> None:
    """Each page is asked for at the cursor of the one before, and the last has none."""
    pages = Pages()
    assert pages.query() == {"limit": str(PAGE)}
    page = {"data": items("a", "b"), "has_more": True, "next_cursor": "c1"}
    assert pages.receive(page) == items("a", "b")
    assert pages.query() == {"limit": str(PAGE), "cursor": "c1"}
    # What moved to the next page meanwhile comes once.
    assert pages.receive({"data": items("b", "c"), "has_more": False}) == items("c")
    assert pages.done


@pytest.mark.parametrize(
    "answer",
    [
        {"data": None, "has_more": False},
        {"data": [], "has_more": False, "next_cursor": "c"},
        {"data": None},
        {"data": items("a"), "has_more": True, "next_cursor": None},
        {"data": items("a"), "has_more": True, "next_cursor": ""},
        {"data": items("a"), "next_cursor": None},
    ],
)
def test_these_are_the_end(answer: dict[str, Any]) -> None:
    """A null list, no more of it, no word of it, and a page that is not even full."""
    pages = Pages()
    assert pages.receive(answer) == (answer["data"] or [])
    assert pages.done


def test_a_cursor_alone_is_followed() -> None:
    """Without has_more, a cursor says that there is more."""
    pages = Pages()
    pages.receive({"data": [], "next_cursor": "c"})

    assert not pages.done
    assert pages.query()["cursor"] == "c"


def test_more_without_a_cursor_is_asked_for_at_once() -> None:
    """A full page that has more, and says not where, is asked for again, as large as can be."""
    pages = Pages()
    first = items(*(str(n) for n in range(PAGE)))
    assert len(pages.receive({"data": first, "has_more": True})) == PAGE
    assert pages.query() == {"limit": str(MOST)}
    everything = items(*(str(n) for n in range(PAGE + 7)))
    assert len(pages.receive({"data": everything, "has_more": True})) == 7
    assert pages.done


def test_what_cannot_be_had_is_told() -> None:
    """More than the largest page, and no word of where: a gap is never silent."""
    pages = Pages()
    pages.receive({"data": items(*(str(n) for n in range(PAGE))), "has_more": True})
    with pytest.raises(RemoteProtocolError, match="no word of where"):
        pages.receive({"data": items(*(str(n) for n in range(MOST))), "has_more": True})


def test_circles_are_told() -> None:
    """A cursor that comes again is an error, and so are pages that never bring anything."""
    pages = Pages()
    pages.receive({"data": items("a"), "has_more": True, "next_cursor": "c"})
    with pytest.raises(RemoteProtocolError, match="circles"):
        pages.receive({"data": items("b"), "has_more": True, "next_cursor": "c"})
    pages = Pages()
    with pytest.raises(RemoteProtocolError, match="circles"):
        for number in range(MAX_EMPTY + 1):
            pages.receive({"data": [], "has_more": True, "next_cursor": f"c{number}"})


@pytest.mark.parametrize("answer", [{}, [], None, {"data": 7}, {"data": [7]}, {"error": "x"}])
def test_what_is_no_page_is_told(answer: object) -> None:
    """What is no page of a listing is an error that shows it."""
    with pytest.raises(RemoteProtocolError, match="no page"):
        Pages().receive(answer)


@given(st.data())
def test_it_always_ends(data: st.DataObject) -> None:
    """Whatever a far side says, with so many items there are so many pages at most, or an error."""
    names = [str(n) for n in range(20)]
    pages, found = Pages(), []
    for _ in range(2 * MAX_EMPTY * (len(names) + 1)):
        page = {
            "data": data.draw(
                st.none() | st.lists(st.sampled_from(names).map(lambda n: {"id": n}))
            ),
            "has_more": data.draw(st.sampled_from([True, False, None])),
            "next_cursor": data.draw(st.none() | st.text(max_size=2)),
        }
        try:
            found += [item["id"] for item in pages.receive(page)]
        except RemoteProtocolError:
            break
        if pages.done:
            break
    else:
        raise AssertionError("it goes on for ever")
    assert len(found) == len(set(found))
