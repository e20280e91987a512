"""A NAT on loopback that can be as bad as a real one: it loses, doubles and delays datagrams, and takes new ports.

A thread. What clients send to `address` goes to the server from a port of its own for each client, and back. Chances
are of each datagram, in both directions; `drop` can pick out single ones. All can be changed while it runs.
"""

from __future__ import annotations

import heapq
import itertools
import random
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

Address = tuple[str, int]
Drop = Callable[[bytes, bool], bool]  # (datagram, does it come from the server?) -> is it lost?


class UdpRelay:
    def __init__(
        self, server: Address, *, loss: float = 0.0, double: float = 0.0, late: float = 0.0, seed: int = 0
    ) -> None:
        """`late`: the chance that a datagram is held back for up to 50 ms, so that others overtake it."""
        self.server, self.loss, self.double, self.late = server, loss, double, late
        self.drop: Drop = lambda data, inward: False
        self.lost = 0
        self._dice = random.Random(seed)
        self._inner = _bound()
        self.address: Address = self._inner.getsockname()
        self._outer: dict[Address, socket.socket] = {}  # client -> the port that the server sees
        self._waiting: list[tuple[float, int, socket.socket, bytes, Address]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for sock in (self._inner, *self._outer.values()):
            sock.close()

    def rebind(self) -> None:
        """All mappings are forgotten: clients get new ports when they speak, the old ones are closed."""
        with self._lock:
            for sock in self._outer.values():
                sock.close()
            self._outer.clear()

    def port_of(self, client: Address) -> int:
        """The port that the server sees."""
        with self._lock:
            return int(self._outer[client].getsockname()[1])

    def _run(self) -> None:
        while not self._over.is_set():
            with self._lock:
                clients = {sock: client for client, sock in self._outer.items()}
            try:
                ready = select.select([self._inner, *clients], [], [], 0.005)[0]
            except (OSError, ValueError):  # a port was closed by `rebind`
                continue
            for sock in ready:
                self._read(sock, clients.get(sock))
            self._send_due()

    def _read(self, sock: socket.socket, client: Address | None) -> None:
        try:
            data, sender = sock.recvfrom(65535)
        except OSError:
            return
        if client is not None:
            self._pass(self._inner, data, client, True)
            return
        with self._lock:
            outer = self._outer.setdefault(sender, _bound()) if sender not in self._outer else self._outer[sender]
        self._pass(outer, data, self.server, False)

    def _pass(self, sock: socket.socket, data: bytes, to: Address, inward: bool) -> None:
        if self.drop(data, inward) or self._dice.random() < self.loss:
            self.lost += 1
            return
        for _ in range(2 if self._dice.random() < self.double else 1):
            delay = self._dice.uniform(0.0, 0.05) if self._dice.random() < self.late else 0.0
            heapq.heappush(self._waiting, (time.monotonic() + delay, next(self._order), sock, data, to))

    def _send_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, sock, data, to = heapq.heappop(self._waiting)
            try:
                sock.sendto(data, to)
            except OSError:
                continue


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock
