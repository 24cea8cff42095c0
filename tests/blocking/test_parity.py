"""The blocking words against the asynchronous ones: none is missing, none differs, all block."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import hopx_async as hopx
from hopx_async import blocking
from hopx_async.blocking.wrapping import Wrapper
from hopx_async.testing import MemoryAgent, ScriptedCommand, memory

#: What is asynchronous and has no twin, and why.
WITHOUT_TWIN = {"Opening": "what a blocking door returns is open already"}
#: Methods whose parameters cannot be the same, and why.
OTHER_PARAMETERS = {
    "Commands.map": "it is generic, and has every option as a keyword",
    "Pool.give": "it is given a blocking sandbox",
}
SPELT = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"} | {
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
TWINS = sorted(Wrapper._kinds.items(), key=lambda pair: pair[1].__name__)


def is_asynchronous(kind: Any) -> bool:
    """Tell whether a class has anything that needs an event loop."""
    return inspect.isclass(kind) and any(
        inspect.iscoroutinefunction(value) or name in SPELT
        for name, value in inspect.getmembers(kind)
    )


def words_of(kind: type) -> set[str]:
    """Return the names that a class offers, those of iterating and entering among them."""
    spelt = {*SPELT, *SPELT.values()}
    return {name for name in dir(kind) if not name.startswith("_") or name in spelt}


def parameters_of(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """Return what a function takes, self apart."""
    found = list(inspect.signature(function).parameters.values())[1:]
    return [(one.name, one.kind, one.default) for one in found]


def test_every_asynchronous_class_has_a_twin_of_its_name() -> None:
    """A public class with anything to await has a class of the same name in blocking."""
    public = {name: getattr(hopx, name) for name in hopx.__all__}
    needed = {name for name, value in public.items() if is_asynchronous(value)}

    assert needed - WITHOUT_TWIN.keys() <= {async_kind.__name__ for async_kind, _ in TWINS}
    assert WITHOUT_TWIN.keys() <= needed
    assert [a.__name__ for a, _ in TWINS] == [ours.__name__ for _, ours in TWINS]
    assert {ours.__name__ for _, ours in TWINS} < set(blocking.__all__)


def test_every_public_function_has_a_twin() -> None:
    """What hopx_async exports as a function is in blocking, too."""
    functions = {name for name in hopx.__all__ if inspect.isfunction(getattr(hopx, name))}

    assert functions <= set(blocking.__all__)


@pytest.mark.parametrize(("theirs", "ours"), TWINS, ids=[ours.__name__ for _, ours in TWINS])
def test_a_twin_has_every_word_and_no_other(theirs: type, ours: type) -> None:
    """Each public name of the asynchronous class is there, spelt without the a, with one meaning.

    Whoever adds a method adds one line to ``hopx_async/blocking/words.py``.
    """
    attributes = (inspect.getdoc(theirs) or "").partition("Attributes:\n")[2]
    told = set(re.findall(r"^ {4}(\w+):", attributes, re.MULTILINE))
    wanted = {SPELT.get(name, name) for name in words_of(theirs)}

    assert words_of(ours) == wanted | told
    for name in words_of(theirs) - SPELT.keys():
        value, twin = getattr(theirs, name), getattr(ours, name)
        if f"{ours.__name__}.{name}" not in OTHER_PARAMETERS and callable(value):
            assert not inspect.iscoroutinefunction(twin)
            assert parameters_of(value) == parameters_of(twin), name
            assert inspect.getdoc(twin), name


async def count(command: ScriptedCommand) -> int:
    """Print three lines and listen."""
    command.listen(80, {"/": 200})
    for number in range(3):
        await command.stdout(b"line %d\n" % number)
    return 0


async def wait(command: ScriptedCommand) -> int:
    """Run until it is ended, unless somebody says something."""
    command.listen(80, {"/": 200})
    await command.stdout(b"ready\n")
    await command.read_stdin()
    await anyio.sleep(3600)
    return 0


@pytest.fixture
def sandbox() -> Iterator[blocking.Sandbox]:
    """Open a memory sandbox without an event loop."""
    agent = MemoryAgent({"count": count, "wait": wait})
    with blocking.opened(memory(agent=agent)) as opened:
        yield opened


def tried(thing: Any, calls: dict[str, tuple[Any, ...]], *, but: set[str]) -> dict[str, Any]:
    """Call every method of *thing* but some, in the order of *calls*, and return what came."""
    methods = {
        name
        for name in dir(type(thing))
        if not name.startswith("_") and callable(getattr(type(thing), name))
    }
    assert methods == {*calls, *but}
    given = {name: getattr(thing, name)(*arguments) for name, arguments in calls.items()}
    for name, value in given.items():
        assert not inspect.isawaitable(value), name
        assert not isinstance(value, AsyncIterable), name
    return given


def test_every_method_of_a_handle_blocks(sandbox: blocking.Sandbox) -> None:
    """All methods of a handle give values or iterators; none leaves anything to await."""
    handle = sandbox.commands.start("wait", stdin=True, pty=True, name="n")
    calls: dict[str, tuple[Any, ...]] = {
        "events": (), "text": (), "lines": (), "info": (), "output": (), "resize": (10, 20),
        "wait_for_output": ("ready",), "wait_for_port": (80,),
        "send_stdin": ("x",), "close_stdin": (), "send_signal": ("USR1",), "terminate": (),
        "kill": (), "wait": (), "result": (), "close": (),
    }  # fmt: skip
    assert handle.wait_for_http(port=80) is None
    given = tried(handle, calls, but={"wait_for_http"})

    assert isinstance(given["info"], hopx.CommandInfo)
    assert given["wait_for_output"].text == "ready"
    assert given["kill"] == given["wait"] == given["result"].exit
    assert (handle.name, handle.command, handle.pid) == ("n", "wait", given["info"].pid)
    assert handle.ref == hopx.CommandRef(sandbox.sandbox_id, handle.process_id)


def test_every_method_of_commands_and_env_blocks(sandbox: blocking.Sandbox) -> None:
    """All methods of ``commands`` and ``env`` give values, handles and scopes."""
    first = sandbox.commands.start("count")
    given = tried(
        sandbox.commands,
        {
            "start": ("count",), "run": ("count",), "get": (first.ref,), "list": (),
            "kill": (first.ref,), "group": (), "map": (lambda _: "count", [1]),
        },
        but=set(),
    )  # fmt: skip
    assert given["get"].ref == first.ref
    assert given["list"][0].process_id == first.process_id
    assert [(item, result.stdout) for item, result in given["map"]] == [(1, given["run"].stdout)]
    calls: dict[str, tuple[Any, ...]] = {
        "set": ({"A": "1"},), "update": ({"B": "2"},), "delete": ("A",), "get_all": ()
    }  # fmt: skip
    assert list(tried(sandbox.env, calls, but=set())["get_all"]) == ["B"]


def test_every_method_of_files_blocks(sandbox: blocking.Sandbox, tmp_path: Path) -> None:
    """All methods of ``files`` give values, and a watch is iterated by for."""
    calls: dict[str, tuple[Any, ...]] = {
        "write": ("a", "1"), "read": ("a",), "read_text": ("a",), "exists": ("a",),
        "download": ("a", tmp_path / "a"), "upload": (tmp_path / "a", "d/b"), "mkdir": ("e",),
        "list": (), "remove": ("d",), "watch": (),
    }  # fmt: skip
    given = tried(sandbox.files, calls, but=set())
    assert (given["read"], given["read_text"], given["upload"]) == (b"1", "1", 1)
    assert [entry.name for entry in given["list"]] == ["a", "d", "e"]
    with given["watch"] as watch:
        sandbox.files.write("b", b"")
        assert next(watch).path == "/workspace/b"
    assert list(watch) == []


def test_every_method_of_a_sandbox_blocks(sandbox: blocking.Sandbox) -> None:
    """All methods of a sandbox give values, and what it holds is there."""
    job = sandbox.commands.start("count")
    calls: dict[str, tuple[Any, ...]] = {
        "statistics": (), "list_processes": (), "kill_process": (job.process_id,), "close": ()
    }  # fmt: skip
    asynchronous = {name for name in vars(sandbox._inner) if not name.startswith("_")}

    assert asynchronous <= set(dir(sandbox))
    assert sandbox.capabilities.agent == "memory"
    # With a service they are tried in tests/providers/test_hopx_served.py.
    of_services = {"create", "connect", "get_info", "pause", "resume", "set_timeout"}
    given = tried(sandbox, calls, but={"kill", "get_preview_url", *of_services})
    assert given["statistics"]["client"]["connected"]
    assert given["kill_process"].exit_code == 0


def test_every_stream_is_an_iterator(sandbox: blocking.Sandbox) -> None:
    """Events, lines, texts, merged events and ends are iterated by for, and can be gone on with."""
    job = sandbox.commands.start("count")
    kinds = [event.type for event in job.events()]
    assert kinds[0] == "started"
    assert kinds[-1] == "exited"
    lines = job.lines(stream="stdout")
    first = next(lines)
    assert [first.text, *[line.text for line in lines]] == ["line 0", "line 1", "line 2"]
    assert [line.text for line in job.lines(after=first.cursor)] == ["line 1", "line 2"]
    assert "".join(text.text for text in job.text()) == "line 0\nline 1\nline 2\n"
    with job.events(after=first.cursor) as events:
        assert next(events).cursor == events.cursor
    assert [event.type for event in blocking.merge([job])] == kinds
    assert list(blocking.as_completed([job])) == [job]
    assert blocking.wait_any([job]) is job


async def test_the_asynchronous_contract_is_what_the_twins_call() -> None:
    """Within a running event loop, as in a notebook, everything works as well."""
    with blocking.opened(memory({"count": count})) as sandbox:
        assert sandbox.commands.run("count").exit_code == 0
