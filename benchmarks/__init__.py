"""How fast this is, beside its peers and what the machine allows: ``python -m benchmarks``."""

__all__: list[str] = []
