"""Each rule of the source tree can fail, and does where it should."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from tests.support import structure
from tests.support.structure import Module

NAMES = frozenset(
    """
    hopx_async hopx_async.agent hopx_async.agent.logs hopx_async.cli hopx_async.errors
    hopx_async.handle hopx_async.keeper hopx_async.keeper.log hopx_async.model
    hopx_async.protocol hopx_async.protocol.link hopx_async.protocol.records
    hopx_async.sandbox hopx_async.transport hopx_async.transport.base
    """.split()  # noqa: SIM905  # a word a line would fill the page
)


def module(directory: Path, name: str, source: str) -> Module:
    """Write a module's source and return the module."""
    path = directory / "source.py"
    path.write_text(dedent(source), encoding="utf-8")
    return Module(name, path, is_package=False)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("hopx_async.errors", "from hopx_async.protocol import link"),
        ("hopx_async.protocol.link", "import hopx_async.sandbox"),
        ("hopx_async.protocol.link", "from ..transport import base"),
        ("hopx_async.protocol.link", "from hopx_async import CommandHandle"),
        ("hopx_async.transport.base", "from hopx_async.keeper import log"),
        ("hopx_async.keeper.log", "import hopx_async.agent.logs as logs"),
        ("hopx_async.agent.logs", "def late():\n    from hopx_async.keeper import log"),
        (
            "hopx_async.model",
            "if TYPE_CHECKING:\n    from hopx_async.handle import CommandHandle",
        ),
        ("hopx_async.cli", "from hopx_async.testing import memory"),
        ("hopx_async.protocol.records", "from hopx_async.errors import HopxError"),
    ],
)
def test_an_import_upward_or_across_is_found(tmp_path: Path, name: str, source: str) -> None:
    """An import that leaves the house otherwise than downward is an offence, wherever it hides."""
    assert len(structure.floor_offences(module(tmp_path, name, source), NAMES)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("hopx_async.protocol.link", "from hopx_async import errors"),
        ("hopx_async.protocol.link", "from hopx_async.protocol.records import Data"),
        ("hopx_async.protocol.link", "from .records import Data"),
        ("hopx_async.transport.base", "from hopx_async import __version__\nimport aiohttp"),
        ("hopx_async.handle", "from hopx_async.sandbox import Sandbox"),
        ("hopx_async.cli", "import hopx_async as hopx"),
        ("hopx_async.model", "from hopx_async.protocol import records"),
    ],
)
def test_an_import_downward_or_inside_is_none(tmp_path: Path, name: str, source: str) -> None:
    """Imports downward, sideways in one house, and of others' packages are fine."""
    assert structure.floor_offences(module(tmp_path, name, source), NAMES) == []


def test_a_module_on_no_floor_is_found(tmp_path: Path) -> None:
    """A new top-level module must be given a floor."""
    assert structure.floor_offences(module(tmp_path, "hopx_async.utils", ""), NAMES) != []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import os.path",
        "from time import monotonic",
        "def late():\n    import random",
        "async def receive(): ...",
        "text = open('log').read()",
        "print('hello')",
        "import datetime\nnow = datetime.datetime.now()",
    ],
)
def test_impurity_is_found(tmp_path: Path, source: str) -> None:
    """Clocks, chance, files, sockets and coroutines are offences in the pure core."""
    impure = module(tmp_path, "hopx_async.protocol.link", source)

    assert len(structure.purity_offences(impure, NAMES)) == 1


def test_pure_code_is_pure(tmp_path: Path) -> None:
    """Synchronous code over values is no offence."""
    pure = module(
        tmp_path, "hopx_async.protocol.link", "import struct, attrs\ndef f(x): return x.open()"
    )

    assert structure.purity_offences(pure, NAMES) == []


@pytest.mark.parametrize(
    "source",
    [
        "import attrs",
        "import asyncio",
        "from hopx_async import errors",
        "from hopx_async.protocol import link",
        "from hopx_async.agent import logs",
    ],
)
def test_a_keeper_that_grows_is_found(tmp_path: Path, source: str) -> None:
    """A keeper may not import a dependency, asyncio, or more of ours than two modules."""
    keeper = module(tmp_path, "hopx_async.keeper.log", source)

    assert len(structure.keeper_offences(keeper, NAMES)) == 1


