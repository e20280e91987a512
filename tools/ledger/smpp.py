"""SMPP programs: PDUs packed by hand, bound again when the session breaks, and what had no answer sent again then."""

from __future__ import annotations

import asyncio
import random
import struct
from typing import NamedTuple

from .links import break_off
from .plan import BREAKS, HANDSET, Account, Play

RESPONSE = 0x80000000
SUBMIT, DELIVER, UNBIND, BIND, ENQUIRE = 4, 5, 6, 9, 0x15
OK, QUEUE_FULL, THROTTLED = 0, 0x14, 0x58
SAME_MESSAGE = 0x1501  # sipsms' own parameter of a deliver_sm: the same name, the same message
SHARE = 0.1  # of all new texts


class Pdu(NamedTuple):
    command: int
    status: int
    sequence: int
    body: bytes


class Program:
    """An ESME; `window`: what may be without an answer at once, so with 1 it is sequential."""

    def __init__(self, account: Account, window: int, play: Play, clients: int) -> None:
        self.account = account
        self._window = window
        self._play = play
        self._book = play.book
        self._dice = random.Random(play.dice.random())
        self._clients = clients
        self._open: dict[str, str] = {}  # text -> destination, of what has no answer yet, in order
        self._under_way: dict[int, str] = {}  # sequence -> text, in this session
        self._seen: set[str] = set()
        self._sequence = 0
        self._writer: asyncio.StreamWriter | None = None
        self._bound = asyncio.Event()
        self._room, self._idle = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._idle.set()

    async def run(self) -> None:
        """Bind for ever."""
        while True:
            try:
                reader, self._writer = await asyncio.open_connection("127.0.0.1", self._play.site.ports.smpp)
                await self._session(reader)
            except (OSError, asyncio.IncompleteReadError):
                self._book.note("SMPP session broken")
            finally:
                self._bound.clear()
                self._under_way.clear()
                if self._writer is not None:
                    self._writer.close()
            await self._play.nap(0.1, 0.7)

    async def write(self) -> None:
        while await self._play.pause(SHARE, self._clients):
            await self._room.wait()
            to = HANDSET if self._dice.random() < 0.5 else self._play.number()
            text = self._book.ask("smpp", self.account.name, self.account.did, to, ordered=self._window == 1)
            self._open[text] = to
            self._idle.clear()
            if len(self._open) >= self._window:
                self._room.clear()
            if self._bound.is_set():
                self._submit(text)

    async def answered(self) -> None:
        """All that was submitted has its answer."""
        await self._idle.wait()

    # --- a session ---

    async def _session(self, reader: asyncio.StreamReader) -> None:
        names = f"{self.account.name}\0{self.account.password}\0\0".encode()
        self._send(BIND, names + b"\x34\x00\x00\x00")
        while True:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            command, status, sequence = struct.unpack(">III", await reader.readexactly(12))
            self._received(Pdu(command, status, sequence, await reader.readexactly(length - 16)))

    def _received(self, pdu: Pdu) -> None:
        match pdu.command:
            case command if command == BIND | RESPONSE:
                self._bind_answered(pdu)
            case command if command == SUBMIT | RESPONSE:
                self._submit_answered(pdu)
            case command if command == DELIVER:
                self._delivered(pdu)
                self._send(DELIVER | RESPONSE, b"\0", pdu.sequence)
            case command if command in (ENQUIRE, UNBIND):
                self._send(command | RESPONSE, b"", pdu.sequence)

    def _bind_answered(self, pdu: Pdu) -> None:
        if pdu.status != OK:
            self._book.refuse("bind", self.account.name, "", hex(pdu.status))
            raise ConnectionError("not bound")
        self._bound.set()
        for text in list(self._open):
            self._book.note("submit_sm after a bind")
            self._submit(text)

    def _submit(self, text: str) -> None:
        to, source = self._open[text], self.account.did
        octets = text.encode("ascii")
        body = b"\0\x02\x01" + source.encode() + b"\0\x02\x01" + to.encode() + b"\0" + bytes(3) + b"\0\0"
        body += bytes((0, 0, 0, 0, len(octets))) + octets
        self._under_way[self._send(SUBMIT, body)] = text
        if self._dice.random() < BREAKS and self._writer is not None:
            self._book.note("SMPP session broken off")
            asyncio.get_running_loop().call_later(self._dice.random() * 0.03, break_off, self._writer)

    def _submit_answered(self, pdu: Pdu) -> None:
        text = self._under_way.pop(pdu.sequence, "")
        if not text:
            return
        if pdu.status in (QUEUE_FULL, THROTTLED):  # nothing was taken, says the server: later
            self._book.write("later", client=self.account.name, text=text, status=pdu.status)
            asyncio.get_running_loop().call_later(0.5, self._again, text)
            return
        del self._open[text]
        self._room.set()
        if not self._open:
            self._idle.set()
        if pdu.status == OK:
            id = pdu.body.partition(b"\0")[0].decode()
            self._book.accept("smpp", self.account.name, text, "ESME_ROK", id)
        else:
            self._book.refuse("smpp", self.account.name, text, hex(pdu.status))

    def _again(self, text: str) -> None:
        if self._bound.is_set() and text in self._open and text not in self._under_way.values():
            self._submit(text)

    def _delivered(self, pdu: Pdu) -> None:
        source, to, text, name = read_deliver(pdu.body)
        if name in self._seen:
            self._book.note("deliver_sm heard again")
            return
        self._seen.add(name)
        self._book.got(self.account.name, self.account.name, name, text, source, to)

    def _send(self, command: int, body: bytes, sequence: int = 0) -> int:
        if not sequence:
            self._sequence += 1
            sequence = self._sequence
        if self._writer is not None:
            self._writer.write(struct.pack(">IIII", 16 + len(body), command, OK, sequence) + body)
        return sequence


def read_deliver(body: bytes) -> tuple[str, str, str, str]:
    """(source, destination, text, the server's name for it)."""
    rest = body.partition(b"\0")[2]
    source, _, rest = rest[2:].partition(b"\0")
    destination, _, rest = rest[2:].partition(b"\0")
    rest = rest[3:].partition(b"\0")[2].partition(b"\0")[2]
    length, rest = rest[4], rest[5:]
    text, rest = rest[:length], rest[length:]
    parameters: dict[int, bytes] = {}
    while len(rest) >= 4:
        tag, size = struct.unpack(">HH", rest[:4])
        parameters[tag] = rest[4 : 4 + size]
        rest = rest[4 + size :]
    return source.decode(), destination.decode(), text.decode("latin-1"), parameters.get(SAME_MESSAGE, b"").hex()
