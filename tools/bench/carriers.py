"""Messages by carriers: out by an HTTP carrier until they are closed, and in by a hook until a phone has them.

    python -m tools.bench.carriers [--seconds S] [--runs N] [--outstanding N] [--beside FOLDER] [--json FILE]

http-carrier: MESSAGE (407, 202), a POST to a carrier's API that answers at once, the attempt closed. The CPU is the
server's, its HTTP client included. hook-to-phone: a carrier's POST to the hook, answered after the commit, and the
MESSAGE to the registered phone, which says 200. No peer does either: figures for this machine alone.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.bench import scenarios, wire
from tools.bench.__main__ import ACCOUNTS, DEVICES, WARMUP, python_build
from tools.bench.generator import Generator, Sample
from tools.bench.http import Connection
from tools.bench.peer_sipsms import Sipsms
from tools.bench.process import Process, ServerFailed, free_port, split_cores
from tools.bench.report import Result, as_json, grouped, percentile, table

SECRET = "0123456789abcdef"
CARRIER = """\
  sim:
    type: http
    url: http://127.0.0.1:{port}/sms
    fields: {{to: "{{to}}", from: "{{from}}", text: "{{text}}"}}
    ok: {{status: [200], id: id}}
    inbound:
      secret: {secret}
      fields: {{from: from, to: to, text: text, id: id}}
"""
# A carrier's API that takes everything at once: its own process, since it runs beside the generator.
STUB = """
import asyncio, sys

class Api(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.data = transport, b""

    def data_received(self, data):
        self.data += data
        while True:
            head, end, rest = self.data.partition(b"\\r\\n\\r\\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\\r\\n")[0] or 0) if end else 0
            if not end or len(rest) < length:
                return
            self.data = rest[length:]
            self.transport.write(b'HTTP/1.1 200 OK\\r\\nContent-Length: 15\\r\\n\\r\\n{"id":"123456"}')

async def main():
    server = await asyncio.get_running_loop().create_server(Api, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""


class WithCarrier(Sipsms):
    """sipsms with an HTTP carrier instead of the loopback one."""

    def __init__(self, directory: Path, cores: set[int], port: int, package: Path | None) -> None:
        super().__init__(directory, cores, package)
        self._carrier = CARRIER.format(port=port, secret=SECRET)

    def _settings(self) -> str:
        return super()._settings().replace("  sim: {type: loopback}\n", self._carrier)


def outward(server: Sipsms, options: argparse.Namespace) -> Result:
    sockets = scenarios.open_sockets(DEVICES)
    generator = Generator(server.address, sockets)
    cpu, rows = server.process.cpu_seconds(), server.rows() or 0
    sample = generator.run(
        scenarios.Message(ACCOUNTS), seconds=options.seconds, warmup=WARMUP, outstanding=options.outstanding,
        rate=options.rate,
    )  # fmt: skip
    rest = server.settle(60)
    result = _result(server, "http-carrier", sample, server.process.cpu_seconds() - cpu)
    result.per_second = sample.done / (WARMUP + sample.seconds + rest)
    result.rows = (server.rows() or 0) - rows
    for sock in sockets:
        sock.close()
    return result


def _hook(job: int) -> bytes:
    to = scenarios.did(job % DEVICES).decode()
    body = json.dumps({"from": f"444{2000000 + job:07d}", "to": to, "text": wire.text(job).decode(), "id": f"id{job}"})
    head = f"POST /hooks/sim/{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def inward(server: Sipsms, options: argparse.Namespace) -> Result:
    """A job is over when the phone has the message and the hook its 200."""
    sockets = scenarios.open_sockets(DEVICES)
    generator = Generator(server.address, sockets)
    generator.run(scenarios.Register(DEVICES), seconds=30, count=DEVICES)
    phones = {sock.fileno(): sock for sock in sockets}
    posts = {one.socket.fileno(): one for one in (Connection(server.http) for _ in range(options.outstanding))}
    epoll = select.epoll()
    for number in (*phones, *posts):
        epoll.register(number, select.EPOLLIN)
    cpu, own = server.process.cpu_seconds(), time.process_time()
    sample, start = Sample(options.seconds), time.perf_counter()
    began: dict[int, float] = {}
    asked = 0
    for one in posts.values():
        one.ask(_hook(asked))
        began[asked], asked = one.began, asked + 1
    until = start + WARMUP + options.seconds
    idle = 0
    while idle < len(posts) or began:
        now = time.perf_counter()
        if now > until + 20:
            sample.failures["no delivery"] = len(began)
            break
        for number, _ in epoll.poll(0.05):
            if number in phones:
                while (data := _received(phones[number])) is not None:
                    job = wire.job_of(data[0])
                    phones[number].sendto(wire.ok(data[0]), data[1])
                    if job is not None and (at := began.pop(job, None)) is not None:
                        sample.done += 1
                        if start + WARMUP <= now <= until:
                            sample.latencies.append(time.perf_counter() - at)
                continue
            one = posts[number]
            answer = one.read()
            if answer is None:
                continue
            sample.accepted += answer.startswith(b"HTTP/1.1 200")
            if now > until:
                idle += 1
                continue
            one.ask(_hook(asked))
            began[asked], asked = one.began, asked + 1
    sample.cpu = (time.process_time() - own) / (time.perf_counter() - start)
    server.settle(60)
    result = _result(server, "hook-to-phone", sample, server.process.cpu_seconds() - cpu)
    result.rows = sample.done
    for opened in (*sockets, *(one.socket for one in posts.values())):
        opened.close()
    return result


def _received(sock: object) -> tuple[bytes, tuple[str, int]] | None:
    try:
        return sock.recvfrom(65535)  # type: ignore[attr-defined,no-any-return]
    except BlockingIOError:
        return None


def _result(server: Sipsms, name: str, sample: Sample, cpu: float) -> Result:
    return Result(
        server.name, name, sample.per_second, percentile(sample.latencies, 50) * 1000,
        percentile(sample.latencies, 99) * 1000, cpu * 1000 / max(sample.done, 1), server.process.memory_mb(),
        sample.cpu, sample.done, dict(sample.failures), sample.retransmissions, sample.repeats, sample.accepted,
    )  # fmt: skip


def measure(options: argparse.Namespace, package: Path | None, cores: set[int], own: set[int]) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="sipsms-bench-") as directory:
        port = free_port()
        stub = Process([sys.executable, "-c", STUB, str(port)], Path(directory) / "stub.log", own)
        server = WithCarrier(Path(directory), cores, port, package)
        try:
            server.start(ACCOUNTS)
            return [outward(server, options), inward(server, options)]
        finally:
            if hasattr(server, "process"):
                server.stop()
            stub.stop()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.carriers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--outstanding", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.0, help="open loop at this many a second instead (out only)")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="also the sipsms of another tree")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    servers, own = split_cores()
    os.sched_setaffinity(0, own)
    results: list[Result] = []
    try:
        for _ in range(options.runs):
            for package in [None, options.beside] if options.beside else [None]:
                results += measure(options, package, servers, own)
    except ServerFailed as error:
        print(f"FAILED  {error}")
        return 1
    medians = grouped(results)
    print(f"{options.outstanding} outstanding; medians of {options.runs} runs of {options.seconds:g} s; log level info")
    print(python_build() + "\n")
    print(table(medians, Sipsms.name))
    if options.json:
        options.json.write_text(json.dumps(as_json(medians, results, [], {"python": python_build()}), indent=1) + "\n")
    return 0 if all(result.honest for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
