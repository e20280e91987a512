"""SMPP: submit_sm accepted durably a second; and from the HTTP request to the submit_sm at an SMSC, beside Kannel.

    python -m tools.bench.smpp --seconds 4

One thread, plain sockets, epoll, on a core of its own where there are two.

submit: at a steady pace, and as much as goes: each session keeps its window full and sends the next message as soon as
one is answered (closed loop). The carrier is paused, so what is measured is what stands between the PDU and its answer:
one durable commit.

through: the same requests to Kannel's `sendsms` of either server, each with as many binds and as wide a window to the
same SMSC, which takes everything at once. Closed loop: never more than --outstanding messages between the request and
the SMSC; and at a steady --rate. Kannel keeps its store in a file (appended to before it answers, but never synced);
sipsms answers after a commit that survives a power cut. Every text and every destination is another one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

from tools.bench import scenarios
from tools.bench.http import Connection
from tools.bench.peer_kannel import Kannel
from tools.bench.peer_sipsms import Sipsms
from tools.bench.process import ServerFailed, free_port, split_cores
from tools.bench.report import percentile
from tools.bench.smpp_wire import Esme, Sink

WARMUP = 1.0
PASSWORD = "benchpw1"  # eight characters are all that SMPP has room for
BINDS, WINDOW = 2, 10  # of the carrier
DRAIN = 15.0
NUMBER = re.compile(rb"message number (\d+)")


@dataclass(slots=True)
class Sample:
    seconds: float
    latencies: list[float] = field(default_factory=list)  # of the measured window
    done: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0  # of the server
    own: float = 0.0  # of a core, the generator's

    def row(self) -> dict[str, object]:
        return {
            "per_second": round(len(self.latencies) / self.seconds, 1),
            "p50_ms": round(percentile(self.latencies, 50) * 1000, 2),
            "p99_ms": round(percentile(self.latencies, 99) * 1000, 2),
            "cpu_s_per_1000": round(self.cpu * 1000 / self.done, 3) if self.done else 0.0,
            "generator": round(self.own, 2),
            "failures": dict(self.failures.most_common(3)),
        }


class SmppSipsms(Sipsms):
    """With a listener for SMPP and, where there is a sink, a carrier that goes to it."""

    def __init__(self, directory: Path, cores: set[int], sink: int = 0) -> None:
        super().__init__(directory, cores)
        self.smpp = free_port()
        self._sink = sink

    more = "api: {daily_sends: 0, per_minute: 0}\nconnections: {per_address: 1000}\n"

    def _settings(self) -> str:
        text = super()._settings().replace("listen:\n", f"listen:\n  smpp: [smpp://127.0.0.1:{self.smpp}]\n")
        if not self._sink:
            return text
        url = f"smpp://bench:bench@127.0.0.1:{self._sink}"
        carrier = f'{{type: smpp, url: "{url}", binds: {BINDS}, window: {WINDOW}}}'
        return text.replace("{type: loopback}", carrier)

    def check(self) -> None:
        self.process.check()

    def cpu_seconds(self) -> float:
        return self.process.cpu_seconds()

    def memory_mb(self) -> float:
        return self.process.memory_mb()


def _destination(job: int) -> str:
    return f"444{2000000 + job % 5000000:07d}"


def _message(job: int) -> tuple[str, str]:
    return _destination(job), f"message number {job}"


# --- submit ---


def submit(server: SmppSipsms, binds: int, window: int, pace: float, seconds: float, first: int) -> Sample:
    """As many customers as sessions, a number each. `pace` is messages a second of all together; 0: as many as go."""
    sample, job = Sample(seconds), first
    epoll, by_fd, free = select.epoll(), {}, {}
    for name, _, did in scenarios.accounts(binds):
        esme = Esme(server.smpp, name, PASSWORD, did)
        by_fd[esme.socket.fileno()], free[esme.socket.fileno()] = esme, window
        epoll.register(esme.socket.fileno(), select.EPOLLIN)
    start, cpu, own = time.perf_counter(), server.cpu_seconds(), time.process_time()
    while (now := time.perf_counter()) < start + WARMUP + seconds:
        due = int((now - start) * pace) - (job - first) if pace else binds * window
        for fd, room in free.items():
            count = min(room, -(-due // binds) if pace else room)
            if count > 0:
                by_fd[fd].submit(*map(_message, range(job, job + count)))
                job, free[fd], due = job + count, room - count, due - count
        for fd, _ in epoll.poll(0.001 if pace else 0.1):
            free[fd] += _take(sample, by_fd[fd], start + WARMUP)
        server.check()
        _progress(f"submit {binds} x {window}  {now - start:4.1f} s  {sample.done:,}")
    sample.cpu = server.cpu_seconds() - cpu
    sample.own = (time.process_time() - own) / (time.perf_counter() - start)
    for esme in by_fd.values():
        esme.socket.close()
    return sample


def _take(sample: Sample, esme: Esme, since: float) -> int:
    """How many answers came."""
    count, now = 0, time.perf_counter()
    for sent, status in esme.answers():
        count += 1
        if status:
            sample.failures[f"status 0x{status:x}"] += 1
            continue
        sample.done += 1
        if now >= since:
            sample.latencies.append(now - sent)
    return count


# --- through ---


class Server(Protocol):
    http: int

    def check(self) -> None: ...

    def cpu_seconds(self) -> float: ...


class Through:
    """One run: HTTP connections on one side, the sink's sessions on the other, one epoll."""

    def __init__(self, server: Server, sink: Sink, login: dict[str, str]) -> None:
        self.server, self.sink, self.login = server, sink, login
        self._epoll = select.epoll()
        self._epoll.register(sink.listener.fileno(), select.EPOLLIN)
        self._busy: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._began: dict[int, float] = {}  # by job, until it is seen at the sink
        self._seen: set[int] = set()
        self.sessions = 0
        self.sample = Sample(0)

    def connect(self, connections: int) -> None:
        for _ in range(connections):
            self._add(Connection(self.server.http))

    def _add(self, one: Connection) -> None:
        self._epoll.register(one.socket.fileno(), select.EPOLLIN)
        self._idle.append(one)

    def await_binds(self, enough: Callable[[], bool]) -> None:
        deadline = time.perf_counter() + 20
        while not enough():
            self._turn(0.05)
            self.server.check()
            if time.perf_counter() > deadline:
                raise ServerFailed("it has not bound to the SMSC after 20 s")

    def run(self, seconds: float, first: int, outstanding: int, rate: float) -> Sample:
        """Never more than `outstanding` on the way; no more than `rate` a second, 0: as many as go."""
        self.sample, job = Sample(seconds), first
        start, cpu, own = time.perf_counter(), self.server.cpu_seconds(), time.process_time()
        self._measured = (start + WARMUP, start + WARMUP + seconds)
        while (now := time.perf_counter()) < start + WARMUP + seconds:
            allowed = outstanding - len(self._began)
            if rate:
                allowed = min(allowed, int((now - start) * rate) - (job - first))
            for _ in range(min(allowed, len(self._idle))):
                self._post(job)
                job += 1
            self._turn(0.002 if rate else 0.05)
            self.server.check()
            _progress(f"through  {now - start:4.1f} s  {self.sample.done:,}")
        self._drain()
        self.sample.cpu = self.server.cpu_seconds() - cpu
        self.sample.own = (time.process_time() - own) / (time.perf_counter() - start)
        return self.sample

    def _drain(self) -> None:
        deadline = time.perf_counter() + DRAIN
        while (self._began or self._busy) and time.perf_counter() < deadline:
            self._turn(0.05)
        if self._began:
            self.sample.failures["never came to the SMSC"] += len(self._began)
            self._began.clear()

    def close(self) -> None:
        for one in [*self._idle, *self._busy.values()]:
            one.socket.close()

    def _post(self, job: int) -> None:
        one = self._idle.pop()
        destination, text = _message(job)
        query = urlencode({**self.login, "to": destination, "text": text})
        self._busy[one.socket.fileno()] = one
        self._began[job] = time.perf_counter()
        one.ask(f"GET /cgi-bin/sendsms?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def _turn(self, timeout: float) -> None:
        for fd, _ in self._epoll.poll(timeout):
            if fd == self.sink.listener.fileno():
                self.sessions += 1
                self._epoll.register(self.sink.accept(), select.EPOLLIN)
            elif self.sink.owns(fd):
                self._arrived(self.sink.read(fd))
            elif fd in self._busy:
                self._answered(fd)
            else:
                raise ServerFailed("the server closed a connection")

    def _answered(self, fd: int) -> None:
        answer = self._busy[fd].read()
        if answer is None:
            return
        if b"0: Accepted" not in answer:
            self.sample.failures[answer.partition(b"\r\n")[0].decode() + " " + answer[-80:].decode("latin-1")] += 1
        one = self._busy.pop(fd)
        if b"connection: close" in answer.lower():  # no keep-alive: a new one, as a client would
            self._epoll.unregister(fd)
            one.socket.close()
            self._add(Connection(self.server.http))
        else:
            self._idle.append(one)

    def _arrived(self, bodies: Iterable[bytes]) -> None:
        now = time.perf_counter()
        for body in bodies:
            number = NUMBER.search(body)
            assert number is not None
            job = int(number[1])
            if job in self._seen:
                self.sample.failures["came twice"] += 1
                continue
            self._seen.add(job)
            began = self._began.pop(job, now)
            self.sample.done += 1
            if self._measured[0] <= now < self._measured[1]:
                self.sample.latencies.append(now - began)


# --- the runs ---


def measure_submit(options: argparse.Namespace, cores: set[int]) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="sipsms-bench-") as directory:
        server = SmppSipsms(Path(directory), cores)
        binds = max(options.binds)
        server.prepare(binds)
        for _, _, did in scenarios.accounts(binds):
            server.run("did", "set", did, "--smpp", "--smpp-password", PASSWORD)
        server.launch()
        try:
            server.pause()
            rows = []
            for turn, (count, window, pace) in enumerate(_submit_runs(options)):
                before = server.rows() or 0
                sample = submit(server, count, window, pace, options.seconds, turn * 1_000_000 + 1)
                kept = (server.rows() or 0) - before
                if kept < sample.done:
                    sample.failures["answered but not stored"] = sample.done - kept
                load = f"{pace:g}/s" if pace else "all that goes"
                row = {"binds": count, "window": window, "load": load, **sample.row()}
                rows.append({**row, "mb": round(server.memory_mb())})
            return rows
        finally:
            server.stop()


