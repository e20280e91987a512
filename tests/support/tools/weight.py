"""The work of a function, counted so that it compares on any machine, and never in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection


def steps(db: Connection, run: Callable[[], object]) -> int:
    """Instructions of SQLite's virtual machine, in hundreds: the same on every machine, and no index's absence is
    missed."""
    count = 0

    def more() -> None:
        nonlocal count
        count += 1

    plain = db.connection.driver_connection
    assert plain is not None
    plain.set_progress_handler(more, 100)
    try:
        run()
    finally:
        plain.set_progress_handler(None, 0)
    return count


def growth(run: Callable[[int], object], size: int) -> float:
    """What four times the input costs, in times of what the input costs: about 4 if the price is linear, 16 if it is
    quadratic. Of this thread's time on the processor, the best of five; inputs under a millisecond tell nothing."""

    def spent(count: int) -> float:
        began = time.thread_time()
        run(count)
        return time.thread_time() - began

    pairs = [(spent(4 * size), spent(size)) for _ in range(5)]
    large, small = (min(column) for column in zip(*pairs, strict=True))
    return large / max(small, 0.0005)
