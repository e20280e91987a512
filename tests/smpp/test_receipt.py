"""Receipts as text."""

from __future__ import annotations

import pytest

from sipsms.core.message import State
from sipsms.smpp.receipt import error_code, other_forms, parse, state_of, write

AT = 1_763_800_000.0  # 2025-11-22 08:26:40 UTC


@pytest.mark.req("P-11")
def test_a_receipt_has_the_usual_form() -> None:
    text = write("12-1", "DELIVRD", AT, AT + 60, "Grüße, this is more than twenty")
    assert text == (
        "id:12-1 sub:001 dlvrd:001 submit date:2511220826 done date:2511220827 stat:DELIVRD err:000 "
        "text:Gr??e, this is more "
    )
    assert parse(text) == ("12-1", "DELIVRD", "000")


@pytest.mark.req("P-11")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "id:7b sub:001 dlvrd:000 submit date:1 done date:2 stat:UNDELIV err:0d1 text:stat:DELIVRD",
            ("7b", "UNDELIV", "0d1"),
        ),
        ("ID:9 STAT:expired ERR:69", ("9", "EXPIRED", "69")),
        ("id: 9 stat: DELIVRD", ("9", "DELIVRD", "")),
        ("stat:REJECTD", ("", "REJECTD", "")),
        ("hello there", ("", "", "")),
        ("id:" + "9" * 10_000, ("9" * 509, "", "")),
        ("", ("", "", "")),
    ],
)  # fmt: skip
def test_receipts_of_all_known_forms_are_parsed(text: str, found: tuple[str, str, str]) -> None:
    assert parse(text) == found


def test_each_state_of_a_receipt_has_its_meaning() -> None:
    words = "DELIVRD EXPIRED DELETED UNDELIV REJECTD ENROUTE ACCEPTD UNKNOWN whatever"
    assert [state_of(word) for word in words.split()] == [
        State.DELIVERED, State.EXPIRED, State.FAILED, State.FAILED, State.FAILED, State.ACCEPTED, State.ACCEPTED,
        State.ACCEPTED, State.ACCEPTED,
    ]  # fmt: skip
    assert state_of("UNDELIV", 2) is State.DELIVERED  # the TLV has the last word
    assert state_of("DELIVRD", 99) is State.DELIVERED


@pytest.mark.req("P-11")
def test_an_id_is_known_in_decimal_and_hexadecimal() -> None:
    assert other_forms("1a2B") == (str(0x1A2B), "0000006699")
    assert other_forms("6699") == ("1a2b", "1A2B", "00001a2b", "00001A2B")
    assert other_forms("10") == ("a", "A", "0000000a", "0000000A")
    assert other_forms("not-hex") == other_forms("") == other_forms("9" * 21) == other_forms("\u0661") == ()


@pytest.mark.req("P-11")
@pytest.mark.parametrize(
    ("reasons", "code"),
    [
        ([], "000"), (["UNDELIV 045"], "045"), (["UNDELIV 7"], "007"),
        (["the SMSC answered 0x45", "REJECTD 12a"], "12a"), (["UNDELIV"], "000"),
        (["UNDELIV 0x14"], "000"), (["refused 045"], "000"), (["UNDELIV 04\n"], "000"),
    ],
)  # fmt: skip
def test_error_codes_are_read_from_receipts(reasons: list[str], code: str) -> None:
    assert error_code(reasons) == code
