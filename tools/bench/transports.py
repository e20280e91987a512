"""`python -m tools.bench.transports [--seconds S] [--phones N] [--idle-tcp N] [--idle-tls N] [--only ...]`

What a message costs on each transport, and what a connection costs that says nothing. Phones send each other SMS over
one transport (407, 202, and the MESSAGE that comes in, answered with 200), a fixed number outstanding; the server's CPU
seconds are divided by the messages delivered, and compared with TCP in the same run. Idle connections are registered
phones that send a keep-alive now and then; their price is the growth of the server's memory (PSS).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uvloop
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import WebSocketException

from tools.bench import scenarios, wire
from tools.bench.peer_sipsms import Sipsms
from tools.bench.process import ServerFailed, free_port, split_cores

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
PER_ADDRESS = 100  # connections from one loopback address, as the server allows


class Secured(Sipsms):
    """sipsms with a listener of each kind."""

    def __init__(self, directory: Path, cores: set[int]) -> None:
        super().__init__(directory, cores)
        self.ports = {name: self.address[1] if name == "udp" else free_port() for name in TRANSPORTS}

    def start(self, accounts: int) -> None:
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=sip.example.net"]
        subprocess.run(command, cwd=self.directory, check=True, capture_output=True)
        super().start(accounts)

    def _settings(self) -> str:
        listen = ", ".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        return super()._settings().replace(f"[udp://127.0.0.1:{self.address[1]}]", f"[{listen}]") + (
            "tls: {certificate: cert.pem, key: key.pem}\n"
        )


class Phone:
    """One registered account on one connection."""

    def __init__(self, account: int, transport: str, port: int, source: str = "127.0.0.1") -> None:
        self.account = account
        self.transport = transport
        self._port = port
        self._source = source
        self.got = asyncio.Queue[bytes]()  # texts
        self._answers: dict[bytes, asyncio.Future[bytes]] = {}
        self._count = 0
        self._pump: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        local = (self._source, 0)
        tls = _credulous() if self.transport in ("tls", "wss") else None
        if self.transport == "udp":
            loop = asyncio.get_running_loop()
            self._udp, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._take), local_addr=local, remote_addr=("127.0.0.1", self._port)
            )
            self._host = b"%b:%d" % (self._source.encode(), self._udp.get_extra_info("sockname")[1])
        elif self.transport in ("ws", "wss"):
            url = f"{self.transport}://127.0.0.1:{self._port}"
            self._ws = await connect_websocket(
                url, subprotocols=["sip"], ssl=tls, compression=None, local_addr=local, ping_interval=None
            )
            self._host = b"%b.invalid" % os.urandom(6).hex().encode()
            self._pump = asyncio.create_task(self._read_websocket())
        else:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=tls, local_addr=local
            )
            self._host = b"%b:%d" % (self._source.encode(), self._writer.get_extra_info("sockname")[1])
            self._pump = asyncio.create_task(self._read_stream())

    async def _read_websocket(self) -> None:
        with suppress(WebSocketException):
            async for message in self._ws:
                self._take(message.encode() if isinstance(message, str) else message)

    async def _read_stream(self) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            await self._read_messages()

    async def _read_messages(self) -> None:
        while True:
            head = (await self._reader.readuntil(b"\r\n\r\n")).lstrip(b"\r\n")
            if head:
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                self._take(head + await self._reader.readexactly(length))

    def _take(self, data: bytes) -> None:
        if data.startswith(b"MESSAGE "):
            self.send(wire.ok(data))
            self.got.put_nowait(data)
        elif data.startswith(b"SIP/2.0 "):
            at = data.find(wire.BRANCH)
            waiting = self._answers.pop(data[at : at + len(wire.BRANCH) + 9], None)
            if waiting is not None and not waiting.done():
                waiting.set_result(data)

    def send(self, data: bytes) -> None:
        if self.transport == "udp":
            self._udp.sendto(data)
        elif self._pump is not None and self.transport in ("ws", "wss"):
            self._ws.protocol.send_text(data)
            self._ws.transport.write(b"".join(self._ws.protocol.data_to_send()))
        else:
            self._writer.write(data)

    async def _ask(self, scenario: scenarios.Register | scenarios.Message, job: int) -> bytes:
        """The exchange of one job: request, challenge, request with credentials."""
        answer, asked = b"", None
        for leg in range(2):
            branch = wire.branch(job, leg)
            future = self._answers[branch] = asyncio.get_running_loop().create_future()
            request = scenario.request(job, branch, self._host, asked)
            self.send(request.replace(b"SIP/2.0/UDP", b"SIP/2.0/" + self.transport.upper().encode(), 1))
            answer = await asyncio.wait_for(future, 20)
            asked = wire.challenge(answer)
            if asked is None:
                break
        return answer

    async def register(self, accounts: int) -> None:
        scenario = scenarios.Register(accounts)
        if wire.status(await self._ask(scenario, self.account)) != 200:
            raise ServerFailed(f"{self.transport}: not registered")

    async def message(self, scenario: scenarios.Inbound, job: int) -> bool:
        return wire.status(await self._ask(scenario, job)) == 202

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
        if self.transport == "udp":
            self._udp.close()
        elif self.transport in ("ws", "wss"):
            self._ws.transport.abort()
        else:
            self._writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: object) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._take(data)  # type: ignore[operator]


def _credulous() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@dataclass(slots=True)
class Cost:
    transport: str
    per_second: float
    cpu_per_1000: float
    delivered: int


async def _exchange(server: Secured, transport: str, phones: int, seconds: float, outstanding: int) -> Cost:
    """Account n writes to the DID of the phone half way round, over and over."""
    ring = [Phone(n, transport, server.ports[transport]) for n in range(phones)]
    for phone in ring:
        await phone.connect()
        await phone.register(phones)
    scenario = scenarios.Inbound(phones, phones)
    end = time.perf_counter() + seconds
    began, cpu, job, accepted = time.perf_counter(), server.process.cpu_seconds(), iter(range(10**9)), 0

    async def work() -> None:
        nonlocal accepted
        while time.perf_counter() < end:
            number = next(job)
            accepted += await ring[number % phones].message(scenario, number)

    await asyncio.gather(*(work() for _ in range(outstanding)))
    took = time.perf_counter() - began
    await asyncio.to_thread(server.settle, 30)
    delivered = sum(phone.got.qsize() for phone in ring)
    cpu = server.process.cpu_seconds() - cpu
    for phone in ring:
        await phone.close()
    if delivered < accepted:
        raise ServerFailed(f"{transport}: {accepted} accepted, {delivered} delivered")
    return Cost(transport, delivered / took, cpu * 1000 / max(1, delivered), delivered)


async def _idle(server: Secured, transport: str, count: int) -> tuple[float, int]:
    """KB for each of `count` registered phones that send keep-alives; and how many still answer at the end."""
    before = server.process.memory_mb()
    held: list[Phone] = []
    for start in range(0, count, 50):
        fresh = []
        for n in range(start, min(start + 50, count)):
            source = f"127.0.{1 + n // PER_ADDRESS // 250}.{1 + n // PER_ADDRESS % 250}"
            fresh.append(Phone(n, transport, server.ports[transport], source))
        await asyncio.gather(*(phone.connect() for phone in fresh))
        await asyncio.gather(*(phone.register(count) for phone in fresh))
        held += fresh
        _progress(f"{transport}: {len(held)} connections")
    for _ in range(3):
        for phone in held:
            phone.send(b"\r\n\r\n")
        await asyncio.sleep(1)
    after = server.process.memory_mb()
    again = held[:: max(1, count // 200)]
    await asyncio.gather(*(phone.message(scenarios.Inbound(count, count), phone.account) for phone in again))
    for phone in held:
        await phone.close()
    return (after - before) * 1024 / count, len(held)


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


async def _run(options: argparse.Namespace, cores: set[int]) -> None:
    costs: dict[str, list[Cost]] = {name: [] for name in options.only}
    for turn in range(options.runs):
        for name in options.only:
            _progress(f"run {turn + 1}/{options.runs} {name}")
            with tempfile.TemporaryDirectory(prefix="sipsms-bench-") as folder:  # phones of before would be waited for
                server = Secured(Path(folder), cores)
                server.start(options.phones)
                try:
                    costs[name].append(await _exchange(server, name, options.phones, options.seconds, 64))
                finally:
                    server.stop()
    _progress("")
    cpu = {name: sorted(one.cpu_per_1000 for one in found)[len(found) // 2] for name, found in costs.items()}
    rate = {name: sorted(one.per_second for one in found)[len(found) // 2] for name, found in costs.items()}
    print(f"{'transport':<10}{'in and out/s':>13}{'CPU-s/1000':>12}{'x TCP':>8}")
    for name in options.only:
        ratio = f"{cpu[name] / cpu['tcp']:.2f}" if "tcp" in cpu else "-"
        print(f"{name:<10}{rate[name]:>13,.0f}{cpu[name]:>12.3f}{ratio:>8}")
    for name, count in (("tcp", options.idle_tcp), ("tls", options.idle_tls), ("wss", options.idle_wss)):
        if count:
            with tempfile.TemporaryDirectory(prefix="sipsms-bench-") as folder:
                server = Secured(Path(folder), cores)
                server.start(count)
                try:
                    each, held = await _idle(server, name, count)
                finally:
                    server.stop()
            _progress("")
            print(f"{held:,} idle phones by {name}: {each:.1f} KB each")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.transports", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--phones", type=int, default=32)
    parser.add_argument("--only", choices=TRANSPORTS, nargs="*", default=list(TRANSPORTS))
    parser.add_argument("--idle-tcp", type=int, default=8000)
    parser.add_argument("--idle-tls", type=int, default=2000)
    parser.add_argument("--idle-wss", type=int, default=0)
    options = parser.parse_args(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    servers, generator = split_cores()
    os.sched_setaffinity(0, generator)
    try:
        uvloop.run(_run(options, servers))
    except ServerFailed as error:
        print(f"FAILED  {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
