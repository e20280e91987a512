"""What an ESME is told and asks: messages that come in, its answers to them, and what became of what it sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from e2e.site import HANDSET

from tests.support.smpp.smsc import Answer, Smsc
from tests.support.smpp.smsc import Receipt as Told
from tests.support.smpp.wire import CANCEL, DELIVER, QUERY, REPLACE, UNBIND, Pdu, cstring, read_deliver

from .kit import (
    CANCEL_FAILED,
    OK,
    OUR_ID,
    PAYLOAD,
    PHONE,
    QUERY_FAILED,
    REPLACE_FAILED,
    UDHI,
    Bind,
    Customer,
    Esme,
    SmppSite,
    receipt,
)

pytestmark = pytest.mark.e2e


@pytest.fixture
def esme(bind: Bind, customer: Customer) -> Esme:
    return bind(customer)


# --- what comes in ---


@pytest.mark.req("S-071", "P-15")
def test_an_incoming_message_is_delivered_to_the_esme(esme: Esme, site: SmppSite, customer: Customer) -> None:
    for text, coding in (("hello", 0), ("{€}", 0), ("ж 😀", 8)):
        site.sms(customer.did, text)
        pdu = esme.until(DELIVER)
        found = read_deliver(pdu)
        esme.answer(pdu)
        assert (found.source, found.destination, found.esm_class, found.coding) == (HANDSET, customer.did, 0, coding)
        assert pdu.body[1:3] == b"\2\1", "national"
    assert esme.submit(customer.did, PHONE, "and out").status == OK


@pytest.mark.req("S-071")
def test_numbers_follow_the_dialing_mode_of_the_did(esme: Esme, site: SmppSite, customer: Customer) -> None:
    site.set(customer.did, "--dialing-mode", "e164")
    site.sms(customer.did, "hello")
    pdu = esme.until(DELIVER)
    assert pdu.body[1:3] == b"\1\1", "international"
    assert read_deliver(pdu)[:2] == (PHONE, "1" + customer.did)
    esme.answer(pdu)
    site.sms(customer.did, "from abroad", "+442071838750")
    assert esme.delivered().source == "442071838750"
    site.sms(customer.did, "from a bank", "262966")
    assert esme.delivered().source == "262966"


@pytest.mark.req("P-13", "S-071")
@pytest.mark.parametrize(("text", "coding"), [("GSM text of many words. " * 20, 0), ("Unicode 😀 ж. " * 30, 8)])
def test_a_long_text_comes_in_parts(esme: Esme, site: SmppSite, customer: Customer, text: str, coding: int) -> None:
    """Each within 140 octets on the air, no letter cut, all under one name."""
    site.sms(customer.did, text.strip())
    found: list[bytes] = []
    names, total = set(), 99
    while len(found) < total:
        one = esme.delivered()
        assert (one.esm_class, one.coding) == (UDHI, coding)
        assert one.octets[:3] == b"\5\0\3"
        total = one.octets[4]
        assert one.octets[5] == len(found) + 1
        assert len(one.octets) <= (140 if coding == 8 else 159)
        names.add(one.tlvs[OUR_ID])
        found.append(one.octets[6:])
    assert "".join(one.decode("utf-16-be" if coding == 8 else "ascii") for one in found) == text.strip()
    assert len(names) == 1
    site.settled(customer.did, text.strip(), "delivered")


@pytest.mark.req("P-16")
def test_messages_to_one_did_go_one_at_a_time_and_in_order(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """The next one follows the answer; another number does not wait."""
    for n in range(5):
        site.sms(customer.did, f"number {n}")
    first = esme.until(DELIVER)
    site.sms(customer.second, "for the other number")
    other = esme.until(DELIVER)
    assert read_deliver(other).text == "for the other number"
    assert esme.silent(0.2)
    esme.answer(first)
    assert [esme.delivered().text for _ in range(4)] == [f"number {n}" for n in range(1, 5)]
    esme.answer(other)


def test_other_destinations_of_the_did_do_not_wait_for_the_esme(site: SmppSite, customer: Customer, bind: Bind) -> None:
    """A number that also forwards: its phone hears it, whether a program is bound or not."""
    site.set(customer.did, "--forward", "4165550199")
    site.sms(customer.did, "for both")
    row = site.wait(lambda: [one for one in site.rows(customer.did) if one["deliveries"]])[0]
    assert {one["courier"] for one in row["deliveries"]} >= {"smpp"}
    site.wait(lambda: "delivered" in {one["state"] for one in site.rows(customer.did)[0]["deliveries"]})
    assert bind(customer).delivered().text == "for both"


# --- what an ESME answers ---


def state(site: SmppSite, customer: Customer, text: str) -> str:
    """Of the delivery by SMPP."""
    (row,) = [row for row in site.rows(customer.did) if row["text"] == text]
    return next(str(one["state"]) for one in row["deliveries"] if one["courier"] == "smpp")


def out(esme: Esme, count: int = 1) -> list[Pdu]:
    return [esme.until(DELIVER) for _ in range(count)]


@pytest.mark.req("P-16")
@pytest.mark.parametrize("status", [0x08, 0x14, 0x58, 0x64])
def test_a_busy_message_is_retried_before_the_next(
    esme: Esme, site: SmppSite, customer: Customer, status: int
) -> None:  # fmt: skip
    for text in ("first", "second"):
        site.sms(customer.did, text)
    (busy,) = out(esme)
    esme.answer(busy, status)
    (again,) = out(esme)
    assert read_deliver(again) == read_deliver(busy), "the same, under the same name"
    esme.answer(again)
    assert esme.delivered().text == "second"


@pytest.mark.req("P-16")
@pytest.mark.parametrize("status", [0x01, 0x0A, 0x0B, 0x65, 0x66, 0x104])
def test_a_permanent_error_fails_the_delivery(esme: Esme, site: SmppSite, customer: Customer, status: int) -> None:
    for text in ("not this", "but this"):
        site.sms(customer.did, text)
    (refused,) = out(esme)
    esme.answer(refused, status)
    assert esme.delivered().text == "but this"
    site.wait(lambda: state(site, customer, "not this") == "failed")


@pytest.mark.req("P-16")
@pytest.mark.parametrize("status", [0x45, 0xFF, 0xFE, 0x12345])
def test_any_other_error_lets_the_next_pass(esme: Esme, site: SmppSite, customer: Customer, status: int) -> None:
    """What follows passes; it waits for another try."""
    for text in ("odd", "even"):
        site.sms(customer.did, text)
    (odd,) = out(esme)
    esme.answer(odd, status)
    assert esme.delivered().text == "even"
    assert state(site, customer, "odd") == "queued"


@pytest.mark.req("P-16")
def test_a_message_without_answer_is_repeated_under_the_same_id(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """Within the session (the server waits a second); an answer to the first copy settles nothing twice."""
    site.sms(customer.did, "did you hear?")
    site.sms(customer.did, "the next")
    first, again = out(esme, 2)
    assert read_deliver(first) == read_deliver(again)
    assert read_deliver(first).tlvs[OUR_ID].startswith(b"sipsms ")
    assert first.sequence != again.sequence
    esme.answer(first)  # too late, but true
    esme.answer(again)
    rest = [esme.delivered()]
    while rest[-1].text == "did you hear?":
        rest.append(esme.delivered())
    assert rest[-1].text == "the next"
    assert esme.silent(0.2)


@pytest.mark.req("P-16")
def test_a_message_whose_answer_was_lost_is_repeated(bind: Bind, site: SmppSite, customer: Customer) -> None:
    first = bind(customer)
    for n in range(3):
        site.sms(customer.did, f"message {n}")
    lost = read_deliver(first.until(DELIVER))
    first.reset()
    second = bind(customer)
    found = [second.delivered() for _ in range(3)]
    assert found[0] == lost
    assert [one.text for one in found] == [f"message {n}" for n in range(3)]
    assert len({one.tlvs[OUR_ID] for one in found}) == 3


@pytest.mark.req("P-16")
def test_a_generic_nack_counts_as_an_answer(esme: Esme, site: SmppSite, customer: Customer) -> None:
    site.sms(customer.did, "what is deliver_sm?")
    site.sms(customer.did, "the next one")
    (pdu,) = out(esme)
    esme.send(0x80000000, b"", pdu.sequence, 0x03)
    assert esme.delivered().text == "the next one"


@pytest.mark.req("P-16")
def test_two_binds_of_one_user_share_the_messages(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """And when one goes, the other gets what it left."""
    one, two = bind(customer), bind(customer)
    site.sms(customer.did, "to one of them")
    site.sms(customer.second, "to the other")
    deaf, hearing = (one, two)
    pdu = deaf.until(DELIVER)
    left = read_deliver(pdu)
    assert hearing.delivered().text != left.text
    deaf.reset()
    assert hearing.delivered() == left


@pytest.mark.req("P-16", "F-06")
def test_a_message_under_way_at_a_crash_is_repeated_after_the_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Killed with one message out: the same again, then the others."""
    with SmppSite(tmp_path_factory.mktemp("again"), 1) as site:
        customer = site.customer()
        with Esme(site.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            for n in range(4):
                site.sms(customer.did, f"kept {n}")
            first = read_deliver(esme.until(DELIVER))
            site.kill()
        site.start()
        with Esme(site.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            found = [esme.delivered() for _ in range(4)]
        assert [one.text for one in found] == [f"kept {n}" for n in range(4)]
        assert found[0].tlvs[OUR_ID] == first.tlvs[OUR_ID]
        site.no_crash()


@pytest.mark.req("P-16", "I4")
def test_a_late_answer_counts_as_an_answer(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """It is not sent a third time, though nobody answers the second copy."""
    site.sms(customer.did, "once, please")
    first, _again = out(esme, 2)
    esme.answer(first)
    site.settled(customer.did, "once, please", "delivered")
    assert esme.silent(0.2)


@pytest.mark.req("P-16", "I4")
def test_an_esme_may_refuse_a_repeated_message(esme: Esme, site: SmppSite, customer: Customer) -> None:
    """By a program that knows its name again, and says so."""
    site.sms(customer.did, "taken once")
    first, again = out(esme, 2)
    esme.answer(first)
    esme.answer(again, 0x65)
    site.settled(customer.did, "taken once", "delivered")


@pytest.mark.req("P-13", "P-16", "I4")
def test_a_late_answer_to_a_part_settles_only_that_part(esme: Esme, site: SmppSite, customer: Customer) -> None:
    text = ("Long text. " * 30).strip()
    site.sms(customer.did, text)
    first, again = out(esme, 2)
    assert [read_deliver(one).octets[5] for one in (first, again)] == [1, 1]
    esme.answer(first)
    rest = [esme.delivered().octets[5] for _ in range(2)]
    assert rest == [2, 3]
    site.settled(customer.did, text, "delivered")


@pytest.fixture(scope="module")
def narrow_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmppSite]:
    """One message of a session is out at a time; data_coding 0 is UTF-8."""
    smpp = {"deliver_window": 1, "response_timeout": "3s", "charsets": {"0": "utf8"}}
    site = SmppSite(tmp_path_factory.mktemp("narrow"), 1, smpp=smpp)
    numbers = [{"number": f"556200000{n}", "smpp": True, "smpp_password": "pw"} for n in range(6)]
    site.import_accounts({"name": "slow", "password": "x", "dids": numbers})
    with site:
        yield site
        site.no_crash()


@pytest.mark.req("P-16", "I4", "S-071")
def test_a_slow_esme_gets_each_message_once(narrow_site: SmppSite) -> None:
    """It takes 0.7 s for each of six, and an answer may take three: those that wait for their turn are not late."""
    for n in range(6):
        narrow_site.sms(f"556200000{n}", f"text {n}")
    with Esme(narrow_site.smpp_port) as esme:
        esme.bind("slow", "pw")
        found = set()
        for _ in range(6):
            (pdu,) = out(esme)
            assert esme.silent(0.7)
            esme.answer(pdu)
            found.add(read_deliver(pdu).text)
        assert esme.silent(0.3)
    assert found == {f"text {n}" for n in range(6)}


@pytest.mark.req("P-15", "S-071")
def test_a_data_coding_means_the_same_in_both_directions(narrow_site: SmppSite) -> None:
    customer = narrow_site.customer()
    with Esme(narrow_site.smpp_port) as esme:
        esme.bind(customer.user, customer.password)
        assert esme.submit(customer.did, PHONE, "café".encode()).status == OK
        narrow_site.sms(customer.did, "café ж")
        found = esme.delivered()
        assert (found.coding, found.octets) == (0, "café ж".encode())
        narrow_site.sms(customer.did, "é" * 160)
        found = esme.delivered()
        assert (found.coding, found.octets, found.tlvs[PAYLOAD]) == (0, b"", ("é" * 160).encode())
    assert narrow_site.texts(customer.did) == ["café", "café ж", "é" * 160]


@pytest.mark.req("P-11")
def test_a_receipt_has_the_carriers_error_code(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Smsc() as smsc:
        carriers = {"smsc": {"type": "smpp", "url": smsc.url}}
        with SmppSite(tmp_path_factory.mktemp("err"), 1, carriers=carriers) as site:
            customer = site.customer()
            with Esme(site.smpp_port) as esme:
                esme.bind(customer.user, customer.password)
                told = []
                for word, error in (("UNDELIV", "045"), ("REJECTD", "0a"), ("DELIVRD", "007"), ("UNDELIV", "000")):
                    smsc.script(Answer(receipts=(Told(word, error=error),)))
                    esme.submit(customer.did, PHONE, f"{word} {error}", receipt=1)
                    heard = receipt(esme)
                    told.append((heard["stat"], heard["err"]))
                smsc.script(Answer(receipts=(Told("UNDELIV", error="00b"),)), Answer(receipts=(Told("DELIVRD"),)))
                for number in (1, 2):
                    header = bytes((5, 0, 3, 9, 2, number))
                    part = header + b"in two parts that are long" * 5 + b"%d" % number
                    esme.submit(customer.did, PHONE, part, esm_class=UDHI, receipt=1)
                parts = [receipt(esme) for _ in range(2)]
            site.no_crash()
    assert told == [("UNDELIV", "045"), ("UNDELIV", "00a"), ("DELIVRD", "000"), ("UNDELIV", "000")]
    assert {(one["stat"], one["err"]) for one in parts} == {("UNDELIV", "00b")}


# --- query_sm, cancel_sm, replace_sm ---

LATER = "000001000000000R"  # tomorrow


def query(esme: Esme, message_id: str, source: str) -> tuple[int, int]:
    """(status, message_state)"""
    answer = esme.ask(QUERY, cstring(message_id) + b"\1\1" + cstring(source))
    assert answer.status or answer.text == message_id
    return answer.status, (answer.body[-2] if answer.body else 0)


def cancel(esme: Esme, message_id: str, source: str) -> int:
    return esme.ask(CANCEL, cstring("", message_id) + b"\1\1" + cstring(source) + b"\1\1" + cstring(PHONE)).status


def replace(esme: Esme, message_id: str, source: str, text: bytes) -> int:
    rest = cstring("", "") + bytes((0, 0, len(text))) + text
    return esme.ask(REPLACE, cstring(message_id) + b"\1\1" + cstring(source) + rest).status


@pytest.mark.req("S-064")
def test_a_held_message_can_be_queried_replaced_and_cancelled(
    esme: Esme, site: SmppSite, customer: Customer
) -> None:  # fmt: skip
    held = esme.submit(customer.did, PHONE, "held", schedule=LATER).text
    assert query(esme, held, customer.did) == (OK, 1)
    assert replace(esme, held, customer.did, b"held, and changed") == OK
    assert site.texts(customer.did) == ["held, and changed"]
    assert replace(esme, held, customer.did, b"") == 0x01
    assert cancel(esme, held, customer.did) == OK
    assert cancel(esme, held, customer.did) == CANCEL_FAILED
    assert replace(esme, held, customer.did, b"too late") == REPLACE_FAILED
    assert query(esme, held, customer.did)[1] not in (1, 2)
    assert site.rows(customer.did)[0]["state"] not in ("queued", "delivered")


@pytest.mark.req("S-064")
def test_a_sent_message_can_be_queried_but_not_cancelled(esme: Esme, site: SmppSite, customer: Customer) -> None:
    gone = esme.submit(customer.did, PHONE, "gone").text
    site.settled(customer.did, "gone", "delivered")
    assert query(esme, gone, customer.did) == (OK, 2)
    assert cancel(esme, gone, customer.did) == CANCEL_FAILED
    assert replace(esme, gone, customer.did, b"changed") == REPLACE_FAILED


@pytest.mark.req("A-37", "S-064")
def test_messages_of_others_look_like_unknown_ids(
    esme: Esme, bind: Bind, site: SmppSite, customer: Customer
) -> None:  # fmt: skip
    """Of another customer, one that came in, an id that nothing has, no id at all: the same answers."""
    other = site.customer()
    foreign = bind(other).submit(other.did, PHONE, "not yours", schedule=LATER).text
    site.sms(customer.without, "came in")
    came_in = str(site.rows(customer.without)[0]["id"])
    own = esme.submit(customer.did, PHONE, "my own", schedule=LATER).text
    strange = [foreign, came_in, "999999999", "0", "-1", "", "1e3", "x" * 64, "9" * 30, "' OR 1=1", "abc-1"]
    for message_id in strange:
        for source in (customer.did, other.did, ""):
            assert query(esme, message_id, source) == (QUERY_FAILED, 0), message_id
            assert cancel(esme, message_id, source) == CANCEL_FAILED
            assert replace(esme, message_id, source, b"mine now") == REPLACE_FAILED
    assert query(esme, own, customer.second) == (QUERY_FAILED, 0), "it was sent from another number"
    assert site.texts(other.did) == ["not yours"]
    assert site.rows(other.did)[0]["state"] == "queued"


@pytest.mark.req("S-064", "P-13")
def test_a_long_text_is_queried_by_the_id_of_any_part(esme: Esme, site: SmppSite, customer: Customer) -> None:
    ids = []
    for number in (1, 2):
        header = bytes((5, 0, 3, 4, 2, number))
        ids.append(esme.submit(customer.did, PHONE, header + b"part %d." % number, esm_class=UDHI, receipt=1).text)
    for one in ids:
        assert receipt(esme).named in ids
        assert query(esme, one, customer.did) == (OK, 2)


def test_messages_wait_after_an_unbind_by_the_server(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """An ESME whose numbers are gone; what it was about to hear waits."""
    esme = bind(customer)
    site.set(customer.second, "--no-smpp")
    site.set(customer.did, "--smpp-password", "changed")
    esme.answer(esme.until(UNBIND))
    assert esme.rest() == []
    site.sms(customer.did, "for who knows the new one")
    assert bind(customer, password="changed").delivered().text == "for who knows the new one"
