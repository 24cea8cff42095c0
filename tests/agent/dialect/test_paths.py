"""Tests of hopx_async.agent.dialect.paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hopx_async.agent.dialect.answers import Refused
from hopx_async.agent.dialect.paths import Places

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/workspace", "."),
        ("/workspace/", "."),
        ("/workspace//a", "a"),
        ("a/../b", "b"),
        ("/workspace/a/./b", "a/b"),
    ],
)
def test_paths_within(tmp_path: Path, path: str, below: str) -> None:
    """Both spellings lead into the workspace, and are told with its public name."""
    places = Places(str(tmp_path))
    found = places.inside(path)

    assert found == tmp_path.resolve() / below
    assert places.told(found) == ("/workspace" if below == "." else f"/workspace/{below}")
    assert places.inside(str(found)) == found


@pytest.mark.parametrize(
    "path", ["/workspaces/a", "/", "..", "/workspace/../x", "link", "link/x", "/tmp/x"]
)
def test_paths_that_lead_out(tmp_path: Path, path: str) -> None:
    """Neighbours, parents and links out of the workspace are refused with 403."""
    places = Places(str(tmp_path / "w"))
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "link").symlink_to("/etc")

    with pytest.raises(Refused) as caught:
        places.inside(path)

    assert (caught.value.word, caught.value.status) == ("PATH_NOT_ALLOWED", 403)


@pytest.mark.parametrize("path", [None, "", 7, "a\0b", "\ud800", "loop", "loop/x"])
def test_what_is_no_path(tmp_path: Path, path: object) -> None:
    """What is missing, no text, or leads nowhere is refused with 400."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Refused) as caught:
        Places(str(tmp_path)).inside(path)

    assert caught.value.status == 400
