"""A real sipsms server in its own process, on free loopback ports, with its own store.

Ready means that /readyz said so; stopping is SIGTERM and waiting, killing is SIGKILL. Nothing here sleeps for luck.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.node.certificates import Authority, Files
from tests.support.node.warm_start import WarmProcess, run_warm


def free_port() -> int:
    """A port that is free for UDP and TCP on loopback now, and that the system gives to no connection meanwhile: those
    begin at 32768 (net.ipv4.ip_local_port_range). Each of the processes that run tests at once has its own."""
    udp, tcp = bound_sockets()
    with udp, tcp:
        return int(udp.getsockname()[1])


def bound_sockets() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket on one free port, for a test that listens itself: nobody can take the port meanwhile."""
    for port in _ports:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            udp.bind(("127.0.0.1", port))
            tcp.bind(("127.0.0.1", port))
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()
    raise AssertionError("they have no end")


def _own_ports() -> Iterator[int]:
    """2,500 of this process, round and round."""
    first = 12_000 + 2500 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw7")[2:]) % 8)
    start = random.SystemRandom().randrange(2500)
    for number in itertools.count(start):
        yield first + number % 2500


_ports = _own_ports()


class Node:
    """`with Node(tmp_path) as node:`; `settings` are merged over the configuration."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.sip_port, self.http_port = free_port(), free_port()
        self.path = folder / "sipsms.yaml"
        self.store = folder / "sipsms.db"
        self.log_path = folder / "server.log"
        self.process: WarmProcess | None = None
        self.environment: dict[str, str] = {}
        self.certificate: Files | None = None
        self.ports = {"udp": self.sip_port, "tcp": self.sip_port}
        self.write_config(**settings)

    def listen_securely(self, **settings: Any) -> Node:
        """TLS, WS and WSS besides UDP and TCP, with a certificate of a fresh authority."""
        self.authority = Authority()
        self.certificate = self.authority.issue(self.folder)
        self.ports |= {name: free_port() for name in ("tls", "ws", "wss")}
        kept = {name: value for name, value in self.settings.items() if name not in ("listen", "tls")}
        self.write_config(**{**kept, **settings})
        return self

    def address_of(self, transport: str) -> tuple[str, int]:
        return ("127.0.0.1", self.ports[transport])

    def write_config(self, **settings: Any) -> None:
        sip = [f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()]
        self.settings = {
            "domain": "sip.example.net",
            "store": f"sqlite:///{self.store}",
            "listen": {"sip": sip, "http": f"http://127.0.0.1:{self.http_port}"},
            **({"tls": self.certificate.settings} if self.certificate is not None else {}),
            "carriers": {"sim": {"type": "loopback"}},
            "log": {"level": "info", "format": "json"},
            "policy": {"same_text": 0, "destinations": 0},  # tests write alike to many numbers
            **settings,
            "sip": {"flood_limit": 0, **settings.get("sip", {})},  # tests ask more than all phones behind a NAT do
        }
        self.path.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def __enter__(self) -> Node:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- process ---

    def start(self, seconds: float = 20.0) -> Node:
        with self.log_path.open("ab") as log:
            self.process = WarmProcess(["-c", str(self.path), "serve"], log, log, self.environment)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log_tail()}")
            if self.ready():
                return self
            time.sleep(0.02)  # polled: the process has no other way to tell us
        raise RuntimeError(f"the server is not ready after {seconds} s:\n{self.log_tail()}")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode or 0 if self.process else 0
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    # --- looking ---

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.sip_port)

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log's life events, all or those of one name."""
        found = []
        for line in self.log_path.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                event = json.loads(line)
                if not name or event["event"] == name:
                    found.append(event)
        return found

    # --- commands ---

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `sipsms -c FILE ...` in a process of its own; a running server has taken over what it changed."""
        done = run_warm(["-c", str(self.path), *arguments], self.environment, 60)
        if check and done.returncode != 0:
            raise AssertionError(f"sipsms {' '.join(arguments)} -> {done.returncode}: {done.stderr}")
        return done

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """The rows of a list command."""
        return [json.loads(line) for line in self.cli(*arguments, "--json").stdout.splitlines()]

    def import_accounts(self, *accounts: dict[str, Any]) -> None:
        """One transaction, one process: quicker than a command an account."""
        file = self.folder / "accounts.yaml"
        file.write_text(yaml.safe_dump({"accounts": list(accounts)}))
        self.cli("import", str(file))

    def wait_for_messages(self, predicate: Any, seconds: float = 10.0) -> list[dict[str, Any]]:
        """Poll `sipsms messages` until it satisfies the predicate."""
        deadline = time.monotonic() + seconds
        while True:
            rows = self.listed("messages", "--limit", "100000")
            if predicate(rows):
                return rows
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen within {seconds} s; messages: {rows[-5:]}\n{self.log_tail(15)}")
            time.sleep(0.05)
