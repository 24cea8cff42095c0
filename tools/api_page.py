"""Print ``docs/reference/api.md``: every public name with the first sentence of its docstring.

``tests/test_docs.py`` compares what this prints with the page. Run it as
``python -m tools.api_page > docs/reference/api.md``.
"""

from __future__ import annotations

import inspect
import re
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import hopx_async as hopx
from hopx_async import blocking, testing

__all__ = ["api_page"]

_HEAD = """\
# Every name

What `hopx_async`, `hopx_async.testing` and `hopx_async.blocking` export, and what each is for.
`tools/api_page.py` makes this page from the docstrings, which have more: units, raises, cancelling.
Read them by `help(hopx_async.CommandHandle.lines)`, or in an editor.
"""
_DOORS = ("local", "remote", "through", "pool", "Opening")
_WORDS = (
    "Client", "Sandbox", "Commands", "CommandHandle", "EventStream", "LineStream", "TextStream",
    "AsCompleted", "MergedStream", "Group", "GroupCompleted", "MapStream", "Pool",
    "Listing",
)  # fmt: skip
_MANY = ("as_completed", "group", "merge", "wait_any")
#: What has no docstring of its own.
_CONSTANTS = {
    "END": "As *after*: only what comes from now on.",
    "__version__": "The version of this library.",
}


def api_page() -> str:
    """Return the page."""
    public: dict[str, Any] = {name: getattr(hopx, name) for name in hopx.__all__}
    errors = [name for name, value in public.items() if _is(value, hopx.HopxError)]
    events = [name for name, value in public.items() if value in get_args(hopx.Event)]
    rest = [
        name
        for name in sorted(public, key=str.lower)
        if name not in {*_DOORS, *_WORDS, *_MANY, *errors, *events}
    ]
    sections = [
        _table("Doors", _DOORS, public),
        *(f"## {name}\n\n{_about(public[name])}\n\n{_members(public[name])}" for name in _WORDS),
        _table("Many commands", _MANY, public),
        _table("Events", events, public),
        _table("Values and types", rest, public),
        "## Errors\n\nThe [tree](errors.md) has when each is raised.\n\n" + _rows(errors, public),
        "## hopx_async.testing\n\n"
        "How they are used stands in [Test your own code](../howto/testing-your-code.md).\n\n"
        + _rows(testing.__all__, dict(vars(testing))),
        "## hopx_async.blocking\n\n"
        "The words above, without `async`; see [Do without async](../howto/blocking.md).\n\n"
        + _rows(blocking.__all__, dict(vars(blocking))),
    ]
    return "\n".join([_HEAD, *sections])


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, type) and issubclass(value, kind)


def _table(title: str, names: Any, public: dict[str, Any]) -> str:
    return f"## {title}\n\n{_rows(names, public)}"


def _rows(names: Any, public: dict[str, Any]) -> str:
    rows = [f"| `{_called(name, public[name])}` | {_about(public[name], name)} |" for name in names]
    return "\n".join(["| name | what it is |", "|---|---|", *rows, ""])


def _members(kind: type) -> str:
    found = {
        name: value
        for base in reversed(kind.__mro__[:-1])
        if base.__module__.startswith("hopx_async")
        for name, value in vars(base).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    }
    return _rows(found, found)


def _called(name: str, value: Any) -> str:
    if isinstance(value, staticmethod):
        value = value.__func__
    if not inspect.isfunction(value):
        return name
    shown = []
    for parameter in inspect.signature(value).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        shown.append(parameter.name)
    return f"{name}({', '.join(shown)})"


def _about(value: Any, name: str = "") -> str:
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if get_origin(value) is Literal:
        return "One of " + ", ".join(f"`{word}`" for word in get_args(value)) + "."
    if isinstance(value, UnionType):
        return "One of " + ", ".join(f"`{kind.__name__}`" for kind in get_args(value)) + "."
    first = (inspect.getdoc(value) or "").partition("\n\n")[0].replace("\n", " ")
    first = re.sub(r"::?$", ".", first)
    return re.sub(r"``?([^`]*)``?", r"`\1`", first).replace("|", "\\|")


if __name__ == "__main__":
    print(api_page(), end="")
