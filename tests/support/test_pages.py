"""The examples on pages run, and none escapes without a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import pages

ROOT = Path(__file__).parents[2]
CONFTEST = """
from sybil import Sybil
from tests.support.pages import OutputParser, ProgramParser, SkipWithReason

pytest_plugins = ["tests.support.leaks"]
pytest_collect_file = Sybil(
    parsers=[ProgramParser(), OutputParser(), SkipWithReason()],
    patterns=["*.md"],
    fixtures=["nothing_left"],
).pytest()
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    """Return a pytester that runs pages as this project does."""
    pytester.makeconftest(CONFTEST)
    pytester.makeini(f"[pytest]\npythonpath = {ROOT}\naddopts = -p no:asyncio")
    return pytester


def outcome(run: pytest.Pytester, page: str) -> pytest.RunResult:
    """Run one page."""
    run.makefile(".md", page=page)
    return run.runpytest_inprocess("page.md")


def test_blocks_run_and_share_their_names(run: pytest.Pytester) -> None:
    """A page's blocks run in order, later ones with the names of earlier ones."""
    result = outcome(run, "```python\nx = 1\n```\ntext\n```python\nassert x == 1\n```\n")

    result.assert_outcomes(passed=2)


def test_a_wrong_block_fails(run: pytest.Pytester) -> None:
    """A claim that does not hold fails."""
    result = outcome(run, "```python\nassert 1 == 2\n```\n")

    result.assert_outcomes(failed=1)


def test_a_block_that_leaks_fails(run: pytest.Pytester) -> None:
    """A block is guarded by the leak fixture."""
    result = outcome(run, "```python\nimport tempfile\ntempfile.mkdtemp()\n```\n")

    result.assert_outcomes(passed=1, errors=1)


@pytest.mark.parametrize("shown", ["hello\nafter 2.5 s", "hello\nafter 0.1 s\n"])
def test_what_a_block_prints_is_compared(run: pytest.Pytester, shown: str) -> None:
    """A text block behind a program is its output, but for durations; others are just text."""
    page = "```python\nprint('hello\\nafter 1.0 s')\n```\n\n"

    outcome(run, f"{page}```text\n{shown}\n```\nThen\n```text\nmore\n```").assert_outcomes(passed=2)


def test_an_output_that_is_not_printed_fails(run: pytest.Pytester) -> None:
    """A page that shows another output than its program prints fails, and says what differs."""
    result = outcome(run, "```python\nprint('hello')\n```\n\n```text\nhallo\n```\n")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*-hallo*", "*+hello*"])


def test_a_skip_with_its_reason_skips(run: pytest.Pytester) -> None:
    """A skip that says why leaves out the next block alone."""
    page = '<!-- skip: next "needs an API key" -->\n```python\n1/0\n```\n```python\nx = 1\n```\n'

    result = outcome(run, page)  # the directive itself counts as one that passed

    result.assert_outcomes(passed=2, skipped=1)


@pytest.mark.parametrize("skip", ["skip: next", 'skip: next ""', "skip: start", "skip: next if(1)"])
def test_a_skip_without_a_reason_is_refused(run: pytest.Pytester, skip: str) -> None:
    """A skip that does not say why fails the page, with its line."""
    result = outcome(run, f"# Page\n\n<!-- {skip} -->\n```python\n1/0\n```\n")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*page.md:3: a skip says why*"])


@pytest.mark.parametrize("fence", ["```", "```py", "``` python3", "~~~bash"])
def test_another_language_is_found(tmp_path: Path, fence: str) -> None:
    """A fenced block in a language of its own invention is an offence."""
    page = tmp_path / "page.md"
    page.write_text(f"```python\nx\n```\n{fence}\ny\n{fence[:3]}\n")

    assert pages.fence_offences(page) == [f"page.md:4: {fence}"]


def test_no_page_has_a_block_that_escapes() -> None:
    """Every fenced block of the README and of docs/ is in a language we know."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

    assert [line for page in found for line in pages.fence_offences(page)] == []
