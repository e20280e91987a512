"""SMPP for the bench, PDUs packed by hand: an ESME that sends, an SMSC that takes anything, both as cheap as can be."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

from tools.bench.process import ServerFailed

HEADER = struct.Struct(">IIII")
SUBMIT, ENQUIRE, UNBIND, BIND = 4, 0x15, 6, 9
BINDS = (1, 2, BIND)
RESP = 0x80000000


def pdu(command: int, status: int, sequence: int, body: bytes = b"") -> bytes:
    return HEADER.pack(16 + len(body), command, status, sequence) + body


class Frames:
    """PDUs out of what a socket gives."""

    def __init__(self) -> None:
        self._data = b""

    def read(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """(command, status, sequence, body)"""
        data = self._data + data if self._data else data
        at = 0
        while len(data) - at >= 16:
            length, command, status, sequence = HEADER.unpack_from(data, at)
            if len(data) - at < length:
                break
            yield command, status, sequence, data[at + 16 : at + length]
            at += length
        self._data = data[at:]


class Esme:
    """One bind that sends from one number; `submit` writes, `answers` reads."""

    def __init__(self, port: int, user: str, password: str, source: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames = Frames()
        self._sequence = 1
        self._sent: dict[int, float] = {}
        self._head = b"\0\0\1" + source.encode() + b"\0\0\1"  # type of number: unknown, plan: ISDN
        self.socket.sendall(pdu(BIND, 0, 1, f"{user}\0{password}\0\0".encode() + b"\x34\0\0\0"))
        _, status, _, _ = next(self._frames.read(self.socket.recv(1000)), (0, -1, 0, b""))
        if status:
            raise ServerFailed(f"bind as {user} answered with 0x{status & 0xFFFFFFFF:x}")

    def submit(self, *messages: tuple[str, str]) -> None:
        """(destination, text) of each, in one write."""
        now, octets = time.perf_counter(), []
        for destination, text in messages:
            self._sequence += 1
            self._sent[self._sequence] = now
            short = text.encode()
            body = b"%b%b\0\0\0\0\0\0\0\0\0\0%c%b" % (self._head, destination.encode(), len(short), short)
            octets.append(pdu(SUBMIT, 0, self._sequence, body))
        self.socket.sendall(b"".join(octets))

    def answers(self) -> Iterator[tuple[float, int]]:
        """(when it was sent, status) of each submit_sm_resp that is here."""
        data = self.socket.recv(65536)
        if not data:
            raise ServerFailed("the server closed a session")
        for command, status, sequence, _ in self._frames.read(data):
            if command == SUBMIT | RESP:
                yield self._sent.pop(sequence), status
            elif command == ENQUIRE:
                self.socket.sendall(pdu(ENQUIRE | RESP, 0, sequence))


class Sink:
    """An SMSC: sessions join by `accept`, `read` answers all there is and gives the texts that came."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._frames: dict[int, tuple[socket.socket, Frames]] = {}
        self._last = 0

    def accept(self) -> int:
        """The file descriptor of the new session."""
        session, _ = self.listener.accept()
        session.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames[session.fileno()] = (session, Frames())
        return session.fileno()

    def owns(self, fd: int) -> bool:
        return fd in self._frames

    def read(self, fd: int) -> list[bytes]:
        """The bodies of the submit_sm that came by this session, all answered."""
        session, frames = self._frames[fd]
        data = session.recv(65536)
        if not data:
            raise ServerFailed("it closed its session with the SMSC")
        bodies, answers = [], []
        for command, _, sequence, body in frames.read(data):
            if command == SUBMIT:
                self._last += 1
                bodies.append(body)
                answers.append(pdu(SUBMIT | RESP, 0, sequence, b"%d\0" % self._last))
            elif command in BINDS:
                answers.append(pdu(command | RESP, 0, sequence, b"sink\0"))
            elif not command & RESP:
                answers.append(pdu(command | RESP, 0, sequence))
        session.sendall(b"".join(answers))
        return bodies

    def close(self) -> None:
        self.listener.close()
        for session, _ in self._frames.values():
            session.close()
