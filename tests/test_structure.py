"""The law of the source tree: floors, purity, exports, tests, docstrings, size.

Every module is found, none is listed; what is excepted stands here with its reason.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import hopx_async
from tests.support import structure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.structure import Module

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hopx_async"
TESTS = ROOT / "tests"
MODULES = structure.discover(PACKAGE)
NAMES = frozenset(module.name for module in MODULES)
SERVER_SIDE = frozenset({"agent", "control", "keeper"})
LINUX_ONLY = ["fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"]
#: What ``os`` and ``signal`` lack on Windows, as far as one might be tempted to use it.
NOT_ON_WINDOWS = {
    "os": ["WNOHANG", "fork", "geteuid", "getuid", "killpg", "mkfifo", "pidfd_open", "setsid"],
    "signal": ["SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGSTOP", "pthread_sigmask"],
}
HEAVY = ["aiohttp", "anyio", "attr", "attrs", "msgspec", "rich", "typer", "websockets"]

#: Modules that a keeper's process may hold once it runs, the interpreter's own included.
KEEPER_MODULES = 150

#: The houses whose every module has a test file of the same place and name.
MIRRORED = frozenset({"agent", "control", "keeper", "protocol", "testing", "transport"})
#: Module -> why no test file mirrors it.
WITHOUT_OWN_TEST: dict[str, str] = {
    "hopx_async.hopx_error": "tests/test_errors.py tries it with every error that there is",
}

TEXT = {".cfg", ".ini", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}
NOT_OURS = {"__pycache__", "build", "dist", "htmlcov"}


def each(modules: Iterable[Module] = MODULES) -> pytest.MarkDecorator:
    """Run a test once for each of these modules."""
    chosen = sorted(modules)
    return pytest.mark.parametrize("module", chosen, ids=[module.name for module in chosen])


def is_main(module: Module) -> bool:
    """Tell whether a module is there to be run, not imported."""
    return module.name.endswith(".__main__")


def our_files() -> list[Path]:
    """Return every text file of the project, whether committed yet or not."""
    files = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(p.startswith(".") and p != ".ci" for p in parts[:-1]) or NOT_OURS & {*parts}
        if not hidden and path.is_file() and path.suffix in TEXT and path.name != ".git":
            files.append(path)
    return files


def python(program: str) -> str:
    """Run a program in a fresh interpreter and return what it prints."""
    return subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)


@each()
def test_imports_run_downward_or_inside_one_house(module: Module) -> None:
    """A module imports from lower floors and from its own house, nothing else of ours."""
    assert structure.floor_offences(module, NAMES) == []


@each(module for module in MODULES if module.house == "protocol")
def test_the_protocol_is_pure(module: Module) -> None:
    """The core knows no clock, no chance, no socket, no file and no await."""
    assert structure.purity_offences(module, NAMES) == []


@each(module for module in MODULES if module.house == "keeper")
def test_a_keeper_imports_the_standard_library_and_two_modules(module: Module) -> None:
    """A keeper is made of the standard library, the records and the lifecycle."""
    assert structure.keeper_offences(module, NAMES) == []


@pytest.mark.skipif("hopx_async.keeper.keeper" not in NAMES, reason="no keeper yet")
def test_a_keeper_stays_small() -> None:
    """A running keeper has loaded a bounded number of modules, nobody else's among them."""
    loaded = set(
        json.loads(
            python(
                "import hopx_async.keeper.keeper, json, sys;"
                "print(json.dumps([name for name, module in sys.modules.items()"
                " if 'site-packages' in str(getattr(module, '__file__', ''))"
                " or name.startswith('hopx_async') or name == 'asyncio'] + [len(sys.modules)]))"
            )
        )
    )
    count = next(item for item in loaded if isinstance(item, int))
    ours = {"hopx_async", "hopx_async.keeper", "hopx_async.protocol"}
    others = {
        name
        for name in loaded - ours - structure.KEEPER_MAY_IMPORT - {count, "_distutils_hack"}
        if not name.startswith("hopx_async.keeper.")
    }

    assert others == set()
    assert count <= KEEPER_MODULES


@each(module for module in MODULES if not is_main(module))
def test_all_is_there_true_and_complete(module: Module) -> None:
    """``__all__`` is there, each name in it exists, and no public definition is missing."""
    loaded = importlib.import_module(module.name)

    assert "__all__" in vars(loaded)
    assert len(set(loaded.__all__)) == len(loaded.__all__)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []
    assert structure.unexported(module, loaded.__all__) == []


def test_the_public_names_resolve() -> None:
    """Every name of ``hopx_async.__all__`` resolves, is listed by dir() and is no module."""
    for name in hopx_async.__all__:
        value = getattr(hopx_async, name)
        assert not inspect.ismodule(value), name
        assert name in dir(hopx_async)


def test_importing_the_package_loads_nothing_heavy() -> None:
    """``import hopx_async`` alone loads none of the dependencies."""
    loaded = json.loads(
        python("import hopx_async, json, sys; print(json.dumps(list(sys.modules)))")
    )

    assert [name for name in HEAVY if name in loaded] == []


