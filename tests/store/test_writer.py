"""The writer thread; test_store tests it with a real database."""

from __future__ import annotations

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

    def close(self) -> None:
        pass


async def test_the_writer_works_on_a_database_of_another_kind() -> None:
    def double(db: Any, payloads: Sequence[int]) -> Sequence[int]:
        return [2 * one for one in payloads]

    writer = Writer(OtherDatabase())  # type: ignore[arg-type]
    assert await writer.put(double, 21) == 42
    await writer.close()
