"""The contenders: ours, its peers, and the floors. Each module is run as a process of its own."""

__all__: list[str] = []
