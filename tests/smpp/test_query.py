"""What becomes of a message that is held when its ESME changes or cancels it."""

from __future__ import annotations

import pytest
from e2e.site import HANDSET

from tests.support.smpp.wire import CANCEL, QUERY, REPLACE, cstring

from .kit import (
    BAD_EXPIRY,
    BAD_LENGTH,
    BAD_SCHEDULE,
    OK,
    PHONE,
    REPLACE_FAILED,
    SUBMIT_FAILED,
    Bind,
    Customer,
    Esme,
    SmppSite,
)

pytestmark = [pytest.mark.e2e, pytest.mark.req("S-064")]

TOMORROW, LATER = "000001000000000R", "000002000000000R"
DELETED = 4


@pytest.fixture
def esme(bind: Bind, customer: Customer) -> Esme:
    return bind(customer)


def replace(esme: Esme, message_id: str, source: str, text: bytes, schedule: str = "", validity: str = "") -> int:
    rest = cstring(schedule, validity) + bytes((0, 0, len(text))) + text
    return esme.ask(REPLACE, cstring(message_id) + b"\1\1" + cstring(source) + rest).status


def held(esme: Esme, customer: Customer, text: str = "held") -> str:
    return esme.submit(customer.did, PHONE, text, schedule=TOMORROW).text


@pytest.mark.req("S-016", "S-131")
def test_a_replacement_text_that_would_be_refused_is_refused(esme: Esme, site: SmppSite, customer: Customer) -> None:
    message_id = held(esme, customer)
    assert replace(esme, message_id, customer.did, b"see bit.ly/abc") == SUBMIT_FAILED
    assert replace(esme, message_id, customer.did, b"") == BAD_LENGTH
    assert replace(esme, message_id, customer.did, b"a" * 161) == REPLACE_FAILED, "it would go in two segments"
    assert site.texts(customer.did) == ["held"]
    assert replace(esme, message_id, customer.did, b"a" * 160) == OK
    site.sms(customer.did, "STOP")
    assert replace(esme, message_id, customer.did, b"please") == SUBMIT_FAILED
    assert sorted(site.texts(customer.did)) == ["STOP", "a" * 160]
    assert HANDSET in PHONE


def test_a_replacement_with_another_time_is_refused(esme: Esme, site: SmppSite, customer: Customer) -> None:
    message_id = held(esme, customer)
    assert replace(esme, message_id, customer.did, b"x", schedule=LATER) == BAD_SCHEDULE
    assert replace(esme, message_id, customer.did, b"x", validity=LATER) == BAD_EXPIRY
    assert site.texts(customer.did) == ["held"]


def test_a_cancelled_message_has_the_state_deleted(esme: Esme, customer: Customer) -> None:
    message_id, other = held(esme, customer), held(esme, customer, "another")
    body = cstring("", message_id) + b"\1\1" + cstring(customer.did) + b"\1\1" + cstring(PHONE)
    assert esme.ask(CANCEL, body).status == OK
    states = [esme.ask(QUERY, cstring(name) + b"\1\1" + cstring(customer.did)).body[-2] for name in (message_id, other)]
    assert states == [DELETED, 1]


@pytest.mark.parametrize(
    ("before", "octets", "after"),
    [
        ("held", b"plain", "plain"), ("held", b"even", "even"), ("held", b"1 \x1be", "1 €"),
        ("ж", "другой текст".encode("utf-16-be"), "другой текст"), ("漢字", "漢".encode("utf-16-be"), "漢"),
        ("ж", "in Latin, now".encode("utf-16-be"), "in Latin, now"), ("ж", b"odd", "odd"),
        ("ж", b"\xd8\x3d", "Ø="), ("Ê", "Été".encode("utf-16-be"), "Été"), ("Ê", b"even", "even"),
    ],
)  # fmt: skip
def test_a_replacement_text_is_decoded_like_the_original(
    esme: Esme, site: SmppSite, customer: Customer, before: str, octets: bytes, after: str
) -> None:  # fmt: skip
    """replace_sm has no data_coding."""
    coding = 0 if before.isascii() else 8
    text = before.encode("ascii" if before.isascii() else "utf-16-be")
    message_id = esme.submit(customer.did, PHONE, text, schedule=TOMORROW, coding=coding).text
    assert replace(esme, message_id, customer.did, octets) == OK
    assert site.texts(customer.did) == [after]
