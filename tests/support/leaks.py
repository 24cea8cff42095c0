"""What a test leaves behind: tasks, descriptors, processes and files.

Plain functions first, the fixture that applies them to every test last. The root
``conftest.py`` loads this module as a plugin, so it guards the pages' examples too.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import inspect
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from collections.abc import Set as AbstractSet

__all__ = [
    "Process",
    "become_subreaper",
    "end_processes",
    "files_left",
    "no_task_left",
    "nothing_left",
    "open_descriptors",
    "processes_below",
    "tasks_left",
    "wait_for_processes",
]

_PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36
#: Turns of the loop that a task already on its way out may take.
_TURNS = 20
#: Seconds that orphans made on purpose may take to notice that they are orphans.
_ORPHANS_END_WITHIN = 10.0

#: A process for good: its pid and when it started (ticks since boot).
Process = tuple[int, int]


async def tasks_left(before: AbstractSet[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the loop's tasks that were not there before, the caller's own apart."""
    left: set[asyncio.Task[Any]] = set()
    for _ in range(_TURNS):
        left = {task for task in asyncio.all_tasks() - before if not _is_of_the_runner(task)}
        if not left:
            break
        await asyncio.sleep(0)
    return left


def _is_of_the_runner(task: asyncio.Task[Any]) -> bool:
    """Tell whether anyio's test runner made this task, to run a test or a fixture."""
    name = getattr(task.get_coro(), "__qualname__", "")
    return task is asyncio.current_task() or name.startswith("TestRunner.")


def open_descriptors() -> dict[int, str]:
    """Return what each open descriptor of this process stands for; empty without /proc."""
    descriptors: dict[int, str] = {}
    if not _PROC.is_dir():
        return descriptors
    for link in Path("/proc/self/fd").iterdir():
        try:
            descriptors[int(link.name)] = str(link.readlink())
        except FileNotFoundError:  # the one that listed the directory
            continue
    return descriptors


def _descriptors_left(before: dict[int, str]) -> list[str]:
    def difference() -> list[str]:
        now = open_descriptors()
        return [f"{fd} -> {now[fd]}" for fd in sorted(now) if before.get(fd) != now[fd]]

    left = difference()
    if left:  # collecting is slow: only where something awaits it
        gc.collect()
        left = difference()
    return left


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (thread / "children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        pass
    return children


def _describe(pid: int) -> tuple[Process, str] | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    state, started = fields[0], int(fields[19])
    if state in "ZX":
        return (pid, started), f"{pid} ({name}): ended, but nobody waited for it"
    shown = command.replace(b"\0", b" ").decode(errors="replace").strip() or name
    return (pid, started), f"{pid}: {shown[:200]}"


def processes_below(pid: int | None = None) -> dict[Process, str]:
    """Return every descendant of a process, this one if None; empty without /proc."""
    found: dict[Process, str] = {}
    waiting = _children(os.getpid() if pid is None else pid)
    while waiting:
        described = _describe(waiting.pop())
        if described is not None and described[0] not in found:
            found[described[0]] = described[1]
            waiting += _children(described[0][0])
    return found


def end_processes(processes: AbstractSet[Process]) -> None:
    """Kill and reap, so that one test's leak does not fail the next."""
    for pid, _ in processes:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for pid, _ in processes:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:  # a grandchild: it comes to us, or went with its parent
            continue


def wait_for_processes(before: AbstractSet[Process], seconds: float) -> None:
    """Reap what ends, until nothing is left that was not there before or time is up."""
    deadline = time.monotonic() + seconds
    while left := processes_below().keys() - before:
        for pid, _ in left:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)


def files_left(directory: Path) -> list[str]:
    """Return the paths below a directory, relative to it."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def become_subreaper() -> None:
    """Have orphans of our descendants come to this process, where they are seen. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pytest_configure() -> None:
    """Make this run the reaper of its orphans."""
    become_subreaper()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: Any) -> None:
    """Give every async test the fixture that watches its loop, before its other fixtures."""
    if collector.istestfunction(obj, name) and _is_async(obj):
        pytest.mark.usefixtures("no_task_left")(obj)


@pytest.fixture
async def no_task_left(nothing_left: None, anyio_backend: object) -> AsyncIterator[None]:
    """Fail a test whose loop still has a task of its making.

    It comes after ``nothing_left``, so that its loop is closed when that looks.
    """
    before = asyncio.all_tasks()
    yield
    if left := await tasks_left(before):
        raise AssertionError("\n  ".join(["the test left tasks:", *sorted(map(repr, left))]))


@pytest.fixture(autouse=True)
def nothing_left(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Fail a test that leaves a task, a descriptor, a process or a temporary file.

    ``TMPDIR`` is a fresh directory, for the test and for what it starts. Fixtures of a
    wider scope are there before and after: what *they* hold is theirs.
    """
    tmp_path_factory.getbasetemp()  # pytest's own directory is not to be made inside ours
    with tempfile.TemporaryDirectory(prefix="hx-", ignore_cleanup_errors=True) as directory:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", directory)
            patch.setattr(tempfile, "tempdir", directory)
            descriptors, processes = open_descriptors(), processes_below()
            yield
            if request.node.get_closest_marker("leaves_orphans"):
                wait_for_processes(processes.keys(), _ORPHANS_END_WITHIN)
            problems = _problems(descriptors, processes, Path(directory))
        shutil.rmtree(directory, ignore_errors=True)
    if problems:
        pytest.fail("\n  ".join(["the test left something behind:", *problems]), pytrace=False)


def _is_async(test: object) -> bool:
    hypothesis = getattr(test, "hypothesis", None)
    return inspect.iscoroutinefunction(getattr(hypothesis, "inner_test", test))


def _problems(
    descriptors: dict[int, str], processes: dict[Process, str], directory: Path
) -> list[str]:
    left = processes_below()
    new = left.keys() - processes.keys()
    problems = [f"process {left[process]}" for process in sorted(new)]
    end_processes(new)
    problems += [f"descriptor {line}" for line in _descriptors_left(descriptors)]
    problems += [f"file $TMPDIR/{line}" for line in files_left(directory)]
    return problems
