"""Clients that do not wait for the server: what they meet while it starts, stops and reloads is never half of it."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from e2e.site import HANDSET, Account, Site

from sipsms.store.sqlite import sqlite3
from tests.support.sip.impatient import Phone

from .conftest import MakeSite

pytestmark = pytest.mark.e2e

PHONES = 300
WAYS = ["udp"] * 4 + ["tcp"] * 2 + ["wss"]
REPEATERS = 20


@asynccontextmanager
async def phones_of(site: Site, count: int) -> AsyncIterator[dict[Phone, Account]]:
    """Phones of as many accounts, by all transports, which register for ever from now on."""
    accounts = [site.account() for _ in range(count)]
    phones = [
        Phone(one.name, one.password, way, site.address_of(way))
        for n, one in enumerate(accounts) for way in [WAYS[n % len(WAYS)]]
    ]  # fmt: skip
    tasks = [asyncio.create_task(phone.run()) for phone in phones]
    try:
        yield dict(zip(phones, accounts, strict=True))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(look: Callable[[], object], seconds: float = 60.0) -> None:
    """Poll for what must come. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not look():  # noqa: ASYNC110  the store and the phones tell nobody
            await asyncio.sleep(0.02)


def fill(store: Path, count: int = 20_000) -> None:
    """Many more accounts with a registered phone each, copies of the first one's: starting takes a while."""
    with sqlite3.connect(store) as db:
        for table, names in (("accounts", ("name",)), ("devices", ("id", "aor")), ("bindings", ("device", "aor"))):
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            row = dict(zip(columns, db.execute(f"SELECT * FROM {table} LIMIT 1").fetchone(), strict=True))
            rows = [{**row, **{name: 1_000_000 + n if name in ("id", "device") else f"pad{n}" for name in names}}
                    for n in range(count)]  # fmt: skip
            places = ", ".join(f":{name}" for name in columns)
            db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
    db.close()


def same(answer: bytes) -> bytes:
    """But for the port it was asked from: a phone comes back by another connection."""
    return re.sub(rb";rport=[0-9]+", b"", answer)


def devices(store: Path) -> dict[int, tuple[str, str]]:
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        found = {row[0]: (row[1], row[2]) for row in db.execute("SELECT id, aor, key FROM devices")}
    db.close()
    return found


@pytest.mark.req("I1", "I4", "F-01")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
async def test_phones_meet_no_half_started_server(make_site: MakeSite, how: signal.Signals) -> None:
    """300 phones of 300 accounts never stop registering, 20 of them repeat a MESSAGE whose 202 they did not see. The
    server is killed, stopped or reloaded under them. None is refused, all keep their devices, the repeated MESSAGE is
    answered with the same 202 only, and each SMS reaches the phone of its own account."""
    site = make_site(accounts=PHONES, connections={"per_address": 2 * PHONES})
    site.start()
    async with phones_of(site, PHONES) as phones:
        await until(lambda: all(phone.heard[200] for phone in phones))
        repeaters = list(phones)[:REPEATERS]
        for number, phone in enumerate(repeaters):
            phone.repeated = await phone.write(HANDSET, f"said once {number}")
        known, firsts = devices(site.store), {phone.name: phone.answers[0] for phone in repeaters}
        before = {phone.name: phone.heard[200] for phone in phones}
        counted = {phone.name: len(phone.answers) for phone in repeaters}
        if how is signal.SIGHUP:
            for _ in range(5):
                site.signal(how)
                await asyncio.sleep(0.05)
        else:
            await asyncio.to_thread(site.kill if how is signal.SIGKILL else site.stop)
            known = await asyncio.to_thread(lambda: fill(site.store) or devices(site.store))
            await asyncio.to_thread(site.start)
        await until(lambda: all(phone.heard[200] > before[phone.name] + 1 for phone in phones))
        await until(lambda: all(len(phone.answers) > counted[phone.name] + 1 for phone in repeaters))
        refused = {phone.name: dict(phone.heard) for phone in phones if phone.heard.keys() - {200, 401}}
        assert not refused, f"{len(refused)} with the right password: {list(refused.items())[:3]}"
        now = devices(site.store)
        assert now == known, f"changed: {[(n, known.get(n), one) for n, one in now.items() if known.get(n) != one][:5]}"
        for phone in repeaters:
            assert set(map(same, phone.answers)) == {same(firsts[phone.name])}, phone.answers
        texts = Counter(row["text"] for row in site.rows() if row["text"].startswith("said once"))
        assert texts == {f"said once {number}": 1 for number in range(REPEATERS)}
        for phone, account in phones.items():
            await asyncio.to_thread(site.sms, account.did, f"for {phone.name}")
        await until(lambda: all(phone.got for phone in phones))
        await asyncio.to_thread(site.wait, lambda: all(r["state"] == "delivered" for r in site.rows()[-PHONES:]))
        for phone in phones:
            assert {(one.user, one.text) for one in phone.got} == {(phone.name, f"for {phone.name}")}
            assert len({one.call_id for one in phone.got}) == 1
    site.no_crash()


@pytest.mark.req("F-25")
def test_clients_meet_no_half_renewed_certificate(make_site: MakeSite) -> None:
    """The files of a renewed certificate are written one after the other, with reloads between: every handshake of who
    connects meanwhile succeeds, with a certificate of the same authority."""
    site = make_site()
    site.start()
    assert site.certificate is not None
    made, serials, over = 0, set[str](), threading.Event()
    failed: list[Exception] = []

    def connect() -> None:
        nonlocal made
        while not over.is_set():
            try:
                with (
                    socket.create_connection(site.address_of("tls"), 10) as plain,
                    site.authority.trusting().wrap_socket(plain, server_hostname="127.0.0.1") as secured,
                ):
                    serials.add(str((secured.getpeercert() or {})["serialNumber"]))
                    made += 1
            except OSError as error:
                failed.append(error)

    client = threading.Thread(target=connect)
    client.start()
    try:
        for number in range(6):
            before = made
            fresh = site.authority.issue(site.folder / f"fresh{number}")
            for new, old in ((fresh.certificate, site.certificate.certificate), (fresh.key, site.certificate.key)):
                old.write_bytes(new.read_bytes()[:100])
                site.signal(signal.SIGHUP)
                old.write_bytes(new.read_bytes())
                site.signal(signal.SIGHUP)
            site.wait(lambda number=number: len(serials) > number)
            site.wait(lambda before=before: made > before + 3)
    finally:
        over.set()
        client.join(20)
    assert failed == []
    site.no_crash()
