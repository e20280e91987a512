"""The store's file system: full, locked, of the future."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.site import HANDSET, Site

from sipsms.store.sqlite import sqlite3
from tests.support.node.ledger import Ledger, Sender
from tests.support.node.stub_carrier import StubCarrier

from .conftest import MakeSite

pytestmark = pytest.mark.e2e


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here (root needed): {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.req("F-03", "I1", "I3")
async def test_a_full_disk_refuses_messages_and_recovers(small_disk: Path, make_site: MakeSite, tmp_path: Path) -> None:
    """503 with Retry-After while it is full (never a 202); the server lives, and takes messages again within five
    seconds after space was made, without a restart. What was accepted before is all there."""
    site = make_site(small_disk / "node")
    site.start()
    account = site.account()
    ledger = Ledger(tmp_path / "ledger.jsonl")
    sender = Sender(site.address, account.name, account.password, ledger)
    for n in range(5):
        assert await sender.send(HANDSET, f"before {n}") == 202
    ballast = small_disk / "ballast"
    fill(ballast)
    refused, answer = 0, ""
    for n in range(400):  # the log still has some room
        status = await sender.send(HANDSET, f"while {n} " + "x" * 140)
        fill(ballast)
        if status != 202:
            refused = status
            break
    assert refused == 503
    site.wait(lambda: not site.ready())  # /readyz says it, too
    answer = await last_answer(sender, site)
    assert "Retry-After:" in answer
    assert site.hook({"from": HANDSET, "to": account.did, "text": "in", "id": "full-1"})[0] == 503
    assert site.process is not None
    assert site.process.poll() is None
    ballast.unlink()
    deadline = time.monotonic() + 10
    status = 0
    while status != 202 and time.monotonic() < deadline:
        status = await sender.send(HANDSET, f"after {time.monotonic()}")
    assert status == 202
    assert site.hook({"from": HANDSET, "to": account.did, "text": "in", "id": "full-1"})[0] == 200
    site.wait(lambda: all(row["state"] == "delivered" for row in site.rows() if row["direction"] == "out"), 10)
    texts = [row["text"] for row in site.rows() if row["direction"] == "out"]
    assert sorted(texts) == sorted(ledger.accepted)
    sender.close()
    assert site.stop() == 0
    site.no_crash()


def fill(path: Path) -> None:
    """Until nothing fits any more."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    if file.write(b"\0" * size) < size:
                        break
            except OSError:
                continue


async def last_answer(sender: Sender, site: Site) -> str:
    """The whole answer to one more message."""
    uri = f"sip:{HANDSET}@sip.example.net"
    challenge = await sender._ask(sender.request(HANDSET, "one more", "call-f", "t", 1, ""), "call-f", 1)
    signed = sender.request(HANDSET, "one more", "call-f", "t", 2, sender.sign(challenge, uri))
    return await sender._ask(signed, "call-f", 2)


@pytest.mark.req("F-05", "I3", "D9")
async def test_a_store_locked_for_too_long_answers_503(make_site: MakeSite, tmp_path: Path) -> None:
    """After five seconds of patience the phone is told 503 and when to try again; nothing of it is stored later."""
    site = make_site()
    site.start()
    account = site.account()
    sender = Sender(site.address, account.name, account.password, Ledger(tmp_path / "ledger.jsonl"))
    await sender.open()
    release = lock(site.store)
    started = time.monotonic()
    site.wait(lambda: not site.ready())  # /readyz says it, too
    answer = await last_answer(sender, site)
    assert time.monotonic() - started > 3.5
    release.set()
    assert answer.startswith("SIP/2.0 503 ")
    assert "Retry-After:" in answer
    assert await sender.send(HANDSET, "afterwards") == 202
    assert [row["text"] for row in site.rows(account.did)] == ["afterwards"]
    sender.close()
    site.no_crash()


