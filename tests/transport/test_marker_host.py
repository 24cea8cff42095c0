"""The host of the markers' program: it is put there once, and questions outlast faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio
import pytest

from hopx_async.errors import (
    AgentFault,
    ApiError,
    ConnectionLost,
    RateLimited,
    RemoteProtocolError,
    Unsupported,
)
from hopx_async.protocol.marker_answers import CutAnswer, Total
from hopx_async.protocol.rate import DEFAULT_RETRY_AFTER, RateBudget
from hopx_async.testing import run
from hopx_async.transport.marker_host import MAX_QUIET, PATIENCE, MarkerHost, program
from hopx_async.transport.shell import Shell, ShellAnswer

FINE = ShellAnswer("hopx 1 list\nn 0\nend\n", "", 0)
GONE = ShellAnswer("", "", 3)


class Scripted(Shell):
    """Answers as it was told, the last answer again and again."""

    name = "scripted"

    def __init__(self, *told: ShellAnswer | Exception) -> None:
        self.told = list(told)
        self.asked: list[list[str]] = []
        self.times: list[float] = []
        self.closed = False

    async def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        seconds: float,
        workdir: str | None = None,
    ) -> ShellAnswer:
        """Give the next answer."""
        self.asked.append(list(argv))
        self.times.append(anyio.current_time())
        told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        if isinstance(told, Exception):
            raise told
        return told

    async def aclose(self) -> None:
        """Note it."""
        self.closed = True


def host_of(*told: ShellAnswer | Exception) -> tuple[MarkerHost, Scripted]:
    """Return a host over a scripted shell."""
    shell = Scripted(*told)
    return MarkerHost(shell, "/r", RateBudget()), shell


def test_the_program_travels_once() -> None:
    """The first question brings it, the next ones only name it; tidied up, it comes again."""

    async def main() -> None:
        host, shell = host_of(FINE, FINE, GONE, FINE)
        for _ in range(3):
            assert await host.ask("list", ("-", "1")) == [Total(0)]
        assert [program() in argv for argv in shell.asked] == [True, False, False, True]
        assert all(argv[-4:] == ["list", "/r", "-", "1"] for argv in shell.asked)
        assert all(len(part) < 131_072 for argv in shell.asked for part in argv)
        await host.aclose()
        assert shell.closed

    run(main())


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionLost("lost"),
        AgentFault("it failed", status=502),
        ShellAnswer("{}", "", 0),
        ShellAnswer(FINE.stdout[:-4], "cut", 1),
    ],
    ids=repr,
)
def test_a_lost_answer_is_asked_for_again(fault: ShellAnswer | Exception) -> None:
    """Every operation may be repeated, so it is."""

    async def main() -> None:
        host, shell = host_of(fault, fault, FINE)
        assert await host.ask("list") == [Total(0)]
        assert len(shell.asked) == host.requests == 3

    run(main())


def test_a_refusal_is_waited_out() -> None:
    """The far side says for how long it wants to hear nothing; nothing is sent before.

    However long that takes, it is not taken for silence, up to a bound.
    """

    async def main() -> None:
        refusals = [RateLimited("slow down", retry_after=after) for after in (7.0, 50.0, None)]
        host, shell = host_of(*refusals, FINE)
        await host.ask("list")
        first, second, third, last = shell.times
        assert second - first >= 7.0
        assert third - second >= 50.0
        assert last - third >= DEFAULT_RETRY_AFTER
        host, shell = host_of(RateLimited("go away", retry_after=MAX_QUIET + 1))
        with pytest.raises(RateLimited):
            await host.ask("list")
        assert len(shell.asked) == 1

    run(main())


def test_an_answer_that_was_cut_there_is_told_at_once() -> None:
    """The program has done its work: the same question would be cut at the same place."""

    async def main() -> None:
        host, shell = host_of(ShellAnswer(FINE.stdout[:-4], "", 0))
        with pytest.raises(CutAnswer):
            await host.ask("list")
        assert len(shell.asked) == 1

    run(main())


def test_a_far_side_that_was_given_up_is_asked_anew() -> None:
    """ready is at once where somebody answers, and waits again for one that has gone."""

    async def main() -> None:
        hello = ShellAnswer("hopx 1 hello\nh mk1 eA== eA== 0\nend\n", "", 0)
        host, shell = host_of(hello, ConnectionLost("gone"))
        for _ in range(3):
            await host.ready()
        assert len(shell.asked) == 1
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                await host.ask("list")
        with pytest.raises(ConnectionLost):
            await host.ready()
        shell.told[:] = [hello]
        await host.ready()

    run(main())


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (ConnectionLost("lost"), ConnectionLost),
        (AgentFault("it failed", status=502), ConnectionLost),
        (ShellAnswer("", "no place", 1), RemoteProtocolError),
        (ApiError("no", status=403), ApiError),
        (ShellAnswer("", "bash: perl: command not found", 127), Unsupported),
        (AgentFault('exec: "perl": executable file not found in $PATH', status=500), Unsupported),
    ],
    ids=repr,
)
def test_what_does_not_pass_is_told(told: ShellAnswer | Exception, error: type[Exception]) -> None:
    """A fault that stays is raised after a while; what cannot change, at once."""

    async def main() -> None:
        host, shell = host_of(told)
        begun = anyio.current_time()
        with pytest.raises(error):
            await host.ask("list")
        lasts = error in {ConnectionLost, RemoteProtocolError}
        assert (anyio.current_time() - begun >= PATIENCE - 1) == lasts
        assert (len(shell.asked) > 3) == lasts

    run(main())


def test_asking_can_be_cancelled() -> None:
    """Whoever leaves while it waits for its turn leaves nothing behind."""

    async def main() -> None:
        host, shell = host_of(ConnectionLost("lost"))
        with anyio.move_on_after(1.0) as scope:
            await host.ask("list")
        assert scope.cancelled_caught
        asked = len(shell.asked)
        await anyio.sleep(100)
        assert len(shell.asked) == asked
        with anyio.move_on_after(1.0) as scope:
            await host.ready()
        assert scope.cancelled_caught

    run(main())
