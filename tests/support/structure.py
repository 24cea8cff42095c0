"""The rules of the source tree, as functions from a module to its offences.

``tests/test_structure.py`` applies them to every module; ``test_structure_rules.py``
beside this file proves on small sources that each of them can fail.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = [
    "FLOORS",
    "IMPURE",
    "KEEPER_MAY_IMPORT",
    "MAX_LINES",
    "Module",
    "discover",
    "floor_offences",
    "imports",
    "keeper_offences",
    "line_offences",
    "missing_docstrings",
    "purity_offences",
    "test_file",
    "text_offences",
    "undocumented_tests",
    "unexported",
]

MAX_LINES = 350

#: Floors from the ground up; each is a list of houses. Imports run down to a lower floor or
#: sideways inside one house, so two houses of one floor never import each other. A module
#: lives where its longest name stands: those that a keeper loads are the ground itself.
FLOORS: list[list[set[str]]] = [
    [{"protocol.lifecycle", "protocol.problems", "protocol.records"}],
    [{"errors", "hopx_error", "model", "secret", "spec"}],
    [{"protocol"}],
    [{"front"}],  # what the two houses that serve have in common
    [{"transport"}, {"keeper"}, {"agent"}, {"control"}],
    [
        {
            "arguments",
            "client",
            "commands",
            "environment",
            "feeding",
            "file_arguments",
            "files",
            "gathering",
            "grouping",
            "handle",
            "launch",
            "listing",
            "local_files",
            "mapping",
            "opening",
            "pooling",
            "probing",
            "providers",
            "readiness",
            "reading",
            "sandbox",
            "spreading",
            "starting",
            "stream",
            "watching",
            "writing",
        }
    ],
    [{""}],  # hopx_async itself, which only re-exports
    [{"cli"}, {"blocking"}],
    [{"testing"}],  # a run of tests holds a real agent by a blocking door
    [{"pytest_plugin"}],
]

#: What pure code has no business with: clocks, chance, the world.
IMPURE = frozenset(
    """
    aiohttp anyio asyncio concurrent fcntl glob http io logging multiprocessing os pathlib
    random secrets select selectors shutil signal socket ssl subprocess tempfile threading
    time urllib uuid websockets
    """.split()  # noqa: SIM905  # a word a line would fill the page
)
_IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval"})

#: All of ours that a keeper loads beside itself.
KEEPER_MAY_IMPORT = frozenset(
    f"hopx_async.protocol.{name}" for name in ("lifecycle", "problems", "records")
)

# Written in two halves: this file obeys the rule itself.
_UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME)\b")
_MACHINE_PATHS = re.compile(r"(?<![\w.}])/(root|home|Users)" r"/\w+|/\.pyenv/|index-" r"url")


class Module(NamedTuple):
    """One source file and the name it is imported by."""

    name: str
    path: Path
    is_package: bool

    @property
    def tree(self) -> ast.Module:
        """The parsed source."""
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    @property
    def house(self) -> str:
        """The first name below the top package: ``protocol``, ``errors``; "" for the top."""
        return [*self.name.split("."), ""][1]


def discover(package: Path) -> list[Module]:
    """Return every module of a package, the package itself included, sorted by name."""
    modules = []
    for path in package.rglob("*.py"):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules.append(Module(name, path, is_package))
    return sorted(modules)


def imports(module: Module, names: Collection[str]) -> Iterator[tuple[int, str, str]]:
    """Yield line, imported module and imported name ("" for the module itself).

    ``names`` are the modules there are: they tell a submodule from a module's attribute.
    Imports inside functions and under ``TYPE_CHECKING`` count like any other.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.name.split(".")[: None if module.is_package else -1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, base] if base else package)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (node.lineno, full, "") if full in names else (node.lineno, base, alias.name)


def _house(name: str, floors: list[list[set[str]]]) -> tuple[int, set[str]] | None:
    inner = name.partition(".")[2]
    for wanted in (inner, inner.partition(".")[0]):
        for number, floor in enumerate(floors):
            for house in floor:
                if wanted in house:
                    return number, house
    return None


def floor_offences(
    module: Module, names: Collection[str], floors: list[list[set[str]]] = FLOORS
) -> list[str]:
    """Return the imports that run up, or over to another house."""
    top = module.name.split(".")[0]
    here = _house(module.name, floors)
    if here is None:
        return [f"{module.name} stands on no floor: put it into FLOORS"]
    offences = []
    for line, target, name in imports(module, names):
        if target.split(".")[0] != top or (target == top and name == "__version__"):
            continue
        there = _house(target, floors)
        if there is None or not (there[0] < here[0] or there[1] is here[1]):
            offences.append(f"{module.name}:{line} imports {target}, which is not below it")
    return offences


