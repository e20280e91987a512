"""Background tasks: failures are logged, and one job does not hold up another."""

from __future__ import annotations

import asyncio

import pytest

from sipsms.app import tasks
from sipsms.app.tasks import Job, Tasks, keep_doing, survives
from sipsms.core.errors import Unavailable


async def broken() -> None:
    raise Unavailable("the disk is full")


async def test_a_periodic_task_survives_a_failing_step() -> None:
    async def good() -> None:
        pass

    async def bug() -> None:
        raise RuntimeError("a bug")

    assert [await survives(step) for step in (good, broken, bug)] == [True, False, False]


async def test_a_job_that_fails_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now, done = 0.0, asyncio.Event()
    times: list[float] = []

    async def tick(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > 30:
            done.set()
        await asyncio.get_running_loop().create_task(asyncio.tasks.sleep(0))

    async def note() -> None:
        times.append(now)

    monkeypatch.setattr(tasks.asyncio, "sleep", tick)
    jobs = [Job(1.0, broken), Job(10.0, note, first=5.0)]
    running = asyncio.create_task(keep_doing(jobs, lambda: now))
    await done.wait()
    running.cancel()
    assert times[:3] == [5.0, 15.0, 25.0]


async def test_all_tasks_end_with_the_node() -> None:
    here, ended = Tasks(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    here.spawn(work())
    await asyncio.sleep(0)
    await here.end()
    assert ended.is_set()
