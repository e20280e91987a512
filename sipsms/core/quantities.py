"""Durations and rates as people write them."""

from __future__ import annotations

import re
from typing import Final

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_RATE: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)/([smhd])")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: object) -> float:
    """Return seconds from `14d`, `5m`, `30s`, `250ms` or a number of seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e10:
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected a duration like 14d, 5m, 30s or 250ms, got {value!r}")
    return float(match[1]) * _SECONDS[match[2]]


def rate(value: object) -> float:
    """Return messages a second from `10/s`, `30/m`, `1000/h` or a number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6:
        return float(value)
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or float(match[1]) == 0:
        raise ValueError(f"expected a rate like 10/s, 30/m or 1000/h, got {value!r}")
    return float(match[1]) / _SECONDS[match[2]]
