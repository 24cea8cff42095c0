"""The fixtures for pytest, under both plugins that run asynchronous tests, in every loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import hopx_async

ROOT = Path(hopx_async.__file__).parents[1]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the local agent needs Linux")
INI = f"""
[pytest]
pythonpath = {ROOT}
filterwarnings = error
addopts = -p no:cacheprovider --strict-markers --strict-config
"""
BACKEND = """
import pytest

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"
"""
# The ways that are tried in each run; the others take as long, and are tried with what does.
OFTEN = {"anyio", "asyncio, one for the run"}
# By the name of a way to run tests: the mark, what is given to pytest, and the scope of sandboxes.
WAYS: dict[str, tuple[str, list[str]]] = {
    "anyio": ("pytest.mark.anyio", ["-p", "no:asyncio"]),
    "anyio beside asyncio, one for the run": (
        "pytest.mark.anyio",
        ["--hopx-sandbox-scope=run"],
    ),
    "asyncio without anyio": ("pytest.mark.asyncio", ["-p", "no:anyio"]),
    "asyncio, one for the run": ("pytest.mark.asyncio", ["--hopx-sandbox-scope=run"]),
    "asyncio in a loop of the session": ("pytest.mark.asyncio(loop_scope='session')", []),
    "asyncio, auto, one for the run": ("[]", ["--asyncio-mode=auto", "--hopx-sandbox-scope=run"]),
    "asyncio in a loop of the session by default": (
        "pytest.mark.asyncio",
        ["-o", "asyncio_default_test_loop_scope=session", "--hopx-sandbox-scope=run"],
    ),
}


@pytest.fixture
def tests(pytester: pytest.Pytester) -> pytest.Pytester:
    """Return a pytester for runs apart from this one."""
    pytester.makeini(INI)
    pytester.makeconftest(BACKEND)
    return pytester


def passed(tests: pytest.Pytester, source: str, *arguments: str, **outcomes: int) -> str:
    """Run a file of tests, expect these outcomes, and return what pytest printed."""
    tests.makepyfile(source)
    if "no:asyncio" not in arguments:
        arguments += ("-o", "asyncio_default_fixture_loop_scope=function")
    result = tests.runpytest_subprocess(*arguments)
    result.assert_outcomes(**outcomes)
    return result.stdout.str()


MEMORY = """
import anyio, asyncio, pytest, time
pytestmark = {mark}

async def slow(command):
    for number in range(3):
        await command.stdout(b"%d\\n" % number)
        await anyio.sleep(3600)
    return 0

@pytest.fixture
def hopx_scripts():
    return {{"slow": slow}}

async def test_time_jumps(hopx_memory):
    result = await hopx_memory.commands.run("slow")
    assert result.stdout == "0\\n1\\n2\\n"
    assert result.exit.duration == pytest.approx(3 * 3600)

async def test_scripts_can_be_added(hopx_memory, hopx_scripts):
    hopx_scripts["other"] = slow
    assert (await hopx_memory.commands.run("other")).ok

@pytest.mark.parametrize("fault", ["drop", "delay", "duplicate", "restart_agent"])
async def test_faults_go_by_unseen(hopx_memory, hopx_faults, fault):
    if fault == "delay":
        hopx_faults.delay(10)
    elif fault == "duplicate":
        hopx_faults.duplicate()
    job = await hopx_memory.commands.start("slow")
    output = b""
    async for event in job.events():
        output += getattr(event, "data", b"")
        if fault == "drop":
            hopx_faults.drop()
        elif fault == "restart_agent":
            await hopx_faults.restart_agent()
    assert output == b"0\\n1\\n2\\n"
    assert fault in ("delay", "duplicate") or hopx_faults.connections > 2
    hopx_faults.heal()

async def test_behind_it_time_passes_again():
    began = time.monotonic()
    await asyncio.sleep(0.05)
    assert time.monotonic() - began >= 0.04
"""


REAL = """