def _submit_runs(options: argparse.Namespace) -> list[tuple[int, int, float]]:
    """(binds, window, pace)"""
    paced = [(count, min(options.window), pace) for count, pace in zip(options.binds, options.pace, strict=False)]
    return paced + [(count, window, 0.0) for count in options.binds for window in options.window]


def measure_through(options: argparse.Namespace, peer: str, cores: set[int], first: int) -> list[dict[str, object]]:
    sink = Sink()
    with tempfile.TemporaryDirectory(prefix="sipsms-bench-") as directory:
        server: Kannel | SmppSipsms
        if peer == "Kannel":
            server, login = Kannel(Path(directory), cores, sink.port, BINDS, WINDOW), _login("bench", "bench")
            server.start()
        else:
            server = SmppSipsms(Path(directory), cores, sink.port)
            server.prepare(1)
            name, _, _ = next(scenarios.accounts(1))
            login = _login(name, server.run("account", "api-password", name).strip())
            server.launch()
        run = Through(server, sink, login)
        try:
            run.await_binds(lambda: run.sessions >= BINDS and (not isinstance(server, Kannel) or _bound(server)))
            run.connect(options.connections)
            rows = []
            for rate in (0, options.rate):
                sample = run.run(options.seconds, first, options.outstanding, rate)
                first += 1_000_000
                load = f"{rate:g}/s" if rate else f"<= {options.outstanding} under way"
                rows.append({"server": peer, "load": load, **sample.row(), "mb": round(server.memory_mb())})
            return rows
        finally:
            run.close()
            sink.close()
            server.stop()


