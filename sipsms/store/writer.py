"""The writer: one thread that commits all waiting jobs in one transaction (group commit).

A job is a payload for a bulk operation, so that sixty messages need one executemany and one fsync. A job's future is
resolved only after the commit. If a batch fails, each of its jobs runs again alone, so that only the faulty job
fails.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine

from sipsms.core import log
from sipsms.core.errors import Unavailable
from sipsms.store.engine import (
    SERVER_WAIT,
    SERVER_WAIT_AGAIN,
    Broken,
    begin,
    commit,
    reason,
    roll_back,
    set_patience,
)

P = TypeVar("P")
R = TypeVar("R")
Bulk = Callable[[Connection, Sequence[P]], Sequence[R]]  # runs on all payloads of a batch; returns a result for each

_MAX_BATCH = 512
_MOMENT = 0.05  # seconds
_FAR = 1000  # jobs

ALONE = "alone"  # key in a connection's info: the job failed in a batch and now runs alone


class _Job(NamedTuple):
    bulk: Bulk[Any, Any]
    payload: Any
    future: asyncio.Future[Any]


class Writer:
    def __init__(self, engine: Engine, follow: Callable[[Connection], bool] = lambda _: False) -> None:
        """Start the thread.

        `follow` does a step of the work that no caller waits for, in a transaction of its own, and returns whether more
        is left. It runs when the writer has been idle for a moment, and between commits if it is far behind.
        """
        self._engine = engine
        self._follow = follow
        self._behind = 1  # jobs committed since `follow` had nothing left; an earlier process may have left some
        self._gathered: list[_Job] = []
        self._jobs: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._patient = True
        self._worker = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._worker.start()

    def put(self, bulk: Bulk[P, R], payload: P) -> asyncio.Future[R]:
        """Queue one job. The future fails with Unavailable if the job could not be committed."""
        future: asyncio.Future[R] = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(_Job(bulk, payload, future))
        return future

    def _hand_over(self) -> None:
        """Pass the gathered jobs to the thread at once: waking it for each would cost more than the job."""
        jobs, self._gathered = self._gathered, []
        self._jobs.put(jobs)

    async def close(self) -> None:
        """Commit the waiting jobs, then end the thread."""
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._worker.join)

    # --- in the thread ---

    def _run(self) -> None:
        connection: Connection | None = None
        while True:
            batch, last = self._take()
            try:
                if not last and (connection is None or connection.invalidated):
                    connection = self._engine.connect()
                if connection is not None and batch:
                    self._commit(connection, batch)
                if connection is not None and not last and (not batch or self._behind >= _FAR):
                    self._catch_up(connection)
            except Exception as error:
                if connection is not None:
                    connection.close()
                    connection = None
                self._behind = 0  # not again and again while nobody wants anything
                self._answer([(job, Unavailable(reason(error))) for job in batch])
            if last:
                if connection is not None:
                    connection.close()
                return

    def _take(self) -> tuple[list[_Job], bool]:
        """Wait for jobs. Return all that are there, up to a limit, and whether to end.

        There are none if nothing came for a moment, and there is something to catch up with.
        """
        batch: list[_Job] = []
        with suppress(Empty):
            jobs = self._jobs.get(timeout=None if not self._behind else _MOMENT if self._behind < _FAR else 0)
            while jobs is not None:
                batch += jobs
                if len(batch) >= _MAX_BATCH:
                    return batch, False
                jobs = self._jobs.get_nowait()
            return batch, True
        return batch, False

    def _commit(self, connection: Connection, batch: list[_Job]) -> None:
        started = time.monotonic()
        try:
            results = self._transact(connection, batch)
            self._be_patient(connection, True)
        except Broken as error:  # full, locked or removed: the same for all jobs
            results = [(job, Unavailable(reason(error))) for job in batch]
            self._be_patient(connection, False)
        except Exception:
            results = [self._alone(connection, job) for job in batch]
        log.COMMIT_SECONDS.observe(time.monotonic() - started)
        log.COMMIT_SIZE.observe(len(batch))
        self._behind += len(batch)
        self._answer(results)

    def _catch_up(self, connection: Connection) -> None:
        try:
            with _transaction(connection):
                more = self._follow(connection)
        except Broken:  # full, locked or removed: again after the next commit
            more = False
        except Exception as error:
            log.crash("writer_is_behind", error)
            more = False
        self._behind = _FAR if more else 0

    def _be_patient(self, connection: Connection, patient: bool) -> None:
        """Wait only briefly for a lock after a wait has failed: else later jobs would queue behind each wait."""
        if patient is not self._patient:
            self._patient = patient
            set_patience(connection, SERVER_WAIT if patient else SERVER_WAIT_AGAIN)

    def _transact(self, connection: Connection, batch: list[_Job]) -> list[tuple[_Job, Any]]:
        groups: dict[Bulk[Any, Any], list[_Job]] = {}
        for job in batch:
            groups.setdefault(job.bulk, []).append(job)
        results: list[tuple[_Job, Any]] = []
        with _transaction(connection):
            for bulk, jobs in groups.items():
                answers = bulk(connection, [job.payload for job in jobs])
                results.extend(zip(jobs, answers, strict=True))
        return results

    def _alone(self, connection: Connection, job: _Job) -> tuple[_Job, Any]:
        connection.info[ALONE] = True
        try:
            return self._transact(connection, [job])[0]
        except Broken as error:
            return job, Unavailable(reason(error))
        except Exception as error:
            return job, error
        finally:
            del connection.info[ALONE]

    def _answer(self, results: list[tuple[_Job, Any]]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, results)
        except RuntimeError:  # the loop is closed: no caller waits any more
            return


@contextmanager
def _transaction(connection: Connection) -> Iterator[None]:
    begin(connection)
    try:
        yield
        commit(connection)
    except BaseException:
        try:
            roll_back(connection)
        except Broken:
            connection.invalidate()  # it may still be in its transaction: the next batch has a new connection
        raise


def _resolve(results: list[tuple[_Job, Any]]) -> None:
    for job, result in results:
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
