"""A phone that is away gets what came for it when it is back: at once, in order, once."""

from __future__ import annotations

import time

import pytest

from .conftest import MakePhone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e


@pytest.mark.req("F-17", "S-091", "I6")
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_messages_wait_for_a_phone_that_left(site: Site, make_phone: MakePhone, transport: str) -> None:
    """It unregisters, ten messages come, it registers: all of them within a second, in their order, each once."""
    account = site.account()
    phone = make_phone(account, transport, instance="urn:uuid:00000000-0000-4000-8000-000000000001")
    assert phone.register().ok
    phone.offline()
    texts = [f"while you were away {n}" for n in range(10)]
    for text in texts:
        site.sms(account.did, text)
    assert {row["state"] for row in site.rows(account.did)} == {"queued"}
    assert phone.go_online().ok
    back = time.time()
    assert phone.wait_texts(10) == texts
    assert max(one.at for one in phone.inbox) - back < 5.0, "by its REGISTER, not by a timer"
    phone.assert_nothing_more(10)
    site.settled(account.did, texts[-1], "delivered")


@pytest.mark.req("F-17", "S-091")
def test_messages_wait_for_the_first_phone_ever(site: Site, account: Account, make_phone: MakePhone) -> None:
    """Nobody has registered yet: nothing is lost."""
    for text in ("early", "earlier than you"):
        site.sms(account.did, text)
    phone = make_phone(account)
    assert phone.register().ok
    assert phone.wait_texts(2, 1.0) == ["early", "earlier than you"]
    phone.assert_nothing_more(2)


@pytest.mark.req("F-17", "S-079")
def test_one_customer_writes_to_another_who_is_away(site: Site, account: Account, make_phone: MakePhone) -> None:
    other = site.account()
    bob = make_phone(other)
    assert bob.register().ok
    bob.offline()
    assert make_phone(account).send(other.did, "call me").status == 202
    site.settled(other.did, "call me", "queued")
    assert bob.go_online().ok
    got = bob.wait_message("call me", 1.0)
    assert (got.sender, got.header("X-SMS-To")) == (account.did, other.did)


@pytest.mark.req("C-042", "C-065h", "F-17")
def test_messages_wait_for_a_phone_that_vanishes_from_tcp(site: Site, account: Account, make_phone: MakePhone) -> None:
    """The phone vanishes without a word: by TCP the server sees it, the message waits, the phone is back and has it."""
    phone = make_phone(account, "tcp", instance="urn:uuid:00000000-0000-4000-8000-000000000002")
    assert phone.register().ok
    phone.offline(abrupt=True)
    site.sms(account.did, "are you still there?")
    site.wait(lambda: site.rows(account.did)[0]["state"] == "queued")
    assert phone.go_online().ok
    assert phone.wait_message("are you still there?", 1.5).sender == HANDSET
    phone.assert_nothing_more(1)


@pytest.mark.req("C-042", "F-17")
def test_messages_wait_for_a_phone_that_vanishes_from_udp(site: Site, account: Account, make_phone: MakePhone) -> None:
    """The datagram finds a closed port; the next registration brings the message, not a timer."""
    phone = make_phone(account, instance="urn:uuid:00000000-0000-4000-8000-000000000003")
    assert phone.register().ok
    phone.offline(abrupt=True)
    site.sms(account.did, "hello?")
    site.wait(lambda: site.rows(account.did)[0]["deliveries"][0]["last_error"], 1.0)
    assert phone.go_online().ok
    assert phone.wait_message("hello?", 1.0).sender == HANDSET
    phone.assert_nothing_more(1)
