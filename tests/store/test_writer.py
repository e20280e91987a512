"""The writer thread; test_store tests it with a real database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from sipsms.store.writer import Writer


class OtherDatabase:
    """Engine and connection of a database that knows no PRAGMA."""

    dialect = SimpleNamespace(name="postgresql")
    invalidated = False

    def connect(self) -> OtherDatabase:
        return self

    @property
    def connection(self) -> Any:
        raise AssertionError("SQLite's data_version was asked for")

    def begin(self) -> None:
        self._begun = True

    def in_transaction(self) -> bool:
        return self._begun

    def commit(self) -> None:
        self._begun = False

    def rollback(self) -> None:
        self._begun = False

    def close(self) -> None:
        pass


async def test_the_writer_works_on_a_database_of_another_kind() -> None:
    def double(db: Any, payloads: Sequence[int]) -> Sequence[int]:
        return [2 * one for one in payloads]

    writer = Writer(OtherDatabase())  # type: ignore[arg-type]
    assert await writer.put(double, 21) == 42
    await writer.close()


async def test_a_step_behind_that_fails_is_done_after_the_next_commit() -> None:
    """It disturbs no job, and runs again and again only while more is left."""
    outcomes: list[Any] = [ZeroDivisionError(), True, False]
    steps = [threading.Event() for _ in outcomes]

    def follow(db: Any) -> bool:
        if not outcomes:
            return False
        outcome = outcomes.pop(0)
        steps[2 - len(outcomes)].set()
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    def same(db: Any, payloads: Sequence[int]) -> Sequence[int]:
        return payloads

    writer = Writer(OtherDatabase(), follow)  # type: ignore[arg-type]
    assert await asyncio.to_thread(steps[0].wait, 60)
    assert await writer.put(same, 1) == 1
    assert await asyncio.to_thread(steps[2].wait, 60)
    assert await writer.put(same, 2) == 2
    await writer.close()
    assert outcomes == []
