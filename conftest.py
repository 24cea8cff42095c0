"""Every Python block of the README, of the pages and of the docstrings is a test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser
from sybil.parsers.rest import PythonCodeBlockParser as DocstringCodeBlockParser

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sybil import Document, Region

pytest_plugins = ["pytester", "tests.support.leaks"]


class SkipWithReason(SkipParser):
    """A page may leave a block out, and must say why.

    ``<!-- skip: next "it needs an API key" -->``
    """

    def __call__(self, document: Document) -> Iterable[Region]:
        """Parse as Sybil does, but refuse a skip without a reason."""
        for region in super().__call__(document):
            action, reason = region.parsed
            if action != "end" and not re.search(r'"[^"]{8,}"', reason or ""):
                line = document.text.count("\n", 0, region.start) + 1
                message = f'{document.path}:{line}: a skip needs a reason: skip: {action} "because"'
                raise ValueError(message)
            yield region


pages = Sybil(
    parsers=[PythonCodeBlockParser(), SkipWithReason()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    fixtures=["nothing_left"],
)
docstrings = Sybil(
    parsers=[DocTestParser(), DocstringCodeBlockParser()],
    patterns=["hopx_async/*.py", "hopx_async/*/*.py"],
    fixtures=["nothing_left"],
)

pytest_collect_file = (pages + docstrings).pytest()