def _bound(server: Kannel) -> bool:
    return server.bound() >= BINDS


def _login(name: str, password: str) -> dict[str, str]:
    return {"username": name, "password": password, "from": scenarios.did(0).decode()}


# --- the report ---


def _figures(row: dict[str, object]) -> str:
    return f"{row['per_second']:>10} {row['p50_ms']:>8} {row['p99_ms']:>8} {row['cpu_s_per_1000']:>11} {row['mb']:>5}"


HEAD = f"{'per s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU-s/1000':>11} {'MB':>5} {'generator':>10}"


def show_submit(rows: Sequence[dict[str, object]]) -> None:
    print(f"{'submit_sm, durable':<22}{'binds':>6}{'window':>7}{HEAD}")
    for row in rows:
        print(f"{row['load']:<22}{row['binds']:>6}{row['window']:>7}{_figures(row)} {row['generator']:>10}")
        _show_failures(row)


def show_through(rows: Sequence[dict[str, object]]) -> None:
    print(f"{'HTTP to submit_sm':<12}{'':<23}{HEAD}   sipsms is")
    for row in rows:
        ours = next((one for one in rows if one["server"] == "sipsms" and one["load"] == row["load"]), None)
        print(
            f"{row['server']:<12}{row['load']:<23}{_figures(row)} {row['generator']:>10}   {_ratio(ours, row)}".rstrip()
        )
        _show_failures(row)


