"""How the pages' examples are found and run; the root ``conftest.py`` puts it to work."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
from typing import TYPE_CHECKING

from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sybil import Document, Example, Region

__all__ = ["LANGUAGES", "OutputParser", "ProgramParser", "SkipWithReason", "fence_offences"]

#: What a fenced block may call itself. ``python`` is run; another spelling would escape that.
LANGUAGES = frozenset({"console", "json", "make", "mermaid", "python", "text", "toml"})
_PRINTED = "__printed__"


class ProgramParser(CodeBlockParser):
    """Runs the Python blocks of a page and keeps what each has printed."""

    language = "python"
    _run = PythonEvaluator()

    def evaluate(self, example: Example) -> None:
        """Run one."""
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self._run(example)
        example.namespace[_PRINTED] = printed.getvalue()
        # An agent that was detached and then ended is an orphan, and comes to this process.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass


class OutputParser(CodeBlockParser):
    """A ``text`` block right behind a Python block is what that prints, but for durations."""

    language = "text"

    def __call__(self, document: Document) -> Iterable[Region]:
        """Find those that stand right behind a Python block."""
        programs = [region.end for region in CodeBlockParser("python", _nothing)(document)]
        for region in super().__call__(document):
            before = max((end for end in programs if end <= region.start), default=None)
            if before is not None and not document.text[before : region.start].strip():
                yield region

    def evaluate(self, example: Example) -> str | None:
        """Compare, and return what differs."""
        shown, printed = _timeless(str(example.parsed)), _timeless(example.namespace[_PRINTED])
        if shown == printed:
            return None
        return "\n".join(difflib.unified_diff(shown, printed, "the page", "the program", n=99))


def _timeless(text: str) -> list[str]:
    return re.sub(r"\b\d+\.\d+ s\b", "0.0 s", text.rstrip()).splitlines()


def _nothing(_: Example) -> None:
    """Stand for an evaluator where only places are wanted."""


class SkipWithReason(SkipParser):
    """A page may leave a block out, and must say why.

    ``<!-- skip: next "it needs an API key" -->``
    """

    def __call__(self, document: Document) -> Iterable[Region]:
        """Parse as Sybil does, but refuse a skip without a reason."""
        for region in super().__call__(document):
            action, reason = region.parsed
            if action != "end" and not re.fullmatch(r'"[^"]{8,}"', (reason or "").strip()):
                line = document.text.count("\n", 0, region.start) + 1
                raise ValueError(
                    f'{document.path}:{line}: a skip says why: skip: {action} "the reason"'
                )
            yield region


def fence_offences(page: Path) -> list[str]:
    """Return the fenced blocks of a page whose language is none of ours."""
    offences, fence = [], ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r"\s*(`{3,}|~{3,})\s*(\S*)", line)
        if match is None:
            continue
        if not fence:
            fence = match[1]
            if match[2] not in LANGUAGES:
                offences.append(f"{page.name}:{number}: {line.strip()}")
        elif match[1].startswith(fence) and not match[2]:
            fence = ""
    return offences
