"""The local control plane: HopX's routes of sandboxes, templates and tokens, on this machine."""

__all__: list[str] = []
