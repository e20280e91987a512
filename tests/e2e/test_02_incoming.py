"""An SMS arrives for a DID: the phone gets a MESSAGE that every client can show."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from .conftest import MakePhone
from .site import DOMAIN, HANDSET, Account, Site

pytestmark = pytest.mark.e2e


@pytest.mark.req("S-012", "S-038", "S-039", "S-090", "S-093", "S-111", "G05")
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_the_phone_sees_account_sender_and_did(site: Site, make_phone: MakePhone, transport: str) -> None:
    """To is the account, From the sender at our domain, X-SMS-To the DID; the R-URI is the contact it registered."""
    account = site.account()
    phone = make_phone(account, transport)
    assert phone.register().ok
    (contact,) = site.contacts(account)
    site.sms(account.did, "Are you there?")
    got = phone.wait_message("Are you there?")
    assert got.r_uri == contact
    assert got.header("To") == f"<sip:{account.name}@{DOMAIN}>"
    assert got.header("From").partition(";")[0] == f"<sip:{HANDSET}@{DOMAIN}>"
    assert got.header("X-SMS-To") == account.did
    assert got.header("Content-Type") == "text/plain;charset=UTF-8"
    assert abs(parsedate_to_datetime(got.header("Date")).timestamp() - got.at) < 30
    assert not got.header("Contact")
    row = site.settled(account.did, "Are you there?", "delivered")
    assert [one["state"] for one in row["deliveries"]] == ["delivered"]
    phone.assert_nothing_more(1)


@pytest.mark.req("S-013", "S-014")
@pytest.mark.parametrize("sender", ["72345", "611", "MyBank", "Ba.nk-24"])
def test_short_codes_and_names_are_senders_too(
    shared_site: Site, one_account: Account, make_phone: MakePhone, sender: str
) -> None:
    phone = make_phone(one_account)
    assert phone.register().ok
    shared_site.sms(one_account.did, f"code from {sender}", sender)
    got = phone.wait_message(f"code from {sender}")
    assert got.sender == sender
    assert got.header("X-SMS-To") == one_account.did


@pytest.mark.req("S-015")
@pytest.mark.parametrize(
    "text", ["naïve Ærøskøbing, 日本語", "👋🏽 family 👨‍👩‍👧", "two\nlines", "x" * 160, "<b>&amp;</b> {from}"]
)
def test_texts_arrive_as_they_were_sent(
    shared_site: Site, one_account: Account, make_phone: MakePhone, text: str
) -> None:
    phone = make_phone(one_account)
    assert phone.register().ok
    shared_site.sms(one_account.did, text)
    assert phone.wait_message(text).raw.partition("\r\n\r\n")[2] == text


def test_each_message_has_a_call_id_of_its_own(site: Site, account: Account, make_phone: MakePhone) -> None:
    """Linphone takes two messages with one Call-ID for one."""
    phone = make_phone(account)
    assert phone.register().ok
    for text in ("one", "two", "three"):
        site.sms(account.did, text)
    assert phone.wait_texts(3) == ["one", "two", "three"]
    assert len({one.header("Call-ID") for one in phone.inbox}) == 3


@pytest.fixture(scope="module")
def one_account(shared_site: Site) -> Account:
    return shared_site.account()
