"""The server is restarted: who was registered still is, and what waited still comes."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import MakePhone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {"sip": {"min_expires": 1}, "queue": {"retry_min": "200ms", "retry_max": "1s"}}


@pytest.mark.req("S-091")
def test_bindings_survive_a_restart(site: Site, account: Account, make_phone: MakePhone) -> None:
    """The phone does nothing at all, and gets an SMS from the server it never registered with."""
    phone = make_phone(account)
    assert phone.register().ok
    assert site.stop() == 0
    site.start()
    assert len(site.contacts(account)) == 1
    site.sms(account.did, "still there?")
    assert phone.wait_texts(1) == ["still there?"]
    phone.assert_nothing_more(1)


@pytest.mark.req("C-063")
def test_expired_bindings_do_not_survive_a_restart(site: Site, account: Account, make_phone: MakePhone) -> None:
    """A registration that ran out while the server was down is over: the message waits."""
    phone = make_phone(account, expires=60, instance="urn:uuid:00000000-0000-4000-8000-000000000008")
    assert phone.register().ok
    phone.offline(abrupt=True)
    assert site.stop() == 0
    site.age(61)
    site.start()
    assert site.contacts(account) == []
    site.sms(account.did, "are you there?")
    assert site.settled(account.did, "are you there?", "queued")["deliveries"][0]["attempts"] == 0
    assert phone.go_online().ok
    assert phone.wait_texts(1, 1.0) == ["are you there?"]


@pytest.mark.req("C-063")
def test_a_binding_expires_while_the_server_runs(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account, expires=2)
    assert phone.register().ok
    phone.offline(abrupt=True)
    site.wait(lambda: site.contacts(account) == [], 4.0)
    site.sms(account.did, "gone")
    assert site.settled(account.did, "gone", "queued")["deliveries"][0]["attempts"] == 0


@pytest.mark.req("F-17")
def test_waiting_messages_are_delivered_after_a_restart(site: Site, account: Account, make_phone: MakePhone) -> None:
    """Messages from before the stop, and one by a command while the server is down."""
    phone = make_phone(account, instance="urn:uuid:00000000-0000-4000-8000-000000000009")
    assert phone.register().ok
    phone.offline()
    site.sms(account.did, "before")
    assert site.stop() == 0
    site.cli("receive", "--from", HANDSET, "--to", account.did, "during")
    site.start()
    assert phone.go_online().ok
    assert phone.wait_texts(2, 1.5) == ["before", "during"]
    phone.assert_nothing_more(2)


@pytest.mark.req("F-17", "S-091")
def test_a_phone_gets_messages_after_a_kill(site: Site, account: Account, make_phone: MakePhone) -> None:
    """kill -9: a phone that stays on gets what comes afterwards, by UDP without registering anew."""
    phone = make_phone(account)
    assert phone.register().ok
    assert phone.send(HANDSET, "sent before").status == 202
    site.kill()
    site.start()
    site.sms(account.did, "after the crash")
    assert phone.wait_texts(1) == ["after the crash"]
    assert phone.send(HANDSET, "sent after").status == 202
    for text in ("sent before", "sent after"):
        site.settled(account.did, text, "delivered", "accepted")
