"""The clock that the server runs by."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol


class Clock(Protocol):
    def __call__(self) -> float:
        """Seconds since the epoch."""


def steady_clock() -> Callable[[], float]:
    """Wall-clock seconds that never jump: set once, then driven by the clock since boot, which counts the time that a
    machine is suspended, too."""
    since_boot = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic
    offset = time.time() - since_boot()
    return lambda: since_boot() + offset
