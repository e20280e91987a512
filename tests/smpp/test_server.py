"""Sessions: who may bind how, what is answered to what cannot be, enquire_link, unbind, TLS."""

from __future__ import annotations

import json
import signal
import struct
import threading
import time
import urllib.request
from contextlib import suppress

import pytest
from e2e.site import HANDSET

from tests.support.smpp.wire import (
    BIND_RX,
    BIND_TRX,
    BIND_TX,
    CANCEL,
    DATA,
    DELIVER,
    ENQUIRE,
    MULTI,
    QUERY,
    REPLACE,
    RESPONSE,
    SUBMIT,
    UNBIND,
    Closed,
    bind_body,
    cstring,
    sm_body,
    tlv,
)

from .kit import (
    ALREADY_BOUND,
    BAD_COMMAND,
    BAD_COMMAND_LENGTH,
    BAD_LENGTH,
    BAD_SOURCE,
    BAD_STATE,
    BIND_FAILED,
    NACK,
    NAMES,
    OK,
    PAYLOAD,
    PHONE,
    QUEUE_FULL,
    SUBMIT_FAILED,
    THROTTLED,
    UDHI,
    Bind,
    Customer,
    Esme,
    SmppSite,
    message,
    pipeline,
)

pytestmark = pytest.mark.e2e


# --- P-01: who may say what when ---


@pytest.mark.req("P-01")
def test_no_message_is_accepted_before_a_bind(site: SmppSite, customer: Customer) -> None:
    with Esme(site.smpp_port) as esme:
        body = message(customer.did, PHONE, "unbound")
        for command in (SUBMIT, DELIVER):
            assert esme.ask(command, body)[:2] == (RESPONSE | command, BAD_STATE)
        for command, octets in (
            (QUERY, cstring("1") + b"\0\0\0"), (CANCEL, cstring("", "1") + b"\0\0\0\0\0\0"), (UNBIND, b""),
            (DATA, b"\0\1\1" + cstring(customer.did) + b"\1\1" + cstring(PHONE) + b"\0\0\0"),
        ):  # fmt: skip
            assert esme.ask(command, octets).status == BAD_STATE, hex(command)
        assert esme.ask(ENQUIRE).status == OK
        assert esme.bind(customer.user, customer.password).status == OK, "and it can still bind"
    assert site.rows(customer.did) == []


@pytest.mark.req("P-01", "S-068")
@pytest.mark.parametrize("first", [BIND_TRX, BIND_TX, BIND_RX])
def test_a_second_bind_is_refused_and_the_first_stays(bind: Bind, customer: Customer, first: int) -> None:
    esme = bind(customer, first)
    for again in (BIND_TRX, BIND_TX, BIND_RX):
        assert esme.bind(customer.user, customer.password, again).status == ALREADY_BOUND
    assert esme.ask(ENQUIRE).status == OK


