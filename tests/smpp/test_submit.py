"""What an ESME sends: numbers, codings, parts, times, receipts, several recipients; and what it sends again."""

from __future__ import annotations

import random
import socket
import struct
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from e2e.site import HANDSET

from sipsms.smpp.resend_detection import HEARD
from sipsms.store.sqlite import sqlite3
from tests.support.smpp.wire import BIND_TX, DATA, DELIVER, MULTI, RESPONSE, SUBMIT, RawEsme, cstring, sm_body, tlv

from .kit import (
    BAD_CODING,
    BAD_DESTINATION,
    BAD_ESM_CLASS,
    BAD_EXPIRY,
    BAD_LENGTH,
    BAD_SCHEDULE,
    BAD_SOURCE,
    NO_LISTS,
    OK,
    PAYLOAD,
    PHONE,
    SUBMIT_FAILED,
    UDHI,
    Bind,
    Customer,
    Esme,
    Receipt,
    SmppSite,
    message,
    part,
    pipeline,
    receipt,
    sar,
    udh,
)

pytestmark = pytest.mark.e2e

TORONTO = "4165550123"
USER_REFERENCE = 0x0204


@pytest.fixture
def esme(bind: Bind, customer: Customer) -> Esme:
    return bind(customer)


# --- numbers ---


@pytest.mark.req("S-070")
@pytest.mark.parametrize("ton", [0, 1, 2, 5])
@pytest.mark.parametrize("form", ["{}", "1{}", "+1{}"])
def test_numbers_in_all_forms_are_accepted(esme: Esme, site: SmppSite, customer: Customer, ton: int, form: str) -> None:
    answer = esme.submit(form.format(customer.did), form.format(TORONTO), "hello", ton=ton)
    assert answer.status == OK
    row = site.settled(customer.did, "hello", "delivered")
    assert (row["from"], row["to"], str(row["id"])) == (customer.did, TORONTO, answer.text)


@pytest.mark.req("S-070")
def test_invalid_destinations_are_refused(esme: Esme, site: SmppSite, customer: Customer) -> None:
    for number in ("", "nobody", "911", "15551", "+", "1" * 20, "4445556666x", "19005551234"):
        assert esme.submit(customer.did, number, "hello").status == BAD_DESTINATION, number
    assert site.rows(customer.did) == []


# --- texts ---

GREEK = bytes((0x10, 0x12, 0x13, 0x1B, 0x65, 0x1B, 0x28, 0x00))  # ΔΦΓ€{@
CODINGS = [
    (0, b"plain ASCII: 1+1=2?", "plain ASCII: 1+1=2?"), (0, GREEK, "ΔΦΓ€{@"), (0, b"\xe9t\xe9", "été"),
    (1, b"a_b@c.example $5", "a_b@c.example $5"), (1, GREEK, "ΔΦΓ€{@"),
    (3, "Grüße, señor ÿ".encode("latin-1"), "Grüße, señor ÿ"), (8, "ж 漢字 😀".encode("utf-16-be"), "ж 漢字 😀"),
    (1, b"[Acme] code {1} ~ \\ | ^", "[Acme] code {1} ~ \\ | ^"), (6, "Привет".encode("iso-8859-5"), "Привет"),
    (7, "שלום".encode("iso-8859-8"), "שלום"), (14, "안녕".encode("euc-kr"), "안녕"), (0x10, b"flash", "flash"),
    (10, "日本".encode("iso2022_jp"), "日本"), (0x19, "ж".encode("utf-16-be"), "ж"), (0x51, b"class 1", "class 1"),
    (8, b"\xfe\xff\0h\0i", "hi"), (8, b"\xff\xfeh\0i\0", "hi"),
    (0xF1, b"class 1", "class 1"), (0xE0, "ж".encode("utf-16-be"), "ж"), (0, b"two\nlines\rhere", "two\nlines\rhere"),
]  # fmt: skip


@pytest.mark.req("P-15", "S-070")
@pytest.mark.parametrize(("coding", "octets", "text"), CODINGS)
@pytest.mark.parametrize("command", [SUBMIT, DELIVER])
def test_texts_in_all_data_codings_are_accepted(
    esme: Esme, site: SmppSite, customer: Customer, coding: int, octets: bytes, text: str, command: int
) -> None:  # fmt: skip
    assert esme.ask(command, sm_body(customer.did, PHONE, octets, coding=coding)).status == OK
    payload = sm_body(customer.did, PHONE, b"", coding=coding, tlvs=tlv(PAYLOAD, octets))
    assert esme.ask(command, payload).status == OK
    assert site.texts(customer.did) == [text, text]


