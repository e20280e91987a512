"""What a phone sends leaves as an SMS, from one of its customer's numbers."""

from __future__ import annotations

import pytest

from .conftest import MakePhone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e


@pytest.mark.req("S-012", "S-081", "C-083", "G04")
def test_a_message_reaches_a_handset_and_its_answer_rings(site: Site, account: Account, make_phone: MakePhone) -> None:
    """202, the simulated handset has it, it answers, and the answer rings."""
    phone = make_phone(account)
    assert phone.register().ok
    assert phone.send(HANDSET, "On my way.").status == 202
    row = site.settled(account.did, "On my way.", "delivered", "accepted")
    assert (row["from"], row["to"], row["direction"], row["carrier"]) == (account.did, HANDSET, "out", "sim")
    site.sms(account.did, "See you!")
    assert phone.wait_message("See you!").sender == HANDSET


@pytest.mark.req("S-081", "S-082", "C-101", "C-102")
@pytest.mark.parametrize(
    ("display", "from_user", "source"),
    [
        (None, None, "did"),  # the account's caller ID
        (None, "did", "did"),  # From is the DID
        ("did", None, "did"),  # a name of ten digits is the caller ID
        ("Bob", None, "did"),  # any other name means nothing
        ("15550001111", None, "did"),  # eleven digits are any other name
        ("4449998888", None, None),  # somebody else's number
        (None, "4449998888", None),
        ("voice_did", None, None),  # ours, but without the message service
        ("4449998888", "did", None),  # the name goes before the number, and there is no falling back
    ],
)
def test_the_caller_id_is_the_source(
    shared_site: Site, one_account: Account, make_phone: MakePhone,
    display: str | None, from_user: str | None, source: str | None,
) -> None:  # fmt: skip
    def number(value: str | None) -> str | None:
        return getattr(one_account, value) if value in ("did", "voice_did") else value

    text = f"from {display} {from_user}"
    phone = make_phone(one_account)
    answer = phone.send(HANDSET, text, display_name=number(display), from_user=number(from_user))
    found = [row for row in shared_site.rows() if row["text"] == text]
    if source is None:
        assert answer.status == 403
        assert "caller ID" in answer.warning
        assert found == []
    else:
        assert answer.status == 202
        assert [row["from"] for row in found] == [number(source)]


@pytest.mark.req("S-079")
def test_a_message_from_one_customer_reaches_another(site: Site, account: Account, make_phone: MakePhone) -> None:
    """It leaves by the carrier and comes back in as an SMS to the other's DID."""
    other = site.account()
    alice, bob = make_phone(account), make_phone(other, "tcp")
    assert alice.register().ok
    assert bob.register().ok
    assert alice.send(other.did, "Bob, it is alice.").status == 202
    got = bob.wait_message("Bob, it is alice.")
    assert (got.sender, got.header("X-SMS-To")) == (account.did, other.did)
    assert bob.send(got.sender, "I see.").status == 202
    assert alice.wait_message("I see.").sender == other.did


@pytest.mark.req("S-011")
def test_a_phone_need_not_be_registered_to_send(site: Site, account: Account, make_phone: MakePhone) -> None:
    """Its password is what counts."""
    assert make_phone(account, "tcp").send(HANDSET, "from nowhere").status == 202
    site.settled(account.did, "from nowhere", "delivered")


@pytest.mark.req("C-089")
def test_a_typing_notice_is_no_sms(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    typing = "<isComposing><state>active</state></isComposing>"
    assert phone.send(HANDSET, typing, content_type="application/im-iscomposing+xml").status == 200
    assert phone.send(HANDSET, "<html>", content_type="text/html").status == 415
    assert site.rows(account.did) == []


@pytest.fixture(scope="module")
def one_account(shared_site: Site) -> Account:
    return shared_site.account()
