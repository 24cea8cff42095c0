"""``hopx-async run`` on a real terminal: the table lives, Ctrl-C ends it, again at once."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from hopx_async.cli.job import shortened
from hopx_async.cli.screen import note
from tests.support.screens import CTRL_C, terminal

if TYPE_CHECKING:
    from pathlib import Path

RUN = [sys.executable, "-m", "hopx_async.cli", "run"]


def test_the_table_lives_and_the_outputs_follow(tmp_path: Path) -> None:
    """A table shows each command while it runs; then it makes place for outputs and summary."""
    go = tmp_path / "go"
    os.mkfifo(go)
    other = "printf '\\033[2Jx\\n'; exit 3"
    waits = f"echo first; read x < {go}; echo second"
    with terminal([*RUN, "--name", "waits", waits, other]) as screen:
        screen.until("NAME +STATUS +ELAPSED +LAST LINE")
        screen.until(r"waits .*running.* \d\.\d s +first")
        screen.until("failed")
        go.write_text("\n")
        shown = screen.end()

    assert screen.program.returncode == 3
    assert re.sub(r"\d\.\d s", "0.0 s", shown) == (
        f"[waits] {shortened(waits)}\nfirst\nsecond\n"
        f"[    2] {other}\n\\x1b[2Jx\n"
        f"[waits] {shortened(waits)}: exited with 0 after 0.0 s\n"
        f"[    2] {other}: exited with 3 after 0.0 s\n"
    )


def test_ctrl_c_ends_everything_and_shows_what_was_said() -> None:
    """Ctrl-C ends the commands with grace; what they say at their end is shown."""
    polite = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    with terminal([*RUN, polite, "exec sleep 300"]) as screen:
        screen.until("ready")
        screen.until("sleep 300.*running")
        os.write(screen.fd, CTRL_C)
        shown = screen.end()

    assert screen.program.returncode == 130
    assert "\nready\n" in shown
    assert "\nbye\n" in shown
    assert shown.endswith("interrupted: all commands are ended\n")


def test_a_second_ctrl_c_has_no_patience() -> None:
    """The first Ctrl-C is answered below the table; the second kills what would not go."""
    stubborn = "trap 'echo term' TERM; echo ready; while :; do sleep 60 & wait; done"
    with terminal([*RUN, stubborn]) as screen:
        screen.until("ready")
        os.write(screen.fd, CTRL_C)
        screen.until("Ctrl-C kills them at once")
        screen.until("running.* term")
        os.write(screen.fd, CTRL_C)
        shown = screen.end()

    assert screen.program.returncode == 130
    assert "\nterm\n" in shown
    assert shown.endswith("interrupted: all commands are ended\n")


def test_a_narrow_terminal_wraps_nothing() -> None:
    """On 40 columns each line of each picture fits."""
    with terminal([*RUN, "echo " + "long " * 30 + "; sleep 0.3"], columns=40) as screen:
        screen.until("running.*long")
        screen.end()

    pictures = screen.seen.decode().rpartition("\x1b[?25h")[0]
    lines = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", pictures).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= 38


@pytest.mark.parametrize(
    ("flag", "shown"), [("--quiet", "out\n"), ("--json", '{"type": "started"')]
)
def test_without_a_table_there_is_no_trick(flag: str, shown: str) -> None:
    """--quiet and --json write the same on a terminal as elsewhere: no table, no cursor moves."""
    with terminal([*RUN, flag, "echo out"]) as screen:
        text = screen.end()

    assert text.startswith(shown)
    assert "\x1b" not in text


def test_a_dumb_terminal_gets_prefixed_lines() -> None:
    """A terminal that cannot move its cursor gets lines as they come."""
    with terminal([*RUN, "echo out"], term="dumb") as screen:
        text = screen.end()

    assert text.startswith("[1] out\n[1] echo out: exited with 0 after")


def test_the_note_follows_the_signals() -> None:
    """Nothing is said before the first Ctrl-C, and nothing new after the second."""
    assert note(0) == ""
    assert note(1) != note(2) == note(3)
