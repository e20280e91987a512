"""The clock of the server."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    def __call__(self) -> float:
        """Return seconds since the epoch."""


def steady_clock() -> Callable[[], float]:
    """Return a clock of wall-clock seconds that never jumps.

    The clock since boot drives it, which also counts the time that the machine is suspended."""
    since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic
    offset = time.time() - since_boot()
    return lambda: since_boot() + offset


@cache
def new_york() -> ZoneInfo:
    """Return VoIP.ms' time zone, loaded on first use: a host without time zones can do all the rest."""
    return ZoneInfo("America/New_York")
