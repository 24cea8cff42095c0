"""``python -m hopx_async.cli`` is ``hopx-async``."""

from __future__ import annotations

from hopx_async.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
