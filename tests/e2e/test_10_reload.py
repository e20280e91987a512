"""SIGHUP takes a new configuration if it is good, and keeps the old one if not; SIGTERM ends in good order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node.ledger import Ledger, Sender
from tests.support.node.stub_carrier import StubCarrier

from .conftest import MakePhone
from .site import DOOR, HANDSET, Site

pytestmark = pytest.mark.e2e


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A server that this story may break."""
    with Site(tmp_path) as site:
        yield site
        site.no_crash()


@pytest.mark.req("F-39")
def test_sighup_takes_a_good_configuration(site: Site, make_phone: MakePhone) -> None:
    """The limit of a message is 20 characters now, and a phone that is registered stays so."""
    account = site.account()
    phone = make_phone(account)
    assert phone.register().ok
    assert phone.send(HANDSET, "x" * 30).status == 202
    site.write_config(carriers={"sim": {"type": "loopback"}, "door": DOOR}, messages={"max_length": 20})
    site.signal(signal.SIGHUP)
    site.wait(lambda: site.events("reloaded"))
    assert site.events("reloaded")[0]["needs_restart"] == []
    assert phone.send(HANDSET, "x" * 30).status == 413
    site.sms(account.did, "still here")
    assert phone.wait_texts(1) == ["still here"]


@pytest.mark.req("F-39")
def test_sighup_adds_a_carrier_and_takes_one_away(site: Site, make_phone: MakePhone) -> None:
    account = site.account()
    with StubCarrier() as stub:
        site.write_config(carriers={"acme": {"type": "http", "url": stub.url, "ok": {"id": "data.id"}}, "door": DOOR})
        site.signal(signal.SIGHUP)
        site.wait(lambda: site.events("reloaded"))
        assert make_phone(account).send(HANDSET, "by acme").status == 202
        assert site.settled(account.did, "by acme", "accepted")["carrier"] == "acme"
        assert [one.json["text"] for one in stub.taken] == ["by acme"]


@pytest.mark.req("F-39")
@pytest.mark.parametrize(
    ("line", "where"),
    [("massages: {}", "massages"), ("messages: {max_length: many}", "max_length"), ("carriers: [", ""), ("\tx", "")],
)
def test_sighup_keeps_the_old_one_when_the_new_is_bad(site: Site, make_phone: MakePhone, line: str, where: str) -> None:
    """The event names file and line; the server goes on as before."""
    account = site.account()
    phone = make_phone(account)
    with site.path.open("a") as file:
        file.write(line + "\n")
    number = len(site.path.read_text().splitlines())
    site.signal(signal.SIGHUP)
    site.wait(lambda: site.events("reload_refused"))
    why = site.events("reload_refused")[0]["why"]
    assert f"{site.path}:{number}" in why or f"{site.path}:{number + 1}" in why
    assert where in why
    assert phone.register().ok
    assert phone.send(HANDSET, "as before").status == 202


@pytest.mark.req("F-39")
def test_sighup_with_a_bad_dialplan_keeps_the_old_one(site: Site, make_phone: MakePhone) -> None:
    """Also when only the dialplan is bad. Then a good one is taken."""
    account = site.account()
    phone = make_phone(account)
    folder = site.folder / "dialplan"
    folder.mkdir()
    (folder / "routing.yaml").write_text("rules:\n- name: broken\n  carriers: [nowhere]\n")
    site.signal(signal.SIGHUP)
    site.wait(lambda: site.events("reload_refused"))
    assert "routing.yaml:3" in site.events("reload_refused")[0]["why"]
    assert phone.send(HANDSET, "as before").status == 202
    (folder / "routing.yaml").unlink()
    (folder / "numbering.yaml").write_text('service_codes: ["911"]\npremium_area_codes: ["555"]\n')
    site.signal(signal.SIGHUP)
    site.wait(lambda: site.events("reloaded"))
    assert phone.send("5551234567", "premium now").status == 403


@pytest.mark.req("F-31", "I1", "I2", "I3")
async def test_sigterm_under_load_drains(tmp_path: Path) -> None:
    """Every 202 is in the store, what the carrier took is marked so, nothing is sent twice, and the exit code is 0."""
    with StubCarrier() as stub:
        carriers = {"acme": {"type": "http", "url": stub.url, "ok": {"id": "data.id"}}}
        site = Site(tmp_path / "node", carriers=carriers)
        ledger = Ledger(tmp_path / "ledger.jsonl", stub)
        site.start()
        accounts = [site.account() for _ in range(8)]
        senders = [Sender(site.address, one.name, one.password, ledger, patience=3.0) for one in accounts]
        work = asyncio.create_task(Sender.load(senders, HANDSET, seconds=20, stop_when_refused=True))
        await ledger.reached(accepted=200, seconds=10)
        code = await asyncio.to_thread(site.stop)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert code == 0
        assert site.events("stopped")
        site.no_crash()
        rows = site.rows()
        ledger.check(rows, unknown_allowed=0)
        assert not [row for row in rows if row["state"] == "sending"]
        for sender in senders:
            sender.close()
