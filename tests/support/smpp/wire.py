"""An ESME of raw octets: every PDU is packed here by hand, so nothing is shared with the codec under test."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import NamedTuple, Self

RESPONSE = 0x80000000
BIND_RX, BIND_TX, QUERY, SUBMIT, DELIVER, UNBIND, REPLACE, CANCEL, BIND_TRX = 1, 2, 3, 4, 5, 6, 7, 8, 9
ENQUIRE, MULTI, DATA = 0x15, 0x21, 0x103


class Pdu(NamedTuple):
    command: int
    status: int
    sequence: int
    body: bytes

    @property
    def text(self) -> str:
        """The first C-octet string: the message id of most responses."""
        return self.body.partition(b"\0")[0].decode()


class Closed(Exception):
    """The server has closed the connection."""


def cstring(*texts: str | bytes) -> bytes:
    return b"".join((one if isinstance(one, bytes) else one.encode("latin-1")) + b"\0" for one in texts)


def tlv(tag: int, value: bytes) -> bytes:
    return struct.pack(">HH", tag, len(value)) + value


def bind_body(user: str, password: str, version: int = 0x34) -> bytes:
    return cstring(user, password, "") + bytes((version, 0, 0)) + b"\0"


def sm_body(
    source: str, destination: str, text: bytes, *, esm_class: int = 0, coding: int = 0, receipt: int = 0,
    schedule: str = "", validity: str = "", length: int | None = None, tlvs: bytes = b"", ton: int = 1,
) -> bytes:  # fmt: skip
    return (
        b"\0" + bytes((ton, 1)) + cstring(source) + bytes((ton, 1)) + cstring(destination) + bytes((esm_class, 0, 0))
        + cstring(schedule, validity) + bytes((receipt, 0, coding, 0, len(text) if length is None else length)) + text
        + tlvs
    )  # fmt: skip


class Deliver(NamedTuple):
    source: str
    destination: str
    esm_class: int
    coding: int
    octets: bytes
    tlvs: dict[int, bytes]

    @property
    def text(self) -> str:
        return self.octets.decode("utf-16-be" if self.coding == 8 else "latin-1")


def read_deliver(pdu: Pdu) -> Deliver:
    rest = pdu.body.partition(b"\0")[2]
    source, _, rest = rest[2:].partition(b"\0")
    destination, _, rest = rest[2:].partition(b"\0")
    esm_class = rest[0]
    rest = rest[3:].partition(b"\0")[2].partition(b"\0")[2]
    coding, length = rest[2], rest[4]
    octets, rest = rest[5 : 5 + length], rest[5 + length :]
    tlvs = {}
    while rest:
        tag, size = struct.unpack(">HH", rest[:4])
        tlvs[tag] = rest[4 : 4 + size]
        rest = rest[4 + size :]
    return Deliver(source.decode(), destination.decode(), esm_class, coding, octets, tlvs)


class RawEsme:
    """`with RawEsme(port) as esme: esme.bind("user", "password")`; answers nothing by itself."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, seconds: float = 10.0) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.socket.settimeout(seconds)
        self._buffer = b""
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def reset(self) -> None:
        """As when the program is killed with answers unread."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def raw(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def send(self, command: int, body: bytes = b"", sequence: int | None = None, status: int = 0) -> int:
        if sequence is None:
            self._sequence += 1
            sequence = self._sequence
        self.raw(struct.pack(">IIII", 16 + len(body), command, status, sequence) + body)
        return sequence

    def receive(self) -> Pdu:
        """The next PDU. Raises Closed, TimeoutError."""
        while len(self._buffer) < 4 or len(self._buffer) < struct.unpack(">I", self._buffer[:4])[0]:
            try:
                data = self.socket.recv(65_536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed
            self._buffer += data
        (length,) = struct.unpack(">I", self._buffer[:4])
        octets, self._buffer = self._buffer[:length], self._buffer[length:]
        return Pdu(*struct.unpack(">III", octets[4:16]), octets[16:])

    def until(self, command: int, seconds: float = 10.0) -> Pdu:
        """The next PDU of this kind; others on the way are passed over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pdu = self.receive()
            if pdu.command == command:
                return pdu
        raise TimeoutError(f"no {command:#x}")

    def ask(self, command: int, body: bytes = b"") -> Pdu:
        sequence = self.send(command, body)
        while True:
            pdu = self.receive()
            if pdu.sequence == sequence and pdu.command & RESPONSE:
                return pdu

    def bind(self, user: str, password: str, command: int = BIND_TRX) -> Pdu:
        return self.ask(command, bind_body(user, password))

    def submit(self, source: str, destination: str, text: bytes | str, **more: object) -> Pdu:
        octets = text.encode("ascii") if isinstance(text, str) else text
        return self.ask(SUBMIT, sm_body(source, destination, octets, **more))  # type: ignore[arg-type]

    def delivered(self) -> Deliver:
        """The next deliver_sm, answered."""
        pdu = self.until(DELIVER)
        self.send(RESPONSE | DELIVER, b"\0", pdu.sequence)
        return read_deliver(pdu)
