"""Requests for delivery reports, and the column that has them."""

from __future__ import annotations

import pytest

from sipsms.core.report_request import (
    MAX_URL,
    ImdnRequest,
    ReportRequest,
    SmppRequest,
    UrlRequest,
    WebhookRequest,
    decode,
    encode,
    of_parts,
)

SMPP = SmppRequest(1, 1, 1, 2, 9, (3,), "tok", "15550001111", "5551234567", 7)

COLUMN: dict[str, ReportRequest | None] = {  # as stores of all versions have it
    "": None,
    "msg-id": ImdnRequest("msg-id"),
    "#webhook": WebhookRequest(),
    "#dlr 17 http://x/?a=%d b": UrlRequest(17, "http://x/?a=%d b"),
    "#smpp\t1\t1\t1\t2\t9\t\t\t15550001111\t5551234567": SMPP._replace(parts=(), token="", reference=None),
    "#smpp\t1/7\t1\t1\t2\t9\t3\ttok\t15550001111\t5551234567": SMPP,
    "#smpp\t17/0\t1\t1\t2\t9\t1.2.4\ttok\ta\tb": SmppRequest(17, 1, 1, 2, 9, (1, 2, 4), "tok", "a", "b", 0),
    "#imdn #webhook": ImdnRequest("#webhook"),
}


@pytest.mark.parametrize("text", COLUMN)
def test_each_report_request_is_stored_and_read_back(text: str) -> None:
    assert decode(text) == COLUMN[text]
    assert encode(COLUMN[text]) == text


@pytest.mark.parametrize("name", ["#webhook", "#dlr 31 http://127.0.0.1/", "#smpp\t1", "#imdn x", "#"])
def test_an_imdn_id_of_a_phone_is_never_read_as_another_request(name: str) -> None:
    assert decode(encode(ImdnRequest(name))) == ImdnRequest(name)


def test_the_longest_request_fits_the_column() -> None:
    longest = SmppRequest.of(255, "1" * 30, "2" * 30, 255, 255, 255, 255, 255, "t" * 24)
    assert len(encode(longest)) <= 127
    assert (
        decode(encode(longest)) == longest == SmppRequest(255, 255, 255, 255, 255, (255,), "t" * 24, "1" * 24, "2" * 24)
    )
    assert len(encode(UrlRequest(31, "u" * MAX_URL))) <= 255


def test_an_address_with_a_tab_cannot_shift_the_fields() -> None:
    request = SmppRequest.of(1, "a\tb", "\n\xe9", 0, 0, 0, 0)
    assert (request.source, request.destination) == ("a?b", "??")
    assert decode(encode(request)) == request


def test_a_long_text_is_reported_for_the_parts_that_want_it() -> None:
    wanted = [SMPP._replace(parts=(n,)) for n in (3, 1)]
    assert of_parts([*wanted, None]) == SMPP._replace(parts=(1, 3))
    assert of_parts([wanted[0], wanted[1]._replace(reference=8)]) == SMPP._replace(parts=(1, 3), reference=None)
    assert of_parts([None, None]) is None
