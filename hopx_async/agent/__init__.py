"""The agent: serves commands and their logs over the network; never holds a command itself."""

__all__: list[str] = []
