"""The pages say what the code says: each table and each number is compared with it."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

import hopx_async as hopx
from hopx_async import errors, model, testing
from hopx_async.agent import guard
from hopx_async.agent.calls import facts
from hopx_async.keeper.options import default_env
from hopx_async.protocol import cursor, poll, records, wire
from hopx_async.providers import local
from hopx_async.spec import CommandSpec
from tools.api_page import api_page
from tools.state_diagram import diagram

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
]
UNITS = {"s": 1, "bytes": 1, "KiB": 1024, "MiB": 1 << 20, "GiB": 1 << 30, "": 1}
#: Kinds of control objects by the word on the page.
CONTROLS = {
    "client": {wire.Hello, wire.Ask, wire.Credit, wire.Leave, wire.Call},
    "agent": {wire.Hello, wire.Refused, wire.Over, wire.Reply},
}


def page(name: str) -> str:
    """Return the text of a page below docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def tables(name: str) -> list[list[list[str]]]:
    """Return the tables of a page: rows of cells, headings and rulers left out."""
    found: list[list[list[str]]] = []
    inside = False
    for line in page(name).splitlines():
        if not line.startswith("|"):
            inside = False
        elif not inside:
            inside = True
            found.append([])
        elif not line.startswith("|--"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def words(cell: str) -> list[str]:
    """Return what stands in backticks."""
    return re.findall(r"`([^`]*)`", cell)


def quantity(text: str) -> float | None:
    """Return the number that a cell such as ``4 KiB`` stands for, None for ``none``."""
    if text == "none":
        return None
    number, _, unit = text.partition(" ")
    return float(number) * UNITS[unit]


def in_the_code(place: str) -> Any:
    """Return the constant at a dotted place, or the default of ``function(parameter)``."""
    place, _, parameter = place.removesuffix(")").partition("(")
    module_name, names = place, list[str]()
    while True:
        module_name, _, name = module_name.rpartition(".")
        names.insert(0, name)
        try:
            value: Any = importlib.import_module(module_name)
        except ModuleNotFoundError:
            continue
        break
    for name in names:
        value = getattr(value, name)
    return inspect.signature(value).parameters[parameter].default if parameter else value


# Names.


def test_the_page_of_names_is_what_the_docstrings_say() -> None:
    """The page is what ``python -m tools.api_page`` prints: run it after changing a docstring."""
    assert page("reference/api.md") == api_page()


def test_the_page_of_names_has_them_all() -> None:
    """No public name of the package or of its test-kit is missing there."""
    told = set(re.findall(r"(?:^\| `|^## )([\w.]+)", page("reference/api.md"), re.MULTILINE))

    assert {*hopx.__all__, *testing.__all__} <= told


# Errors.


def test_the_page_of_errors_draws_the_tree() -> None:
    """Each error stands on the page once, below its parent, with its bases and its code."""
    rows = tables("reference/errors.md")[0]
    drawn = [words(row[0])[0] for row in rows]

    assert sorted(drawn) == sorted(errors.__all__)
    path: list[str] = []
    for first, bases, code, when in rows:
        depth, name = first.count("&nbsp;") // 4, words(first)[0]
        kind = getattr(errors, name)
        path[depth:] = [name]
        assert words(bases) == [base.__name__ for base in kind.__bases__], name
        assert depth == 0 or path[depth - 1] == kind.__bases__[0].__name__
        assert words(code) == [kind.code], name
        assert when


def test_the_docstring_of_errors_draws_the_tree() -> None:
    """The tree at the top of errors.py names every error, and puts none below another's child."""
    tree = (errors.__doc__ or "").partition("::")[2].partition("\n\nErrors carry")[0]

    assert set(re.findall(r"\b[A-Z]\w+(?:[a-z]\w*)\b", tree)) >= set(errors.__all__)


def test_the_page_of_errors_tells_every_reason() -> None:
    """Each end reason stands there with the status that it becomes."""
    rows = {words(row[0])[0]: words(row[2]) for row in tables("reference/errors.md")[1]}

    assert list(rows) == list(get_args(model.EndReason))
    for reason, statuses in rows.items():
        codes = (0, 1) if reason == "exited" else (None,)
        ends = [model.Exit(reason=reason, exit_code=code) for code in codes]  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert [end.status for end in ends] == statuses


# Numbers.

DEFAULTS = [row for table in tables("reference/defaults.md") for row in table]


@pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: words(row[2])[0].split(".", 1)[1])
def test_a_default_is_what_the_code_says(row: list[str]) -> None:
    """A value on the page of defaults is that of the constant that it names."""
    assert in_the_code(words(row[2])[0]) == quantity(row[1])


