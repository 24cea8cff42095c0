"""HopX's own words for what the agent does: the routes that the official SDKs call.

They stand beside ours and go through the same starts, logs and kills.
"""

__all__: list[str] = []
