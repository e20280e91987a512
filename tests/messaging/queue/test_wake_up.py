"""The wake-up within one process."""

from __future__ import annotations

import asyncio

from sipsms.messaging.queue.wake_up import LocalWakeUp


async def test_a_notification_ends_one_wait_even_if_it_comes_before() -> None:
    wake_up = LocalWakeUp()
    wake_up.notify()
    async with asyncio.timeout(5):
        await wake_up.wait(60)
    waiting = asyncio.create_task(wake_up.wait(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    wake_up.notify()
    async with asyncio.timeout(5):
        await waiting


async def test_a_wait_ends_without_a_notification() -> None:
    async with asyncio.timeout(5):
        await LocalWakeUp().wait(0.001)