async def test_a_command_runs(hopx_sandbox):
    assert (await hopx_sandbox.commands.run("echo hi")).stdout == "hi\\n"
    await hopx_sandbox.commands.start("sleep 1000")

async def test_the_next_one_is_clean(hopx_sandbox):
    assert not await hopx_sandbox.commands.list(status="running")

async def test_real_faults_go_by_unseen(hopx_sandbox, hopx_faults):
    job = await hopx_sandbox.commands.start("cat", stdin=True)
    found = ""
    async with job.text() as texts:
        for number in range(4):
            await job.send_stdin(f"{number}")
            found += (await anext(texts)).text
            if number == 0:
                hopx_faults.drop()
            elif number == 1:
                hopx_faults.duplicate()
                hopx_faults.delay(0.001)
            else:
                await hopx_faults.restart_agent()
        await job.close_stdin()
        async for text in texts:
            found += text.text
    assert found == "0123"
    assert hopx_faults.connections > 3
    assert (await job.wait()).ok
"""


@LINUX
@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=() if way in OFTEN else pytest.mark.soak) for way in WAYS]
)
def test_sandboxes_are_there_in_every_loop(tests: pytest.Pytester, way: str) -> None:
    """Both fixtures open in the loop of the test, whose time jumps or not; faults go by unseen."""
    mark, arguments = WAYS[way]
    passed(tests, MEMORY.format(mark=mark) + REAL, *arguments, passed=10)


@LINUX
def test_what_the_page_shows_passes(tests: pytest.Pytester) -> None:
    """The tests on the page are tests that pass."""
    page = (ROOT / "docs" / "howto" / "testing-your-code.md").read_text()
    section = page.partition("## With pytest")[2].partition("\n## ")[0]
    source = section.partition("```python\n")[2].partition("```")[0]
    passed(tests, source, "-p", "no:asyncio", passed=3)


@LINUX
def test_a_run_has_one_agent_and_a_test_one_of_its_own(tests: pytest.Pytester) -> None:
    """With scope run, files of one test are there for the next, unless that breaks its agent."""
    source = """
        import pytest
        pytestmark = pytest.mark.anyio

        async def test_one(hopx_sandbox):
            await hopx_sandbox.files.write("a", "1")

        async def test_other(hopx_sandbox):
            print("there:", await hopx_sandbox.files.exists("a"))

        async def test_one_to_be_broken(hopx_sandbox, hopx_faults):
            print("there as well:", await hopx_sandbox.files.exists("a"))
    """
    arguments = ["-s", "-p", "no:asyncio"]
    assert "there: False" in passed(tests, source, *arguments, passed=3)
    tests.makeini(f"{INI}hopx_sandbox_scope = run\n")
    said = passed(tests, source, *arguments, passed=3)
    assert "there: True" in said
    assert "there as well: False" in said


@LINUX
def test_the_options_of_the_sandbox_are_the_users(tests: pytest.Pytester) -> None:
    """hopx_local_options are the arguments of local(), in both scopes."""
    source = """
        import pytest
        pytestmark = pytest.mark.anyio

        @pytest.fixture(scope="session")
        def hopx_local_options(tmp_path_factory):
            return {"workspace": tmp_path_factory.mktemp("mine")}

        async def test_one(hopx_sandbox, hopx_local_options):
            await hopx_sandbox.commands.run("touch here", check=True)
            assert (hopx_local_options["workspace"] / "here").exists()
    """
    for scope in ("test", "run"):
        arguments = ("-p", "no:asyncio", "--hopx-sandbox-scope", scope)
        passed(tests, source, *arguments, passed=1)


@pytest.mark.parametrize("scope", ["test", "run"])
@pytest.mark.parametrize("way", ["anyio", "asyncio without anyio"])
def test_where_there_is_no_local_sandbox_tests_are_skipped(
    tests: pytest.Pytester, way: str, scope: str
) -> None:
    """Elsewhere than on Linux the reason says what is missing; memory is there all the same."""
    mark, arguments = WAYS[way]
    source = f"""
        import pytest, sys
        import hopx_async.testing, hopx_async.testing.fixtures
        pytestmark = {mark}

        async def test_real(hopx_sandbox):
            pass

        async def test_memory(hopx_memory):
            pass

        @pytest.fixture(autouse=True, scope="session")
        def elsewhere():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "platform", "win32")
                yield
    """
    arguments = [*arguments, "-rs", "--hopx-sandbox-scope", scope]
    said = passed(tests, source, *arguments, passed=1, skipped=1)
    assert "hopx_sandbox needs hopx_async.local(): local() needs Linux, this is win32" in said


def test_what_cannot_be_is_told(tests: pytest.Pytester) -> None:
    """A synchronous test, and both kinds of time in one, are told in a sentence."""
    source = """
        import pytest

        def test_synchronous(hopx_memory):
            pass

        @pytest.mark.anyio
        async def test_both(hopx_memory, hopx_sandbox):
            pass
    """
    said = passed(tests, source, errors=2)
    assert "hopx_memory is for asynchronous tests: mark them for anyio or for" in said
    assert "hopx_memory needs virtual time, hopx_sandbox real time" in said


def test_another_backend_of_anyio_is_skipped(tests: pytest.Pytester) -> None:
    """A test that runs on all backends runs on asyncio, and says why not on others."""
    tests.makeconftest("")
    source = """
        import pytest

        @pytest.fixture(params=["asyncio", "trio"])
        def anyio_backend(request):
            return request.param

        @pytest.mark.anyio
        async def test_one(hopx_memory):
            pass
    """
    said = passed(tests, source, "-rs", passed=1, skipped=1)
    assert "hopx_memory needs asyncio, this test runs on trio" in said


def test_a_scope_that_is_none_is_refused(tests: pytest.Pytester) -> None:
    """A word that is no scope ends the run before the first test."""
    tests.makeini(f"{INI}hopx_sandbox_scope = session\n")
    result = tests.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*hopx_sandbox_scope = 'session': it is 'test' or 'run'*"])


def test_a_pytest_asyncio_that_is_too_old_breaks_no_run(
    tests: pytest.Pytester,
) -> None:
    """Where its fixtures know no loop scope, only who asks for a sandbox is told."""
    tests.makepyfile(
        old="""
        import pytest_asyncio

        def fixture(function=None, **options):
            if "loop_scope" in options:
                raise TypeError("unexpected keyword argument 'loop_scope'")

        pytest_asyncio.fixture = fixture
        """
    )
    source = """
        import pytest

        @pytest.mark.asyncio
        async def test_with(hopx_memory):
            pass

        @pytest.mark.asyncio
        async def test_without():
            pass
    """
    said = passed(tests, source, "-p", "old", passed=1, errors=1)
    assert "pytest-asyncio, 0.24 or newer" in said


def test_who_does_not_use_it_does_not_pay() -> None:
    """Loading the plugin loads the package's front page, and nothing else of the library."""
    program = (
        "import json, sys, pytest\n"
        "before = set(sys.modules)\n"
        "import hopx_async.pytest_plugin\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))
    assert loaded == ["hopx_async", "hopx_async.pytest_plugin"]


def test_the_fixtures_are_listed_with_what_they_are(tests: pytest.Pytester) -> None:
    """pytest --fixtures shows the five, each with a docstring, and none of the inside."""
    listed = passed(tests, "", "--fixtures")
    assert "hopx_sandbox -- " in listed
    for name in ("hopx_memory", "hopx_faults", "hopx_scripts", "hopx_local_options"):
        place = listed.index(name)
        assert "no docstring" not in listed[place : place + 200]
    assert "_hopx" not in listed


def test_the_plugin_can_be_left_out(tests: pytest.Pytester) -> None:
    """It is known to pytest by the name of its entry point."""
    listed = passed(tests, "", "-p", "no:pytest-hopx-async", "--fixtures")
    assert "hopx_sandbox" not in listed
