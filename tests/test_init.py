"""The public names: what is exported, from where, and that type checkers see the same."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hopx_async

SOURCE = Path(hopx_async.__file__)


def homes_for_type_checkers() -> dict[str, str]:
    """Return name -> module of the imports that only type checkers see."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    block = next(node for node in blocks if ast.unparse(node.test) == "TYPE_CHECKING")
    return {
        alias.name: node.module or ""
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def in_a_fresh_interpreter(program: str) -> object:
    """Run a program that prints JSON."""
    return json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))


def test_type_checkers_see_what_is_exported() -> None:
    """``__all__`` names exactly what the TYPE_CHECKING block imports, and the version."""
    assert {*homes_for_type_checkers(), "__version__"} == set(hopx_async.__all__)


@pytest.mark.parametrize(("name", "home"), sorted(homes_for_type_checkers().items()))
def test_a_name_is_the_object_of_its_home(name: str, home: str) -> None:
    """A name resolves to the very object that its home exports, as type checkers think."""
    module = importlib.import_module(home)

    assert getattr(hopx_async, name) is getattr(module, name)
    assert name in module.__all__


def test_names_are_loaded_when_used() -> None:
    """An error loads the errors and nothing heavy; the second use finds it at once."""
    loaded = in_a_fresh_interpreter(
        "import json, sys, hopx_async\n"
        "before = 'hopx_async.errors' in sys.modules\n"
        "hopx_async.HopxError\n"
        "print(json.dumps([before, 'HopxError' in vars(hopx_async),"
        " 'hopx_async.errors' in sys.modules, 'aiohttp' in sys.modules, 'attrs' in sys.modules]))"
    )

    assert loaded == [False, True, True, False, False]


def test_every_name_can_be_the_first() -> None:
    """Each name loads in a fresh interpreter on its own: no order of imports is presumed."""
    for name in ("Event", "EndReason", "CommandHandle", "Sandbox", "EventStream", "local"):
        assert in_a_fresh_interpreter(f"import hopx_async; hopx_async.{name}; print(1)") == 1


def test_dir_lists_every_name() -> None:
    """dir() lists the public names, loaded or not, each once, and no imports."""
    listed = dir(hopx_async)

    assert {name for name in listed if not name.startswith("_")} == {
        name for name in hopx_async.__all__ if not name.startswith("_")
    }
    assert set(hopx_async.__all__) <= set(listed)
    assert len(listed) == len(set(listed))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not exported is told like one of any other module."""
    with pytest.raises(AttributeError, match="module 'hopx_async' has no attribute 'loacl'"):
        hopx_async.loacl  # type: ignore[attr-defined]  # pyright: ignore  # noqa: B018, PGH003
    with pytest.raises(ImportError, match="cannot import name 'lines'"):
        from hopx_async import lines  # type: ignore[attr-defined]  # pyright: ignore  # noqa: F401, PGH003


def test_a_star_import_brings_the_public_names() -> None:
    """``from hopx_async import *`` brings every public name."""
    namespace: dict[str, object] = {}
    exec("from hopx_async import *", namespace)  # noqa: S102  # what is tested

    assert set(hopx_async.__all__) <= namespace.keys()
