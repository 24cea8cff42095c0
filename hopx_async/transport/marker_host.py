"""The program of the markers on one far side: put there, asked, and asked again when lost."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import anyio

from hopx_async.errors import (
    AgentFault,
    ConnectionLost,
    HopxError,
    RateLimited,
    RemoteProtocolError,
    TransportError,
    Unsupported,
)
from hopx_async.protocol import records
from hopx_async.protocol.backoff import Backoff
from hopx_async.protocol.marker_answers import CutAnswer, Line, read_answer
from hopx_async.protocol.rate import DEFAULT_RETRY_AFTER, RateBudget
from hopx_async.transport.shell import Shell, ShellAnswer

__all__ = ["MAX_QUIET", "PATIENCE", "REQUEST_SECONDS", "MarkerHost", "program"]

#: Seconds in which a request is made again before the far side counts as gone.
PATIENCE = 30.0
#: Seconds that a far side which has had enough is waited for; longer, its refusal is raised.
MAX_QUIET = 300.0
#: Seconds that one request may take there.
REQUEST_SECONDS = 60.0
_NOT_THERE = 3
# Others may own what lies in a place where everybody can write: nothing of theirs is run.
_OURS = (
    "sub ours { my @stat = lstat $_[0] or return 0;"
    "die qq($_[0] is not ours\\n) if $stat[4] != $< || $stat[2] & 077 || -l _; 1 }"
)
# Runs the program where it is, says so where it is not. Its text is small, and never changes.
_RUN = (
    "my $path = shift; ours($ARGV[1]) && ours($path) or exit 3; do $path; die $@ || $! if $@;"
    + _OURS
)
_PUT = (
    "umask 0077; my ($path, $text) = splice @ARGV, 0, 2; my $root = $ARGV[1];"
    "mkdir $root; ours($root) or die qq($root: $!\\n);"
    "open my $file, '>', qq($path.$$) or die $!; print $file $text; close $file or die $!;"
    "rename qq($path.$$), $path or die $!; do $path; die $@ if $@;" + _OURS
)


@cache
def program() -> str:
    """Return the text of the program."""
    parts = sorted(
        (part for part in resources.files("hopx_async.transport").joinpath("far").iterdir()),
        key=lambda part: part.name,
    )
    return "".join(part.read_text("utf-8") for part in parts if part.name.endswith(".pl"))


class MarkerHost:
    """Asks one far side; every question may be repeated, so every lost answer is asked for again.

    Args:
        shell: Runs programs there.
        root: Directory of the markers there.
        budget: When a request may be made, None where the shell waits for its turn itself.
        patience: Seconds in which a request is made again, None for `PATIENCE`.

    Attributes:
        requests: How many requests were made so far.
    """

    def __init__(
        self,
        shell: Shell,
        root: str,
        budget: RateBudget | None,
        *,
        patience: float | None = None,
    ) -> None:
        self._shell = shell
        self._root = root
        self._budget = budget
        self._patience = PATIENCE if patience is None else patience
        digest = hashlib.sha256(program().encode()).hexdigest()[:16]
        self._path = f"{root}/{digest}.pl"
        self._known = False
        self._answers = False
        self.requests = 0

    async def ready(self) -> None:
        """Return once the far side has answered, and has the program. Cancelling it is safe.

        Once it has answered that counts, until it was given up.

        Raises:
            Unsupported: If it has no Perl.
            TransportError: If nobody answered for long.
            ApiError: If it says no.
        """
        if not self._answers:
            await self.tidy()

    async def tidy(self) -> None:
        """Let the far side forget what has ended long ago, and what is too much. As `ask`."""
        await self.ask("hello", (str(records.KEEP_COMMANDS), str(int(records.KEEP_SECONDS))))

    async def ask(
        self,
        operation: str,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        seconds: float = REQUEST_SECONDS,
        workdir: str | None = None,
    ) -> list[Line]:
        """Return what the program answers. Cancelling it is safe: every operation may be repeated.

        Raises:
            Unsupported: If the far side has no Perl.
            TransportError: If nobody answered for long.
            CutAnswer: If only the beginning of an answer arrived; a smaller one may be whole.
            ApiError: If it says no.
            RemoteProtocolError: If what answers is not the program.
        """
        backoff = Backoff(give_up_after=self._patience)
        while True:
            try:
                options = {"env": env, "seconds": seconds, "workdir": workdir}
                lines = await self._ask_once(operation, arguments, options)
            except CutAnswer:
                raise
            except RateLimited as error:
                await self._be_quiet(error)
                # Whoever asks for patience is there.
                backoff.succeeded()
                continue
            except (TransportError, AgentFault, RemoteProtocolError) as error:
                if "executable file not found" in str(error):
                    raise self._without_perl() from error
                reason: HopxError = error
            else:
                self._answers = True
                return lines
            delay = backoff.failed(anyio.current_time(), random.random())  # noqa: S311  # no secret
            if delay is None:
                self._answers = False
                if isinstance(reason, RemoteProtocolError | TransportError):
                    raise reason
                raise ConnectionLost(f"{self._shell.name} failed again and again: {reason}")
            await anyio.sleep(delay)

    async def aclose(self) -> None:
        """Close the shell."""
        await self._shell.aclose()

    async def _be_quiet(self, error: RateLimited) -> None:
        seconds = error.retry_after or DEFAULT_RETRY_AFTER
        if seconds > MAX_QUIET:
            raise error
        if self._budget is not None:
            self._budget.refused(anyio.current_time(), seconds)
        await anyio.sleep(seconds)

    async def _ask_once(
        self,
        operation: str,
        arguments: Sequence[str],
        options: dict[str, Any],
    ) -> list[Line]:
        rest = (operation, self._root, *arguments)
        if self._known:
            answer = await self._run(["perl", "-e", _RUN, self._path, *rest], options)
            if answer.exit_code != _NOT_THERE:
                return self._read(operation, answer)
            self._known = False  # somebody has tidied up there
        answer = await self._run(["perl", "-e", _PUT, self._path, program(), *rest], options)
        lines = self._read(operation, answer)
        self._known = True
        return lines

    async def _run(self, argv: list[str], options: dict[str, Any]) -> ShellAnswer:
        if self._budget is not None:
            await anyio.sleep(self._budget.take(anyio.current_time()))
        self.requests += 1
        return await self._shell.run(argv, **options)

    def _read(self, operation: str, answer: ShellAnswer) -> list[Line]:
        try:
            return read_answer(operation, answer.stdout)
        except CutAnswer:
            if answer.exit_code == 0:
                raise
            # It ended before its answer did: that may be another time.
            said = answer.stderr.strip()[-300:]
            raise RemoteProtocolError(f"{operation} broke off, and said {said!r}") from None
        except RemoteProtocolError as error:
            said = answer.stderr.strip()[-300:]
            if "perl" in said and "not found" in said:
                raise self._without_perl() from error
            raise RemoteProtocolError(f"{error}; it said {said!r}") from error

    def _without_perl(self) -> Unsupported:
        return Unsupported(f"{self._shell.name} has no perl, which markers need")
