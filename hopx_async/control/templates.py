"""The templates that a local server has: names, since each of them is this machine."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from hopx_async.control.answers import Refused

__all__ = ["TEMPLATES", "find", "resources"]

_NAMES = {
    "base": ("Base", "A shell.", "bash"),
    "code-interpreter": ("Code interpreter", "Python and a shell.", "python"),
    "python": ("Python", "Python and a shell.", "python"),
    "nodejs": ("Node.js", "Node.js and a shell.", "javascript"),
}


def resources() -> dict[str, int]:
    """Return what a sandbox is said to have; nothing of it is enforced."""
    return {"vcpu": 2, "memory_mb": 2048, "disk_mb": 10240, "disk_gb": 10}


def _template(number: int, name: str) -> dict[str, Any]:
    title, description, language = _NAMES[name]
    sizes = {name: size for name, size in resources().items() if name != "disk_mb"}
    return {
        "id": str(number),
        "object": "template",
        "name": name,
        "display_name": title,
        "description": f"{description} Runs on this machine as it is.",
        "category": "development",
        "language": language,
        "default_resources": sizes,
        "features": [],
        "tags": [],
        "is_active": True,
        "is_public": True,
        "status": "active",
    }


#: Every template, by name.
TEMPLATES = {name: _template(number, name) for number, name in enumerate(_NAMES, 1)}


def find(name: object) -> dict[str, Any]:
    """Return the template with this name or id.

    Raises:
        Refused: If there is none, with names that come near.
    """
    text = str(name)
    for template in TEMPLATES.values():
        if text in {template["name"], template["id"]}:
            return template
    near = get_close_matches(text, TEMPLATES, n=3, cutoff=0.5) or sorted(TEMPLATES)
    # Without the words "not found": HopX's JavaScript client takes those for a file's.
    message = f"no template {text[:80]!r}; did you mean {', '.join(near)}?"
    raise Refused(404, "RESOURCE_NOT_FOUND", message, suggestions=near)
