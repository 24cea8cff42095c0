"""The leak fixture catches each kind of leak, and only leaks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import leaks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROOT = Path(__file__).parents[2]
CONFTEST = """
import pytest
pytest_plugins = ["tests.support.leaks"]

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"
"""
INI = f"""
[pytest]
anyio_mode = auto
pythonpath = {ROOT}
filterwarnings = error
addopts = -p no:asyncio -p no:cacheprovider
markers = leaves_orphans: see the plugin
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    """Return a pytester whose runs are guarded by the leak fixture."""
    pytester.makeconftest(CONFTEST)
    pytester.makeini(INI)
    return pytester


def outcome(run: pytest.Pytester, source: str, *, apart: bool = False) -> pytest.RunResult:
    """Run one test file, in this process (faster) or apart from it."""
    run.makepyfile(source)
    return run.runpytest_subprocess() if apart else run.runpytest_inprocess()


async def test_tasks_left_returns_a_task_that_still_runs() -> None:
    """tasks_left returns a task that still runs."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(asyncio.sleep(60))

    assert await leaks.tasks_left(before) == {task}

    task.cancel()


async def test_tasks_left_waits_for_a_task_on_its_way_out() -> None:
    """tasks_left gives a cancelled task the turns it needs."""
    before = asyncio.all_tasks()
    asyncio.create_task(asyncio.sleep(60)).cancel()

    assert await leaks.tasks_left(before) == set()


def test_open_descriptors_shows_a_new_one() -> None:
    """open_descriptors names the file behind a new descriptor."""
    before = leaks.open_descriptors()
    with Path(os.devnull).open() as file:
        new = leaks.open_descriptors().items() - before.items()

        assert new == {(file.fileno(), os.devnull)}


def test_processes_below_shows_grandchildren() -> None:
    """processes_below returns children and grandchildren, and end_processes ends them."""
    before = leaks.processes_below()
    with subprocess.Popen(["sh", "-c", "sleep 61 & echo; wait"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        new = leaks.processes_below().items() - before.items()

        assert any("sleep 61" in line for _, line in new)
        assert len(new) == 2

        leaks.end_processes({process for process, _ in new})
    leaks.wait_for_processes(before.keys(), 5)

    assert leaks.processes_below() == before


def test_every_test_has_its_own_empty_tmpdir() -> None:
    """A test's temporary directory is its own, empty, and known to what it starts."""
    shown = subprocess.check_output(["sh", "-c", "echo $TMPDIR"], text=True).strip()

    assert shown == tempfile.gettempdir()
    assert not list(Path(shown).iterdir())


def test_a_clean_test_passes(run: pytest.Pytester) -> None:
    """Tests that clean up pass: tasks, descriptors, children, files, synchronous or not."""
    result = outcome(
        run,
        """
        import asyncio, subprocess, tempfile

        async def test_async():
            task = asyncio.create_task(asyncio.sleep(60))
            process = await asyncio.create_subprocess_exec("true")
            await process.wait()
            task.cancel()

        def test_sync(tmp_path):
            with tempfile.NamedTemporaryFile() as file, (tmp_path / "kept").open("w"):
                subprocess.run(["true"], check=True)
        """,
    )

    result.assert_outcomes(passed=2)


def test_a_task_is_caught(run: pytest.Pytester) -> None:
    """A task left by an async test fails it, by name."""
    result = outcome(
        run,
        """
        import asyncio

        async def test_leak():
            asyncio.create_task(asyncio.sleep(60), name="forgotten one")
        """,
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*the test left tasks:*", "*forgotten one*"])


def test_a_descriptor_is_caught(run: pytest.Pytester) -> None:
    """A descriptor left open fails the test and says where it leads."""
    result = outcome(
        run,
        """
        import os

        def test_leak():
            os.open("/dev/null", os.O_RDONLY)
        """,
        apart=True,
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*descriptor * -> /dev/null"])


def test_a_child_is_caught_and_ended(run: pytest.Pytester) -> None:
    """A child left running fails its test, and only its test: it is ended."""
    result = outcome(
        run,
        """
        import os

        def test_leak():
            os.posix_spawnp("sleep", ["sleep", "62"], os.environ)

        def test_next():
            pass
        """,
    )

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*process *: sleep 62"])


def test_an_unreaped_child_is_caught(run: pytest.Pytester) -> None:
    """A child that ended but was never waited for fails the test."""
    result = outcome(
        run,
        """
        import os, time

        def test_leak():
            pid = os.posix_spawnp("true", ["true"], os.environ)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        """,
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*process * (true): ended, but nobody waited for it"])


ORPHAN = """
    import os, pytest, subprocess

    @pytest.mark.skipif(False, reason="")
    def test_leak():
        subprocess.run(["sh", "-c", "setsid sleep {seconds} >/dev/null 2>&1 &"], check=True)
"""


def test_an_orphan_is_caught(run: pytest.Pytester) -> None:
    """An orphan in a session of its own does not escape."""
    result = outcome(run, ORPHAN.format(seconds=63))

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*process *sleep 63*"])  # or its shell, about to become it


def test_orphans_made_on_purpose_may_end_by_themselves(run: pytest.Pytester) -> None:
    """With the marker leaves_orphans a test's orphans are waited for and reaped."""
    source = ORPHAN.format(seconds=0.2).replace('skipif(False, reason="")', "leaves_orphans")

    outcome(run, source).assert_outcomes(passed=1)


def test_a_file_is_caught(run: pytest.Pytester) -> None:
    """A file left in the temporary directory fails the test, by its path."""
    result = outcome(
        run,
        """
        import tempfile
        from pathlib import Path

        def test_leak():
            Path(tempfile.mkdtemp(prefix="state-"), "log").touch()
        """,
    )

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*file $TMPDIR/state-*/log"])


def test_what_a_wider_fixture_holds_is_no_leak(run: pytest.Pytester) -> None:
    """A process and a task of a module's fixture are not the tests' leaks."""
    result = outcome(
        run,
        """
        import asyncio, pytest

        @pytest.fixture(scope="module")
        async def server():
            task = asyncio.create_task(asyncio.sleep(60))
            process = await asyncio.create_subprocess_exec("sleep", "64")
            yield
            process.kill()
            await process.wait()
            task.cancel()

        async def test_one(server):
            pass

        async def test_two(server):
            pass
        """,
    )

    result.assert_outcomes(passed=2)