def elsewhere(program: str) -> str:
    """Run a program where nothing is that only Linux has, and return what it prints.

    Other people's modules are loaded first, complete: on Windows they have their own ways.
    """
    others = {
        target
        for module in MODULES
        if module.house not in SERVER_SIDE
        for _, target, _ in structure.imports(module, NAMES)
        if target.split(".")[0] not in {"hopx_async", *LINUX_ONLY}
    }
    return python(
        "import contextlib, importlib, sys\n"
        f"for name in {sorted(others)}:\n"
        "    with contextlib.suppress(ImportError):\n"
        "        importlib.import_module(name)\n"
        f"sys.modules.update(dict.fromkeys({LINUX_ONLY}))\n"
        f"for name, attributes in {NOT_ON_WINDOWS}.items():\n"
        "    for attribute in attributes:\n"
        "        delattr(importlib.import_module(name), attribute)\n"
        f"sys.platform = 'win32'\n{program}"
    )


def test_the_client_needs_no_linux() -> None:
    """Everything but root, keeper and agent imports where Linux-only modules are missing."""
    client = [m for m in MODULES if m.house not in SERVER_SIDE and not is_main(m)]
    assert {"cli", "protocol", "providers", "testing", "transport"} < {m.house for m in client}
    elsewhere(
        f"for name in {[module.name for module in client]}:\n    importlib.import_module(name)\n"
    )


def test_local_says_elsewhere_what_to_do() -> None:
    """On another platform every public name is there, and local() names what works instead."""
    said = elsewhere(
        "import hopx_async\n"
        "for name in hopx_async.__all__:\n"
        "    getattr(hopx_async, name)\n"
        "try:\n"
        "    hopx_async.local()\n"
        "except hopx_async.Unsupported as error:\n"
        "    print(error)\n"
    )

    assert "local() needs Linux, this is win32" in said
    assert "remote" in said


def test_the_memory_sandbox_runs_elsewhere() -> None:
    """Scripted commands on virtual time run on other platforms, too."""
    said = elsewhere(
        "from hopx_async.testing import memory, run\n"
        "async def script(command):\n"
        "    await command.stdout(b'one\\n')\n"
        "    return 3\n"
        "async def main():\n"
        "    async with memory({'x': script}) as sandbox:\n"
        "        print(await sandbox.commands.run('x'))\n"
        "run(main())\n"
    )

    assert "exit_code=3" in said


def test_every_module_has_its_test_file() -> None:
    """A module's tests stand at the same place under tests/, or a reason stands here."""
    missing = [
        str(TESTS.relative_to(ROOT) / structure.test_file(module))
        for module in MODULES
        if (module.house in MIRRORED or module.name.count(".") == 1)
        and not (module.is_package or is_main(module) or module.name in WITHOUT_OWN_TEST)
        and not (TESTS / structure.test_file(module)).is_file()
    ]

    assert missing == []


def test_exceptions_name_modules_that_exist() -> None:
    """WITHOUT_OWN_TEST names modules that are there and have no test file, each with a reason."""
    named = [module for module in MODULES if module.name in WITHOUT_OWN_TEST]

    assert WITHOUT_OWN_TEST.keys() == {module.name for module in named}
    assert [m.name for m in named if (TESTS / structure.test_file(m)).exists()] == []
    assert all(WITHOUT_OWN_TEST.values())


@each()
def test_what_is_public_has_a_docstring(module: Module) -> None:
    """Public modules, classes, functions and methods say what they promise."""
    loaded = None if is_main(module) else importlib.import_module(module.name)

    def inherited(class_name: str, method: str) -> bool:
        return bool(inspect.getdoc(getattr(getattr(loaded, class_name, None), method, None)))

    offences = structure.missing_docstrings(
        module, classes_only=module.house in SERVER_SIDE, inherited=inherited
    )

    assert offences == []


def test_every_test_says_what_it_proves() -> None:
    """Every test function has a docstring."""
    files = sorted(TESTS.rglob("test_*.py"))

    assert [line for path in files for line in structure.undocumented_tests(path)] == []


def test_files_stay_small() -> None:
    """No Python file is longer than the limit."""
    files = [path for path in our_files() if path.suffix == ".py"]

    assert [line for path in files for line in structure.line_offences(path)] == []


def test_nothing_names_this_machine_or_is_left_for_later() -> None:
    """No file holds a path of the machine it was written on, nor a note to finish it."""
    places = [str(ROOT)] if len(ROOT.parts) > 2 else []

    assert [line for path in our_files() for line in structure.text_offences(path, places)] == []


def test_py_typed_is_there_and_empty() -> None:
    """The package says that it is typed."""
    assert (PACKAGE / "py.typed").read_bytes() == b""


def test_every_file_parses_on_the_oldest_python() -> None:
    """Every Python file is valid in the grammar of the oldest supported version."""
    for path in our_files():
        if path.suffix == ".py":
            ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 11))