def _ratio(ours: dict[str, object] | None, other: dict[str, object]) -> str:
    """Of what the other does; above 1, ours is ahead."""
    if ours is None or ours is other or not all((ours["cpu_s_per_1000"], ours["p99_ms"], other["per_second"])):
        return ""
    rate = float(str(ours["per_second"])) / float(str(other["per_second"]))
    cpu = float(str(other["cpu_s_per_1000"])) / float(str(ours["cpu_s_per_1000"]))
    p99 = float(str(other["p99_ms"])) / float(str(ours["p99_ms"]))
    return f"{rate:.2f} x rate, {cpu:.2f} x messages a CPU second, {p99:.2f} x p99"


def _show_failures(row: dict[str, object]) -> None:
    if row["failures"]:
        print(f"FAILED  {row['failures']}")


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.smpp", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--binds", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--window", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--pace", type=float, nargs="*", default=[2000, 4000], help="a second, of each of --binds")
    parser.add_argument("--connections", type=int, default=64, help="HTTP connections")
    parser.add_argument("--outstanding", type=int, default=200, help="messages between the request and the SMSC")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second of the steady run")
    parser.add_argument("--runs", type=int, default=1, help="of `through`, one server after the other")
    parser.add_argument("--part", choices=["submit", "through"], nargs="+", default=["submit", "through"])
    parser.add_argument("--server", choices=["sipsms", "Kannel"], nargs="+", default=["sipsms", "Kannel"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    servers, own = split_cores()
    os.sched_setaffinity(0, own)
    submits = measure_submit(options, servers) if "submit" in options.part else []
    throughs = through_all(options, servers) if "through" in options.part else []
    _progress("")
    if submits:
        show_submit(submits)
    if throughs:
        show_through(throughs)
    if options.json:
        options.json.write_text(json.dumps({"submit": submits, "through": throughs}, indent=1) + "\n")
    return 1 if any(row["failures"] for row in [*submits, *throughs]) else 0


def through_all(options: argparse.Namespace, cores: set[int]) -> list[dict[str, object]]:
    peers = list(options.server)
    if "Kannel" in peers and (why := Kannel.missing()):
        print(f"without Kannel: {why}", file=sys.stderr)
        peers.remove("Kannel")
    rows = []
    for turn in range(options.runs):
        for peer in peers:
            rows += measure_through(options, peer, cores, 1 + turn * 10_000_000)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
