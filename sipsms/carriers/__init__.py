"""Ways to the telephone network: one file a kind of carrier, each with `parse` (in) and `send` (out)."""