def test_every_bound_in_capitals_is_a_default() -> None:
    """A public constant of the client, the protocol or the agent that bounds something is there."""
    named = {words(row[2])[0] for row in DEFAULTS}
    public = {
        f"{module}.{name}"
        for module in ("hopx_async.handle", "hopx_async.protocol.wire", "hopx_async.protocol.peer")
        for name in importlib.import_module(module).__all__
        if re.match("(MAX|.*_SECONDS|.*_BYTES)", name)
    }

    assert public - named == set()


def quantities() -> Iterator[tuple[str, str]]:
    """Yield page and quantity of every number with a unit in the prose of the pages."""
    for path in [ROOT / "README.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md")]:
        prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for number, unit in re.findall(r"\b(\d+(?:\.\d+)?) (s|seconds|bytes|KiB|MiB)\b", prose):
            yield path.name, f"{number} {'s' if unit == 'seconds' else unit}"


def test_every_quantity_on_a_page_is_a_default() -> None:
    """No page tells a number with a unit that the page of defaults, which is compared, has not."""
    known = {quantity(row[1]) for row in DEFAULTS}

    assert [(where, text) for where, text in quantities() if quantity(text) not in known] == []


# The log and the wire.


def test_the_page_of_the_log_has_the_diagram() -> None:
    """The diagram on the page is the one that the tool prints from the table."""
    assert f"```mermaid\n{diagram()}\n```" in page("reference/log.md")


def test_the_tool_prints_the_diagram() -> None:
    """Run by hand, the tool prints what the page holds."""
    command = [sys.executable, str(ROOT / "tools" / "state_diagram.py")]

    assert subprocess.check_output(command, text=True) == f"{diagram()}\n"


def test_the_page_of_the_log_knows_every_kind() -> None:
    """Numbers, names and layouts of records are those of the code."""
    rows = tables("reference/log.md")[0]
    layouts = [words(row[2])[0] for row in rows if words(row[2]) and words(row[2])[0][0] == "<"]
    base, data = records.BASE_PAYLOAD.format, records.DATA_PREFIX.format

    assert {int(row[0]): row[1] for row in rows} == records.KIND_NAMES
    assert layouts == [base, data, data]
    assert f"`{records.HEADER.format}`" in page("reference/log.md")
    assert f"`{cursor.CURSOR_RULE}`" in page("reference/log.md")


def test_the_page_of_the_wire_knows_every_control() -> None:
    """Each object of a text frame stands there with its keys, and who sends it."""
    rows = tables("reference/wire.md")[0]
    told = {
        words(kind)[0]: (words(keys), {"client", "agent"} if sender == "both" else {sender})
        for kind, sender, keys, _ in rows
    }
    coded = {
        kind.__struct_config__.tag: (
            list(kind.__struct_fields__),
            {sender for sender, kinds in CONTROLS.items() if kind in kinds},
        )
        for kind in CONTROLS["client"] | CONTROLS["agent"]
    }

    assert told == coded
    assert f"`{wire.PIECE.format}`" in page("reference/wire.md")
    assert f"now {wire.LINK_VERSION}." in page("reference/wire.md")


