"""Fixtures for pytest: a real sandbox, one in memory on virtual time, and faults.

Installed with ``hopx-async``, found by pytest itself. Loading it loads nothing else of the
library: what a test does not ask for costs nothing. Asynchronous tests of anyio's plugin and
of pytest-asyncio, with event loops of every scope, get a sandbox in their own loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from hopx_async.sandbox import Sandbox
    from hopx_async.testing import Faults
    from hopx_async.testing.fixtures import Agent
    from hopx_async.testing.memory_commands import Script

__all__ = [
    "hopx_faults",
    "hopx_local_options",
    "hopx_memory",
    "hopx_sandbox",
    "hopx_scripts",
    "pytest_addoption",
    "pytest_configure",
]

_BOTH = "hopx_memory needs virtual time, hopx_sandbox real time: they cannot be of one test"
_FOR_ASYNCIO = "hopx-async-fixtures"
_SCOPES = ("test", "run")
_LOOP_SCOPES = ("function", "class", "module", "package", "session")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the one option, and the same for the configuration file."""
    told = "hopx_sandbox is a fresh sandbox for each 'test' (default), or one agent for the 'run'"
    group = parser.getgroup("hopx-async", "sandboxes of hopx-async")
    group.addoption("--hopx-sandbox-scope", choices=_SCOPES, default=None, help=told)
    parser.addini("hopx_sandbox_scope", help=told, default=None)


def pytest_configure(config: pytest.Config) -> None:
    """Add fixtures of pytest-asyncio, where that is there: one for each scope of its loops."""
    _scope_of(config)
    if config.pluginmanager.hasplugin("asyncio"):
        # One that is too old, before 0.24, is told to who asks for a sandbox, and to nobody else.
        with contextlib.suppress(ImportError, TypeError):
            config.pluginmanager.register(_fixtures_for_asyncio(), _FOR_ASYNCIO)


@pytest.fixture
def hopx_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """A real sandbox on this machine, opened in the test's event loop; see ``hopx_async.local``.

    By the ini option ``hopx_sandbox_scope`` or ``--hopx-sandbox-scope`` each test has one of its
    own, or all tests of the run share one agent: then a test's commands end with it, and files
    and variables stay. One that asks for ``hopx_faults`` has an agent of its own to break in
    any case. The test is skipped where there can be no such sandbox.
    """
    # What blocks is done here, before the event loop runs.
    request.getfixturevalue("_hopx_agent" if _shares(request) else "hopx_local_options")
    sandbox: Sandbox = _in_the_loop_of(request, "hopx_sandbox", but="hopx_memory")
    return sandbox


@pytest.fixture
def hopx_memory(request: pytest.FixtureRequest) -> Sandbox:
    """A sandbox in memory, whose commands are ``hopx_scripts``; the test is on virtual time."""
    sandbox: Sandbox = _in_the_loop_of(request, "hopx_memory", but="hopx_sandbox")
    return sandbox


@pytest.fixture
def hopx_scripts() -> dict[str, Script]:
    """What commands in ``hopx_memory`` do, to be filled by the test, or overridden."""
    return {}


@pytest.fixture
def hopx_faults() -> Faults:
    """Faults of the test's sandbox: drop, delay, duplicate, restart_agent, heal."""
    from hopx_async.testing import Faults

    return Faults()


@pytest.fixture(scope="session")
def hopx_local_options() -> dict[str, Any]:
    """The arguments of ``hopx_async.local`` for ``hopx_sandbox``, to be overridden."""
    return {}


@pytest.fixture(scope="session")
def _hopx_agent(hopx_local_options: dict[str, Any]) -> Generator[Agent]:
    from hopx_async.errors import Unsupported
    from hopx_async.testing.fixtures import agent_of_the_run

    with contextlib.ExitStack() as run:
        try:
            agent = run.enter_context(agent_of_the_run(hopx_local_options))
        except Unsupported as error:
            pytest.skip(_why_not(error))
        yield agent


# What the two fixtures are: found by the event loop of the test that asks.


def _in_the_loop_of(request: pytest.FixtureRequest, name: str, *, but: str) -> Any:
    request.getfixturevalue("hopx_scripts")
    _faults_of(request)
    if but in request.fixturenames:
        pytest.fail(_BOTH, pytrace=False)
    return request.getfixturevalue(f"_{name}_{_loop_of(request, name)}")


