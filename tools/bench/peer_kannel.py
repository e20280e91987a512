"""Kannel as the server under test: bearerbox and smsbox, the store in a file, as many binds as ours to the same SMSC.

Its answer means "appended to the store's file": the octets are with the kernel, not on the disk (it never calls fsync).
"""

from __future__ import annotations

import shutil
import socket
import time
import urllib.request
from pathlib import Path

from tools.bench.process import Process, ServerFailed, free_port

CONFIG = """\
group = core
admin-port = {admin}
admin-password = secret
smsbox-port = {box}
store-type = file
store-location = {directory}/store
store-dump-freq = 1
dlr-storage = internal

{binds}
group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {box}
sendsms-port = {http}

group = sendsms-user
username = bench
password = bench
"""
BIND = """\
group = smsc
smsc = smpp
smsc-id = sink
smsc-admin-id = sink{number}
host = 127.0.0.1
port = {port}
smsc-username = bench
smsc-password = bench
system-type = ""
transceiver-mode = true
max-pending-submits = {window}

"""
PATH = "/usr/sbin:/usr/local/sbin:/usr/bin"


class Kannel:
    name = "Kannel"

    def __init__(self, directory: Path, cores: set[int], smsc: int, binds: int, window: int) -> None:
        self.directory, self.cores = directory, cores
        self.http, self._admin, self._box = free_port(), free_port(), free_port()
        self._binds = "".join(BIND.format(number=n, port=smsc, window=window) for n in range(binds))
        self._processes: list[Process] = []

    @staticmethod
    def missing() -> str:
        """Why it cannot run here; empty: it can."""
        return "" if shutil.which("bearerbox", path=PATH) else "bearerbox is not installed: apt-get install kannel"

    def start(self) -> None:
        config = self.directory / "kannel.conf"
        settings = {"admin": self._admin, "box": self._box, "http": self.http, "binds": self._binds}
        config.write_text(CONFIG.format(directory=self.directory, **settings))
        for program, port in (("bearerbox", self._box), ("smsbox", self.http)):
            command = [str(shutil.which(program, path=PATH)), "-v", "2", str(config)]
            self._processes.append(Process(command, self.directory / f"{program}.log", self.cores))
            self._await(port)

    def _await(self, port: int) -> None:
        for _ in range(200):
            self.check()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise ServerFailed(f"Kannel does not listen after 10 s: {self._processes[-1].tail()}")

    def bound(self) -> int:
        """Sessions with the SMSC that are up."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/status.xml?password=secret", timeout=5) as answer:
            return answer.read().count(b"<status>online")

    def check(self) -> None:
        for process in self._processes:
            process.check()

    def cpu_seconds(self) -> float:
        return sum(process.cpu_seconds() for process in self._processes)

    def memory_mb(self) -> float:
        return sum(process.memory_mb() for process in self._processes)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.stop()
