"""The command line, ``hopx-async``: the extra ``cli``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; without its extra, say in one line what is missing."""
    try:
        from hopx_async.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        sys.exit(f"hopx-async: the command line needs {error.name}: pip install 'hopx-async[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)  # it came before anybody could do something about it
    app()
