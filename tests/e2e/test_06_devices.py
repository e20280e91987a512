"""Several phones of one account: each gets every message once, also one that comes back days later."""

from __future__ import annotations

import pytest

from .conftest import MakePhone
from .site import Account, Site

pytestmark = pytest.mark.e2e

DESK = "urn:uuid:00000000-0000-4000-8000-00000000de5c"
MOBILE = "urn:uuid:00000000-0000-4000-8000-000000000b1e"
DAY = 86400.0


@pytest.mark.req("C-10", "S-092", "G02")
def test_each_device_gets_each_message_once(site: Site, account: Account, make_phone: MakePhone) -> None:
    desk, mobile = make_phone(account, instance=DESK), make_phone(account, "tcp", instance=MOBILE)
    assert desk.register().ok
    assert mobile.register().ok
    assert len(site.contacts(account)) == 2
    for text in ("one", "two"):
        site.sms(account.did, text)
    assert desk.wait_texts(2) == mobile.wait_texts(2) == ["one", "two"]
    desk.assert_nothing_more(2)
    mobile.assert_nothing_more(2)
    row = site.settled(account.did, "two", "delivered")
    assert [one["state"] for one in row["deliveries"]] == ["delivered", "delivered"]
    assert desk.inbox[0].header("Call-ID") != mobile.inbox[0].header("Call-ID")


@pytest.mark.req("G02", "F-17", "C-10")
def test_a_device_gets_its_messages_days_later(site: Site, account: Account, make_phone: MakePhone) -> None:
    """The mobile leaves; the desk phone takes two messages; the server restarts and four days pass; the mobile is back
    and has both, in order, and the desk phone hears nothing of it."""
    desk, mobile = make_phone(account, instance=DESK), make_phone(account, instance=MOBILE)
    assert desk.register().ok
    assert mobile.register().ok
    mobile.offline()
    for text in ("monday", "tuesday"):
        site.sms(account.did, text)
    assert desk.wait_texts(2) == ["monday", "tuesday"]
    site.wait(lambda: [one["state"] for one in site.rows(account.did)[1]["deliveries"]].count("delivered") == 1)
    assert site.stop() == 0
    site.age(4 * DAY)
    site.start()
    assert mobile.go_online().ok
    assert mobile.wait_texts(2, 1.0) == ["monday", "tuesday"]
    assert desk.register().ok
    mobile.assert_nothing_more(2)
    desk.assert_nothing_more(2)
    site.settled(account.did, "monday", "delivered")


@pytest.mark.req("G02")
def test_messages_expire_after_fourteen_days(site: Site, account: Account, make_phone: MakePhone) -> None:
    """What nobody fetched expires, is not sent, and says so."""
    phone = make_phone(account, instance=DESK)
    assert phone.register().ok
    phone.offline()
    site.sms(account.did, "too late")
    assert site.stop() == 0
    site.age(15 * DAY)
    site.start()
    site.settled(account.did, "too late", "expired")
    assert phone.go_online().ok
    site.sms(account.did, "in time")
    assert phone.wait_texts(1) == ["in time"]
    phone.assert_nothing_more(1)


@pytest.mark.req("G02")
def test_the_same_phone_under_a_new_port_is_one_device(site: Site, account: Account, make_phone: MakePhone) -> None:
    """Known by its +sip.instance: its old contact gets nothing any more, and the message comes once."""
    before = make_phone(account, instance=DESK)
    assert before.register().ok
    before.offline(abrupt=True)
    after = make_phone(account, instance=DESK)
    assert after.register().ok
    site.sms(account.did, "where are you now?")
    assert after.wait_texts(1) == ["where are you now?"]
    after.assert_nothing_more(1)
    row = site.settled(account.did, "where are you now?", "delivered")
    assert len(row["deliveries"]) == 1
