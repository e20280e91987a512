"""The one writer: a thread that takes all jobs waiting and commits them as one transaction (group commit).

A job is a payload for a bulk operation, so that sixty messages become one executemany and one fsync. A job's future is
resolved only after the commit. If a batch fails, each of its jobs runs again alone, so that only the guilty one fails.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from sipsms.core import log
from sipsms.core.errors import Unavailable
from sipsms.store.engine import SERVER_WAIT, SERVER_WAIT_AGAIN, set_patience

# Runs on all payloads of a batch inside one transaction; returns a result for each.
Bulk = Callable[[Connection, Sequence[Any]], Sequence[Any]]

_MAX_BATCH = 512
_WATCH_EVERY = 0.1


ALONE = "alone"  # in a connection's info: this job has failed once, look why


class _Job:
    __slots__ = ("bulk", "future", "payload")

    def __init__(self, bulk: Bulk, payload: Any, future: asyncio.Future[Any]) -> None:
        self.bulk = bulk
        self.payload = payload
        self.future = future


class Writer:
    def __init__(self, engine: Engine, on_foreign_change: Callable[[], None] | None = None) -> None:
        """`on_foreign_change` is called in the event loop after another process has written (SQLite only)."""
        self._engine = engine
        self._gathered: list[_Job] = []
        self._jobs: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._on_foreign_change = on_foreign_change
        self._data_version = -1
        self._patient = True
        self._watched_at = 0.0
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def put(self, bulk: Bulk, payload: Any) -> asyncio.Future[Any]:
        """Queue one job. The future fails with Unavailable if it could not be committed."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(_Job(bulk, payload, future))
        return future

    def _hand_over(self) -> None:
        """Once a turn of the loop: waking the thread for each job would cost more than the job."""
        jobs, self._gathered = self._gathered, []
        self._jobs.put(jobs)

    async def close(self) -> None:
        """Commit what waits, then end."""
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- in the thread ---

    def _run(self) -> None:
        connection: Connection | None = None
        while True:
            batch, last = self._take()
            try:
                if connection is None or connection.invalidated:
                    connection = self._engine.connect()
                    self._data_version = -1  # another connection's numbers
                    if self._on_foreign_change is not None:
                        self._loop.call_soon_threadsafe(self._on_foreign_change)
                self._watch(connection)
                if batch:
                    self._commit(connection, batch)
            except Exception as error:
                if connection is not None:
                    connection.close()
                    connection = None
                self._answer([(job, Unavailable(str(error))) for job in batch])
            if last:
                if connection is not None:
                    connection.close()
                return

    def _take(self) -> tuple[list[_Job], bool]:
        """All jobs that wait, up to a limit; empty after a short while without any."""
        batch: list[_Job] = []
        try:
            jobs = self._jobs.get(timeout=_WATCH_EVERY)
            while jobs is not None:
                batch += jobs
                if len(batch) >= _MAX_BATCH:
                    return batch, False
                jobs = self._jobs.get_nowait()
            return batch, True
        except Empty:
            return batch, False

    def _watch(self, connection: Connection) -> None:
        """See whether another process has written: its version number differs for other connections' commits only."""
        now = time.monotonic()
        if self._on_foreign_change is None or now - self._watched_at < _WATCH_EVERY:
            return
        self._watched_at = now
        driver: Any = connection.connection.driver_connection
        version = driver.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version and self._data_version != -1:
            self._loop.call_soon_threadsafe(self._on_foreign_change)
        self._data_version = version

    def _commit(self, connection: Connection, batch: list[_Job]) -> None:
        started = time.monotonic()
        try:
            results = self._transact(connection, batch)
            self._be_patient(connection, True)
        except (OperationalError, InterfaceError) as error:  # full, locked, gone: the same for all
            results = [(job, Unavailable(str(error.orig))) for job in batch]
            self._be_patient(connection, False)
        except Exception:
            results = [self._alone(connection, job) for job in batch]
        log.COMMIT_SECONDS.observe(time.monotonic() - started)
        log.COMMIT_SIZE.observe(len(batch))
        self._answer(results)

    def _be_patient(self, connection: Connection, patient: bool) -> None:
        """Who comes while the store stays locked is told so soon, and does not wait behind those who waited in vain."""
        if patient is not self._patient:
            self._patient = patient
            set_patience(connection, SERVER_WAIT if patient else SERVER_WAIT_AGAIN)

    def _transact(self, connection: Connection, batch: list[_Job]) -> list[tuple[_Job, Any]]:
        groups: dict[Bulk, list[_Job]] = {}
        for job in batch:
            groups.setdefault(job.bulk, []).append(job)
        results: list[tuple[_Job, Any]] = []
        with connection.begin():
            for bulk, jobs in groups.items():
                answers = bulk(connection, [job.payload for job in jobs])
                results.extend(zip(jobs, answers, strict=True))
        return results

    def _alone(self, connection: Connection, job: _Job) -> tuple[_Job, Any]:
        connection.info[ALONE] = True
        try:
            return self._transact(connection, [job])[0]
        except (OperationalError, InterfaceError) as error:
            return job, Unavailable(str(error.orig))
        except Exception as error:
            return job, error
        finally:
            del connection.info[ALONE]

    def _answer(self, results: list[tuple[_Job, Any]]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, results)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _resolve(results: list[tuple[_Job, Any]]) -> None:
    for job, result in results:
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
