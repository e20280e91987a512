"""Receipts as text."""

from __future__ import annotations

import pytest

from sipsms.core.message import State
from sipsms.core.segmentation import CHARSETS
from sipsms.smpp.pdu import Command, Pdu, Tag
from sipsms.smpp.receipt import Receipt, error_code, names, parse, read, state_of, write
from sipsms.smpp.submit_sm import read_anything

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
def test_an_id_is_known_in_capitals_with_zeros_in_decimal_and_hexadecimal() -> None:
    assert names("1a2B", "auto") == ("1a2B", ("1a2b", str(0x1A2B)))
    assert names("0006699", "auto") == ("0006699", ("6699", "1a2b", str(0x6699)))
    assert names("439041143", "auto")[1][:2] == ("439041143", "1a2b3c77")
    assert names("AB-cd", "auto") == ("AB-cd", ("ab-cd",))
    assert [names(one, "auto") for one in ("", "9" * 21, "\u0661")] == [
        ("", ("",)), ("9" * 21, ("9" * 21,)), ("\u0661", ("\u0661",)),
    ]  # fmt: skip
    assert names("00AB", "same") == ("00AB", ("ab",))
    assert names("1A2B", "hex-decimal") == ("6699", ("6699",))
    assert names("not-hex", "hex-decimal") == ("not-hex", ("not-hex",))


WORDS = "id:AB_1 sub:001 dlvrd:001 submit date:2611281200 done date:2611281201 stat:DELIVRD err:000 text:Hi"
FAILED = WORDS.replace("DELIVRD", "UNDELIV").replace("000", "045")
BOTH = {Tag.RECEIPTED_MESSAGE_ID: b"T9\0", Tag.MESSAGE_STATE: b"\x02"}


def _read(octets: bytes, esm_class: int = 4, coding: int = 0, tlvs: dict[int, bytes] | None = None) -> Receipt | None:
    fields = {"esm_class": esm_class, "data_coding": coding, "short_message": octets}
    pdu = Pdu(Command.DELIVER_SM, 1, 0, fields, tlvs or {})
    return read(pdu, read_anything(pdu, CHARSETS))


@pytest.mark.req("P-11")
@pytest.mark.parametrize("coding", [0, 1, 3, 4, 5, 8, 0x18, 0xF5])
@pytest.mark.parametrize(
    "octets",
    [WORDS.encode(), WORDS.encode() + b"!", WORDS.encode() + "\u0416".encode("utf-16-be"), WORDS.encode("utf-16-be"),
     WORDS.encode("utf-16-le"), WORDS.encode("utf-16")],
)  # fmt: skip
def test_a_receipt_is_found_whatever_its_data_coding_says(coding: int, octets: bytes) -> None:
    """node-smpp#68: SMSCs copy the message's data_coding into the receipt, whose octets are ASCII."""
    assert _read(octets, 4, coding) == Receipt("AB_1", State.DELIVERED, "", True)


def test_a_receipt_in_the_gsm_alphabet_is_read_as_such() -> None:
    octets = WORDS.encode().replace(b"_", b"\x11")
    assert _read(octets) == Receipt("AB_1", State.DELIVERED, "", True)


def test_a_receipt_is_found_behind_a_header_and_in_the_payload() -> None:
    header = b"\x05\x00\x03\x01\x01\x01"
    assert _read(header + FAILED.encode(), 0x44, 8) == Receipt("AB_1", State.FAILED, "UNDELIV 045", True)
    payload = {Tag.MESSAGE_PAYLOAD: FAILED.encode()}
    for short in (b"", b"x"):
        assert _read(short, 4, 0, payload) == Receipt("AB_1", State.FAILED, "UNDELIV 045", True)


@pytest.mark.req("P-11")
@pytest.mark.parametrize(
    ("octets", "esm_class", "tlvs", "found"),
    [
        (b"", 0, BOTH, Receipt("T9", State.DELIVERED, "", True)),  # node-smpp#140
        (WORDS.encode(), 0, BOTH, Receipt("T9", State.DELIVERED, "", True)),
        (b"", 0, {**BOTH, Tag.MESSAGE_STATE: b"\x05"}, Receipt("T9", State.FAILED, "UNDELIV", True)),
        (FAILED.encode(), 0, {Tag.RECEIPTED_MESSAGE_ID: b"T9"}, Receipt("T9", State.FAILED, "UNDELIV 045", True)),
        (b"id:7 x", 0, {Tag.MESSAGE_STATE: b"\x02"}, None),  # no text of a receipt
        (WORDS.encode(), 0, {Tag.MESSAGE_STATE: b"\x02"}, Receipt("AB_1", State.DELIVERED, "", True)),
        (WORDS.encode(), 0x08, {}, Receipt("AB_1", State.DELIVERED, "", True)),
        (WORDS.encode(), 0, {}, Receipt("AB_1", State.DELIVERED, "", False)),  # vumi#637
        (b"thanks", 0x08, {}, None),
        (b"thanks", 0, {Tag.RECEIPTED_MESSAGE_ID: b"T9"}, None),
        (b"my id: 7 and stat: fine", 0, {}, None),
        (b"stat:DELIVRD", 0, {}, None),
        (b"", 4, {}, Receipt("", State.ACCEPTED, "", True)),
    ],
)
def test_a_receipt_is_recognised_by_its_class_or_parameters_or_text(
    octets: bytes, esm_class: int, tlvs: dict[int, bytes], found: Receipt | None
) -> None:
    assert _read(octets, esm_class, 0, tlvs) == found


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