@pytest.mark.req("P-01")
def test_a_receiver_cannot_send(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esme = bind(customer, BIND_RX)
    body = message(customer.did, PHONE, "by a receiver")
    assert [esme.ask(command, body).status for command in (SUBMIT, DELIVER)] == [BAD_STATE] * 2
    site.sms(customer.did, "but it hears")
    assert esme.delivered().text == "but it hears"
    assert len(site.rows(customer.did)) == 1


@pytest.mark.req("P-01", "P-16")
def test_a_transmitter_gets_no_messages_or_receipts(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """Not even receipts: they wait for one that hears."""
    sender = bind(customer, BIND_TX)
    site.sms(customer.did, "for whom?")
    answer = sender.submit(customer.did, PHONE, "with a receipt", receipt=1)
    site.settled(customer.did, "with a receipt", "delivered")
    assert sender.silent()
    hearer = bind(customer, BIND_RX)
    heard = [hearer.delivered().text, hearer.delivered().text]
    assert "for whom?" in heard
    assert any(answer.text in one for one in heard)
    assert sender.silent(0.1)


@pytest.mark.req("S-068")
def test_the_version_is_told_only_to_an_esme_of_version_3_4(site: SmppSite, customer: Customer) -> None:
    for version, extra in ((0x34, tlv(0x0210, b"\x34")), (0x50, tlv(0x0210, b"\x34")), (0x33, b"")):
        with Esme(site.smpp_port) as esme:
            answer = esme.ask(BIND_TRX, bind_body(customer.user, customer.password, version))
            assert answer == (RESPONSE | BIND_TRX, OK, 1, b"sipsms\0" + extra)


# --- P-02: credentials ---


@pytest.mark.req("P-02", "S-066", "A-43")
def test_every_failed_bind_gets_the_same_delayed_answer_three_times(site: SmppSite, customer: Customer) -> None:
    """Unknown user, wrong password, none at all, a customer without SMPP, the SIP password: the same octets, after a
    second; the third closes."""
    credentials = [
        ("nobody-here", "pw"), (customer.user, "wrong"), ("", ""), (customer.user, ""),
        (customer.name, f"sip-{customer.name}"), (customer.user + " ", customer.password),
    ]  # fmt: skip
    for three in (credentials[:3], credentials[3:]):
        with Esme(site.smpp_port) as esme:
            for number, (user, password) in enumerate(three, 1):
                began = time.monotonic()
                assert esme.bind(user, password) == (RESPONSE | BIND_TRX, BIND_FAILED, number, b"")
                assert time.monotonic() - began >= 0.95
            with pytest.raises(Closed):
                esme.receive()


@pytest.mark.req("P-02")
def test_a_bind_succeeds_after_two_failed_ones(site: SmppSite, customer: Customer) -> None:
    with Esme(site.smpp_port) as esme:
        assert [esme.bind(customer.user, "no").status for _ in range(2)] == [BIND_FAILED] * 2
        assert esme.bind(customer.user, customer.password).status == OK


@pytest.mark.req("A-43")
def test_a_customer_has_at_most_ten_binds(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esmes = [bind(customer) for _ in range(10)]
    with Esme(site.smpp_port) as late:
        assert late.bind(customer.user, customer.password).status == BIND_FAILED
        esmes[0].ask(UNBIND)
        with pytest.raises(Closed):
            esmes[0].receive()
        assert late.bind(customer.user, customer.password).status == OK, "there is room again"


@pytest.mark.req("A-43", "P-07")
def test_dead_binds_make_room_for_new_ones(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """Ten, of which nine say nothing any more: the quietest is asked and goes; the one that talks stays."""
    silent = [bind(customer) for _ in range(9)]
    talker, began = bind(customer), time.monotonic()
    status = BIND_FAILED
    while status == BIND_FAILED and time.monotonic() - began < 30:
        assert talker.ask(ENQUIRE).status == OK
        with Esme(site.smpp_port) as late:
            status = late.bind(customer.user, customer.password).status
            if status == OK:
                assert late.submit(customer.did, PHONE, "there is room").status == OK
    assert status == OK
    assert talker.submit(customer.did, PHONE, "still bound").status == OK
    assert [one.command for one in silent[0].rest()] == [ENQUIRE]
    assert silent[1].until(ENQUIRE)
    silent[1].socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        silent[1].receive()


# --- P-03, P-04, P-05, P-06: what cannot be read ---


@pytest.mark.req("P-03")
@pytest.mark.parametrize("length", [0, 1, 4, 15, 70_001, 2**31, 2**32 - 1])
@pytest.mark.parametrize("is_bound", [False, True])
def test_an_impossible_length_ends_the_session_with_a_generic_nack(
    site: SmppSite, customer: Customer, length: int, is_bound: bool
) -> None:
    """A generic_nack with the PDU's own sequence number, and the end: what follows cannot be told apart."""
    with Esme(site.smpp_port) as esme:
        if is_bound:
            esme.bind(customer.user, customer.password)
        esme.raw(struct.pack(">IIII", length, SUBMIT, 0, 77))
        assert esme.receive() == (NACK, BAD_COMMAND_LENGTH, 77, b"")
        with pytest.raises(Closed):
            esme.receive()


@pytest.mark.req("P-04")
def test_an_unknown_command_gets_a_generic_nack(bind: Bind, customer: Customer) -> None:
    esme = bind(customer)
    for command in (0x0A, 0x7FFFFFFF, 0x111, 0x10203):
        assert esme.ask(command, b"whatever")[:2] == (NACK, BAD_COMMAND)
    for command in (0x80000004, 0x80000000, 0x80000015, 0x80000009):  # answers to what nobody asked
        esme.send(command, b"\0", 99)
    assert esme.submit(customer.did, PHONE, "still here").status == OK


@pytest.mark.req("P-05")
@pytest.mark.parametrize("length", [255, 6, 200])
def test_an_sm_length_that_does_not_fit_is_refused(bind: Bind, site: SmppSite, customer: Customer, length: int) -> None:
    esme = bind(customer)
    for command in (SUBMIT, DELIVER):
        assert esme.ask(command, sm_body(customer.did, PHONE, b"hello", length=length)).status == BAD_LENGTH
    assert esme.submit(customer.did, PHONE, "after that").status == OK
    assert site.texts(customer.did) == ["after that"]


@pytest.mark.req("P-06")
def test_broken_pdus_are_answered_and_the_session_lives(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esme, did = bind(customer), customer.did
    good = sm_body(did, PHONE, b"hello")
    no_end = b"\0\1\1" + did.encode() + b"\1\1" + PHONE.encode()
    for body in (
        no_end, b"", b"\0", good[:-9], b"A" * 300, b"\0\1\1" + b"5" * 21 + b"\0" + good[16:],
        sm_body(did, PHONE, b"odd", coding=8), good + b"\x04", good + b"\x04\x24\x00", good + tlv(PAYLOAD, b"x")[:-1],
        good + b"\x14\x00\xff\xffx", sm_body(did, PHONE, b"\x05\x00\x03", esm_class=UDHI),
        sm_body(did, PHONE, b"\x05\x00\x09\x01\x02\x01hello", esm_class=UDHI), sm_body(did, PHONE, b"", esm_class=UDHI),
    ):  # fmt: skip
        answer = esme.ask(SUBMIT, body)
        assert answer.command in (RESPONSE | SUBMIT, NACK)
        assert answer.status != OK, body
        assert answer.body == b""
    for command in (QUERY, CANCEL, REPLACE, MULTI, DATA):
        assert esme.ask(command, b"\xff" * 40).status not in (OK, BAD_COMMAND), hex(command)
    assert esme.submit(did, PHONE, "still here").status == OK
    assert site.texts(did) == ["still here"]


def test_a_pdu_in_single_octets_and_many_in_one_write(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esme = bind(customer)
    body = message(customer.did, PHONE, "in crumbs")
    for octet in struct.pack(">IIII", 16 + len(body), SUBMIT, 0, 500) + body:
        esme.raw(bytes([octet]))
    assert esme.receive()[:3] == (RESPONSE | SUBMIT, OK, 500)
    numbers = pipeline(esme, [message(customer.did, PHONE, f"one of forty {n}") for n in range(40)])
    assert {esme.until(RESPONSE | SUBMIT).sequence for _ in numbers} == set(numbers)
    assert site.texts(customer.did) == ["in crumbs", *(f"one of forty {n}" for n in range(40))], "in their order"


@pytest.mark.req("S-103", "S-069")
def test_a_session_loses_its_allowed_address_and_is_closed(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esme = bind(customer)
    site.cli("account", "set", customer.name, "--api-allow-ip", "127.0.0.0/8")
    assert esme.submit(customer.did, PHONE, "still here").status == OK
    site.cli("account", "set", customer.name, "--api-allow-ip", "192.0.2.0/24")
    assert [one.command for one in esme.rest()] == [UNBIND]
    with Esme(site.smpp_port) as again:
        assert again.bind(customer.user, customer.password).status == BIND_FAILED


# --- P-07: enquire_link ---


@pytest.mark.req("P-07", "S-068")
def test_enquire_link_is_answered_at_once(bind: Bind, customer: Customer) -> None:
    esme = bind(customer)
    for _ in range(50):
        assert esme.ask(ENQUIRE) == (RESPONSE | ENQUIRE, OK, esme._sequence, b"")


@pytest.mark.req("P-07")
def test_a_silent_esme_gets_enquire_link_and_is_closed(short_site: SmppSite) -> None:
    customer, began = short_site.customer(), time.monotonic()
    with Esme(short_site.smpp_port) as esme:
        esme.bind(customer.user, customer.password)
        assert [one.command for one in esme.rest()] == [ENQUIRE] * 2
        assert time.monotonic() - began > 2.5


@pytest.mark.req("P-07")
def test_an_esme_that_answers_enquire_link_stays(short_site: SmppSite) -> None:
    customer = short_site.customer()
    with Esme(short_site.smpp_port) as esme:
        esme.bind(customer.user, customer.password)
        for _ in range(4):
            esme.answer(esme.until(ENQUIRE))
        assert esme.submit(customer.did, PHONE, "four seconds later").status == OK


@pytest.mark.req("A-43")
def test_a_connection_without_a_bind_in_time_is_closed(short_site: SmppSite) -> None:
    began = time.monotonic()
    with Esme(short_site.smpp_port) as mute, Esme(short_site.smpp_port) as talker:
        for _ in range(4):  # being talkative does not help
            talker.send(ENQUIRE)
        assert [one.command for one in talker.rest()] == [RESPONSE | ENQUIRE] * 4
        assert mute.rest() == []
    assert time.monotonic() - began > 0.9


# --- P-08: window and rate ---


@pytest.mark.req("P-08")
def test_submits_beyond_the_window_wait(short_site: SmppSite) -> None:
    """A window of four, two hundred at once: all are taken, in order."""
    customer = short_site.customer()
    with Esme(short_site.smpp_port) as esme:
        esme.bind(customer.user, customer.password)
        numbers = pipeline(esme, [message(customer.did, PHONE, f"wide {n}") for n in range(200)])
        answers = [esme.until(RESPONSE | SUBMIT) for _ in numbers]
    assert {one.status for one in answers} == {OK}
    assert {one.sequence for one in answers} == set(numbers)
    assert len({one.text for one in answers}) == 200
    assert short_site.texts(customer.did) == [f"wide {n}" for n in range(200)]


@pytest.mark.req("P-08")
def test_submits_above_the_rate_are_throttled(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """Ten a second: of sixty at once by two sessions some ten are taken, the others come again later."""
    site.cli("account", "set", customer.name, "--smpp-rate", "10")
    taken, throttled, esmes = [], 0, [bind(customer), bind(customer)]
    waiting, began = [f"paced {n}" for n in range(30)], time.monotonic()
    while waiting:
        asked = {}
        for n, text in enumerate(waiting):
            esme = esmes[n % 2]
            asked[n % 2, esme.send(SUBMIT, message(customer.did, PHONE, text))] = text
        again = []
        for which, esme in enumerate(esmes):
            for _ in [key for key in asked if key[0] == which]:
                answer = esme.until(RESPONSE | SUBMIT)
                assert answer.status in (OK, THROTTLED)
                (taken if answer.status == OK else again).append(asked[which, answer.sequence])
        waiting, throttled = again, throttled + len(again)
        time.sleep(0.1 if again else 0)  # as a program does that is told to send less
    assert throttled > 0
    assert time.monotonic() - began > 1.5, "ten a second, and ten at once"
    assert sorted(site.texts(customer.did)) == sorted(taken)
    assert len(taken) == 30


@pytest.mark.req("P-08")
def test_throttling_is_logged_once_a_second(bind: Bind, site: SmppSite, customer: Customer) -> None:
    site.cli("account", "set", customer.name, "--smpp-rate", "1")
    esme = bind(customer)
    began = time.monotonic()
    numbers = pipeline(esme, [message(customer.did, PHONE, f"flood {n}") for n in range(500)])
    throttled = sum(esme.until(RESPONSE | SUBMIT).status == THROTTLED for _ in numbers)

    def lines() -> list[int]:
        return [int(one["count"]) for one in site.events("smpp_throttled") if one["user"] == customer.user]

    site.wait(lambda: sum(lines()) == throttled, 10)
    assert len(lines()) <= time.monotonic() - began + 2
    assert customer.user not in str(site.events("smpp_refused"))
    metrics = _metrics(site)
    assert metrics["sipsms_smpp_throttled_total"] >= throttled > 400
    assert metrics['sipsms_smpp_answers_total{direction="in",status="throttled"}'] >= throttled
    assert metrics['sipsms_smpp_binds{direction="in"}'] >= 1


def _metrics(site: SmppSite) -> dict[str, float]:
    with urllib.request.urlopen(f"{site.url}/metrics") as answer:
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("sipsms_smpp_")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


# --- P-17: unbind ---


@pytest.mark.req("P-17")
def test_an_unbind_behind_a_full_window_is_answered_last(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """All are answered, then the unbind, then it is closed."""
    esme = bind(customer)
    numbers = pipeline(esme, [message(customer.did, PHONE, f"last words {n}") for n in range(100)])
    esme.send(UNBIND, sequence=9_999)
    found = [esme.receive() for _ in range(101)]
    assert {one.sequence for one in found[:-1]} == set(numbers)
    assert {one.status for one in found} == {OK}
    assert found[-1][:3] == (RESPONSE | UNBIND, OK, 9_999)
    with pytest.raises(Closed):
        esme.receive()
    assert len(site.rows(customer.did)) == 100


@pytest.mark.req("P-17")
def test_an_unbind_waits_for_the_answers_to_what_came_in(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esme = bind(customer)
    site.sms(customer.did, "on its way")
    pdu = esme.until(DELIVER)
    esme.send(UNBIND, sequence=9_999)
    assert esme.silent(0.3)
    esme.answer(pdu)
    assert esme.receive()[:3] == (RESPONSE | UNBIND, OK, 9_999)
    site.settled(customer.did, "on its way", "delivered")


@pytest.mark.req("P-17", "P-16")
def test_nothing_is_accepted_or_delivered_after_an_unbind(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """What comes in meanwhile waits for the next bind."""
    esme = bind(customer)
    esme.ask(UNBIND)
    site.sms(customer.did, "too late for this one")
    with suppress(OSError):  # it may be closed already
        esme.send(SUBMIT, message(customer.did, PHONE, "after the end"))
    assert esme.rest() == []
    assert bind(customer).delivered().text == "too late for this one"
    assert site.texts(customer.did) == ["too late for this one"]


# --- what a bind is for ---


@pytest.mark.req("S-066", "S-070", "S-071")
def test_one_bind_serves_all_dids_with_its_username(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esme, other = bind(customer), site.customer()
    for did in (customer.did, customer.second):
        assert esme.submit(did, PHONE, f"from {did}").status == OK
        site.sms(did, f"to {did}")
        assert esme.delivered()[:2] == (HANDSET, did)
    for did in (customer.without, other.did, HANDSET, "15559999999", "", "acme", "+442071838750"):
        assert esme.submit(did, PHONE, "not mine").status == BAD_SOURCE, did
    site.sms(other.did, "for another customer")
    site.sms(customer.without, "not by SMPP")
    assert esme.silent(0.3)


@pytest.mark.req("S-066")
def test_each_did_may_have_its_own_bind(bind: Bind, site: SmppSite, customer: Customer) -> None:
    site.set(customer.without, "--smpp", "--smpp-username", f"{customer.name}-x", "--smpp-password", "other")
    site.set(customer.second, "--smpp-password", "second")  # the same user, another password
    first, second = bind(customer), bind(customer, password="second")
    with Esme(site.smpp_port) as third:
        assert third.bind(f"{customer.name}-x", "other").status == OK
        for esme, own in ((first, customer.did), (second, customer.second), (third, customer.without)):
            for did in (customer.did, customer.second, customer.without):
                assert esme.submit(did, PHONE, "whose?").status == (OK if did == own else BAD_SOURCE)
            site.sms(own, f"for {own}")
            assert esme.delivered().text == f"for {own}"


@pytest.mark.req("S-076")
def test_the_name_of_the_customer_is_the_default_username(bind: Bind, site: SmppSite, customer: Customer) -> None:
    for did in (customer.did, customer.second):
        site.set(did, "--smpp-username", "")
    with Esme(site.smpp_port) as esme:
        assert esme.bind(customer.user, customer.password).status == BIND_FAILED
        assert esme.bind(customer.name, customer.password).status == OK


@pytest.mark.req("S-066", "A-43")
@pytest.mark.parametrize("change", ["--smpp-password=new", "--smpp-username=renamed{}", "--no-smpp"])
def test_a_session_whose_dids_lose_smpp_is_unbound(
    bind: Bind, site: SmppSite, customer: Customer, change: str
) -> None:  # fmt: skip
    """At the change; not by that of one of two numbers."""
    esme, words = bind(customer), change.format(customer.name)
    site.set(customer.second, words)
    assert esme.ask(ENQUIRE).status == OK
    assert esme.submit(customer.second, PHONE, "not any more").status == BAD_SOURCE
    site.set(customer.did, words)
    assert esme.until(UNBIND).command == UNBIND
    with Esme(site.smpp_port) as late:
        assert late.bind(customer.user, customer.password).status == BIND_FAILED


@pytest.mark.req("S-077")
def test_a_session_of_a_disabled_account_is_unbound(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esme = bind(customer)
    site.cli("account", "set", customer.name, "--disabled")
    assert esme.until(UNBIND).command == UNBIND
    assert esme.submit(customer.did, PHONE, "while off").status in (QUEUE_FULL, SUBMIT_FAILED)
    assert site.rows(customer.did) == []
    with Esme(site.smpp_port) as late:
        assert late.bind(customer.user, customer.password).status == BIND_FAILED


@pytest.mark.req("S-077")
def test_a_did_with_sms_off_cannot_send(bind: Bind, site: SmppSite, customer: Customer) -> None:
    """Message Service must be on, too."""
    esme = bind(customer)
    site.set(customer.did, "--no-sms")
    assert esme.submit(customer.did, PHONE, "without").status == BAD_SOURCE


@pytest.mark.req("A-37", "A-43")
def test_a_moved_did_takes_no_messages_along(
    bind: Bind, site: SmppSite, customer: Customer
) -> None:  # fmt: skip
    new = site.customer()
    site.sms(customer.did, "for the old one, who is away")
    site.cli("did", "set", customer.did, "--account", new.name)
    site.set(customer.did, "--smpp", "--smpp-username", new.user, "--smpp-password", new.password)
    old_esme, new_esme = bind(customer), bind(new)  # the old one has its second number left
    site.sms(customer.did, "for the new one")
    assert new_esme.delivered().text == "for the new one"
    assert new_esme.silent(0.5)
    assert old_esme.silent(0.1)
    assert old_esme.submit(customer.did, PHONE, "from the old").status == BAD_SOURCE
    assert new_esme.submit(customer.did, PHONE, "from the new").status == OK


# --- binds ---


def test_the_command_binds_lists_the_sessions(bind: Bind, site: SmppSite, customer: Customer) -> None:
    esme = bind(customer)
    esme.submit(customer.did, PHONE, "one for the count")

    def rows() -> list[dict[str, object]]:
        printed = site.cli("binds", "--json").stdout.splitlines()
        return [row for row in map(json.loads, printed) if row["name"] == customer.user]

    (row,) = site.wait(lambda: [one for one in rows() if one["received"]], 12)
    assert {name: row[name] for name in ("direction", "account", "mode", "state", "sent", "received", "why")} == {
        "direction": "in", "account": customer.name, "mode": "transceiver", "state": "bound", "sent": 0, "received": 1,
        "why": "",
    }  # fmt: skip
    assert str(row["peer"]).startswith("127.0.0.1:")
    esme.ask(UNBIND)
    site.wait(lambda: not rows(), 5)


# --- TLS ---


@pytest.mark.req("S-067")
def test_new_tls_sessions_get_a_renewed_certificate(site: SmppSite, customer: Customer) -> None:
    """A session that is open stays; the next one sees the new certificate."""
    trust = site.authority.trusting()
    with Esme(site.ssmpp_port, trust) as esme:
        assert esme.bind(customer.user, customer.password).status == OK
        assert esme.submit(customer.did, PHONE, "by TLS").status == OK
        before = _serial(esme)
        site.authority.issue(site.folder, *NAMES)
        site.signal(signal.SIGHUP)  # without it: within half a minute

        def renewed() -> bool:
            with Esme(site.ssmpp_port, trust) as fresh:
                return _serial(fresh) != before

        site.wait(renewed, 10)
        assert esme.submit(customer.did, PHONE, "the old session").status == OK


def _serial(esme: Esme) -> object:
    return esme.socket.getpeercert()["serialNumber"]  # type: ignore[attr-defined]


@pytest.mark.req("S-067", "A-43")
def test_plain_text_at_the_tls_port_and_tls_at_the_plain_port_are_closed(site: SmppSite, customer: Customer) -> None:
    with Esme(site.ssmpp_port) as esme:
        esme.send(BIND_TRX, bind_body(customer.user, customer.password))
        with suppress(ConnectionResetError):
            assert esme.socket.recv(9) in (b"", b"\x15\x03\x01\0\2\2F")  # nothing, or a TLS alert
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506)
    with Esme(site.smpp_port) as esme:
        esme.raw(hello)
        assert esme.receive()[:2] == (NACK, BAD_COMMAND_LENGTH)


@pytest.mark.req("P-08", "P-17")
def test_a_stop_answers_submits_and_unbinds(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SIGTERM: what came is answered, then unbind; what is answered is stored."""
    site = SmppSite(tmp_path_factory.mktemp("stop"), 2)
    with site:
        customer = site.customer()
        with Esme(site.smpp_port) as esme:
            esme.bind(customer.user, customer.password)
            pipeline(esme, [message(customer.did, PHONE, f"before the stop {n}") for n in range(300)])
            stopper = threading.Thread(target=site.stop)
            answered = []
            while len(answered) < 50:
                answered.append(esme.until(RESPONSE | SUBMIT))
            stopper.start()
            rest = []
            with suppress(Closed, OSError):
                while True:
                    rest.append(esme.receive())
                    if rest[-1].command == UNBIND:
                        esme.answer(rest[-1])
            stopper.join()
        assert UNBIND in {one.command for one in rest}
        answered += [one for one in rest if one.command == RESPONSE | SUBMIT]
        assert len(site.rows(customer.did)) == len([one for one in answered if one.status == OK])
        site.no_crash()
