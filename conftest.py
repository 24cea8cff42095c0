"""Every Python block of the README, of the pages and of the docstrings is a test.

What a page shows right behind a block must be what the block prints.
"""

from __future__ import annotations

from sybil import Sybil
from sybil.parsers.rest import DocTestParser
from sybil.parsers.rest import PythonCodeBlockParser as DocstringCodeBlockParser

from tests.support.pages import OutputParser, ProgramParser, SkipWithReason

pytest_plugins = ["pytester", "tests.support.leaks"]

pages = Sybil(
    parsers=[ProgramParser(), OutputParser(), SkipWithReason()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    fixtures=["nothing_left"],
)
docstrings = Sybil(
    parsers=[DocTestParser(), DocstringCodeBlockParser()],
    patterns=["hopx_async/*.py", "hopx_async/*/*.py"],
    fixtures=["nothing_left"],
)

pytest_collect_file = (pages + docstrings).pytest()
