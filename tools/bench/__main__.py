"""`python -m tools.bench [--seconds S] [--runs N] [--scenario NAME ...] [--rate R] [--json FILE] [--full]`

One run: each server in turn, fresh, gets every scenario; runs are interleaved, so that a busy moment of the machine
hits all alike, and the table shows medians. Rates and CPU hold for this machine only; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from tools.bench import peer_kamailio, scenarios
from tools.bench.generator import Address, Generator, Sample, Scenario
from tools.bench.peer_sipsms import Sipsms
from tools.bench.process import Process, ServerFailed, split_cores
from tools.bench.report import Memory, Result, as_json, grouped, memory_table, percentile, table

ACCOUNTS = 1024
DEVICES = 128
WARMUP = 0.5
NAMES = ("register", "message", "message-end-to-end", "inbound")
OURS = Sipsms.name
NOTES = """\
register            401, then 200; every account in turn, a refresh after the first round
message             407, then 202, a new Call-ID each; sipsms with its carrier paused (accepting only)
message-end-to-end  the same with the carrier open: the rate counts until the last message is delivered
inbound             MESSAGE to a DID: 407, 202 (Kamailio: the device's 200), and the SMS at a registered device
kamailio durable    one SQLite row (WAL, FULL) before each 202 and each binding; nostore: nothing kept, SIP alone
rows/2xx            messages: rows the store gained against 2xx that senders got; LOST where it gained fewer
ratio               sipsms against this peer: rate above 1 and CPU below 1 is ahead;  >: the generator was the limit"""


class Server(Protocol):
    can_pause: bool
    durable: bool
    address: Address
    process: Process

    @property
    def name(self) -> str: ...
    def start(self, accounts: int) -> None: ...
    def stop(self) -> None: ...
    def rows(self) -> int | None: ...
    def bindings(self) -> int | None: ...
    def settle(self, timeout: float) -> float: ...


Maker = Callable[[Path], Server]


@dataclass(slots=True)
class Bench:
    options: argparse.Namespace
    generator_cores: set[int]
    server_cores: set[int]
    results: list[Result] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def makers(self) -> dict[str, Maker]:
        made: dict[str, Maker] = {}
        if "sipsms" in self.options.server:
            made["sipsms"] = lambda path: Sipsms(path, self.server_cores)
            if (package := self.options.beside) is not None:
                made["beside"] = lambda path: Sipsms(path, self.server_cores, package)
        program = peer_kamailio.find()
        if program is None:
            print("kamailio is not installed (kamailio, kamailio-sqlite-modules): no peer to compare with")
        elif "kamailio" in self.options.server:
            made["durable"] = lambda path: peer_kamailio.Kamailio(program, path, self.server_cores, durable=True)
            made["nostore"] = lambda path: peer_kamailio.Kamailio(program, path, self.server_cores, durable=False)
        return made

    def run(self) -> None:
        makers = self.makers()
        for turn in range(1, self.options.runs + 1):
            for key, make in list(makers.items()):
                if not self._guarded(make, ACCOUNTS, partial(self._scenarios, turn)):
                    del makers[key]
        for bindings in self.options.bindings:
            for make in makers.values():
                self._guarded(make, bindings, partial(self._hold, bindings))

    def _guarded(self, make: Maker, accounts: int, work: Callable[[Server], None]) -> bool:
        """A server that fails is told about, and does not end the others' measurement."""
        try:
            with _running(make, accounts) as server:
                work(server)
            return True
        except ServerFailed as error:
            self.broken.append(str(error))
            return False

    def _scenarios(self, turn: int, server: Server) -> None:
        sockets = scenarios.open_sockets(DEVICES)
        generator = Generator(server.address, sockets)
        work: dict[str, Scenario] = {
            "register": scenarios.Register(ACCOUNTS),
            "message": scenarios.Message(ACCOUNTS),
            "message-end-to-end": scenarios.Message(ACCOUNTS),
            "inbound": scenarios.Inbound(ACCOUNTS, DEVICES),
        }
        bind = scenarios.Register(DEVICES)
        generator.run(bind, seconds=30, count=DEVICES)  # inbound needs its devices, whatever else is chosen
        for name in self.options.scenario:
            if name == "message-end-to-end" and not server.can_pause:
                continue  # a peer that only accepts: `message` says it all
            label = f"run {turn}/{self.options.runs} {server.name} {name}"
            self.results.append(self._one(server, generator, name, work[name], label))
        for sock in sockets:
            sock.close()

    def _one(self, server: Server, generator: Generator, name: str, scenario: Scenario, label: str) -> Result:
        paused = name == "message" and isinstance(server, Sipsms)
        if paused and isinstance(server, Sipsms):
            server.pause()
        rows, cpu = server.rows() if name != "register" else None, server.process.cpu_seconds()
        options = self.options
        tick = _ticker(label)
        sample = generator.run(
            scenario,
            seconds=options.seconds,
            warmup=WARMUP,
            outstanding=options.outstanding,
            rate=options.rate,
            tick=tick,
        )
        rest = 0.0 if paused else server.settle(60)
        server.process.check()
        memory, cpu = server.process.memory_mb(), server.process.cpu_seconds() - cpu
        result = _result(server.name, name, sample, cpu, memory)
        if name == "message-end-to-end":
            result.per_second = sample.done / (WARMUP + sample.seconds + rest)
        if name == "register" and (bound := server.bindings()) is not None and bound < min(ACCOUNTS, sample.accepted):
            self.broken.append(f"{label}: {bound} bindings stored, of {ACCOUNTS} accounts")
        if rows is not None:
            result.rows = (server.rows() or 0) - rows
        if paused and isinstance(server, Sipsms):
            server.resume()
            server.settle(120)
        return result

    def _hold(self, bindings: int, server: Server) -> None:
        sockets = scenarios.open_sockets(8)
        before = server.process.memory_mb()
        generator = Generator(server.address, sockets)
        label = f"{bindings:,} bindings in {server.name}"
        sample = generator.run(scenarios.Register(bindings), seconds=240, count=bindings, tick=_ticker(label))
        if sample.done < bindings:
            self.broken.append(f"{label}: only {sample.done} registered; {dict(sample.failures)}")
        if (stored := server.bindings()) is not None and stored < sample.done:
            self.broken.append(f"{label}: {sample.done} times 200, but {stored} rows")
        after = server.process.memory_mb()
        self.memory.append(Memory(server.name, sample.done, before, after, sample.per_second))
        for sock in sockets:
            sock.close()


def _result(peer: str, name: str, sample: Sample, cpu: float, memory: float) -> Result:
    return Result(
        peer,
        name,
        sample.per_second,
        percentile(sample.latencies, 50) * 1000,
        percentile(sample.latencies, 99) * 1000,
        cpu * 1000 / sample.done if sample.done else 0.0,
        memory,
        sample.cpu,
        sample.done,
        dict(sample.failures),
        sample.retransmissions,
        sample.repeats,
        sample.accepted,
    )


@contextmanager
def _running(make: Maker, accounts: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="sipsms-bench-") as directory:
        server = make(Path(directory))
        _progress(f"starting {server.name} with {accounts:,} accounts")
        try:
            server.start(accounts)
            yield server
        finally:
            if hasattr(server, "process"):
                server.stop()


def _ticker(label: str) -> Callable[[float, int], None]:
    def tick(seconds: float, done: int) -> None:
        _progress(f"{label}  {seconds:4.1f} s  {done:,}")

    return tick


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured window of each scenario")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--outstanding", type=int, default=64, help="closed loop: exchanges in flight")
    parser.add_argument("--rate", type=float, default=0.0, help="open loop at this many a second instead")
    parser.add_argument("--scenario", choices=NAMES, nargs="+", default=list(NAMES))
    parser.add_argument("--server", choices=("sipsms", "kamailio"), nargs="+", default=["sipsms", "kamailio"])
    parser.add_argument(
        "--bindings", type=int, nargs="*", default=[10_000], help="memory: this many registrations held"
    )
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="also the sipsms of another tree")
    parser.add_argument("--full", action="store_true", help="memory with 100,000 registrations too (minutes)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    options.bindings += [100_000] if options.full else []
    return options


def python_build() -> str:
    """Name the interpreter; one that was not built with PGO, as version managers do, takes a third more CPU."""
    own = sys.base_prefix in ("/usr", "/usr/local")  # of Debian or the Python image
    quick = own or "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    warning = "" if quick else ", not known to be built with PGO: expect a third more CPU than with Debian's"
    return f"Python {platform.python_version()} in {sys.base_prefix}{warning}"


def _about(options: argparse.Namespace, seconds: float) -> dict[str, object]:
    chosen = {key: value for key, value in vars(options).items() if key not in ("json", "beside")}
    machine = {"python": python_build(), "kernel": platform.release(), "cores": os.cpu_count()}
    return {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "took_s": round(seconds), **machine, **chosen}


def main(argv: Sequence[str]) -> int:
    options = _arguments(argv)
    servers, generator = split_cores()
    os.sched_setaffinity(0, generator)
    bench, start = Bench(options, generator, servers), time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers are stopped then, too
    try:
        bench.run()
    except KeyboardInterrupt:
        bench.broken.append("interrupted")
    _progress("")
    medians, about = grouped(bench.results), _about(options, time.monotonic() - start)
    loop = f"{options.rate:g} a second, open loop" if options.rate else f"{options.outstanding} outstanding"
    print(f"{loop}; medians of {options.runs} runs of {options.seconds:g} s; {os.cpu_count()} cores; log level info")
    print(python_build() + "\n")
    print(table(medians, OURS), memory_table(bench.memory), NOTES, sep="\n\n")
    if options.json:
        options.json.write_text(json.dumps(as_json(medians, bench.results, bench.memory, about), indent=1) + "\n")
    for line in bench.broken:
        print(f"FAILED  {line}")
    return 1 if bench.broken or not all(r.honest for r in bench.results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