@pytest.mark.req("P-13")
def test_an_escape_cut_from_its_letter_is_joined(esme: Esme, site: SmppSite, customer: Customer) -> None:
    for number in (2, 1):
        pieces = [b"price 5\x1b", b"e."]
        assert part(esme, customer.did, PHONE, pieces, number, 91).status == OK
    assert esme.submit(customer.did, PHONE, b"end\x1b").status == OK
    assert site.texts(customer.did) == ["price 5€.", "end"]


@pytest.mark.req("P-13")
def test_unknown_elements_of_a_header_are_skipped(esme: Esme, site: SmppSite, customer: Customer) -> None:
    text = b"\x05\x0a\x03\x00\x04\x10ems text"
    assert esme.submit(customer.did, PHONE, text, esm_class=UDHI).status == OK
    assert site.texts(customer.did) == ["ems text"]


@pytest.mark.req("P-15")
@pytest.mark.parametrize("coding", [2, 4, 9, 11, 0x15, 0x38, 0x80, 0xF4, 0xFF])
def test_an_undecodable_text_is_refused(esme: Esme, site: SmppSite, customer: Customer, coding: int) -> None:
    assert esme.submit(customer.did, PHONE, "binary", coding=coding).status == BAD_CODING
    assert site.rows(customer.did) == []


@pytest.mark.req("P-14")
def test_payload_or_short_message_is_read_but_not_both(esme: Esme, site: SmppSite, customer: Customer) -> None:
    both = sm_body(customer.did, PHONE, b"short", tlvs=tlv(PAYLOAD, b"payload"))
    for command in (SUBMIT, DELIVER):
        assert esme.ask(command, both).status == BAD_LENGTH
    for size, status in ((1600, OK), (1601, BAD_LENGTH), (60_000, BAD_LENGTH)):
        body = sm_body(customer.did, PHONE, b"", tlvs=tlv(PAYLOAD, b"a" * size))
        assert esme.ask(SUBMIT, body).status == status
    assert esme.submit(customer.did, PHONE, "").status == BAD_LENGTH
    assert esme.submit(customer.did, PHONE, b"x" * 254).status == OK
    assert [len(text) for text in site.texts(customer.did)] == [1600, 254]


