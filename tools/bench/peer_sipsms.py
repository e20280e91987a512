"""sipsms as the server under test: a fresh directory, accounts by `sipsms import`, `sipsms serve`, its own commands.

Rows are counted in the store's file by the bench itself, read-only, not by asking the server.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from sipsms.store.sqlite import sqlite3
from tools.bench import scenarios
from tools.bench.process import Process, ServerFailed, free_port

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "sipsms"]
CONFIG = """\
domain: {domain}
store: sqlite:///{directory}/sipsms.db
listen:
  sip: [udp://127.0.0.1:{sip}]
  http: http://127.0.0.1:{http}
carriers:
  sim: {{type: loopback}}
log: {{level: info}}
sip: {{flood_limit: 0}}
policy: {{same_text: 0, destinations: 0}}
"""


class Sipsms:
    name: str = "sipsms"
    durable = True
    can_pause = True

    def __init__(self, directory: Path, cores: set[int], package: Path | None = None) -> None:
        """`package`: another tree, whose sipsms is measured instead of this tree's."""
        self.directory, self.cores = directory, cores
        self.environment = {"PYTHONPATH": str(package.resolve() if package else ROOT)}
        if package is not None:
            self.name = f"sipsms of {package.name}"
        self.address = ("127.0.0.1", free_port())
        self.http = free_port()
        self.config = directory / "sipsms.yaml"
        self.database = directory / "sipsms.db"

    more = ""  # lines at the end of the configuration

    def start(self, accounts: int) -> None:
        self.prepare(accounts)
        self.launch()

    def prepare(self, accounts: int) -> None:
        self.config.write_text(self._settings() + self.more)
        self._import(accounts)

    def launch(self) -> None:
        self.process = Process(
            [*COMMAND, "-c", str(self.config), "serve"], self.directory / "log", self.cores, self.environment
        )
        self._await()

    def _settings(self) -> str:
        values = {"domain": scenarios.DOMAIN.decode(), "directory": self.directory}
        return CONFIG.format(sip=self.address[1], http=self.http, **values)

    def stop(self) -> None:
        self.process.stop()

    def pause(self) -> None:
        self.run("carriers", "pause", "sim")

    def resume(self) -> None:
        self.run("carriers", "resume", "sim")

    def rows(self) -> int | None:
        """Messages that the store holds because an account sent them."""
        return self._count("select count(*) from messages where direction = 'out'")

    def bindings(self) -> int | None:
        return self._count("select count(*) from bindings")

    def settle(self, timeout: float) -> float:
        """Wait until no delivery is open; how long that took."""
        start = time.monotonic()
        while self._count("select count(*) from deliveries where state in ('queued', 'sending')"):
            if time.monotonic() - start > timeout:
                raise ServerFailed(f"deliveries still open after {timeout:g} s")
            time.sleep(0.05)
        return time.monotonic() - start

    def _import(self, accounts: int) -> None:
        path = self.directory / "accounts.yaml"
        with path.open("w") as out:
            out.write("accounts:\n")
            for name, password, did in scenarios.accounts(accounts):
                out.write(f'- {{name: {name}, password: "{password}", caller_id: "{did}", ')
                out.write(f'dids: [{{number: "{did}", sip_account: {name}}}]}}\n')
        self.run("import", str(path))

    def run(self, *arguments: str) -> str:
        command = [*COMMAND, "-c", str(self.config), *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            cwd=self.directory,
            env={**os.environ, **self.environment},
        )
        if done.returncode:
            raise ServerFailed(f"sipsms {' '.join(arguments)}: {(done.stderr or done.stdout).strip()[-400:]}")
        return done.stdout

    def _count(self, query: str) -> int:
        db = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)
        try:
            return int(db.execute(query).fetchone()[0])
        finally:
            db.close()

    def _await(self) -> None:
        url = f"http://127.0.0.1:{self.http}/readyz"
        for _ in range(300):
            self.process.check()
            try:
                with urllib.request.urlopen(url, timeout=1) as reply:
                    if reply.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.1)
        raise ServerFailed(f"sipsms is not ready after 30 s: {self.process.tail()}")
