"""The page of the command line is run: each command there prints what stands below it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "command-line.md"
MARK = "-- next --"
#: What differs from run to run, and what stands for it.
VARYING = [
    (r"\b\d+\.\d s\b", "0.0 s"),
    (r"cmd_[0-9a-z]{26}", "cmd_"),
    (r" +0\.0 s", " 0.0 s"),
]


def examples(page: str) -> list[tuple[str, list[str]]]:
    """Return each command of the console blocks, and the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def steady(lines: list[str]) -> list[str]:
    """Return lines without what varies, in an order that does not."""
    for pattern, word in VARYING:
        lines = [re.sub(pattern, word, line) for line in lines]
    return sorted(lines)


def test_the_page_of_the_command_line_is_true(
    tmp_path: Path, free_tcp_port_factory: Callable[[], int]
) -> None:
    """Every command on the page, one after the other in one shell, prints what the page shows."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("python", ""), ("hopx-async", "-m hopx_async.cli ")):
        (programs / name).write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}"$@"\n'
        )
        (programs / name).chmod(0o755)
    here = tmp_path / "here"
    here.mkdir()
    ports = {port: str(free_tcp_port_factory()) for port in ("8080", "8765")}
    told = examples(PAGE.read_text(encoding="utf-8"))
    script = []
    for command, _ in told:
        script.append(reduce(lambda text, port: text.replace(*port), ports.items(), command))
        if command.endswith("&"):
            said = "serve.log" if "serve" in command else "state/agent.json"
            script.append(f"until [ -s {said} ]; do sleep 0.05; done")
        # What the command left as its status, the next one may ask for.
        script.append(f"set -- $?; echo '{MARK}'; (exit $1)")
    done = subprocess.run(
        ["bash", "-c", "\n".join([*script, "exit 0"])],
        cwd=here,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    printed = done.stdout.split(f"{MARK}\n")

    assert printed.pop() == ""
    for (command, lines), text in zip(told, printed, strict=True):
        assert steady(text.splitlines()) == steady(lines), command
