"""What takes minutes with the usual settings, with short ones: C-063, C-071, C-090, C-091, first message (D10)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from tests.support.sip.wire import Phone, Tcp

from .lab import Account, Lab
from .test_presence import Watch, basic, document, publish_draft


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    sip = {"min_expires": 1, "nonce_lifetime": 2, "first_message_timeout": 1}
    with Lab(tmp_path_factory.mktemp("short"), 80, sip=sip) as lab:
        yield lab


@contextlib.contextmanager
def paused(lab: Lab) -> Iterator[None]:
    """Nothing leaves by the carrier: the server has seen the command when a message stays where it is."""
    lab.cli("carriers", "pause", "sim")
    probe = lab.account()
    try:
        with lab.phone(probe) as phone:
            lab.wait(lambda: _stays_queued(lab, phone, probe))
        yield
    finally:
        lab.cli("carriers", "resume", "sim")


def _stays_queued(lab: Lab, phone: Phone, probe: Account) -> bool:
    phone.message("5554443001", "probe")
    deadline = time.monotonic() + 0.2
    while time.monotonic() < deadline:
        if lab.rows(probe.did)[-1]["state"] not in ("queued", "sending"):
            return False
        time.sleep(0.02)
    return bool(lab.rows(probe.did)[-1]["state"] == "queued")


@pytest.mark.req("C-063")
def test_c063_binding_that_expires(lab: Lab, account: Account, phone: Phone) -> None:
    phone.register(f"<{phone.contact}>;expires=1")
    began = time.monotonic()
    assert phone.contact in lab.bindings(account.name)
    lab.wait(lambda: not lab.bindings(account.name), 5.0)
    assert time.monotonic() - began > 0.5
    assert phone.bindings() == {}
    lab.sms(account.did, "while away")
    lab.delivery(account.did, state="queued", attempts=0)
    phone.assert_silent(0.2)
    phone.register()
    assert phone.take(1.0).text == "while away"
    lab.delivery(account.did, state="delivered")


@pytest.mark.req("C-126")
def test_c126_a_subscription_that_expires(account: Account, phone: Phone) -> None:
    watch = Watch(phone, account.sub, expires=1)
    watch.notified()
    assert watch.notified(3).get("subscription-state") == "terminated;reason=timeout"
    assert watch.again(60).status == 481
    phone.assert_silent()


@pytest.mark.req("C-125", "C-126")
def test_c126_what_others_learn_from_an_expiry(lab: Lab, account: Account, udp_phone: Phone) -> None:
    """A publication and a binding that nobody refreshes."""
    watch = Watch(udp_phone, account.sub)
    assert basic(watch.notified()) == "closed"
    with lab.phone(account.sub) as other:
        assert other.authenticated(publish_draft(other, document(account.sub, "open"), 1)).status == 200
        assert basic(watch.notified()) == "open"
        assert basic(watch.notified(3)) == "closed"
        other.register(f"<{other.contact}>;expires=1")
        assert basic(watch.notified()) == "open"
        assert basic(watch.notified(3)) == "closed"


@pytest.mark.req("C-071")
def test_c071_old_nonce(phone: Phone) -> None:
    draft = phone.register_draft(f"<{phone.contact}>")
    challenged = phone.ask(draft)
    right = phone.authorise(draft, challenged)
    wrong_draft = phone.message_draft("5554443001")
    wrong_challenged = phone.ask(wrong_draft)
    phone.credentials.password += "x"
    wrong = phone.authorise(wrong_draft, wrong_challenged)
    time.sleep(2.2)  # the nonce's whole life
    if phone.wire.stream:
        phone.send(b"\r\n\r\n")
    response = phone.ask(right)
    assert response.status == 401
    assert response.challenges()[0]["stale"] == "true"
    response = phone.ask(wrong)
    assert response.status == 407
    assert "stale" not in response.challenges()[0]


@pytest.mark.req("C-090")
def test_c090_expired_before_it_could_be_sent(lab: Lab, account: Account, phone: Phone) -> None:
    other = lab.account()
    assert phone.ask(phone.options()).status == 200  # a connection that has said nothing is closed meanwhile
    with paused(lab):
        assert phone.authenticated(phone.message_draft(other.did).add("Expires", "1")).status == 202
        assert lab.delivery(account.did)["state"] == "queued"
        lab.delivery(account.did, state="expired")
    assert phone.message(other.did, "the next one").status == 202
    lab.wait(lambda: lab.rows(other.did))
    assert lab.texts(other.did) == ["the next one"]
    assert lab.rows(account.did)[0]["state"] == "expired"


@pytest.mark.req("C-091")
@pytest.mark.parametrize("off", [-3600, 3600])
def test_c091_date_that_is_not_sane_counts_from_receipt(lab: Lab, account: Account, phone: Phone, off: int) -> None:
    draft = (
        phone.message_draft("5554443001").add("Expires", "60").add("Date", formatdate(time.time() + off, usegmt=True))
    )
    assert phone.authenticated(draft).status == 202
    lab.wait(lambda: lab.rows(account.did)[-1]["state"] in ("delivered", "accepted"))
    if off > 0:
        with paused(lab):
            draft = phone.message_draft("5554443001").add("Expires", "1")
            draft.add("Date", formatdate(time.time() + off, usegmt=True))
            assert phone.authenticated(draft).status == 202
            lab.delivery(account.did, state="expired")


@pytest.mark.req("C-091")
def test_c091_sane_date_counts(lab: Lab, account: Account, phone: Phone) -> None:
    draft = (
        phone.message_draft("5554443001").add("Expires", "10").add("Date", formatdate(time.time() - 60, usegmt=True))
    )
    assert phone.authenticated(draft).status == 202
    lab.delivery(account.did, state="expired", attempts=0)


@pytest.mark.req("C-090")
@pytest.mark.parametrize("expires", ["abc", "-1", str(2**40), ""])
def test_c090_malformed_expires_is_no_limit(lab: Lab, account: Account, phone: Phone, expires: str) -> None:
    assert phone.authenticated(phone.message_draft("5554443001").add("Expires", expires)).status == 202
    lab.wait(lambda: lab.rows(account.did)[-1]["state"] in ("delivered", "accepted"))


@pytest.mark.req("D10", "A-21")
@pytest.mark.parametrize("sent", [b"", b"OPTIONS sip:sip.example.net SIP/2.0\r\nVia: SIP/2.0/TCP x", b"\r\n\r\n"])
def test_first_message_is_awaited_for_a_limited_time(lab: Lab, sent: bytes) -> None:
    wire = Tcp(lab.address)
    wire.send(sent)
    if sent == b"\r\n\r\n":
        assert wire.receive_bytes(2) == b"\r\n"
    began = time.monotonic()
    wire.assert_closed(3.0)
    assert time.monotonic() - began > 0.5
    wire.close()
