"""The server process: started, killed, stopped, looked at from outside."""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from sipsms.store.sqlite import sqlite3

from .book import Book
from .plan import Site

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _with_parent() -> None:
    """In the child: end when the thread that has started it ends, which is the main one."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class NotReady(Exception):
    """The server does not come up; the text has the end of its log."""


class Server:
    def __init__(self, site: Site, book: Book) -> None:
        self.site = site
        self.book = book
        self._process: subprocess.Popen[bytes] | None = None

    def cli(self, *arguments: str) -> str:
        """What a command of sipsms prints. Raises CalledProcessError."""
        command = [sys.executable, "-m", "sipsms", "-c", str(self.site.config), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise NotReady(f"sipsms {' '.join(arguments)}: {done.stderr}")
        return done.stdout.strip()

    def start(self) -> None:
        self.book.incarnation += 1
        self.book.write("start", incarnation=self.book.incarnation)
        with self.site.log.open("ab") as log:
            log.write(b'\n{"event": "ledger_start", "number": %d}\n' % self.book.incarnation)
            log.flush()
            command = [sys.executable, "-m", "sipsms", "-c", str(self.site.config), "serve"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_with_parent
            )

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.runs:
            self._process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self, seconds: float = 60.0) -> int:
        """Its exit code; killed if it does not end."""
        assert self._process is not None
        for _ in range(int(seconds * 50)):
            if (code := self._process.poll()) is not None:
                return code
            await asyncio.sleep(0.02)
        self.book.write("stuck", seconds=seconds)
        self._process.kill()
        return self._process.wait()

    async def ready(self, seconds: float = 90.0) -> None:
        """Only who kills waits for this; clients do not. Raises NotReady."""
        for _ in range(int(seconds * 20)):
            if await asyncio.to_thread(self._asked):
                return
            if not self.runs:
                code = await self.ended()
                self.book.write("died", code=code, log=self.tail())
                raise NotReady(f"the server ended by itself with {code}:\n{self.tail()}")
            await asyncio.sleep(0.05)
        raise NotReady(f"not ready within {seconds} s:\n{self.tail()}")

    def _asked(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.site.ports.http, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.site.log.read_text(errors="replace").splitlines()[-lines:])

    # --- the store ---

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Read beside the server, or without it."""
        with closing(sqlite3.connect(f"file:{self.site.store}?mode=ro", uri=True, timeout=20)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query)]

    def snapshot(self) -> None:
        """Write down which devices there are."""
        rows = self.rows("SELECT id, aor, key FROM devices ORDER BY id")
        self.book.write("devices", rows=[[row["id"], row["aor"], row["key"]] for row in rows])

    def open_deliveries(self) -> list[tuple[Any, ...]]:
        """What is not over yet, so that two looks can be compared."""
        query = "SELECT id, state, attempts FROM deliveries WHERE state IN ('queued', 'sending') ORDER BY id"
        return [tuple(row.values()) for row in self.rows(query)]

    def log_lines(self) -> Iterable[str]:
        return self.site.log.read_text(errors="replace").splitlines()


async def settled(server: Server, ceiling: float = 120.0) -> None:
    """Until nothing is under way; the ceiling only keeps this from waiting for ever on what will never go."""
    for _ in range(int(ceiling / 0.2)):
        if not server.open_deliveries() or not server.runs:
            return
        await asyncio.sleep(0.2)
