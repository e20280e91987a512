"""Sends by the HTTP APIs: accepted a second, latency, CPU of the server; with an empty store and with a full one.

    python -m tools.bench.http --seconds 4 --stored 0 200000

One thread, plain sockets, epoll: each connection has one request under way and asks again as soon as it is answered
(closed loop). The carrier is paused, so what is measured is what stands between the request and its answer: reading it,
checking who asks, the rules, and one durable commit. Every text and every destination is another one.
"""

from __future__ import annotations

import argparse
import base64
import json
import select
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from sipsms.store.sqlite import sqlite3
from tools.bench.peer_sipsms import Sipsms
from tools.bench.process import ServerFailed, split_cores
from tools.bench.report import percentile

WARMUP = 1.0
DID = "5552000000"  # of the first account of the bench
ACCOUNT = "bench000000"
SETTINGS = "api: {daily_sends: 0, per_minute: 0}\n"


class Keys(NamedTuple):
    password: str
    token: str


Maker = Callable[[Keys, int], bytes]


def _get(path: str, fields: dict[str, str]) -> bytes:
    return f"GET {path}?{urlencode(fields)} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def _post(path: str, body: dict[str, str], token: str) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def _destination(job: int) -> str:
    return f"444{2000000 + job % 5000000:07d}"


def rest(keys: Keys, job: int) -> bytes:
    return _get(
        "/api/v1/rest.php",
        {
            "api_username": ACCOUNT, "api_password": keys.password, "method": "sendSMS", "did": DID,
            "dst": _destination(job), "message": f"message number {job}",
        },
    )  # fmt: skip


def native(keys: Keys, job: int) -> bytes:
    return _post("/v1/messages", {"from": DID, "to": _destination(job), "text": f"message number {job}"}, keys.token)


def telnyx(keys: Keys, job: int) -> bytes:
    return _post("/v2/messages", {"from": DID, "to": _destination(job), "text": f"message number {job}"}, keys.token)


def originate(keys: Keys, job: int) -> bytes:
    fields = urlencode({"message": f"message number {job}", "number": _destination(job)})
    login = base64.b64encode(f"{ACCOUNT}:{keys.password}".encode()).decode()
    head = f"GET /api/v1/originate/sms?{fields} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\n\r\n"
    return head.encode()


def kannel(keys: Keys, job: int) -> bytes:
    fields = {"username": ACCOUNT, "password": keys.password, "to": _destination(job), "text": f"message number {job}"}
    return _get("/cgi-bin/sendsms", fields)


DOORS: dict[str, tuple[Maker, bytes]] = {  # and what an answer has in it that says "taken"
    "rest.php": (rest, b'"success"'),
    "/v1": (native, b'"accepted"'),
    "/v2": (telnyx, b'"queued"'),
    "originate": (originate, b'"Success"'),
    "sendsms": (kannel, b"0: Accepted"),
}


@dataclass(slots=True)
class Sample:
    seconds: float
    latencies: list[float] = field(default_factory=list)  # of the measured window
    done: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    cpu: float = 0.0  # of the server

    def row(self) -> dict[str, float]:
        return {
            "per_second": round(len(self.latencies) / self.seconds, 1),
            "p50_ms": round(percentile(self.latencies, 50) * 1000, 2),
            "p99_ms": round(percentile(self.latencies, 99) * 1000, 2),
            "cpu_s_per_1000": round(self.cpu * 1000 / self.done, 3) if self.done else 0.0,
        }


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.began = 0.0

    def ask(self, request: bytes) -> None:
        self.data, self.began = b"", time.perf_counter()
        self.socket.sendall(request)

    def read(self) -> bytes | None:
        """The whole answer, when it is here. Raises ServerFailed."""
        more = self.socket.recv(65536)
        if not more:
            raise ServerFailed("the server closed a connection")
        self.data += more
        return self.data if _is_whole(self.data) else None


def _is_whole(data: bytes) -> bool:
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return data.endswith(b"0\r\n\r\n")


