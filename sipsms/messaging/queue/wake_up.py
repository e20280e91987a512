"""The wake-up of a queue: it ends the pause between two turns. Only a hint: what it misses, the next turn finds."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol


class WakeUp(Protocol):
    """A way to tell a queue that there is something to do."""

    def notify(self) -> None: ...

    async def wait(self, seconds: float) -> None:
        """Wait until somebody notifies, or has done so since the last wait, but no longer than this."""


class LocalWakeUp:
    """The wake-up within one process."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
