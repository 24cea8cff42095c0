"""Tests of hopx_async.control.templates."""

from __future__ import annotations

import pytest

from hopx_async.control.answers import Refused
from hopx_async.control.templates import TEMPLATES, find, resources


def test_each_is_found_by_name_and_id() -> None:
    """Names, ids as text and ids as numbers lead to the same template."""
    for template in TEMPLATES.values():
        for name in (template["name"], template["id"], int(template["id"])):
            assert find(name) is template


@pytest.mark.parametrize("name", ["", "Base ", "9", 0, "x" * 10_000])
def test_unknown_names_bring_suggestions(name: object) -> None:
    """What is unknown is 404, with at least one name that is known."""
    with pytest.raises(Refused) as caught:
        find(name)

    assert caught.value.status == 404
    assert {*caught.value.details["suggestions"]} <= TEMPLATES.keys()
    assert len(str(caught.value)) < 300


def test_sizes_have_the_names_that_clients_need() -> None:
    """Without one of these HopX's Python client fails."""
    assert {"vcpu", "memory_mb", "disk_mb"} <= resources().keys()
