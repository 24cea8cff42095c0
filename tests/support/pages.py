"""How the pages' examples are found and run; the root ``conftest.py`` puts it to work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sybil.parsers.markdown import SkipParser

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sybil import Document, Region

__all__ = ["LANGUAGES", "SkipWithReason", "fence_offences"]

#: What a fenced block may call itself. ``python`` is run; another spelling would escape that.
LANGUAGES = frozenset({"console", "json", "make", "python", "text", "toml"})


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