def test_the_page_of_the_wire_knows_the_long_poll() -> None:
    """The layouts of posts, answers and frames are those of the code."""
    text = page("reference/wire.md").partition("## The long-poll")[2]
    told = re.findall(r"is `(<\w+)`", text)

    assert told == [poll.POST.format, poll.ANSWER.format, poll.FRAME.format]


def test_the_page_of_the_wire_knows_every_error_key() -> None:
    """The data that travels with an error is listed whole."""
    line = next(x for x in page("reference/wire.md").splitlines() if x.startswith("Data keys"))

    assert words(line) == list(wire._DATA)


def test_the_page_of_the_wire_knows_every_call_and_route() -> None:
    """Methods and routes are those that the agent has; facts and specs have the keys told."""
    calls, routes = tables("reference/wire.md")[3:5]
    agent = ROOT / "hopx_async" / "agent"
    methods = re.findall(
        r'^ {12}"(\w+)": self\._(?!board)', (agent / "calls.py").read_text(), re.MULTILINE
    )
    source = (agent / "routes.py").read_text().replace('one + "', 'f"{one}')
    route = r'web\.(get|put|post|patch|delete)\((?:one|f?"([^"]*)")'
    coded = {
        f"{verb.upper()} {(path or '{one}').replace('{one}', '/v1/commands/{process_id}')}"
        for verb, path in re.findall(route, source)
    }

    assert [words(row[0])[0] for row in calls] == methods
    assert {words(row[0])[0] for row in routes} == coded
    assert all(f"`{key}`" in page("reference/wire.md") for key in facts())
    spec = CommandSpec.make("true").to_dict()
    assert all(f"`{key}`" in page("reference/wire.md") for key in spec)


def test_the_open_routes_are_told() -> None:
    """The routes that need no token are those that the pages name."""
    assert {"/", "/health", "/info", "/ping"} == guard._OPEN_PATHS
    assert "All but `/`, `/health`, `/info` and `/ping`" in page("reference/wire.md")


# The environment.


def test_the_page_of_the_environment_knows_the_variables() -> None:
    """The variables that a command gets by default are those of the code."""
    first, second = re.findall(r"^[12]\. (.*)$", page("reference/environment.md"), re.MULTILINE)

    assert set(words(first)) == default_env("/", {}).keys()
    assert [
        word for word in words(second) if word.strip("_*").isupper() and word[-1] != "_"
    ] == list(local._KEPT)


def test_the_page_of_the_environment_knows_the_options() -> None:
    """The options of the agent are those that its help tells."""
    command = [sys.executable, "-m", "hopx_async.agent", "--help"]
    help_text = subprocess.check_output(command, text=True)
    options = {words(row[0])[0].split()[0] for row in tables("reference/environment.md")[2]}

    assert options == set(re.findall(r"--[a-z-]+", help_text)) - {"--help"}


async def test_the_page_of_the_environment_knows_the_state_directory(tmp_path: Path) -> None:
    """A state directory holds what the page says, with the modes that it says."""
    told = {words(row[0])[0]: row[1] for row in tables("reference/environment.md")[3]}
    state = tmp_path / "state"
    async with hopx.local(state_dir=state) as sandbox:
        await sandbox.commands.run("true", check=True)
        await sandbox.env.set({"A": "1"})
        found = {path.name: f"{path.stat().st_mode & 0o777:04o}" for path in state.iterdir()}
        logs = [path.stat().st_mode & 0o777 for path in (state / "logs").iterdir()]

    assert found == told
    assert logs == [0o600]


# Links.


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link of a page leads to a file that is there, and to a heading in it."""
    for target in re.findall(r"\]\(([^)#:]*(?:#[^)]*)?)\)", path.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {title.lower().replace(" ", "-") for title in titles}, target


def test_every_page_is_linked() -> None:
    """Each page is in the index of its directory."""
    for path in sorted(DOCS.rglob("*.md")):
        if path.name not in {"index.md", "README.md"}:
            assert f"]({path.name})" in (path.parent / "index.md").read_text(), path.name
