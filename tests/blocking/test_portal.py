"""The thread behind the blocking words: threads, interruptions, its beginning and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import anyio
import pytest

import hopx_async as hopx
from hopx_async import blocking
from hopx_async.blocking.portal import Portal
from hopx_async.errors import (
    ClosedError,
    CommandFailed,
    InvalidArgument,
    MisuseError,
    OutputTooLarge,
    SpawnError,
)
from hopx_async.testing import MemoryAgent, ScriptedCommand, memory
from tests.support.agents import scope_members


async def sleep(command: ScriptedCommand) -> int:
    """Say so, and run until it is ended."""
    await command.stdout(b"asleep\n")
    await anyio.sleep(3600)
    return 0


async def interrupt(command: ScriptedCommand) -> int:
    """Press Ctrl-C, and run until it is ended."""
    os.kill(os.getpid(), signal.SIGINT)
    return await sleep(command)


async def fail(_: ScriptedCommand) -> int:
    """Fail."""
    return 3


async def talk(command: ScriptedCommand) -> int:
    """Print two hundred lines."""
    for number in range(200):
        await command.stdout(b"%d\n" % number)
    return 0


def agent_of() -> MemoryAgent:
    """Return an agent that knows these scripts."""
    return MemoryAgent({"sleep": sleep, "interrupt": interrupt, "fail": fail, "talk": talk})


@pytest.fixture
def sandbox() -> Iterator[blocking.Sandbox]:
    """Open a memory sandbox without an event loop."""
    with blocking.opened(memory(agent=agent_of())) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """See that the thread ends with what was open."""
    yield
    assert Portal.current() is None
    assert "hopx_async.blocking" not in [thread.name for thread in threading.enumerate()]


def statuses(sandbox: blocking.Sandbox) -> list[str]:
    """Return how the commands are."""
    return [info.status for info in sandbox.commands.list()]


def subscriptions(sandbox: blocking.Sandbox) -> int:
    """Return how many readers the link knows, once it has done what it was told before."""
    sandbox.statistics()
    return len(sandbox._inner._client._pump._link._live)


# Interruptions.


def test_ctrl_c_in_a_run_ends_its_command(sandbox: blocking.Sandbox) -> None:
    """KeyboardInterrupt comes when the command of ``run`` has ended."""
    with pytest.raises(KeyboardInterrupt):
        sandbox.commands.run("interrupt")
    assert statuses(sandbox) == ["killed"]


def test_ctrl_c_while_a_pool_is_closed_leaves_no_thread() -> None:
    """All its sandboxes are ended, and with the last of what was open the thread ends."""
    opened: list[hopx.Sandbox] = []
    ending = anyio.Event()

    async def make() -> hopx.Sandbox:
        sandbox = await memory(agent=agent_of())
        opened.append(sandbox)
        release = sandbox._lease.release

        async def interrupted(grace: float | None) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            await ending.wait()
            await release(grace)

        setattr(sandbox._lease, "release", interrupted)  # noqa: B010  # for type checkers
        return sandbox

    def interrupt(*_: object) -> None:
        portal = Portal.current()
        assert portal is not None
        portal.soon(ending.set)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), blocking.pool(make, min_size=1):
            pass
    finally:
        signal.signal(signal.SIGINT, before)
    assert [sandbox._closed for sandbox in opened] == [True]


def test_ctrl_c_in_a_wait_leaves_the_command(sandbox: blocking.Sandbox) -> None:
    """What only waits ends nothing."""
    with pytest.raises(KeyboardInterrupt):
        job = sandbox.commands.start("sleep")
        press = partial(os.kill, os.getpid(), signal.SIGINT)
        sandbox._portal.call(lambda: asyncio.get_running_loop().call_later(0.02, press))
        job.wait()
    assert statuses(sandbox) == ["running"]


def test_ctrl_c_in_a_group_ends_its_commands(sandbox: blocking.Sandbox) -> None:
    """Whether in the block or while it waits for its end, all commands of the group end."""
    with pytest.raises(KeyboardInterrupt), sandbox.commands.group() as group:
        group.start_soon("sleep")
        group.start_soon("interrupt").wait()
    assert statuses(sandbox) == ["killed", "killed"]
    with pytest.raises(KeyboardInterrupt), sandbox.commands.group() as group:
        group.start_soon("interrupt")
    assert statuses(sandbox) == ["killed"] * 3


def test_ctrl_c_in_a_map_ends_its_commands_with_the_block(sandbox: blocking.Sandbox) -> None:
    """Leaving the block of a map by an exception ends what runs."""
    with (
        pytest.raises(KeyboardInterrupt),
        sandbox.commands.map(lambda text: text, ["sleep", "interrupt"]) as results,
    ):
        next(results)
    assert statuses(sandbox) == ["killed", "killed"]


# Groups and maps.


def test_a_failure_ends_a_group_and_is_raised_bare(sandbox: blocking.Sandbox) -> None:
    """The block goes on to its end, where the one failure is raised; the others were ended."""
    reached = []
    with pytest.raises(CommandFailed) as caught, sandbox.commands.group() as group:
        other = group.start_soon("sleep")
        failed = group.start_soon("fail", name="the one")
        assert other.wait().reason == "killed"
        assert list(group.completed()) == [failed]
        with pytest.raises(ClosedError):
            group.start_soon("sleep")
        reached.append(True)
    assert caught.value.name == "the one"
    assert reached


@pytest.mark.parametrize("mine", [LookupError("mine"), StopIteration("mine")])
def test_an_exception_of_the_block_arrives_as_it_is(
    sandbox: blocking.Sandbox, mine: Exception
) -> None:
    """The user's own exception goes through a group, the very object, and ends its commands."""
    with pytest.raises(type(mine)) as caught, sandbox.commands.group() as group:
        group.start_soon("sleep")
        raise mine
    assert caught.value is mine
    assert set(statuses(sandbox)) <= {"killed"}
    with pytest.raises(SpawnError), sandbox.commands.group() as group:
        group.start_soon("missing")