@pytest.mark.req("S-064")
def test_unknown_optional_parameters_are_ignored(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """Of SMPP 5.0 and of vendors."""
    strange = tlv(0x0600, b"\1\2") + tlv(0x1400, b"") + tlv(0x3FFF, b"x" * 500) + tlv(0x0204, b"\0\7")
    assert esme.submit(customer.did, PHONE, "with parameters", tlvs=strange).status == OK
    assert site.texts(customer.did) == ["with parameters"]


@pytest.mark.req("S-064")
def test_data_sm_sends_a_message_with_a_receipt(esme: Esme, site: SmppSite, customer: Customer) -> None:
    def body(text: bytes, coding: int = 0, receipt: int = 0) -> bytes:
        return (
            b"\0\1\1" + cstring(customer.did) + b"\1\1" + cstring(PHONE) + bytes((0, receipt, coding))
            + (tlv(PAYLOAD, text) if text else b"")
        )  # fmt: skip

    answer = esme.ask(DATA, body("ж by data_sm".encode("utf-16-be"), 8, 1))
    assert (answer.command, answer.status) == (RESPONSE | DATA, OK)
    assert receipt(esme).named == answer.text
    assert esme.ask(DATA, body(b"")).status == BAD_LENGTH
    assert site.texts(customer.did) == ["ж by data_sm"]


def test_control_messages_are_refused(esme: Esme, site: SmppSite, customer: Customer) -> None:
    for esm_class in (0x04, 0x08, 0x10, 0x20, 0x3C):
        assert esme.submit(customer.did, PHONE, "a receipt?", esm_class=esm_class).status == BAD_ESM_CLASS
    for mode in (0x01, 0x02, 0x03):
        assert esme.submit(customer.did, PHONE, f"mode {mode}", esm_class=mode).status == OK
    push = b"\x06\x05\x04\x0b\x84\x23\xf0" + b"\1\2\3"  # ports: WAP push
    assert esme.submit(customer.did, PHONE, push, esm_class=UDHI, coding=4).status == BAD_CODING
    assert esme.submit(customer.did, PHONE, b"nul\0here", coding=3).status == SUBMIT_FAILED
    assert len(site.rows(customer.did)) == 3


# --- long texts in parts ---

PIECES = [b"The first part, ", b"the second one, ", b"and the last."]
WHOLE = "The first part, the second one, and the last."


@pytest.mark.req("P-13")
@pytest.mark.parametrize("how", ["udh", "udh wide", "sar", "payload udh"])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 3, 1)])
def test_parts_are_joined(
    esme: Esme, site: SmppSite, customer: Customer, how: str, order: tuple[int, ...]
) -> None:  # fmt: skip
    """One message, each part with an id of its own and a receipt."""
    answers = []
    for number in order:
        if how == "sar":
            answer = esme.submit(customer.did, PHONE, PIECES[number - 1], tlvs=sar(300, 3, number), receipt=1)
        elif how == "payload udh":
            octets = tlv(PAYLOAD, udh(7, 3, number) + PIECES[number - 1])
            answer = esme.submit(customer.did, PHONE, b"", esm_class=UDHI, tlvs=octets, receipt=1)
        else:
            answer = part(esme, customer.did, PHONE, PIECES, number, 7, wide=how == "udh wide", receipt=1)
        answers.append(answer)
    assert [one.status for one in answers] == [OK] * 3
    site.settled(customer.did, WHOLE, "delivered")
    told = [receipt(esme) for _ in range(3)]
    assert sorted(one.named for one in told) == sorted(one.text for one in answers)
    assert {one.text.rpartition("-")[0] for one in answers} == {told[0].named.rpartition("-")[0]}
    assert {one["stat"] for one in told} == {"DELIVRD"}
    assert site.texts(customer.did) == [WHOLE]


