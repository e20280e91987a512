"""A server under test as Linux sees it: started on its cores, CPU time and memory with all its children, stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

PR_SET_PDEATHSIG = 1
TICK = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """It did not come up, or ended before its time. The text is for the terminal."""


def split_cores() -> tuple[set[int], set[int]]:
    """(the servers' cores, the generator's): the generator has the last one to itself, if there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return (set(cores[:-1]), {cores[-1]}) if len(cores) > 1 else (set(cores), set(cores))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    def __init__(
        self, command: Sequence[str], log: Path, cores: set[int], environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment`: the process has these variables besides ours."""
        self.log = log
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                command,
                cwd=log.parent,  # not a tree: `python -m` would take the modules there
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=partial(_in_child, cores),
                env={**os.environ, **(environment or {})},
            )

    def stop(self) -> None:
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            for pid in self.family():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.child.wait(5)

    def check(self) -> None:
        if self.child.poll() is not None:
            raise ServerFailed(f"ended with {self.child.returncode}: {self.tail()}")

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-4:]) or "no output"

    def family(self) -> list[int]:
        """The process and all its descendants."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (fields := _stat(int(entry.name))):
                parents[int(entry.name)] = int(fields[1])
        found = [self.child.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_seconds(self) -> float:
        """utime + stime of all of them, and of those that have ended meanwhile (cutime + cstime)."""
        return sum(sum(map(int, fields[11:15])) for pid in self.family() if (fields := _stat(pid))) / TICK

    def memory_mb(self) -> float:
        """Proportional set size: pages that several processes share count once (Kamailio's shared memory)."""
        return sum(_pss_kb(pid) for pid in self.family()) / 1024


def _in_child(cores: set[int]) -> None:
    os.sched_setaffinity(0, cores)
    os.setpgid(0, 0)  # Ctrl-C at the terminal is for the bench, which then stops the server
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, so that [0] is the state; empty if it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
