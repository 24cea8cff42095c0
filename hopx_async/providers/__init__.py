"""Where sandboxes come from: one module a door."""

__all__: list[str] = []
