"""Every Python block of the README, of the pages and of the docstrings is a test.

What a page shows right behind a block must be what the block prints.
"""

from __future__ import annotations

import signal

from sybil import Sybil
from sybil.parsers.rest import DocTestParser
from sybil.parsers.rest import PythonCodeBlockParser as DocstringCodeBlockParser
from sybil.sybil import SybilCollection

from tests.support.pages import OutputParser, ProgramParser, SkipWithReason

pytest_plugins = ["pytester", "tests.support.leaks", "tests.support.local_server"]

# A shell starts what it runs in the background with Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# And nohup ignores the end of the terminal; tests compare children of ours with other children.
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

pages = Sybil(
    parsers=[ProgramParser(), OutputParser(), SkipWithReason()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md"],
    excludes=["docs/howto/cloud.md"],
    fixtures=["nothing_left"],
)
of_the_service = Sybil(
    parsers=[ProgramParser(), OutputParser(), SkipWithReason()],
    patterns=["docs/howto/cloud.md"],
    fixtures=["nothing_left", "service_here"],
)
docstrings = Sybil(
    parsers=[DocTestParser(), DocstringCodeBlockParser()],
    patterns=["hopx_async/*.py", "hopx_async/*/*.py"],
    fixtures=["nothing_left"],
)

pytest_collect_file = SybilCollection([pages, of_the_service, docstrings]).pytest()