def _loop_of(request: pytest.FixtureRequest, name: str) -> str:
    """Return which plugin runs the test, with the scope of its loop where there are several."""
    if "anyio_backend" in request.fixturenames:
        backend = request.getfixturevalue("anyio_backend")
        kind = backend if isinstance(backend, str) else backend[0]
        if kind != "asyncio":
            pytest.skip(f"{name} needs asyncio, this test runs on {kind}")
        return "anyio"
    marker = request.node.get_closest_marker("asyncio")
    if marker is None or not request.config.pluginmanager.hasplugin(_FOR_ASYNCIO):
        pytest.fail(
            f"{name} is for asynchronous tests: mark them for anyio or for pytest-asyncio, "
            "0.24 or newer",
            pytrace=False,
        )
    asked = marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")
    return f"asyncio_{asked or _default_loop_scope(request.config)}"


def _default_loop_scope(config: pytest.Config) -> str:
    with contextlib.suppress(ValueError):  # it came with pytest-asyncio 0.26
        return str(config.getini("asyncio_default_test_loop_scope"))
    return "function"


async def _sandbox(request: pytest.FixtureRequest) -> AsyncGenerator[Sandbox]:
    from hopx_async.errors import Unsupported
    from hopx_async.testing.fixtures import on_an_agent, on_its_own

    opening: AbstractAsyncContextManager[Sandbox]
    if _shares(request):
        opening = on_an_agent(request.getfixturevalue("_hopx_agent"))
    else:
        options = request.getfixturevalue("hopx_local_options")
        opening = on_its_own(options, _faults_of(request))
    # However this ends, nothing is left running.
    async with contextlib.AsyncExitStack() as opened:
        try:
            sandbox = await opened.enter_async_context(opening)
        except Unsupported as error:
            pytest.skip(_why_not(error))
        yield sandbox


async def _memory(request: pytest.FixtureRequest) -> AsyncGenerator[Sandbox]:
    from hopx_async.testing.fixtures import in_memory

    scripts = request.getfixturevalue("hopx_scripts")
    async with in_memory(scripts, _faults_of(request)) as sandbox:
        yield sandbox


_hopx_sandbox_anyio = pytest.fixture(_sandbox, name="_hopx_sandbox_anyio")
_hopx_memory_anyio = pytest.fixture(_memory, name="_hopx_memory_anyio")


def _fixtures_for_asyncio() -> ModuleType:
    import pytest_asyncio

    fixtures = ModuleType("hopx_async_fixtures")
    for scope in _LOOP_SCOPES:
        for name, function in (("hopx_sandbox", _sandbox), ("hopx_memory", _memory)):
            called = f"_{name}_asyncio_{scope}"
            fixture: Any = pytest_asyncio.fixture(loop_scope=scope, name=called)  # type: ignore[call-overload]
            setattr(fixtures, called, fixture(_copy_of(function)))
    return fixtures


def _copy_of(
    function: Callable[[pytest.FixtureRequest], AsyncGenerator[Sandbox]],
) -> Callable[[pytest.FixtureRequest], AsyncGenerator[Sandbox]]:
    # pytest-asyncio writes its loop's scope on the function.
    async def opened(request: pytest.FixtureRequest) -> AsyncGenerator[Sandbox]:
        async for sandbox in function(request):
            yield sandbox

    return opened


def _faults_of(request: pytest.FixtureRequest) -> Faults | None:
    asked = "hopx_faults" in request.fixturenames
    faults: Faults | None = request.getfixturevalue("hopx_faults") if asked else None
    return faults


def _shares(request: pytest.FixtureRequest) -> bool:
    # An agent that is killed too often stays down, and with it the tests of others.
    return _scope_of(request.config) == "run" and "hopx_faults" not in request.fixturenames


def _scope_of(config: pytest.Config) -> str:
    scope = config.getoption("--hopx-sandbox-scope") or config.getini("hopx_sandbox_scope")
    if scope not in {*_SCOPES, None, ""}:
        raise pytest.UsageError(f"hopx_sandbox_scope = {scope!r}: it is 'test' or 'run'")
    return scope or "test"


def _why_not(error: Exception) -> str:
    return f"hopx_sandbox needs hopx_async.local(): {error}"
