"""Ends the programs that tests have started, if the test run itself is killed.

A small process of its own holds one end of a pipe; the test run writes the process ids of all that it starts into the
other. When the test run ends, however that happens, the pipe is closed, and what still runs of these is killed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, Any

_WATCHER = """
import os, signal, sys
started = [line.split() for line in sys.stdin]  # until the pipe is closed
for pid, at in started:
    try:
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(") ")[2].split()[19] == at:  # else the id is another process's by now
                os.kill(int(pid), signal.SIGKILL)
    except OSError:
        pass
"""


class Guardian:
    _in_charge: list[Guardian] = []  # noqa: RUF012  (of this test run)

    def __init__(self) -> None:
        command = [sys.executable, "-c", _WATCHER]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)

    def watch(self, pid: int) -> None:
        """End this process with us."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:  # over already
            return
        pipe: IO[str] | None = self._process.stdin
        assert pipe is not None
        pipe.write(f"{pid} {stat.rpartition(') ')[2].split()[19]}\n")
        pipe.flush()

    @classmethod
    def watch_also(cls, pid: int) -> None:
        """End this process, which `subprocess` has not started, with the test run."""
        for guardian in cls._in_charge:
            guardian.watch(pid)

    def watch_all(self) -> None:
        """End all that is started by `subprocess` from now on, asyncio's processes included."""
        self._in_charge.append(self)
        start = subprocess.Popen.__init__

        def started(process: subprocess.Popen[Any], *arguments: Any, **options: Any) -> None:
            start(process, *arguments, **options)
            self.watch(process.pid)

        subprocess.Popen.__init__ = started  # type: ignore[method-assign]