def purity_offences(module: Module, names: Collection[str]) -> list[str]:
    """Return what makes a module of the pure core impure."""
    offences = [
        f"{module.name}:{line} imports {target}"
        for line, target, _ in imports(module, names)
        if target.split(".")[0] in IMPURE
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            offences.append(f"{module.name}:{node.lineno} is asynchronous")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _IMPURE_CALLS
        ):
            offences.append(f"{module.name}:{node.lineno} calls {node.func.id}()")
        elif isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
            offences.append(f"{module.name}:{node.lineno} asks a clock: {node.attr}")
    return offences


def keeper_offences(module: Module, names: Collection[str]) -> list[str]:
    """Return the imports by which a keeper would load more than it may."""
    top, keeper = module.name.split(".")[0], ".".join(module.name.split(".")[:2])
    offences = []
    for line, target, name in imports(module, names):
        root = target.split(".")[0]
        allowed = (
            (root != top and root in sys.stdlib_module_names and root != "asyncio")
            or target in KEEPER_MAY_IMPORT
            or target == keeper
            or target.startswith(keeper + ".")
            or (target == top and name == "__version__")
        )
        if not allowed:
            offences.append(f"{module.name}:{line} imports {target}.{name}".rstrip("."))
    return offences


def _public_definitions(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node
        elif isinstance(node, ast.If | ast.Try):
            yield from _public_definitions(node.body)
            yield from _public_definitions(node.orelse)


def unexported(module: Module, exported: Collection[str]) -> list[str]:
    """Return the public functions and classes of a module that its ``__all__`` forgets."""
    return [
        f"{module.name}.{node.name}"  # type: ignore[attr-defined]
        for node in _public_definitions(module.tree.body)
        if node.name not in exported  # type: ignore[attr-defined]
    ]


def line_offences(path: Path, limit: int = MAX_LINES) -> list[str]:
    """Return the complaint that a file is too long, if it is."""
    count = len(path.read_text(encoding="utf-8").splitlines())
    return [f"{path.name} has {count} lines, over {limit}"] if count > limit else []


def test_file(module: Module) -> Path:
    """Return where the tests of a module stand, relative to the directory of all tests."""
    *directories, name = module.name.split(".")[1:]
    return Path(*directories, f"test_{name}.py")


test_file.__test__ = False  # type: ignore[attr-defined]  # pytest, it is none


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {
        ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in node.decorator_list
    }


def missing_docstrings(
    module: Module,
    *,
    classes_only: bool = False,
    inherited: Callable[[str, str], bool] = lambda _class, _method: False,
) -> list[str]:
    """Return what public thing lacks a docstring: the module, functions, classes, methods.

    Overloads and property setters need none; a method may inherit its base's, as far as
    ``inherited(class, method)`` knows of one. Names with an underscore are not public.
    """
    offences = [] if ast.get_docstring(module.tree) else [module.name]
    for node in _public_definitions(module.tree.body):
        if isinstance(node, ast.ClassDef):
            if not ast.get_docstring(node):
                offences.append(f"{module.name}.{node.name}")
            members = [] if classes_only else list(_public_definitions(node.body))
            offences += [
                f"{module.name}.{node.name}.{member.name}"
                for member in members
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
                and not ast.get_docstring(member)
                and not _decorators(member) & {"overload", "setter", "deleter"}
                and not inherited(node.name, member.name)
            ]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not (
            classes_only or ast.get_docstring(node) or "overload" in _decorators(node)
        ):
            offences.append(f"{module.name}.{node.name}")
    return offences


def undocumented_tests(path: Path) -> list[str]:
    """Return the test functions of a file that do not say what they prove."""
    return [
        f"{path.name}:{node.lineno} {node.name}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]


def text_offences(path: Path, places: Collection[str] = ()) -> list[str]:
    """Return the lines that name this machine (``places``, homes) or confess to be unfinished."""
    offences = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = _UNFINISHED.search(line) or _MACHINE_PATHS.search(line)
        if found or any(place in line for place in places):
            offences.append(f"{path.name}:{number}: {line.strip()[:120]}")
    return offences
