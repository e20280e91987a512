"""What the rules forbid is refused at once, in words the phone can show, and nothing is stored."""

from __future__ import annotations

import pytest

from .conftest import MakePhone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e

REFUSALS = [
    pytest.param("1" + HANDSET, "hi", 404, "1", id="leading-1", marks=pytest.mark.req("S-088", "C-8", "C-100")),
    pytest.param("+1" + HANDSET, "hi", 404, "10", id="plus-1", marks=pytest.mark.req("S-088", "C-8", "C-100")),
    pytest.param("444555666", "hi", 484, "10", id="nine-digits", marks=pytest.mark.req("S-010", "C-100")),
    pytest.param("44455566667", "hi", 404, "10", id="eleven-digits", marks=pytest.mark.req("S-010", "C-100")),
    pytest.param("444-555-6666", "hi", 404, "10", id="dashes", marks=pytest.mark.req("S-010", "C-100")),
    pytest.param("anybody", "hi", 404, "10", id="a-name", marks=pytest.mark.req("S-010", "C-100")),
    pytest.param("911", "hi", 403, "", id="911", marks=pytest.mark.req("C-9", "C-103", "A-04")),
    pytest.param("988", "hi", 403, "", id="988", marks=pytest.mark.req("C-9", "C-103", "A-04")),
    pytest.param("411", "hi", 403, "", id="411", marks=pytest.mark.req("C-9", "C-103", "A-04")),
    pytest.param("9005551234", "hi", 403, "", id="premium", marks=pytest.mark.req("C-9", "A-04")),
    pytest.param("8765551234", "hi", 403, "", id="Jamaica", marks=pytest.mark.req("C-9", "S-010", "A-04")),
    pytest.param(HANDSET, "x" * 161, 413, "160", id="161", marks=pytest.mark.req("S-001", "S-089", "C-1", "C-098")),
    pytest.param(HANDSET, "👋" * 161, 413, "160", id="161-emoji", marks=pytest.mark.req("S-089", "C-7", "C-099")),
    pytest.param(HANDSET, " ", 400, "empty", id="empty"),
]


@pytest.mark.parametrize(("number", "text", "status", "words"), REFUSALS)
def test_invalid_messages_are_refused_with_the_reason(
    shared_site: Site, one_account: Account, make_phone: MakePhone, number: str, text: str, status: int, words: str
) -> None:
    answer = make_phone(one_account).send(number, text)
    assert answer.status == status
    assert answer.warning, "no Warning says why"
    assert words in answer.warning
    assert shared_site.rows() == []


@pytest.mark.req("C-103", "A-04")
def test_emergency_calls_for_help_by_text_leave_an_audit_line(
    site: Site, account: Account, make_phone: MakePhone
) -> None:
    assert make_phone(account).send("911", "help").status == 403
    events = [event for event in site.events("audit") if event["account"] == account.name]
    assert [event["destination"] for event in events] == ["911"]
    assert "help" not in str(events)


@pytest.mark.req("S-089", "C-7", "C-098", "C-099")
@pytest.mark.parametrize("text", ["x" * 160, "👋" * 160, "{" * 160], ids=["ascii", "emoji", "gsm-extension"])
def test_160_characters_pass(accepting_account: Account, shared_site: Site, make_phone: MakePhone, text: str) -> None:
    """A character is a code point, whatever room it takes on the air."""
    assert make_phone(accepting_account, "tcp").send(HANDSET, text).status == 202
    shared_site.settled(accepting_account.did, text, "delivered")


@pytest.mark.req("C-9")
@pytest.mark.parametrize("number", ["8005551234", "7875551234", "9075551234", "8085551234", "4165551234", "5551234567"])
def test_numbers_of_the_region_pass(accepting_account: Account, make_phone: MakePhone, number: str) -> None:
    """Toll-free, Puerto Rico, Alaska, Hawaii, Canada, and an area code of no region."""
    assert make_phone(accepting_account).send(number, "hello").status == 202


@pytest.mark.req("C-112")
def test_another_domain_is_not_relayed_to(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.send(f"sip:{HANDSET}@elsewhere.example", "relay me").status == 403


@pytest.fixture(scope="module")
def one_account(shared_site: Site) -> Account:
    return shared_site.account()


@pytest.fixture(scope="module")
def accepting_account(shared_site: Site) -> Account:
    """Used by the last stories of this file only: what it sends is stored."""
    return shared_site.account()
