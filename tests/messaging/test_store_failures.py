"""A database that fails at any one statement between a request and the end of its delivery: one message, sent once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.errors import Unavailable
from sipsms.messaging.order import Sent
from sipsms.messaging.queue import dispatcher
from sipsms.store.sqlite import sqlite3
from tests.support.messaging.core import ScriptedCourier, core

KEY = b"one request"


class Faults:
    """Counts the statements of all connections, and lets one fail."""

    def __init__(self) -> None:
        self.count = 0
        self.at = 0  # the statement that fails; 0: none
        self.many = 1  # how many fail from there on

    def step(self) -> None:
        self.count += 1
        if self.at <= self.count < self.at + self.many and self.at:
            raise sqlite3.OperationalError("disk I/O error")


def _driver(faults: Faults, connect: Callable[..., Any]) -> Callable[..., Any]:
    class Cursor(sqlite3.Cursor):  # type: ignore[misc]
        def execute(self, *given: Any) -> Any:
            faults.step()
            return super().execute(*given)

        def executemany(self, *given: Any) -> Any:
            faults.step()
            return super().executemany(*given)

    class Connection(sqlite3.Connection):  # type: ignore[misc]
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

        def execute(self, *given: Any) -> Any:
            return self.cursor().execute(*given)

        def executemany(self, *given: Any) -> Any:
            return self.cursor().executemany(*given)

        def commit(self) -> None:
            faults.step()
            super().commit()

    return lambda *given, **more: connect(*given, **more, factory=Connection)


async def _run(folder: Path, faults: Faults, at: int, many: int) -> bool:
    """Send a message while the statement `at` fails. Return whether there was one."""
    courier = ScriptedCourier()
    faults.at = 0
    async with core(folder, {"carrier:sim": courier}) as here:
        alice = here.directory.account("alice")
        assert alice is not None

        async def ask() -> Any:
            """The client's request, which it sends again under the same key until it hears an answer."""
            return await here.send(alice, "5550001111", "2125550123", "hello", dedupe_key=KEY)

        faults.count, faults.at, faults.many = 0, at, many
        first = None
        with suppress(Unavailable):
            first = await ask()
        with suppress(TimeoutError):  # the delivery goes on behind the answer
            await courier.wait(1, 0.3 if first is None else 15)
        was_hit = faults.count >= at
        faults.at = 0
        again = await asyncio.gather(ask(), ask(), ask())
        assert all(isinstance(answer, Sent) for answer in again)
        assert {answer.message for answer in again} == {1}
        assert first is None or first.message == 1
        assert [answer.duplicate for answer in again].count(False) == (first is None)
        closed = "SELECT count(*) FROM deliveries WHERE state IN ('accepted', 'unknown')"
        await here.until(closed, [(1,)])
        assert await here.rows("SELECT text FROM messages") == [("hello",)]
        assert await here.rows("SELECT count(*) FROM deliveries") == [(1,)]
        assert courier.texts == ["hello"]
        return was_hit


@pytest.mark.parametrize("many", [1, 2, 7])
async def test_any_statement_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    faults = Faults()
    monkeypatch.setattr(sqlite3, "connect", _driver(faults, sqlite3.connect))
    monkeypatch.setattr(dispatcher, "_PAUSE", 0.01)
    at = 1
    while (folder := tmp_path / str(at)).mkdir() or await _run(folder, faults, at, many):
        at += 1
    assert at > 8  # begin, key, message, delivery, attempt, commit, and the end of the attempt
