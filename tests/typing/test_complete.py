"""The files of ``assert_type`` beside this one look at every public name and every member."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

import hopx_async as hopx
from hopx_async import blocking, testing
from tests.support import typed

HERE = Path(__file__).parent
#: By module: the files that look at its names.
FILES = {
    hopx: ("api.py", "values.py", "service.py", "kit.py"),
    blocking: ("blocking.py", "service_blocking.py"),
    testing: ("kit.py",),
}
#: Of these, what stands in the docstring is for users, the rest for the kit itself, or Python's.
PARTLY = {"Faults", "MemoryAgent", "ScriptedCommand", "VirtualTimeLoop"}
CLASSES = [
    (module, name)
    for module in (hopx, blocking, testing)
    for name in module.__all__
    if inspect.isclass(getattr(module, name)) and name not in PARTLY
]


def source_of(module: ModuleType) -> list[str]:
    """Return the programs that look at a module."""
    return [(HERE / name).read_text(encoding="utf-8") for name in FILES[module]]


@pytest.mark.parametrize("module", FILES, ids=lambda module: module.__name__)
def test_every_public_name_is_looked_at(module: Any) -> None:
    """No public name is missing there."""
    used = set[str]().union(*map(typed.names_used, source_of(module)))

    assert set(module.__all__) - used == set()


@pytest.mark.parametrize(
    ("module", "name"), CLASSES, ids=[f"{module.__name__}.{name}" for module, name in CLASSES]
)
def test_every_member_has_its_type_asserted(module: Any, name: str) -> None:
    """Of each public class every method, attribute and protocol is in an assert_type.

    What its bases, or the union of all events, are looked at for, counts.
    """
    found = set[tuple[str, str]]().union(*map(typed.exercised, source_of(module)))
    kind = getattr(module, name)
    names = {base.__name__ for base in kind.__mro__}
    if kind in get_args(hopx.Event):
        names.add("Event")
    looked_at = {member for owner, member in found if owner in names}

    assert typed.members(kind) - looked_at == set()
