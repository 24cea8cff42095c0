"""The tests; their directories mirror hopx_async/."""
