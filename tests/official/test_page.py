"""The examples of ``docs/howto/from-hopx.md`` that need HopX's own package."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.official.clients import Sandbox
from tests.official.node import program

if TYPE_CHECKING:
    from tests.official.conftest import Place

pytestmark = pytest.mark.official

_PAGE = Path(__file__).parents[2] / "docs" / "howto" / "from-hopx.md"
#: What each prints, by the heading above it.
PRINTED = {
    "Start a command": "started: True\n",
    "Ask how it is": "completed ready\n",
    "Run a server": "server: running\n",
    "Pass variables": "Background process started\n",
    "Limit the time": "failed\n",
    "All of it": (
        "data-processing    completed  0  1200 rows cleaned\n"
        "ml-training        completed  0  accuracy 0.93\n"
        "report-generation  failed     1  no figures for June\n"
    ),
}


def programs() -> dict[str, str]:
    """Return the examples with HopX's package, by the heading above them."""
    found = {}
    for section in _PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        for text in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
            if "from hopx_ai import" in text:
                found[section.partition("\n")[0]] = text
    return found


def test_every_example_is_known() -> None:
    """Each example has what it prints here."""
    assert programs().keys() == PRINTED.keys()


@pytest.mark.parametrize("heading", PRINTED)
def test_example(place: Place, heading: str) -> None:
    """It prints what it should, with a server and a key of ours."""
    names = {"URL": place.url, "KEY": place.key}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(programs()[heading], str(_PAGE), "exec"), names)  # noqa: S102  # the page

    assert printed.getvalue() == PRINTED[heading]


def test_the_long_example_in_javascript(place: Place, tmp_path: Path) -> None:
    """With the ``processId`` that our server sends it works as HopX's page has it."""
    command = [*program("page.mjs", tmp_path), place.url, place.key]
    printed = subprocess.check_output(command, text=True, timeout=100)

    assert printed == (
        "process_data.py completed 1200 rows cleaned\n"
        "train_model.py completed accuracy 0.93\n"
        "generate_report.py failed no figures for June\n"
    )


def test_what_hopx_page_makes_of_an_id_is_in_no_list(place: Place) -> None:
    """What stands behind the last ``cmd_`` is no listed id, but a kill understands it."""
    sandbox = Sandbox.create("base", **place.door)
    begun = sandbox.commands.run("sleep 600", background=True)
    bare = begun.stdout.split("cmd_")[-1].strip()
    listed = [row["process_id"] for row in sandbox.list_processes()]
    killed = sandbox.kill_process(bare)
    sandbox.kill()

    assert listed == [f"cmd_{bare}"]
    assert killed["status"] == "killed"
