"""Background tasks of a node: a failure is logged and never lost, and all end with the node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable


class Tasks:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine beside everything else; log its failure."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Unavailable):
            log.warning("store_unavailable", why=str(error))
        elif error is not None:
            log.crash("task_failed", error)

    async def end(self) -> None:
        """Cancel all tasks and wait for their end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def survives(step: Callable[[], Awaitable[None]]) -> bool:
    """Run one step of work that goes on for ever. False: it has failed, and that is logged."""
    try:
        await step()
        return True
    except Unavailable as error:
        log.warning("store_unavailable", why=str(error))
    except Exception as error:
        log.crash("background_failed", error)
    return False


def run_loop(main: Coroutine[Any, Any, Any]) -> Any:
    """asyncio.run on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:  # no wheel for this platform
        return asyncio.run(main)
    return uvloop.run(main)


class Job(NamedTuple):
    """Work that is done again and again."""

    period: float  # seconds
    work: Callable[[], Awaitable[None]]
    first: float = 0.0  # seconds after the start


async def keep_doing(jobs: list[Job], clock: Clock) -> None:
    """Do each job at its period until cancelled; a job that fails must not hold up the others."""
    due = [clock() + job.first for job in jobs]
    while True:
        await asyncio.sleep(1)
        for number, job in enumerate(jobs):
            if clock() >= due[number]:
                due[number] = clock() + job.period
                await survives(job.work)
