"""Who takes part: customers, accounts, numbers, ports and times."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .book import Book

DOMAIN = "sip.example.net"
HANDSET = "4445556666"  # nobody's DID, that everybody writes to
CARRIER = "acme"
SECRET = "s3cret"
FAMILY = 4  # accounts of a customer
BREAKS = 0.05  # of all requests of SIP connections and SMPP sessions: the client breaks off


@dataclass(frozen=True)
class Account:
    """A phone's, or with `esme` an SMPP program's."""

    name: str
    password: str
    did: str
    customer: str
    esme: bool = False


@dataclass(frozen=True)
class Ports:
    udp: int
    tcp: int
    ws: int
    http: int
    smpp: int


@dataclass(frozen=True)
class Site:
    """What the server is told, and where it is."""

    folder: Path
    ports: Ports
    accounts: tuple[Account, ...]
    carrier_port: int

    @property
    def config(self) -> Path:
        return self.folder / "sipsms.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "sipsms.db"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def phones(self) -> list[Account]:
        return [one for one in self.accounts if not one.esme]

    @property
    def esmes(self) -> list[Account]:
        return [one for one in self.accounts if one.esme]

    @property
    def customers(self) -> list[Account]:
        """Those with phones, who may ask at rest.php."""
        return [one for one in self.phones if one.name == one.customer]

    def write(self) -> Path:
        """The configuration; the file of accounts that `sipsms import` reads is given back. Both are JSON, so YAML."""
        self.config.write_text(json.dumps(self._settings(), indent=1))
        path = self.folder / "accounts.yaml"
        path.write_text(json.dumps({"accounts": [self._entry(one) for one in self._heads()]}, indent=1))
        return path

    def _settings(self) -> dict[str, Any]:
        ports = self.ports
        sip = [f"udp://127.0.0.1:{ports.udp}", f"tcp://127.0.0.1:{ports.tcp}", f"ws://127.0.0.1:{ports.ws}"]
        carrier = {
            "type": "http", "url": f"http://127.0.0.1:{self.carrier_port}/send", "ok": {"id": "data.id"},
            "timeout": "5s", "inbound": {"secret": SECRET, "fields": {"id": "id"}},
        }  # fmt: skip
        return {
            "domain": DOMAIN,
            "store": f"sqlite:///{self.store}",
            "listen": {
                "sip": sip,
                "http": f"http://127.0.0.1:{ports.http}",
                "smpp": [f"smpp://127.0.0.1:{ports.smpp}"],
            },
            "carriers": {CARRIER: carrier},
            "queue": {"retry_min": "200ms", "retry_max": "1s"},
            "log": {"level": "info", "format": "json"},
            "policy": {"same_text": 0, "destinations": 0},  # all is sent by few accounts
            "api": {"daily_sends": 0, "per_minute": 0},
            "sip": {"flood_limit": 0},
            "connections": {"per_address": 2000},  # all phones are at one address
        }

    def _heads(self) -> list[Account]:
        return [one for one in self.accounts if one.name == one.customer]

    def _entry(self, head: Account) -> dict[str, Any]:
        family = [one for one in self.accounts if one.customer == head.name]
        return {
            **_person(head),
            "dids": [_did(one) for one in family],
            "subaccounts": [_person(one) for one in family if one is not head],
        }


def _person(account: Account) -> dict[str, str]:
    return {"name": account.name, "password": account.password, "caller_id": account.did}


def _did(account: Account) -> dict[str, Any]:
    if not account.esme:
        return {"number": account.did, "sip_account": account.name}
    names = {"smpp": True, "smpp_username": account.name, "smpp_password": account.password}
    return {"number": account.did, "sip_account": "", **names}


def accounts(phones: int, esmes: int) -> tuple[Account, ...]:
    """Customers of four accounts each, and one customer for each SMPP program."""
    people = [Account(f"a{n:03d}", f"pw-a{n:03d}", f"5552{n:03d}001", f"a{n - n % FAMILY:03d}") for n in range(phones)]
    programs = [Account(f"e{n}", f"pw-e{n}", f"5553{n:03d}001", f"e{n}", esme=True) for n in range(esmes)]
    return (*people, *programs)


def free_ports() -> Ports:
    """Below those that the system gives to clients, or one of them could take a port while the server is down."""
    return Ports(*(port for port, _ in zip(_free(), range(5), strict=False)))


def _free() -> Iterator[int]:
    for port in random.SystemRandom().sample(range(15_000, 32_000), 2000):
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        yield port


class Play:
    """What all clients share: the site, the book, seeded dice, and whether anything new is to be sent."""

    def __init__(self, site: Site, book: Book, dice: random.Random, rate: float) -> None:
        self.site = site
        self.book = book
        self.dice = dice
        self.rate = rate  # new texts a second, by all clients together
        self.closing = asyncio.Event()  # nothing new is to be sent
        self._number = 0

    def number(self) -> str:
        """A subscriber to whom nobody has written."""
        self._number += 1
        return f"6042{self._number:06d}"

    async def pause(self, share: float, clients: int) -> bool:
        """Until one of so many clients, which send this share of all, sends again. Says whether it may."""
        seconds = self.dice.expovariate(max(self.rate * share / max(clients, 1), 0.001))
        try:
            async with asyncio.timeout(seconds):
                await self.closing.wait()
        except TimeoutError:
            pass
        return not self.closing.is_set()

    async def nap(self, least: float, most: float) -> None:
        await asyncio.sleep(self.dice.uniform(least, most))
