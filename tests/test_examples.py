"""Every program in docs/examples runs as it is, and prints what it should."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))

#: What each prints, as patterns of lines, in order; others may stand between them.
PRINTED = {
    "three_commands.py": [
        r" +count \| started as pid \d+",
        r" +count \| step 5",
        r" +count \| exited with 0 after \d\.\d s",
        r" +endless \| was ended by its time limit after \d\.\d s",
        r"Summary",
        r" +count   completed  exited with 0 after \d\.\d s",
        r" +fail   failed     exited with 3 after \d\.\d s",
        r" +endless   failed     was ended by its time limit after \d\.\d s",
    ],
    "agent_tool.py": [
        r"saved",
        r"\[exited with 0 after \d\.\d s\]",
        r"\[\.\.\. 23833 bytes cut \.\.\.\]",
        r"\[exited with 1 after \d\.\d s\]",
        r"The file has 5000 numbers\.",
    ],
    "build_farm.py": [r"core: exited with 0 after \d\.\d s", r"web failed: web\.c:7: error"],
    "crash_safe_worker.py": [r"2 crashes, 200 items, each once"],
    "dev_server.py": [r"b'hello\\n'", r"second: OSError: \[Errno 98\] Address already in use"],
    "fan_out.py": [r"  0 5feceb66", r" 75 f369cb89", r"done"],
}


def test_every_example_is_known() -> None:
    """Each example has its lines here, and no line is about one that has gone."""
    assert {path.name for path in FILES} == PRINTED.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_has_a_main(path: Path) -> None:
    """An example can be imported without running, and has an asynchronous main and a docstring."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert inspect.iscoroutinefunction(module.main)
    assert module.__doc__


@pytest.mark.leaves_orphans  # one kills its own processes, and ends before what it detached
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_runs(path: Path) -> None:
    """An example ends with status 0, says nothing on stderr and prints what it should."""
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, cwd=path.parent
    )
    lines = iter(done.stdout.splitlines())

    assert (done.returncode, done.stderr) == (0, "")
    missing = [
        wanted
        for wanted in PRINTED[path.name]
        if not any(re.fullmatch(wanted, line) for line in lines)
    ]
    assert missing == [], done.stdout
