"""Records of events that can be awaited, codings of texts, and receipts: common to all SMPP peers of the tests.

Written from the standards (SMPP 3.4, GSM 03.38, GSM 03.40) and by hand: nothing here is shared with sipsms.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION = {0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]", 0x40: "|", 0x65: "€"}  # fmt: skip  # noqa: E501
GSM_CODES = {letter: bytes([code]) for code, letter in enumerate(GSM)} | {
    letter: bytes([0x1B, code]) for code, letter in GSM_EXTENSION.items()
}
UDHI = 0x40
RECEIPT = 0x04  # in esm_class
MESSAGE_PAYLOAD, RECEIPTED_ID, MESSAGE_STATE = 0x0424, 0x001E, 0x0427
SAR_REFERENCE, SAR_TOTAL, SAR_NUMBER = 0x020C, 0x020E, 0x020F
STATES = {"ENROUTE": 1, "DELIVRD": 2, "EXPIRED": 3, "DELETED": 4, "UNDELIV": 5, "ACCEPTD": 6, "UNKNOWN": 7, "REJECTD": 8}  # fmt: skip  # noqa: E501


class Missing(Exception):
    """A program or a package is not to be had; says which. A test skips with it."""


class Refused(Exception):
    """The other side answered a bind with this command_status (0: it hung up)."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with 0x{status:02x}")
        self.status = status


class Seen(Generic[Item]):
    """A list that is written by one thread and awaited by another, or by a coroutine."""

    def __init__(self, name: str = "items") -> None:
        self._name = name
        self._items: list[Item] = []
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[Item]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def all(self) -> list[Item]:
        with self._changed:
            return list(self._items)

    def add(self, item: Item) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def until(self, what: Callable[[list[Item]], Any], seconds: float = 15.0) -> list[Item]:
        """All, as soon as `what` holds of them. Raises AssertionError when time is up."""
        with self._changed:
            if not self._changed.wait_for(lambda: what(self._items), seconds):
                raise AssertionError(f"not within {seconds:g} s; {len(self._items)} {self._name}: {self._items[-5:]}")
            return list(self._items)

    def count(self, number: int, seconds: float = 15.0) -> list[Item]:
        return self.until(lambda items: len(items) >= number, seconds)

    def first(self, what: Callable[[Item], Any] = lambda item: True, seconds: float = 15.0) -> Item:
        found = self.until(lambda items: any(map(what, items)), seconds)
        return next(item for item in found if what(item))

    async def come(self, what: Callable[[Item], Any] = lambda item: True, seconds: float = 15.0) -> Item:
        """`first` for a coroutine."""
        return await asyncio.to_thread(self.first, what, seconds)

    async def come_to(self, number: int, seconds: float = 15.0) -> list[Item]:
        """`count` for a coroutine."""
        return await asyncio.to_thread(self.count, number, seconds)


class LoopThread:
    """An event loop in a thread of its own, for peers that are coroutines."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def do(self, coroutine: Coroutine[Any, Any, Item], seconds: float = 30.0) -> Item:
        """Run there, wait for the outcome here."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(seconds)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run there, nobody waits."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def soon(self, what: Callable[..., object], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(what, *arguments)

    def stop(self) -> None:
        self.do(self._end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _end_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)


class Came(NamedTuple):
    """A whole message as a peer's user has it."""

    source: str
    destination: str
    text: str


class Told(NamedTuple):
    """A receipt as a peer's user has it."""

    id: str
    state: str  # DELIVRD, UNDELIV ...
    source: str = ""
    destination: str = ""


class Reply(NamedTuple):
    """What the other side said to one message: the worst status of its parts, the ids of all."""

    status: int
    ids: tuple[str, ...]

    @property
    def id(self) -> str:
        return self.ids[0]


# --- texts ---


def gsm_encode(text: str) -> bytes | None:
    """Unpacked, an octet a septet; None if it has letters that GSM has not."""
    codes = [GSM_CODES.get(letter) for letter in text]
    return b"".join(code for code in codes if code is not None) if None not in codes else None


def gsm_decode(data: bytes) -> str:
    letters, escaped = [], False
    for code in data:
        if escaped:
            letters.append(GSM_EXTENSION.get(code, " "))
        elif code != 0x1B:
            letters.append(GSM[code] if code < 128 else "\ufffd")
        escaped = code == 0x1B and not escaped
    return "".join(letters)


CONTROLS = set(range(32)) - {10, 13}
DECODERS: dict[int, Callable[[bytes], str]] = {
    0: gsm_decode,
    1: lambda data: gsm_decode(data) if CONTROLS & set(data) else data.decode("ascii", "replace"),  # node-smpp: GSM
    3: lambda data: data.decode("latin-1"),
    8: lambda data: data.decode("utf-16-be", "replace"),
}


def encode(text: str) -> tuple[int, bytes]:
    """(data_coding, octets): GSM where it can be, else UCS-2."""
    octets = gsm_encode(text)
    return (0, octets) if octets is not None else (8, text.encode("utf-16-be", "surrogatepass"))


def parts(text: str, reference: int) -> Iterator[tuple[int, int, bytes]]:
    """(esm_class bits, data_coding, short_message) of each: by UDH, 8-bit reference, never cutting a letter."""
    coding, octets = encode(text)
    if len(octets) <= (160 if coding == 0 else 140):
        yield 0, coding, octets
        return
    pieces = list(_pieces(text, 153 if coding == 0 else 134, coding))
    for number, piece in enumerate(pieces, 1):
        yield UDHI, coding, bytes([5, 0, 3, reference % 256, len(pieces), number]) + piece


def _pieces(text: str, room: int, coding: int) -> Iterator[bytes]:
    piece = b""
    for letter in text:
        octets = GSM_CODES[letter] if coding == 0 else letter.encode("utf-16-be")
        if len(piece) + len(octets) > room:
            yield piece
            piece = b""
        piece += octets
    yield piece


class Part(NamedTuple):
    reference: int
    total: int
    number: int


def part_of(esm_class: int, short_message: bytes, tlvs: dict[int, bytes]) -> tuple[Part | None, bytes]:
    """Which part of a long text it is (UDH of 8 or 16 bits, or sar_*), and what is left as text."""
    if esm_class & UDHI and short_message:
        end = 1 + short_message[0]
        header, rest = short_message[1:end], short_message[end:]
        while len(header) >= 2:
            kind, value, header = header[0], header[2 : 2 + header[1]], header[2 + header[1] :]
            if kind in (0, 8):
                return Part(int.from_bytes(value[:-2], "big"), value[-2], value[-1]), rest
        return None, rest
    if SAR_TOTAL in tlvs:
        values = [int.from_bytes(tlvs.get(tag, b""), "big") for tag in (SAR_REFERENCE, SAR_TOTAL, SAR_NUMBER)]
        return Part(*values), short_message
    return None, short_message


@dataclass
class Joiner:
    """Long texts from their parts. What came again while its text was still open is in `repeated`."""

    open: dict[tuple[str, str, int, int], dict[int, str]] = field(default_factory=dict)
    repeated: list[tuple[str, str, Part]] = field(default_factory=list)

    def add(self, source: str, destination: str, part: Part | None, text: str) -> Came | None:
        """The whole message, if this made it whole."""
        if part is None or part.total < 2:
            return Came(source, destination, text)
        key = (source, destination, part.reference, part.total)
        have = self.open.setdefault(key, {})
        if part.number in have:
            self.repeated.append((source, destination, part))
        have[part.number] = text
        if len(have) < part.total:
            return None
        del self.open[key]
        return Came(source, destination, "".join(have[number] for number in sorted(have)))


# --- receipts ---


def receipt_text(id: str, state: str, error: str = "000") -> str:
    delivered = "001" if state == "DELIVRD" else "000"
    date = "2601021504"
    return (
        f"id:{id} sub:001 dlvrd:{delivered} submit date:{date} done date:{date} stat:{state} err:{error} text:as it was"
    )


def told_by(text: str, tlvs: dict[int, bytes], source: str = "", destination: str = "") -> Told:
    """From a receipt's text, and where that says nothing from its TLVs."""
    id = re.search(r"id:(\S+)", text)
    state = re.search(r"stat:(\S+)", text)
    number = int.from_bytes(tlvs.get(MESSAGE_STATE, b""), "big")
    return Told(
        id[1] if id else tlvs.get(RECEIPTED_ID, b"").rstrip(b"\0").decode(),
        state[1] if state else next((name for name, value in STATES.items() if value == number), ""),
        source,
        destination,
    )
