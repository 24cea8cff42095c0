"""The pure part: records, ordering, replay, credit and retries as plain synchronous code.

Nothing in this package knows a clock, a random number, a socket or a file.
"""

__all__: list[str] = []
