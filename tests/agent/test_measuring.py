"""Tests of hopx_async.agent.measuring, on real processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hopx_async.agent.measuring import measure

if TYPE_CHECKING:
    from collections.abc import Generator

MIB = 1024 * 1024
HOLD = "import sys; x = bytearray({size}); print(flush=True); sys.stdin.read()"


@contextmanager
def running(program: str, mark: int | None = None) -> Generator[subprocess.Popen[str]]:
    """Run a program that prints a line when it is ready, and ends with its stdin."""
    hard = resource.getrlimit(10)[1]

    def take_mark() -> None:
        if mark is not None:
            resource.setrlimit(10, (mark, hard))

    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=take_mark,  # noqa: PLW1509
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def test_a_tree_is_one_sum() -> None:
    """Memory and time of a leader's children are part of its figures, other processes' are not."""
    child = HOLD.format(size=60 * MIB)
    program = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "child.wait()\n"
    )
    with running(program) as process, running(HOLD.format(size=0)) as other:
        found = measure({"tree": process.pid, "other": other.pid})

        assert found["tree"]["rss_bytes"] > 60 * MIB
        assert 0 < found["other"]["rss_bytes"] < 60 * MIB
        assert found["tree"]["cpu_seconds"] > 0
        assert found["tree"]["read_bytes"] >= 0


def test_what_has_ended_counts_for_its_parent() -> None:
    """Processor time of a child that was waited for stays in the sum."""
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    program = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])\n"
        "print(flush=True); sys.stdin.read()"
    )
    with running(program) as process:
        assert measure({"a": process.pid})["a"]["cpu_seconds"] >= 0.3


def test_who_left_the_tree_is_known_by_its_mark() -> None:
    """A process that carries the leader's mark is part of it, unless others have that mark too."""
    with (
        running(HOLD.format(size=0), mark=77_001) as leader,
        running(HOLD.format(size=60 * MIB), mark=77_001),
        running(HOLD.format(size=0)) as unmarked,
    ):
        found = measure({"marked": leader.pid, "unmarked": unmarked.pid})

        assert found["marked"]["rss_bytes"] > 60 * MIB
        assert found["unmarked"]["rss_bytes"] < 60 * MIB


def test_who_has_gone_is_left_out() -> None:
    """A leader that is not there has no figures."""
    with running(HOLD.format(size=0)) as process:
        pid = process.pid

    assert measure({"gone": pid, "us": os.getpid()}).keys() == {"us"}
