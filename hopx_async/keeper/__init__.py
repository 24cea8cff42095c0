"""Root and keeper: the processes that hold the commands (Linux only).

They use the standard library, ``protocol.records`` and ``protocol.lifecycle``, and nothing
else of ours, so that they start fast, stay small and do not die of somebody else's fault.
"""

__all__: list[str] = []
