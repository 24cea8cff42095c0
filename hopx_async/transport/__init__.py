"""The client's I/O: the seam to a far side, and the one task that serves it."""

__all__: list[str] = []
