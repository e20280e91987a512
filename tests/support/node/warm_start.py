"""Starts `sipsms` from a process that has imported it already: modules are read once a test run, not once a server.

What runs is the program with its own arguments, environment and files, in a process of its own that can be signalled
and killed; only the second of imports is saved. The command `python -m sipsms` itself is run by tests of the command
line, of the docs and of the demo.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from tests.support.tools.guardian import Guardian

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["sipsms.cli", "sipsms.app.node", "uvloop"])


class WarmProcess:
    """A running `sipsms`, with those methods of `subprocess.Popen` that tests need."""

    def __init__(self, arguments: list[str], out: IO[bytes], error: IO[bytes], environment: dict[str, str]) -> None:
        """`out`, `error`: files that get what the program writes. `environment` is added to this process's."""
        self.args = ["sipsms", *arguments]
        files = (Path(out.name), Path(error.name))
        work = (self.args, files, {**os.environ, **environment})
        self._process = _CONTEXT.Process(target=_run, args=work, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        Guardian.watch_also(self.pid)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run_warm(arguments: list[str], environment: dict[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, as `subprocess.run` does with `capture_output`. Raises TimeoutExpired."""
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as error:
        process = WarmProcess(arguments, out, error, environment)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, code, out.read().decode(), error.read().decode())


def _run(arguments: list[str], files: tuple[Path, Path], environment: dict[str, str]) -> None:
    """In the new process: become the program."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, path in enumerate(files, 1):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = arguments
    from sipsms.cli import main

    main()
