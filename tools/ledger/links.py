"""How a phone's bytes travel: UDP, TCP, and WebSocket (RFC 7118), each on a bare socket."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import struct
from collections.abc import Callable
from typing import Protocol

Address = tuple[str, int]
Take = Callable[[bytes], None]

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Broken(Exception):
    """There is no connection, or none any more."""


def break_off(writer: asyncio.StreamWriter) -> None:
    """Hang up with an RST: what was on its way is lost."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Link(Protocol):
    """`is_reliable`: nothing is retransmitted; what was under way is sent again once it is connected again."""

    name: str
    is_reliable: bool
    local: Address
    broken: asyncio.Event

    async def open(self) -> None:
        """Do nothing if it is. Raises Broken."""

    def send(self, data: bytes) -> None: ...

    def reset(self) -> None:
        """Break a connection off, so that nothing that was on its way counts as heard."""

    def close(self) -> None: ...


class Udp(asyncio.DatagramProtocol):
    name = "UDP"
    is_reliable = False

    def __init__(self, server: Address, take: Take) -> None:
        self._server = server
        self._take = take
        self._transport: asyncio.DatagramTransport | None = None
        self._opening = asyncio.Lock()
        self.local: Address = ("127.0.0.1", 0)
        self.broken = asyncio.Event()  # never

    async def open(self) -> None:
        async with self._opening:  # two sockets would be two phones
            if self._transport is None:
                loop = asyncio.get_running_loop()
                self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
                self.local = self._transport.get_extra_info("sockname")

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data, self._server)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._take(data)

    def reset(self) -> None:
        """There is no connection."""

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there at the moment."""

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Tcp:
    name = "TCP"
    is_reliable = True

    def __init__(self, server: Address, take: Take) -> None:
        self._server = server
        self._take = take
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self.local: Address = ("127.0.0.1", 0)
        self.broken = asyncio.Event()

    async def open(self) -> None:
        async with self._opening:
            if self._writer is not None:
                return
            try:
                async with asyncio.timeout(5):
                    reader, writer = await asyncio.open_connection(*self._server)
                    self.local = writer.get_extra_info("sockname")
                    await self._greet(reader, writer)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                raise Broken(str(error)) from None
            self.broken = asyncio.Event()
            self._writer = writer
            self._reading = asyncio.create_task(self._read(reader, writer))

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What comes before the first message."""

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self._take(await self._next(reader))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._writer = None
            self.broken.set()

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).lstrip(b"\r\n")
        if not head:
            return await self._next(reader)  # a keep-alive
        length = re.search(rb"^(?:Content-Length|l)[ \t]*:[ \t]*(\d+)", head, re.I | re.M)
        return head + await reader.readexactly(int(length[1]) if length else 0)

    def send(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.write(data)

    def reset(self) -> None:
        if self._writer is not None:
            break_off(self._writer)

    def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()


class Ws(Tcp):
    name = "WS"

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET / HTTP/1.1", "Host: sip.example.net", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: sip"]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.partition(b"\r\n")[0]:
            raise ConnectionError(f"no upgrade: {head[:80]!r}")

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        while True:
            first, second = await reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await reader.readexactly(8))
            payload, opcode = await reader.readexactly(length), first & 0x0F
            if opcode == CLOSE:
                raise ConnectionError("closed")
            if opcode == PING:
                self._frame(PONG, payload)
            elif opcode != PONG and payload.strip(b"\r\n"):
                return payload

    def send(self, data: bytes) -> None:
        self._frame(TEXT, data)

    def _frame(self, opcode: int, data: bytes) -> None:
        size, mask = len(data), os.urandom(4)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack("!H", size)
        masked = bytes(octet ^ mask[place % 4] for place, octet in enumerate(data))
        super().send(bytes((0x80 | opcode,)) + length + mask + masked)


LINKS: dict[str, type[Udp] | type[Tcp]] = {"udp": Udp, "tcp": Tcp, "ws": Ws}
