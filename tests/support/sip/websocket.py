"""A WebSocket client on plain sockets (RFC 6455, RFC 7118), bent as a test wants. Nothing of the server's library."""

from __future__ import annotations

import base64
import os
import struct
import time
from typing import Any

from tests.support.sip.wire import Address, Closed, Incoming, Tcp, Tls

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


class Refused(AssertionError):
    """The server did not upgrade; `status` is its HTTP answer."""

    def __init__(self, status: int, head: str) -> None:
        super().__init__(head)
        self.status = status


class WebSocket(Tcp):
    """Messages over the wire of a base class; `Ws` and `Wss` say which."""

    name = "ws"

    def upgrade(self, *, protocol: str = "sip", origin: str = "", extra: str = "", path: str = "/") -> None:
        """Raises Refused."""
        self._messages: list[tuple[int, bytes]] = []
        self.closed_with: int | None = None
        lines = [f"GET {path} HTTP/1.1", "Host: sip.example.net", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
        lines += [f"Origin: {origin}"] if origin else []
        super().send(("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode())
        deadline = time.monotonic() + 5
        while b"\r\n\r\n" not in self._buffer:
            self._more(deadline)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if status != 101:
            raise Refused(status, head.decode())
        self.head = head.decode()

    def send(self, data: bytes) -> None:
        self.send_frame(TEXT if _is_text(data) else BINARY, data)

    def send_frame(self, opcode: int, data: bytes = b"", *, fin: bool = True, mask: bool = True) -> None:
        super().send(frame(opcode, data, fin=fin, mask=mask))

    def send_raw(self, data: bytes) -> None:
        super().send(data)

    def receive(self, seconds: float = 3.0) -> Incoming:
        deadline = time.monotonic() + seconds
        while True:
            raw = self.receive_message(max(0.0, deadline - time.monotonic()))[1]
            if raw.strip(b"\r\n"):
                break
        message = Incoming.read(raw)
        message.sender, message.at = self.server, time.monotonic()
        return message

    def receive_message(self, seconds: float = 3.0) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame that is not a ping. Raises Silence, or Closed with the close code."""
        deadline = time.monotonic() + seconds
        while (found := self._unframe()) is None:
            self._more(deadline)
        opcode, payload = found
        if opcode == CLOSE:
            self.closed_with = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
            raise Closed(f"closed with {self.closed_with} {payload[2:].decode(errors='replace')}")
        return opcode, payload

    def receive_bytes(self, count: int, seconds: float = 3.0) -> bytes:
        data = self.receive_message(seconds)[1]
        assert len(data) == count, data
        return data

    def assert_closed(self, seconds: float = 3.0) -> None:
        """Closed by the server, with a close frame or without, and no SIP message before."""
        try:
            found = self.receive_message(seconds)
        except Closed:
            return
        raise AssertionError(f"expected the end, got {found[1][:300]!r}")

    def _unframe(self) -> tuple[int, bytes] | None:
        data = self._buffer
        if len(data) < 2:
            return None
        assert not data[1] & 0x80, "a server's frame is not masked (RFC 6455 section 5.1)"
        length, start = data[1] & 0x7F, 2
        if length == 126:
            length, start = struct.unpack("!H", data[2:4].ljust(2, b"\0"))[0], 4
        elif length == 127:
            length, start = struct.unpack("!Q", data[2:10].ljust(8, b"\0"))[0], 10
        if len(data) < start + length:
            return None
        self._buffer = data[start + length :]
        return data[0] & 0x0F, data[start : start + length]


class Ws(WebSocket):
    pass


class Wss(WebSocket, Tls):
    name = "wss"


def open_websocket(transport: str, server: Address, **how: Any) -> WebSocket:
    wire = (Wss if transport == "wss" else Ws)(server)
    wire.upgrade(**how)
    return wire


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    """RFC 6455 section 5.2."""
    first = (0x80 if fin else 0) | opcode
    bit = 0x80 if mask else 0
    if len(data) < 126:
        head = struct.pack("!BB", first, bit | len(data))
    elif len(data) < 65536:
        head = struct.pack("!BBH", first, bit | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(data))
    if not mask:
        return head + data
    key = os.urandom(4)
    whole = (key * (len(data) // 4 + 1))[: len(data)]
    masked = (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(data), "big")
    return head + key + masked


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