@pytest.mark.req("F-05", "C-034", "I4")
async def test_a_store_locked_for_three_seconds_answers_202_once(make_site: MakeSite, tmp_path: Path) -> None:
    """Another process holds the store: the phone's copies are absorbed, then one 202 and one row."""
    site = make_site()
    site.start()
    account = site.account()
    sender = Sender(site.address, account.name, account.password, Ledger(tmp_path / "ledger.jsonl"))
    assert await sender.send(HANDSET, "before") == 202
    site.settled(account.did, "before", "delivered")
    release = lock(site.store)
    asyncio.get_running_loop().call_later(3.0, release)
    started = time.monotonic()
    assert await sender.send(HANDSET, "patience") == 202
    assert time.monotonic() - started > 2.5
    assert sender.retransmissions >= 2
    site.settled(account.did, "patience", "delivered")
    assert [row["text"] for row in site.rows(account.did)] == ["before", "patience"]
    sender.close()
    site.no_crash()


async def test_requests_without_the_store_are_answered_while_it_is_locked(make_site: MakeSite, tmp_path: Path) -> None:
    """What needs no store is answered at once: a challenge, a refusal."""
    site = make_site()
    site.start()
    account = site.account()
    sender = Sender(site.address, account.name, account.password, Ledger(tmp_path / "ledger.jsonl"))
    assert await sender.send(HANDSET, "before") == 202
    release = lock(site.store)
    waiting = asyncio.create_task(
        Sender(site.address, account.name, account.password, sender.ledger).send(HANDSET, "w")
    )
    try:
        for _ in range(5):
            assert await sender.send("1" + HANDSET, "refused at once") == 404
            assert not waiting.done(), "it is still locked"
    finally:
        release()
    assert await waiting == 202
    sender.close()


def lock(store: Path) -> threading.Event:
    """BEGIN EXCLUSIVE in a thread with its own connection; set the event to let go."""

    class Release(threading.Event):
        __call__ = threading.Event.set

    release, held = Release(), threading.Event()

    def hold() -> None:
        with sqlite3.connect(store, isolation_level=None, timeout=10) as db:
            db.execute("BEGIN EXCLUSIVE")
            held.set()
            release.wait(20)
            db.execute("ROLLBACK")
        db.close()

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(10)
    return release


@pytest.mark.req("F-39")
def test_a_store_of_a_newer_version_is_not_touched(make_site: MakeSite) -> None:
    """Exit 1, one line, nothing changed; commands say the same."""
    site = make_site()
    with sqlite3.connect(site.store) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    for command in ("serve", "migrate", "messages"):
        done = site.cli(command, check=False)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert "9999" in line
        assert "newer" in line
        assert str(site.store) in line
    with sqlite3.connect(site.store) as db:
        assert db.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


@pytest.mark.req("F-39")
def test_a_file_that_is_no_database_is_refused(make_site: MakeSite) -> None:
    site = make_site()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{site.store}{suffix}").unlink(missing_ok=True)
    site.store.write_bytes(b"this is no database\n" * 500)
    done = site.cli("serve", check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert str(site.store) in line
    assert site.store.read_bytes().startswith(b"this is no database")


@pytest.mark.req("F-39")
def test_a_store_that_cannot_be_created_is_refused(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    blocker = tmp_path / "file"
    blocker.write_text("")
    site.write_config(store=f"sqlite:///{blocker}/sub/sipsms.db")
    done = site.cli("serve", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(blocker) in done.stderr


@pytest.mark.req("I2")
async def test_a_lock_during_the_answer_of_the_carrier_loses_no_outcome(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, object], tmp_path: Path
) -> None:
    """The carrier has taken it and the store cannot be written for two seconds: afterwards it is `accepted`, once."""
    from tests.support.node.stub_carrier import Answer

    site = make_site(**carried)
    site.start()
    account = site.account()
    releases: list[threading.Event] = []
    stub.script(Answer(before=lambda: releases.append(lock(site.store))))
    sender = Sender(site.address, account.name, account.password, Ledger(tmp_path / "ledger.jsonl"))
    assert await sender.send(HANDSET, "taken") == 202
    stub.wait(1)
    site.wait(lambda: releases)
    await asyncio.sleep(2)  # how long the fault lasts
    releases[0].set()
    site.settled(account.did, "taken", "accepted", seconds=8)
    assert len(stub.taken) == 1
    sender.close()
    site.no_crash()
