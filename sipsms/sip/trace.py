"""Tracing of SIP traffic: a capture server by HEP, and `sipsms trace` by the control socket.

Invariant: no watcher may slow the server down. A packet or line
that does not fit into a buffer is dropped and counted. The endpoint has no tap while nobody traces. Digest responses
never leave. Texts leave only by HEP or to a watcher that asked for them.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from sipsms.core import log
from sipsms.sip.hep import Seen, encode, without_hashes
from sipsms.sip.settings import HepSettings
from sipsms.sip.trace_summary import Summary, summarise
from sipsms.sip.transport import Address, Flow, hostport

MAX_UNREAD = 256 * 1024  # bytes that a watcher may leave unread before messages are dropped for it
_AGAIN = 60.0  # seconds until a capture server's name is resolved again

Tap = Callable[[bool, Flow, bytes], None]
IsOf = Callable[[str, Flow], bool]  # (account, flow) -> True if the flow is a phone's of this account


class Tapped(Protocol):
    tap: Tap | None


class _Watcher:
    """Connection of one `sipsms trace`."""

    def __init__(self, writer: asyncio.StreamWriter, account: str, full: bool) -> None:
        self._writer = writer
        self.account = account
        self.full = full
        self._missed = 0

    def tell(self, event: dict[str, Any]) -> None:
        if self._writer.transport.get_write_buffer_size() > MAX_UNREAD:
            self._missed += 1
            return
        if self._missed:
            self._write({"missed": self._missed})
            self._missed = 0
        self._write(event)

    def _write(self, event: dict[str, Any]) -> None:
        self._writer.write(json.dumps(event).encode() + b"\n")

    def close(self) -> None:
        self._writer.close()


class Tracer:
    def __init__(self, endpoint: Tapped, domain: str, is_of: IsOf, spawn: Callable[[Coroutine[Any, Any, Any]], Any]):
        self._endpoint = endpoint
        self._domain = domain
        self._is_of = is_of
        self._spawn = spawn
        self._watchers: set[_Watcher] = set()
        self._target: HepSettings | None = None
        self._socket: socket.socket | None = None

    # --- life ---

    def send_to(self, target: HepSettings | None) -> None:
        """Send copies to this capture server from now on; None stops the copies."""
        if target == self._target:
            return
        self._hang_up()
        self._target = target
        if target is not None:
            self._spawn(self._connect(target))

    def close(self) -> None:
        self._hang_up()
        for watcher in list(self._watchers):
            watcher.close()
        self._watchers.clear()
        self._update()

    def _hang_up(self) -> None:
        self._target = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._update()

    def _update(self) -> None:
        """Tap the endpoint only while there is a watcher or a capture server."""
        self._endpoint.tap = self.see if self._watchers or self._socket is not None else None

    # --- HEP ---

    async def _connect(self, target: HepSettings) -> None:
        """Resolve the capture server's name, again and again until it has an address."""
        loop = asyncio.get_running_loop()
        while self._target == target:
            try:
                found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_DGRAM)
                sock = _datagrams_to(found[0][0], found[0][4])
            except OSError as error:
                log.warning("hep_unavailable", host=target.host, port=target.port, why=error.strerror or str(error))
                await asyncio.sleep(_AGAIN)
                continue
            if self._target != target:  # changed during the lookup
                sock.close()
                return
            self._socket = sock
            self._update()
            return

    def _send(self, seen: Seen) -> None:
        assert self._socket is not None
        assert self._target is not None
        password = self._target.password.get_secret_value() if self._target.password is not None else ""
        try:
            self._socket.send(encode(seen, self._target.id, password))
        except OSError:  # the buffer is full, or no process listens there (ICMP)
            log.HEP_PACKETS.labels("dropped").inc()
        else:
            log.HEP_PACKETS.labels("sent").inc()

    # --- tap ---

    def see(self, incoming: bool, flow: Flow, data: bytes) -> None:
        """Send copies of one SIP message.

        It is the endpoint's tap, so no error may reach the endpoint.
        """
        try:
            at = time.time()
            ours = _split(flow.sent_by())
            source, destination = (flow.remote, ours) if incoming else (ours, flow.remote)
            if self._socket is not None:
                self._send(Seen(flow.name, source, destination, at, data))
            if self._watchers:
                self._tell(incoming, flow, at, data)
        except Exception as error:
            log.crash("trace_failed", error)

    def _tell(self, incoming: bool, flow: Flow, at: float, data: bytes) -> None:
        summary = summarise(without_hashes(data))
        event = _event(incoming, flow, at, summary)
        for watcher in self._watchers:
            if watcher.account and not self._concerns(watcher.account, summary, flow):
                continue
            text = {"raw": without_hashes(data).decode("utf-8", "replace")} if watcher.full else {}
            watcher.tell({**event, **text})

    def _concerns(self, account: str, summary: Summary, flow: Flow) -> bool:
        return summary.names(account) or self._is_of(account, flow)

    # --- watchers ---

    async def watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wish: Mapping[str, Any]) -> None:
        """Show the traffic on a connection of `sipsms trace` until it ends. `wish`: `account` and `full`."""
        watcher = _Watcher(writer, str(wish.get("account") or ""), bool(wish.get("full")))
        watcher.tell({"hello": self._domain})
        self._watchers.add(watcher)
        self._update()
        try:
            while await reader.read(4096):
                pass
        finally:
            self._watchers.discard(watcher)
            self._update()


def _event(incoming: bool, flow: Flow, at: float, summary: Summary) -> dict[str, Any]:
    facts = {"at": round(at, 6), "incoming": incoming, "transport": flow.name, "peer": hostport(*flow.remote)}
    return {**facts, **asdict(summary)}


def _split(address: str) -> Address:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _datagrams_to(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock
