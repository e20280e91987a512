"""A server with many customers who have SMPP, and what an ESME of raw octets asks of it.

Customer n has the DIDs 555nnn0001 and 555nnn0002 under one user and password, and 555nnn0003 without SMPP.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.site import HANDSET, Site

from tests.support.node.server import Node, free_port
from tests.support.smpp.wire import DELIVER, RESPONSE, SUBMIT, Closed, Pdu, RawEsme, read_deliver, sm_body, tlv

OK, BAD_LENGTH, BAD_COMMAND_LENGTH, BAD_COMMAND, BAD_STATE, ALREADY_BOUND = 0, 1, 2, 3, 4, 5
BAD_SOURCE, BAD_DESTINATION, BAD_ID, BIND_FAILED, QUEUE_FULL = 0x0A, 0x0B, 0x0C, 0x0D, 0x14
CANCEL_FAILED, REPLACE_FAILED, QUERY_FAILED = 0x11, 0x13, 0x67
BAD_ESM_CLASS, NO_LISTS, SUBMIT_FAILED, THROTTLED, BAD_SCHEDULE, BAD_EXPIRY = 0x43, 0x44, 0x45, 0x58, 0x61, 0x62
BAD_CODING = 0x104
NACK = 0x80000000
OUR_ID, RECEIPTED_ID, STATE, PAYLOAD = 0x1501, 0x001E, 0x0427, 0x0424
UDHI = 0x40
NAMES = ("sip.example.net", "localhost", "127.0.0.1", "::1")
PHONE = "1" + HANDSET


@dataclass(frozen=True)
class Customer:
    name: str
    user: str
    did: str  # these two share the bind
    second: str
    without: str  # has no SMPP
    password: str = "pw-smpp"


class SmppSite(Site):
    def __init__(self, folder: Path, customers: int = 100, urls: Iterable[str] = (), **settings: Any) -> None:
        """`urls`: the customers' own servers, of the first ones."""
        self.smpp_port, self.ssmpp_port = free_port(), free_port()
        settings = {"callbacks": {"allow_private": True}, **settings}
        super().__init__(folder, 0, **settings)
        self._customers = [_customer(number) for number in range(1, customers + 1)]
        pairs = itertools.zip_longest(self._customers, urls, fillvalue="")
        self.import_accounts(*(_entry(one, url) for one, url in pairs if isinstance(one, Customer)))
        self._free = iter(self._customers)

    def write_config(self, **settings: Any) -> None:
        super().write_config(**settings)
        listen = {name: value for name, value in self.settings["listen"].items() if name != "smpp"}
        smpp = [f"smpp://127.0.0.1:{self.smpp_port}"]
        if self.certificate is not None:
            smpp.append(f"ssmpp://127.0.0.1:{self.ssmpp_port}")
        super().write_config(**{**self.settings, "listen": {**listen, "smpp": smpp}})

    def customer(self) -> Customer:
        """One that no test has had."""
        return next(self._free)

    def texts(self, did: str) -> list[str]:
        return [row["text"] for row in self.rows(did)]

    def set(self, did: str, *words: str) -> None:
        self.cli("did", "set", did, *words)

    def listen_securely(self, **settings: Any) -> Node:
        """For `localhost`, too: smppwire asks for that name."""
        super().listen_securely(**settings)
        self.authority.issue(self.folder, *NAMES)
        return self

    def no_crash(self) -> None:
        super().no_crash()
        assert not self.events("smpp_failed"), self.events("smpp_failed")[0]


def _customer(number: int) -> Customer:
    dids = [f"555{number:03d}000{n}" for n in (1, 2, 3)]
    return Customer(f"s{number:03d}", f"u{number:03d}", *dids)


def _entry(one: Customer, url: str) -> dict[str, Any]:
    smpp = {"smpp": True, "smpp_username": one.user, "smpp_password": one.password}
    first = {**smpp, "smpp_url": url} if url else smpp
    return {
        "name": one.name, "password": f"sip-{one.name}", "caller_id": one.did,
        "dids": [{"number": one.did, **first}, {"number": one.second, **smpp}, {"number": one.without}],
    }  # fmt: skip


class Esme(RawEsme):
    """From an address of one's own on loopback, where that is wanted."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, seconds: float = 10.0, source: str = "") -> None:
        if not source:
            super().__init__(port, tls, seconds)
            return
        self.socket = socket.create_connection(("127.0.0.1", port), seconds, (source, 0))
        self._buffer, self._sequence = b"", 0

    def answer(self, pdu: Pdu, status: int = 0) -> None:
        body = b"\0" if pdu.command == DELIVER and not status else b""
        self.send(RESPONSE | pdu.command, body, pdu.sequence, status)

    def rest(self) -> list[Pdu]:
        """All that comes until the server closes."""
        found = []
        try:
            while True:
                found.append(self.receive())
        except (Closed, OSError):
            return found

    def silent(self, seconds: float = 0.5) -> bool:
        """Nothing comes for so long."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.receive()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)
        return False


class Receipt(dict[str, str]):
    """A receipt's fields by the names in its text, and its addresses."""

    def __init__(self, pdu: Pdu) -> None:
        found = read_deliver(pdu)
        words, _, text = found.text.partition(" text:")
        pairs = [
            one.split(":", 1) for one in words.replace("submit date", "submit").replace("done date", "done").split()
        ]
        super().__init__(pairs)
        self.update(text=text, source=found.source, destination=found.destination)
        self.esm_class = found.esm_class
        self.named = found.tlvs[RECEIPTED_ID].rstrip(b"\0").decode()
        self.state = found.tlvs[STATE][0]


def receipt(esme: RawEsme) -> Receipt:
    """The next one, answered."""
    pdu = esme.until(DELIVER)
    esme.send(RESPONSE | DELIVER, b"\0", pdu.sequence)
    return Receipt(pdu)


def udh(reference: int, total: int, number: int, wide: bool = False) -> bytes:
    if wide:
        return bytes((6, 8, 4)) + struct.pack(">H", reference) + bytes((total, number))
    return bytes((5, 0, 3, reference, total, number))


def sar(reference: int, total: int, number: int) -> bytes:
    return tlv(0x020C, struct.pack(">H", reference)) + tlv(0x020E, bytes([total])) + tlv(0x020F, bytes([number]))


def part(esme: RawEsme, source: str, to: str, pieces: list[bytes], number: int, reference: int, **more: Any) -> Pdu:
    """One of a text's parts, by UDH."""
    wide = more.pop("wide", False)
    header = udh(reference, len(pieces), number, wide)
    return esme.submit(source, to, header + pieces[number - 1], esm_class=UDHI, **more)


def pipeline(esme: RawEsme, bodies: Iterable[bytes], command: int = SUBMIT) -> list[int]:
    """All of them in one write; their sequence numbers."""
    octets, numbers = b"", []
    for body in bodies:
        esme._sequence += 1
        numbers.append(esme._sequence)
        octets += struct.pack(">IIII", 16 + len(body), command, 0, esme._sequence) + body
    esme.raw(octets)
    return numbers


def message(source: str, to: str, text: str, **more: Any) -> bytes:
    return sm_body(source, to, text.encode("ascii"), **more)


Bind = Callable[..., Esme]