@pytest.mark.req("P-13")
def test_long_texts_at_the_same_time_are_joined_apart(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """Eight long texts at once, by reference, recipient and number; the same reference soon after is another text."""
    dice, jobs = random.Random(5), []
    for reference in range(4):
        for to in ("14445550001", "14445550002"):
            pieces = [f"{reference} to {to}, {n}; ".encode() for n in range(1, 6)]
            jobs += [(to, pieces, number, reference) for number in range(1, 6)]
    expected = sorted(b"".join(pieces).decode() for _, pieces, number, _ in jobs if number == 1)
    for _ in range(2):
        dice.shuffle(jobs)
        for to, pieces, number, reference in jobs:
            assert part(esme, customer.did, to, pieces, number, reference).status == OK
    assert sorted(site.texts(customer.did)) == sorted([*expected, *expected])


@pytest.mark.req("P-13")
def test_a_part_repeated_in_one_session_begins_another_text(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """In one session a part that comes again begins another text of that reference; nothing is joined wrongly."""
    pieces = [b"one ", b"two"]
    for number in (1, 1, 2):
        assert part(esme, customer.did, PHONE, pieces, number, 9).status == OK
    site.wait(lambda: site.texts(customer.did) == ["one two"])


@pytest.mark.req("P-13", "P-15")
def test_a_character_cut_between_two_parts_is_joined(esme: Esme, site: SmppSite, customer: Customer) -> None:
    octets = "emoji 😀 here".encode("utf-16-be")
    cut = octets.index("😀".encode("utf-16-be")) + 2
    for reference, order in ((1, (1, 2)), (2, (2, 1))):
        for number in order:
            assert (
                part(esme, customer.did, PHONE, [octets[:cut], octets[cut:]], number, reference, coding=8).status == OK
            )
    assert site.texts(customer.did) == ["emoji 😀 here"] * 2
    assert esme.submit(customer.did, PHONE, octets[:cut], coding=8).status == OK
    assert site.texts(customer.did)[2] == "emoji \ufffd"


@pytest.mark.req("P-13")
def test_impossible_part_numbers_are_ignored_or_refused(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """A number beyond the total, or none: a message like any other; too many: refused."""
    for n, (total, number) in enumerate(((2, 3), (0, 0), (2, 0), (1, 1))):
        answer = esme.submit(customer.did, PHONE, udh(1, total, number) + b"alone %d" % n, esm_class=UDHI)
        assert answer.status == OK
    assert site.texts(customer.did) == [f"alone {n}" for n in range(4)]
    assert esme.submit(customer.did, PHONE, udh(1, 25, 1) + b"of 25", esm_class=UDHI).status == BAD_LENGTH
    held = esme.submit(
        customer.did, PHONE, udh(1, 2, 1) + b"held", esm_class=UDHI, schedule="000000000100000R"
    )  # fmt: skip
    assert held.status == BAD_SCHEDULE


@pytest.mark.req("P-13")
def test_a_restart_between_two_parts_cuts_no_text(tmp_path_factory: pytest.TempPathFactory) -> None:
    """However long the server was down. (Texts that are given up: messaging/test_concatenation.)"""
    with SmppSite(tmp_path_factory.mktemp("parts"), 2) as site:
        customer = site.customer()
        with Esme(site.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            for reference in (1, 2):
                for number in (1, 3):
                    part(esme, customer.did, PHONE, PIECES, number, reference, receipt=1)
            site.stop()
        site.start()
        with Esme(site.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            assert part(esme, customer.did, PHONE, PIECES, 2, 1, receipt=1).status == OK
            site.wait(lambda: site.texts(customer.did) == [WHOLE])
            assert {receipt(esme)["stat"] for _ in range(3)} == {"DELIVRD"}
        site.stop()
        with sqlite3.connect(site.store) as db:
            db.execute("UPDATE parts SET received_at = received_at - 310")
        db.close()
        site.start()
        with Esme(site.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            assert part(esme, customer.did, PHONE, PIECES, 2, 2, receipt=1).status == OK
            site.wait(lambda: site.texts(customer.did) == [WHOLE, WHOLE])
        site.no_crash()


# --- times ---


def absolute(after: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=after)).strftime("%y%m%d%H%M%S") + "000+"


@pytest.mark.req("S-064")
@pytest.mark.parametrize("form", ["relative", "absolute", "zoned"])
def test_a_scheduled_message_is_held(esme: Esme, site: SmppSite, customer: Customer, form: str) -> None:
    zoned = (datetime.now(UTC) + timedelta(seconds=2) - timedelta(hours=5)).strftime("%y%m%d%H%M%S") + "020-"
    when = {"relative": "000000000002000R", "absolute": absolute(2), "zoned": zoned}[form]
    began = time.time()
    assert esme.submit(customer.did, PHONE, "later", schedule=when, receipt=1).status == OK
    assert site.rows(customer.did)[0]["state"] != "delivered"
    assert receipt(esme)["stat"] == "DELIVRD"
    assert time.time() - began > 0.9


@pytest.mark.req("S-064")
def test_invalid_times_are_refused(esme: Esme, site: SmppSite, customer: Customer) -> None:
    for wrong in ("tomorrow", "991399000000000+", "0000000000020", "000000000002000X"):
        assert esme.submit(customer.did, PHONE, "when?", schedule=wrong).status == BAD_SCHEDULE, wrong
        assert esme.submit(customer.did, PHONE, "when?", validity=wrong).status == BAD_EXPIRY, wrong
    assert site.rows(customer.did) == []


@pytest.mark.req("S-064")
def test_a_message_that_expires_before_its_time_is_not_sent(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """Its time ends before it may go."""
    body = {"schedule": "000000000003000R", "validity": "000000000001000R"}
    assert esme.submit(customer.did, PHONE, "too late", receipt=1, **body).status in (OK, BAD_EXPIRY)
    assert esme.submit(customer.did, PHONE, "in time", validity=absolute(3600)).status == OK
    site.settled(customer.did, "in time", "delivered")
    rows = site.wait(lambda: [row for row in site.rows(customer.did) if row["state"] != "queued"] or None, 6)
    assert "too late" not in [row["text"] for row in rows if row["state"] == "delivered"]


# --- receipts ---


@pytest.mark.req("P-11")
@pytest.mark.parametrize(
    ("mask", "words"),
    [(0, []), (1, ["DELIVRD"]), (2, []), (3, ["DELIVRD"]), (0x10, []), (0x11, ["DELIVRD"]), (0x0C, [])],
)  # fmt: skip
def test_receipts_are_sent_as_registered_delivery_asks(
    esme: Esme, site: SmppSite, customer: Customer, mask: int, words: list[str]
) -> None:  # fmt: skip
    """0x10 asks for intermediate ones besides, which a simulated handset has no time for."""
    answer = esme.submit(customer.did, PHONE, "hello there, this is long", receipt=mask)
    site.settled(customer.did, "hello there, this is long", "delivered")
    for word in words:
        told = receipt(esme)
        assert (told["id"], told["stat"], told.named, told.state) == (answer.text, word, answer.text, 2)
        assert (told["sub"], told["dlvrd"], told["err"], told["text"]) == ("001", "001", "000", "hello there, this is")
        assert (
            told["submit"] <= told["done"] == datetime.now(UTC).strftime("%y%m%d%H%M") or told["done"] > told["submit"]
        )
        assert told.esm_class == 0x04
    assert esme.silent(0.4)


@pytest.mark.req("P-11")
@pytest.mark.parametrize(("source", "to"), [("{}", TORONTO), ("1{}", "1" + TORONTO), ("+1{}", "+1" + TORONTO)])
def test_a_receipt_has_the_addresses_as_they_were_written(
    esme: Esme, customer: Customer, source: str, to: str
) -> None:  # fmt: skip
    written = source.format(customer.did)
    esme.submit(written, to, "hello", receipt=1)
    told = receipt(esme)
    assert (told["source"], told["destination"]) == (to, written)


@pytest.mark.req("P-11")
def test_a_receipt_has_the_user_message_reference(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """user_message_reference, if it is one; of a long text, if all of its parts have the same."""
    for octets in (b"\x01\x02", b"\0\0", b"\xff\xff", b"\7", b""):
        tlvs = tlv(USER_REFERENCE, octets)
        esme.submit(customer.did, PHONE, f"with {octets.hex()}", receipt=1, tlvs=tlvs)
        told = esme.delivered()
        assert told.tlvs.get(USER_REFERENCE) == (octets if len(octets) == 2 else None)
    for second, expected in ((b"\0\5", b"\0\5"), (b"\0\6", None)):
        for number, octets in ((1, b"\0\5"), (2, second)):
            pieces, more = [b"one ", b"two"], tlv(USER_REFERENCE, octets)
            part(esme, customer.did, PHONE, pieces, number, second[1], receipt=1, tlvs=more)
        assert [esme.delivered().tlvs.get(USER_REFERENCE) for _ in range(2)] == [expected] * 2


@pytest.mark.req("P-11")
def test_each_receipt_comes_after_its_answer(esme: Esme, customer: Customer) -> None:
    numbers = pipeline(esme, [message(customer.did, PHONE, f"asked {n}", receipt=1) for n in range(50)])
    answered, told = set(), []
    while len(told) < 50:
        pdu = esme.receive()
        if pdu.command == RESPONSE | SUBMIT:
            answered.add(pdu.text)
        else:
            esme.answer(pdu)
            told.append(Receipt(pdu).named)
            assert told[-1] in answered
    assert len(set(told)) == len(answered) == len(numbers)


@pytest.mark.req("P-11", "P-16")
def test_receipts_wait_for_a_session_that_receives(bind: Bind, site: SmppSite, customer: Customer) -> None:
    sender = bind(customer, BIND_TX)
    ids = {sender.submit(customer.did, PHONE, f"while deaf {n}", receipt=1).text for n in range(20)}
    site.settled(customer.did, "while deaf 19", "delivered")
    esme = bind(customer)
    assert {receipt(esme).named for _ in range(20)} == ids


# --- several recipients ---


def multi(source: str, targets: list[tuple[int, str]], text: bytes = b"to all", **more: Any) -> bytes:
    """`targets`: (1, a number) or (2, a list's name)."""
    listed = b"".join(
        b"\1\1\1" + cstring(name) if flag == 1 else bytes([flag]) + cstring(name) for flag, name in targets
    )
    rest = sm_body("", "", text, **more)[7:]  # behind the addresses
    return b"\0\1\1" + cstring(source) + bytes([len(targets)]) + listed + rest


def failures(body: bytes) -> list[tuple[str, int]]:
    """Of a submit_multi_resp: (address, status)."""
    rest = body.partition(b"\0")[2]
    count, rest = rest[0], rest[1:]
    found = []
    for _ in range(count):
        address, _, rest = rest[2:].partition(b"\0")
        found.append((address.decode(), struct.unpack(">I", rest[:4])[0]))
        rest = rest[4:]
    assert rest == b""
    return found


@pytest.mark.req("S-064")
def test_submit_multi_names_the_refused_recipients(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """To three that can be, and the others are named with what is wrong with them."""
    good = ["14165550001", "+14165550002", "4165550003"]
    bad = [(2, "friends"), (1, "nobody"), (1, "911")]
    answer = esme.ask(MULTI, multi(customer.did, [*((1, one) for one in good), *bad], receipt=1))
    assert (answer.command, answer.status) == (RESPONSE | MULTI, OK)
    assert failures(answer.body) == [("friends", NO_LISTS), ("nobody", BAD_DESTINATION), ("911", BAD_DESTINATION)]
    rows = site.rows(customer.did)
    assert {row["to"] for row in rows} == {"4165550001", "4165550002", "4165550003"}
    told = [receipt(esme) for _ in good]
    assert {one.named for one in told} == {answer.text}
    assert {one["source"] for one in told} == set(good)


@pytest.mark.req("S-064")
def test_an_invalid_submit_multi_is_refused(esme: Esme, site: SmppSite, customer: Customer) -> None:
    did, recipients = customer.did, [(1, PHONE)]
    assert esme.ask(MULTI, multi(did, [(2, "friends")])).status == NO_LISTS
    assert esme.ask(MULTI, multi(did, [(1, "nobody"), (2, "friends")])).status == SUBMIT_FAILED
    assert esme.ask(MULTI, multi(did, [])).status == 0x33
    assert esme.ask(MULTI, multi(did, [(3, PHONE)])).status == 0x40
    assert esme.ask(MULTI, multi(HANDSET, recipients)).status == BAD_SOURCE
    assert esme.ask(MULTI, multi(did, recipients, coding=4)).status == BAD_CODING
    assert esme.ask(MULTI, multi(did, recipients, udh(1, 2, 1) + b"x", esm_class=UDHI)).status == BAD_ESM_CLASS
    assert site.rows(did) == []


@pytest.mark.req("S-064")
def test_submit_multi_accepts_254_recipients(esme: Esme, site: SmppSite, customer: Customer) -> None:
    answer = esme.ask(MULTI, multi(customer.did, [(1, f"1444555{n:04d}") for n in range(254)]))
    assert answer.status == OK
    assert failures(answer.body) == []
    assert len({row["to"] for row in site.rows(customer.did)}) == 254


# --- STOP, blocks, links ---


@pytest.mark.req("S-064")
def test_a_message_to_a_number_that_answered_stop_is_refused(esme: Esme, site: SmppSite, customer: Customer) -> None:
    site.sms(customer.did, "STOP")
    esme.delivered()
    assert esme.submit(customer.did, PHONE, "please stay").status == SUBMIT_FAILED
    assert part(esme, customer.did, PHONE, PIECES, 1, 3).status == SUBMIT_FAILED
    answer = esme.ask(MULTI, multi(customer.did, [(1, PHONE), (1, "14445550001")]))
    assert failures(answer.body) == [(PHONE, SUBMIT_FAILED)]
    assert esme.submit(customer.did, PHONE, "see bit.ly/abc").status == SUBMIT_FAILED


# --- what is sent again ---


@pytest.mark.req("P-17", "I4")
def test_submits_repeated_after_a_cut_get_the_first_ids(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """Its answers unread, the program was killed: each gets the first one's id; once more, and it is another."""
    texts = [f"did you hear {n}?" for n in range(20)]
    first = bind(customer)
    pipeline(first, [message(customer.did, PHONE, text) for text in texts])
    site.wait(lambda: len(site.rows(customer.did)) == 20)
    first.reset()
    second = bind(customer)
    ids = [second.submit(customer.did, PHONE, text).text for text in texts]
    assert ids == [str(row["id"]) for row in site.rows(customer.did)]
    assert second.submit(customer.did, PHONE, texts[0]).text not in ids
    assert len(site.rows(customer.did)) == 21


@pytest.mark.req("P-13", "I4")
def test_parts_repeated_after_a_cut_are_one_message(bind: Bind, site: SmppSite, customer: Customer) -> None:
    first = bind(customer)
    ids = [part(first, customer.did, PHONE, PIECES, number, 5).text for number in (1, 2)]
    first.reset()
    second = bind(customer)
    assert [part(second, customer.did, PHONE, PIECES, number, 5).text for number in (1, 2)] == ids
    assert part(second, customer.did, PHONE, PIECES, 3, 5).status == OK
    assert site.texts(customer.did) == [WHOLE]


@pytest.mark.req("I4")
def test_two_equal_texts_of_one_session_are_two_messages(bind: Bind, site: SmppSite, customer: Customer) -> None:
    one, two = bind(customer), bind(customer)
    ids = {esme.submit(customer.did, PHONE, "hello").text for esme in (one, one, two)}
    one.ask(6)  # unbind: nothing is in doubt
    ids.add(two.submit(customer.did, PHONE, "hello").text)
    assert len(ids) == len(site.rows(customer.did)) == 4


@pytest.mark.req("A-43", "I4")
def test_an_equal_text_of_another_customer_is_a_new_message(
    bind: Bind, site: SmppSite, customer: Customer
) -> None:  # fmt: skip
    first: RawEsme = bind(customer)
    first.submit(customer.did, PHONE, "hello")
    first.reset()
    other = site.customer()
    assert bind(other).submit(other.did, PHONE, "hello").status == OK
    assert bind(customer).submit(customer.second, PHONE, "hello").status == OK
    assert [len(site.rows(did)) for did in (customer.did, other.did, customer.second)] == [1, 1, 1]


@pytest.mark.req("I4", "P-10")
def test_equal_texts_of_a_session_that_reads_slowly_are_two_messages(site: SmppSite, customer: Customer) -> None:
    """While it reads nothing another one of its user opens; it may be broken then, but it is not."""
    texts = [f"your car {n} is ready" for n in range(400)]
    with narrow(site, customer) as slow, Esme(site.smpp_port) as other:
        pipeline(slow, [message(customer.did, PHONE, text) for text in texts])
        site.wait(lambda: len(site.rows(customer.did)) == 400, 30)
        time.sleep(1.5)  # its program pauses: nothing is there to be awaited
        other.bind(customer.user, customer.password)
        other.submit(customer.did, PHONE, "by another session")
        known = {slow.until(RESPONSE | SUBMIT).text for _ in texts}
        assert len(known) == 400
        assert slow.submit(customer.did, PHONE, texts[-1]).text not in known
        assert other.submit(customer.did, PHONE, texts[-2]).text in known, "it is for others that it may be broken"
    assert [site.texts(customer.did).count(text) for text in texts[-2:]] == [1, 2]


@pytest.mark.req("I4", "P-10")
def test_a_submit_without_received_answer_is_the_same_message_long_after(site: SmppSite, customer: Customer) -> None:
    """Longer than any answer takes that arrives."""
    texts = [f"order {n}" for n in range(400)]
    with narrow(site, customer) as mute:
        pipeline(mute, [message(customer.did, PHONE, text) for text in texts])
        site.wait(lambda: len(site.rows(customer.did)) == 400, 30)
        time.sleep(HEARD + 1)  # nothing happens, and that is the point
        with Esme(site.smpp_port) as again:
            again.bind(customer.user, customer.password)
            ids = [again.submit(customer.did, PHONE, text).text for text in texts]
    rows = site.rows(customer.did)
    received = 400 - sum(str(row["id"]) in ids for row in rows)
    assert 400 <= len(rows) == 400 + received
    assert received < 200, "the first answers are in its system; the others never came there"


def narrow(site: SmppSite, customer: Customer) -> Esme:
    """Bound, with room for few answers that it has not read."""
    esme = Esme.__new__(Esme)
    esme.socket, esme._buffer, esme._sequence = socket.socket(), b"", 0
    esme.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    esme.socket.settimeout(10)
    esme.socket.connect(("127.0.0.1", site.smpp_port))
    assert esme.bind(customer.user, customer.password).status == OK
    return esme
