"""Print the life of a command as a diagram, from the table that keeper and client walk.

Usage: ``python tools/state_diagram.py``. Its output stands in ``docs/reference/log.md``;
a test compares the two.
"""

from __future__ import annotations

from hopx_async.protocol import lifecycle, records

__all__ = ["diagram"]


def diagram() -> str:
    """Return the diagram in the language of Mermaid."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for (state, kind), following in lifecycle.TABLE.items():
        kinds.setdefault((state, following), []).append(records.KIND_NAMES[kind])
    lines = ["stateDiagram-v2", f"    [*] --> {lifecycle.EMPTY}"]
    for (state, following), names in kinds.items():
        lines.append(f"    {state} --> {following}: {', '.join(names)}")
    return "\n".join([*lines, f"    {lifecycle.ENDED} --> [*]"])


if __name__ == "__main__":
    print(diagram())