def load(server: Sipsms, door: str, keys: Keys, seconds: float, connections: int, first: int) -> Sample:
    make, taken = DOORS[door]
    sample, job = Sample(seconds), first
    epoll, by_fd = select.epoll(), {}
    for _ in range(connections):
        one = Connection(server.http)
        by_fd[one.socket.fileno()] = one
        epoll.register(one.socket.fileno(), select.EPOLLIN)
        one.ask(make(keys, job))
        job += 1
    start = time.perf_counter()
    cpu = server.process.cpu_seconds()
    while (now := time.perf_counter()) < start + WARMUP + seconds:
        for fd, _ in epoll.poll(0.1):
            one = by_fd[fd]
            answer = one.read()
            if answer is None:
                continue
            if taken in answer:
                sample.done += 1
                if one.began >= start + WARMUP:
                    sample.latencies.append(time.perf_counter() - one.began)
            else:
                sample.failures[answer.partition(b"\r\n")[0].decode() + " " + answer[-120:].decode("latin-1")] += 1
            one.ask(make(keys, job))
            job += 1
        server.process.check()
        _progress(f"{door}  {now - start:4.1f} s  {sample.done:,}")
    sample.cpu = server.process.cpu_seconds() - cpu
    for one in by_fd.values():
        one.socket.close()
    return sample


def fill(path: Path, count: int) -> None:
    """Messages that are over, as if they had been sent long ago."""
    with sqlite3.connect(path, timeout=30) as db:
        first = 1 + db.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0]
        delivery = 1 + db.execute("SELECT coalesce(max(id), 0) FROM deliveries").fetchone()[0]
        now = time.time()
        db.executemany(
            "INSERT INTO messages (id, direction, source, destination, text, origin, account, did, received_at)"
            " VALUES (?, 'out', ?, ?, 'old', 'rest', ?, ?, ?)",
            ((first + n, DID, _destination(n), ACCOUNT, DID, now - 86400 - (count - n) / 50) for n in range(count)),
        )
        db.executemany(
            "INSERT INTO deliveries (id, message_id, courier, destination, source, lane, state, attempts, expires_at,"
            " created_at, updated_at) VALUES (?, ?, 'carrier:sim', ?, ?, 'old', 'delivered', 1, ?, ?, ?)",
            ((delivery + n, first + n, _destination(n), DID, now, now - 86400, now - 86400) for n in range(count)),
        )
        for kind, number in ((0, "did"), (1, "destination")):
            db.execute(
                f"INSERT INTO history SELECT {kind}, {number}, id FROM messages WHERE id >= {first}"
                f" ORDER BY {number}, id"
            )
        for name, last in (
            ("message", first + count - 1),
            ("history", first + count - 1),
            ("delivery", delivery + count - 1),
        ):
            db.execute("DELETE FROM counters WHERE name = ?", (name,))
            db.execute("INSERT INTO counters (name, value) VALUES (?, ?)", (name, last))
    db.close()


def measure(options: argparse.Namespace, stored: int, cores: set[int]) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="sipsms-bench-") as directory:
        server = Sipsms(Path(directory), cores)
        server.more = SETTINGS
        server.prepare(1)
        keys = Keys(
            server.run("account", "api-password", ACCOUNT).strip(),
            server.run("token", "add", "bench", "--account", ACCOUNT).strip(),
        )
        if stored:
            _progress(f"filling the store with {stored:,} messages")
            fill(server.database, stored)
        server.launch()
        try:
            server.pause()
            rows = []
            for turn in range(options.runs):
                for door in options.door:
                    sample = load(server, door, keys, options.seconds, options.connections, turn * 10_000_000 + 1)
                    told = dict(sample.failures.most_common(3))
                    rows.append({"door": door, "stored": stored, **sample.row(), "failures": told})
            return rows
        finally:
            server.stop()


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.http", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--door", choices=list(DOORS), nargs="+", default=["rest.php", "/v1"])
    parser.add_argument("--stored", type=int, nargs="+", default=[0], help="messages in the store before")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    cores, _ = split_cores()
    rows = [row for stored in options.stored for row in measure(options, stored, cores)]
    _progress("")
    print(f"{'door':<10} {'stored':>9} {'sends/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU-s/1000':>11}")
    for row in rows:
        print(
            f"{row['door']:<10} {row['stored']:>9,} {row['per_second']:>9} {row['p50_ms']:>8} {row['p99_ms']:>8}"
            f" {row['cpu_s_per_1000']:>11}"
        )
        if row["failures"]:
            print(f"FAILED  {row['failures']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if any(row["failures"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