def test_lazy_items_may_block_themselves(sandbox: blocking.Sandbox) -> None:
    """A generator of items may use the sandbox, for it runs in a thread of its own."""
    source = sandbox.commands.start("talk")
    items = (line.text for line in source.lines() if line.text.endswith("0"))
    with sandbox.commands.map(lambda _: "fail", items, on_error="continue") as results:
        assert sorted(int(item) for item, _ in results) == list(range(0, 200, 10))


# Threads.


def test_threads_share_a_sandbox(sandbox: blocking.Sandbox) -> None:
    """Several threads start, read and wait at once, each its own."""

    def one(number: int) -> tuple[int, str | None]:
        job = sandbox.commands.start("talk", name=f"job {number}")
        return sum(1 for _ in job.lines()), job.name

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(one, range(8))) == [(200, f"job {n}") for n in range(8)]


def test_the_thread_ends_with_the_last_that_is_open() -> None:
    """Two sandboxes share a thread; it is there until both are closed."""
    first = blocking.opened(memory(agent=agent_of()))
    portal = Portal.current()
    with blocking.opened(memory(agent=agent_of())) as second:
        assert Portal.current() is portal
        ended = second.commands.start("fail")
        first.close()
        first.close()
        assert Portal.current() is portal
        assert ended.wait().exit_code == 3
    assert Portal.current() is None
    with pytest.raises(ClosedError):
        ended.info()


def test_closing_wakes_who_waits_elsewhere() -> None:
    """A thread that waits gets ClosedError when another closes the sandbox."""
    sandbox = blocking.opened(memory(agent=agent_of()))
    job = sandbox.commands.start("sleep")
    lines = job.lines()
    next(lines)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lines.__next__)
        while not lines._inner._busy:
            sandbox.statistics()
        sandbox.close()
        with pytest.raises(ClosedError):
            waiting.result()


def test_its_own_thread_is_refused(sandbox: blocking.Sandbox) -> None:
    """What the loop calls must not block it: MisuseError instead of a hang."""
    with pytest.raises(MisuseError, match="own event loop"):
        list(sandbox.commands.map(lambda _: sandbox.commands.run("fail").stdout, [1]))
    with pytest.raises(MisuseError, match="own event loop"):
        list(sandbox.commands.map(lambda _: str(blocking.local()), [1]))


def test_another_process_is_refused(
    sandbox: blocking.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fork there is no thread that would answer: MisuseError instead of a hang."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(MisuseError, match="after a fork"):
            sandbox.statistics()


# Streams, errors, doors.


def test_a_loop_left_early_asks_no_more(sandbox: blocking.Sandbox) -> None:
    """A dropped or closed iterator unsubscribes."""
    job = sandbox.commands.start("talk")
    for _ in job.lines():
        break
    for _ in blocking.merge([job]):
        break
    for _ in job.events():
        assert subscriptions(sandbox) == 1
        break
    with job.text() as pieces:
        next(pieces)
    assert subscriptions(sandbox) == 0


def test_an_error_carries_the_blocking_handle(sandbox: blocking.Sandbox) -> None:
    """The handle of OutputTooLarge can be used where it is caught."""
    job = sandbox.commands.start("talk")
    with pytest.raises(OutputTooLarge) as caught:
        job.result(max_bytes=10)
    assert caught.value.handle is job


def test_a_door_that_does_not_open_leaves_nothing() -> None:
    """An argument that breaks a rule is told by the call; a door that fails ends the thread."""
    with pytest.raises(InvalidArgument):
        blocking.local(grace=-1)
    with pytest.raises(InvalidArgument):
        blocking.merge([])
    with pytest.raises(InvalidArgument), blocking.opened(memory({})):
        blocking.merge(["no handle"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidArgument):
        blocking.pool(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(hopx.AgentUnreachable):
        blocking.remote("http://127.0.0.1:1", token="t", give_up_after=0.01)


def test_a_pool_lends_and_cleans_blocking_sandboxes() -> None:
    """A pool's factory is a door or calls one; its reset is given a blocking sandbox."""
    cleaned: list[str] = []

    def reset(sandbox: blocking.Sandbox) -> None:
        cleaned.append(sandbox.commands.run("fail").exit.status)

    def factory() -> hopx.Opening[hopx.Sandbox]:
        return memory(agent=agent_of())

    with blocking.pool(factory, min_size=1, max_size=2, reset=reset) as pool:
        assert pool.size == 1
        with pool.sandbox() as sandbox, blocking.group(pool, on_error="continue") as group:
            group.start_soon("fail")
            assert sandbox.commands.run("fail").exit_code == 3
        taken = pool.take()
        assert pool.lendable == 1
        pool.give(taken)
        pool.warm()
    assert set(cleaned) == {"failed"}


# With a real agent.

LEFT_OPEN = """\
from hopx_async import blocking
with blocking.pool(blocking.local, max_size=1) as pool, pool.sandbox() as sandbox:
    assert sandbox.commands.run("echo one").stdout == "one\\n"
sandbox = blocking.local()
sandbox.commands.start("trap '' TERM; sleep 1000").wait_for_output("x|$")
print(sandbox.sandbox_id)
"""


def test_the_end_of_the_interpreter_leaves_no_process() -> None:
    """A program that closes nothing ends all the same, and so does what it had started."""
    command = [sys.executable, "-c", LEFT_OPEN.replace("local()", "local(grace=0.1)")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert done.stderr == ""
    assert scope_members(done.stdout.strip()) == []
