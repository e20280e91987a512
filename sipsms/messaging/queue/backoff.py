"""Back-off: the time until the next attempt. Pure."""

from __future__ import annotations


def delay(tries: int, least: float, most: float, chance: float) -> float:
    """Return seconds until the next attempt after this many: exponential, with a fifth of jitter by `chance` (0..1)."""
    return min(most, least * 2.0 ** min(tries - 1, 20)) * (0.9 + 0.2 * chance)