def test_a_small_keeper_is_fine(tmp_path: Path) -> None:
    """The standard library, the records and the keeper itself are allowed."""
    source = "import os\nfrom hopx_async.protocol import records\nfrom hopx_async.keeper import log"
    keeper = module(tmp_path, "hopx_async.keeper.log", source)

    assert structure.keeper_offences(keeper, NAMES) == []


def test_a_forgotten_export_is_found(tmp_path: Path) -> None:
    """A public function or class outside ``__all__`` is an offence; a private one is not."""
    source = """
        def kept(): ...
        async def forgotten(): ...
        class Forgotten: ...
        def _private(): ...
        if True:
            def conditional(): ...
    """
    found = structure.unexported(module(tmp_path, "hopx_async.handle", source), ["kept"])

    assert [name.rsplit(".")[-1] for name in found] == ["forgotten", "Forgotten", "conditional"]


def test_a_long_file_is_found(tmp_path: Path) -> None:
    """One line over the limit is one too many."""
    path = tmp_path / "long.py"
    path.write_text("\n" * (structure.MAX_LINES + 1))

    assert structure.line_offences(path) == ["long.py has 351 lines, over 350"]

    path.write_text("\n" * structure.MAX_LINES)

    assert structure.line_offences(path) == []


def test_missing_docstrings_are_found(tmp_path: Path) -> None:
    """A module, class, method or function without one is named; private ones are not."""
    source = '''
        from typing import overload
        class Bare:
            def method(self): ...
            def _private(self): ...
            def __repr__(self): ...
            def inherited(self): ...
        class Documented:
            """It is."""
            @property
            def value(self): ...
            @value.setter
            def value(self, new): ...
        @overload
        def function(): ...
        def function(): ...
    '''
    bare = module(tmp_path, "m", source)

    found = structure.missing_docstrings(bare, inherited=lambda _, name: name == "inherited")

    assert found == ["m", "m.Bare", "m.Bare.method", "m.Documented.value", "m.function"]
    assert structure.missing_docstrings(bare, classes_only=True) == ["m", "m.Bare"]


def test_an_undocumented_test_is_found(tmp_path: Path) -> None:
    """A test without a docstring is named, in a class or not; a helper is not."""
    path = tmp_path / "test_x.py"
    path.write_text(
        "def test_a(): ...\nclass TestB:\n    async def test_b(self): ...\ndef helper(): ...\n"
        'def test_c():\n    """c holds."""\n'
    )

    assert structure.undocumented_tests(path) == ["test_x.py:1 test_a", "test_x.py:3 test_b"]


@pytest.mark.parametrize(
    "line",
    [
        "# TO" + "DO: later",
        "x = 1  # FIX" + "ME",
        "state in /ro" + "ot/project",
        "see /ho" + "me/me/notes",
        "/Use" + "rs/me/project",
        "cd /checkout/here",
    ],
)
def test_a_machine_path_or_an_unfinished_line_is_found(tmp_path: Path, line: str) -> None:
    """A path of one machine and a note for later are found, with their line."""
    path = tmp_path / "page.md"
    path.write_text(f"fine: /workspace, /tmp, https://example.org/home/page\n{line}\n")

    assert structure.text_offences(path, ["/checkout/here"]) == [f"page.md:2: {line}"]


def test_discovery_finds_packages_and_modules(tmp_path: Path) -> None:
    """Modules are found with their names, packages under their own."""
    (tmp_path / "top" / "inner").mkdir(parents=True)
    for name in ["top/__init__.py", "top/inner/__init__.py", "top/inner/leaf.py"]:
        (tmp_path / name).touch()

    found = structure.discover(tmp_path / "top")

    assert [(m.name, m.is_package, m.house) for m in found] == [
        ("top", True, ""),
        ("top.inner", True, "inner"),
        ("top.inner.leaf", False, "inner"),
    ]
    assert structure.test_file(found[2]) == Path("inner", "test_leaf.py")
