"""Hostile ESMEs at our SMSC, hostile SMSCs that we are bound to; beside them good ones are served (A-43)."""

from __future__ import annotations

import itertools
import random
import re
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from smpp.kit import BIND_FAILED, NACK, NAMES, OK, PHONE, Bind, Customer, Esme, SmppSite, message, pipeline

from tests.support.smpp.smsc import RESP, Answer, Pdu, Receipt, Session, Smsc, deliver_body, receipt_bodies
from tests.support.smpp.wire import (
    BIND_TRX,
    DELIVER,
    ENQUIRE,
    QUERY,
    RESPONSE,
    SUBMIT,
    Closed,
    bind_body,
    cstring,
    sm_body,
    tlv,
)

pytestmark = [pytest.mark.e2e, pytest.mark.req("A-43")]

WRONG = "wr0ng-passw0rd"
_HOSTS = itertools.count(1)


class Fort(SmppSite):
    """`good`: an ESME that is bound from an address of its own all the time."""

    def __init__(self, folder: Path) -> None:
        short = {"bind_timeout": "2s", "enquire_link": "2s", "response_timeout": "2s", "rate": 0}
        super().__init__(folder, 60, smpp=short, connections={"per_address": 50})
        self.good_one = self.customer()

    def address(self) -> str:
        """One of loopback that nobody has used: failures and connections are counted by address."""
        number = next(_HOSTS)
        return f"127.9.{number // 250}.{number % 250 + 1}"

    def memory(self) -> float:
        """MB resident."""
        assert self.process is not None
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert match
        return int(match[1]) / 1024

    def assert_stands(self) -> None:
        """Alive, no bug in its log; a stranger from elsewhere can bind and send at once."""
        assert self.process is not None
        assert self.process.poll() is None, self.log_tail()
        self.no_crash()
        one = self.good_one
        with Esme(self.smpp_port, source=self.address()) as esme:
            assert esme.bind(one.user, one.password).status == OK
            assert esme.submit(one.did, PHONE, "it stands").status == OK
        log = self.log_path.read_text(errors="replace")
        assert WRONG not in log
        assert one.password not in log


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    with Fort(tmp_path_factory.mktemp("smpp")) as fort:
        yield fort


@pytest.fixture
def customer(lab: Fort) -> Customer:
    return lab.customer()


@pytest.fixture
def bind(lab: Fort) -> Iterator[Bind]:
    with ExitStack() as stack:

        def make(customer: Customer, **more: Any) -> Esme:
            esme = stack.enter_context(Esme(lab.smpp_port, source=lab.address(), **more))
            assert esme.bind(customer.user, customer.password).status == OK
            return esme

        yield make


@contextmanager
def served(lab: Fort, most: float = 5.0) -> Iterator[list[float]]:
    """Meanwhile a good ESME sends, one after the other: 99 of 100 are answered within `most` seconds."""
    one, took, over = lab.good_one, [], threading.Event()

    def send(esme: Esme) -> None:
        for n in itertools.count():
            began = time.monotonic()
            assert esme.submit(one.did, PHONE, f"good {n}").status == OK
            took.append(time.monotonic() - began)
            if over.wait(0.005) and n > 10:
                return

    with Esme(lab.smpp_port, source=lab.address(), seconds=20) as esme:
        assert esme.bind(one.user, one.password).status == OK
        thread = threading.Thread(target=send, args=(esme,))
        thread.start()
        try:
            yield took
        finally:
            over.set()
            thread.join(30)
    slow = statistics.quantiles(took, n=100)[-1]
    print(f"{len(took)} good ones, p99 {slow * 1000:.0f} ms")
    assert slow < most


# --- hostile ESMEs ---


def mutated(dice: random.Random, customer: Customer) -> bytes:
    """A PDU that was good, with octets changed, cut or added; its length mostly true."""
    kinds = [
        (SUBMIT, sm_body(customer.did, PHONE, b"hello", tlvs=tlv(0x0424, b""))), (ENQUIRE, b""),
        (DELIVER, sm_body(customer.did, "1", b"x")), (QUERY, cstring("1") + b"\1\1" + cstring(customer.did)),
        (0x21, b"\0\1\1" + b"1" * 9 + b"\0\xff"), (9, b"\0" * 9),
        (0x103, b"\0" * 40), (7, b"1\0" * 30), (8, b"\0" * 30), (RESPONSE | SUBMIT, b"1\0"), (RESPONSE, b""),
        (dice.getrandbits(32), dice.randbytes(50)),
    ]  # fmt: skip
    command, octets = dice.choice(kinds)
    body = bytearray(octets)
    for _ in range(dice.randrange(4)):
        where = dice.randrange(len(body) + 1)
        body[where : where + dice.randrange(3)] = dice.randbytes(dice.choice((0, 1, 1, 2, 300)))
    length = 16 + len(body) if dice.random() < 0.97 else dice.getrandbits(dice.choice((4, 8, 16, 32)))
    return struct.pack(">IIII", length, command, dice.choice((0, 0, dice.getrandbits(32))), dice.getrandbits(32)) + body


@pytest.mark.req("P-03", "P-04", "P-05", "P-06")
def test_random_octets_do_not_crash_the_server(lab: Fort, customer: Customer) -> None:
    """Strangers and a customer, 150 sessions with some 3,000 broken PDUs; each ends or goes on, nothing else."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice, where = random.Random(seed), [lab.address() for _ in range(5)]
    with served(lab):
        for n in range(150):
            with Esme(lab.smpp_port, source=dice.choice(where), seconds=5) as esme, suppress(OSError, Closed):
                if n % 3:
                    assert esme.bind(customer.user, customer.password).status == OK
                octets = b"".join(mutated(dice, customer) for _ in range(20)) if n % 5 else dice.randbytes(3000)
                for at in range(0, len(octets), cut := dice.choice((7, 100, 100_000))):
                    esme.raw(octets[at : at + cut])
                esme.socket.shutdown(socket.SHUT_WR)
                esme.rest()
    lab.wait(lambda: len(lab.events("smpp_unbound")) >= 90, 10)


@pytest.mark.req("P-02", "A-07")
def test_a_flood_of_binds_with_wrong_passwords(lab: Fort) -> None:
    """A thousand a second, two seconds long, from eighty addresses."""
    where, sockets = [lab.address() for _ in range(80)], []
    before = lab.memory()
    octets = b"".join(
        struct.pack(">IIII", 16 + len(body), BIND_TRX, 0, n) + body
        for n, body in enumerate([bind_body(lab.good_one.user, WRONG), bind_body("nobody", WRONG)], 1)
    )
    with served(lab):
        began = time.monotonic()
        for n in range(2000):
            with suppress(OSError):
                one = socket.create_connection(("127.0.0.1", lab.smpp_port), 5, (where[n % 80], 0))
                one.sendall(octets)
                sockets.append(one)
            if (early := began + n / 1000 - time.monotonic()) > 0:
                time.sleep(early)
        print(f"{len(sockets)} in {time.monotonic() - began:.1f} s")
        for one in sockets:
            one.close()
    assert lab.memory() < before + 60


@pytest.mark.req("P-02", "A-37")
def test_no_word_on_whether_a_user_exists(lab: Fort, customer: Customer) -> None:
    """The same octets, and as late: a known user, an unknown one."""
    took: dict[str, list[float]] = {customer.user: [], "u999": []}
    answers = set()
    where = lab.address()
    for user in (customer.user, "u999", "u999", customer.user, customer.user, "u999"):
        with Esme(lab.smpp_port, source=where) as esme:
            began = time.monotonic()
            answers.add(esme.bind(user, WRONG))
            took[user].append(time.monotonic() - began)
    assert [one.status for one in answers] == [BIND_FAILED]
    known, unknown = (min(found) for found in took.values())
    assert abs(known - unknown) < 0.25
    assert min(known, unknown) >= 0.99


def test_idle_binds_are_limited_and_closed(lab: Fort, bind: Bind, customer: Customer) -> None:
    """Ten of an account, fifty from an address; who does not answer enquire_link is gone soon."""
    idle = [bind(customer) for _ in range(10)]
    with Esme(lab.smpp_port, source=lab.address()) as late:
        assert late.bind(customer.user, customer.password).status == BIND_FAILED
    where = lab.address()
    with ExitStack() as stack, served(lab):
        many = [stack.enter_context(Esme(lab.smpp_port, source=where, seconds=5)) for _ in range(50)]
        for _ in range(20):
            beyond = stack.enter_context(Esme(lab.smpp_port, source=where))
            assert beyond.rest() == [], "closed at once"
        assert [one.ask(ENQUIRE).status for one in many] == [OK] * 50
        for one in many:
            assert one.rest() == [], "no bind in time"
    for one in idle:
        assert {pdu.command for pdu in one.rest()} == {ENQUIRE}
    assert bind(customer)


@pytest.mark.req("P-03")
def test_half_a_pdu_is_closed_as_a_silent_session(lab: Fort, bind: Bind, customer: Customer) -> None:
    """Half a PDU and then nothing: gone as any silent one, and nothing of it was taken."""
    body = message(customer.did, PHONE, "half of it")
    half = (struct.pack(">IIII", 16 + len(body), SUBMIT, 0, 9) + body)[:40]
    bound = bind(customer)
    strangers = [Esme(lab.smpp_port, source=lab.address()) for _ in range(20)]
    for one in (bound, *strangers):
        one.raw(half)
    for one in strangers:
        with one:
            assert one.rest() == []
    bound.rest()
    assert lab.rows(customer.did) == []


def test_half_tls_handshakes_do_not_block_other_binds(lab: Fort, customer: Customer) -> None:
    """Fifty are let in, the others closed; somebody else binds by TLS meanwhile."""
    where = lab.address()
    with ExitStack() as stack, served(lab):
        for _ in range(100):
            one = stack.enter_context(Esme(lab.ssmpp_port, source=where))
            with suppress(OSError):
                one.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        raw = socket.create_connection(("127.0.0.1", lab.ssmpp_port), 5, (lab.address(), 0))
        with lab.authority.trusting().wrap_socket(raw, server_hostname=NAMES[0]) as secure:
            body = bind_body(customer.user, customer.password)
            secure.sendall(struct.pack(">IIII", 16 + len(body), BIND_TRX, 0, 1) + body)
            assert secure.recv(16)[8:12] == b"\0\0\0\0"


def test_parameters_of_64_kb_do_not_fill_memory(lab: Fort, bind: Bind, customer: Customer) -> None:
    """Three hundred of them, by one who is bound and by strangers: 20 MB are read and forgotten."""
    before = lab.memory()
    esme = bind(customer)
    big = sm_body(customer.did, PHONE, b"x", tlvs=tlv(0x1400, bytes(65_535)))
    with served(lab):
        for _ in range(300):
            assert esme.ask(SUBMIT, big).status == OK
        for _ in range(20):
            with Esme(lab.smpp_port, source=lab.address()) as stranger, suppress(OSError):
                for _ in range(30):
                    stranger.send(SUBMIT, big)
    assert lab.memory() < before + 30


@pytest.mark.req("P-03")
def test_impossible_lengths_do_not_fill_memory(lab: Fort, bind: Bind, customer: Customer) -> None:
    before = lab.memory()
    for n, length in enumerate((2**31, 2**32 - 1, 2**31 - 1, 70_001) * 5):
        esme = bind(customer) if n % 2 else Esme(lab.smpp_port, source=lab.address())
        with esme:
            esme.raw(struct.pack(">IIII", length, SUBMIT, 0, 1))
            assert esme.receive()[:2] == (NACK, 2)
            assert esme.rest() == []
    assert lab.memory() < before + 10


def test_an_esme_that_does_not_read_is_closed(lab: Fort, bind: Bind, customer: Customer) -> None:
    """It asks without end and reads no answer; and what comes in for it piles up in the store, not in memory."""
    before = lab.memory()
    deaf = bind(customer)
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for n in range(20):
        lab.sms(customer.did, f"for a deaf one {n}")
    many = struct.pack(">IIII", 16, ENQUIRE, 0, 1) * 1000
    with served(lab), suppress(OSError):
        for _ in range(1000):  # a million, 16 MB
            deaf.raw(many)
    assert lab.memory() < before + 40
    lab.wait(lambda: any(one["user"] == customer.user for one in lab.events("smpp_unbound")))
    hearing = bind(customer)
    assert [hearing.delivered().text for _ in range(20)] == [f"for a deaf one {n}" for n in range(20)]


def test_ten_thousand_queries_in_one_write_are_all_answered(lab: Fort, bind: Bind, customer: Customer) -> None:
    """In one write: the window is a hundred, the rest waits unread; all are answered."""
    began = time.monotonic()
    esme = bind(customer, seconds=30)
    before = lab.memory()
    body = cstring("99999999") + b"\1\1" + cstring(customer.did)  # of nobody
    with served(lab):
        sender = threading.Thread(target=pipeline, args=(esme, [body] * 10_000, QUERY))
        sender.start()
        for _ in range(10_000):
            assert esme.receive().command == RESPONSE | QUERY
        sender.join()
    print(f"{time.monotonic() - began:.1f} s")
    assert lab.memory() < before + 30


def test_pdus_before_a_bind_are_limited(lab: Fort) -> None:
    with Esme(lab.smpp_port, source=lab.address()) as esme:
        pipeline(esme, [b""] * 30, ENQUIRE)
        assert len(esme.rest()) == 20


@pytest.mark.req("A-31")
def test_line_ends_in_fields_reach_neither_log_nor_numbers(lab: Fort, bind: Bind, customer: Customer) -> None:
    """Neither into the log as lines, nor into numbers."""
    esme = bind(customer)
    for bad in ("1444\r\n5556666", "\r\nmessage_accepted", "14445556666\x1b[31m"):
        assert esme.submit(customer.did, bad, "x").status == 0x0B
        assert esme.submit(bad, PHONE, "x").status == 0x0A
        with Esme(lab.smpp_port, source=lab.address()) as other:
            assert other.bind(bad, WRONG).status == BIND_FAILED
    for line in lab.log_path.read_text().splitlines():
        assert line.startswith(("{", "INFO", "WARNING")), line


# --- hostile SMSCs ---


class Evil(Smsc):
    """`on_submit` may answer in its own way: True when it has."""

    def __init__(self, *login: str) -> None:
        super().__init__(*login)
        self.on_submit: Callable[[Session, Pdu], object] = lambda session, pdu: None

    def _submit(self, session: Session, pdu: Pdu) -> None:
        if not self.on_submit(session, pdu):
            super()._submit(session, pdu)


class Prey(SmppSite):
    """Bound to an SMSC as its carrier; the first customer has a server of its own, which is that SMSC, too."""

    def __init__(self, folder: Path, evil: Evil) -> None:
        carrier = {"type": "smpp", "url": evil.url, "response_timeout": "1s", "enquire_link": "1s"}
        doors = {"type": "http", "url": "http://127.0.0.1:9/", "inbound": {"secret": "s3cret", "fields": {"id": "id"}}}
        super().__init__(
            folder, 40, [evil.url], carriers={"evil": carrier, "door": doors},
            smpp={"response_timeout": "1s"}, queue={"retry_min": "100ms", "retry_max": "500ms"},
        )  # fmt: skip

        self.pushed = self.customer()

    def submit(self, customer: Customer, text: str) -> None:
        with Esme(self.smpp_port) as esme:
            assert esme.bind(customer.user, customer.password).status == OK
            assert esme.submit(customer.did, PHONE, text).status == OK


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prey, Evil]]:
    with Evil() as evil, Prey(tmp_path_factory.mktemp("prey"), evil) as prey:
        yield prey, evil


@pytest.fixture
def evil(both: tuple[Prey, Evil]) -> Iterator[Evil]:
    """As it was before, afterwards: a good message passes."""
    prey, evil = both
    yield evil
    evil.on_submit = lambda session, pdu: None
    evil.deaf, evil.redelivers = False, True
    customer, text = prey.customer(), f"good again {random.random()}"
    prey.submit(customer, text)
    prey.settled(customer.did, text, "accepted", seconds=15)
    prey.no_crash()


@pytest.fixture
def prey(both: tuple[Prey, Evil]) -> Prey:
    return both[0]


def garbage(session: Session, pdu: Pdu) -> bool:
    session.writer.write(random.Random(3).randbytes(5000))
    return True


def huge(session: Session, pdu: Pdu) -> bool:
    session.writer.write(struct.pack(">IIII", 2**31, SUBMIT | RESP, 0, pdu.sequence) + bytes(100_000))
    return True


def wrong_command(session: Session, pdu: Pdu) -> bool:
    for command in (QUERY | RESP, ENQUIRE | RESP, SUBMIT, 0x80000103, BIND_TRX | RESP, 0x12345678, BIND_TRX):
        session.write(command, 0, pdu.sequence, b"1\0")
    return True


def long_id(session: Session, pdu: Pdu) -> bool:
    session.write(SUBMIT | RESP, 0, pdu.sequence, b"x" * 10_000 + b"\0")
    return True


def strange_id(session: Session, pdu: Pdu) -> bool:
    session.write(SUBMIT | RESP, 0, pdu.sequence, b"\xff\r\n'\";--\x1b[31m\0")
    return True


def silence(session: Session, pdu: Pdu) -> bool:
    return True


def hang_up(session: Session, pdu: Pdu) -> bool:
    session.reset()
    return True


@pytest.mark.req("F-14", "P-10")
@pytest.mark.parametrize("how", [garbage, huge, wrong_command, long_id, strange_id, silence, hang_up])
def test_a_submit_answered_by_nonsense_is_sent_once(
    prey: Prey, evil: Evil, how: Callable[[Session, Pdu], bool]
) -> None:  # fmt: skip
    """It may have been taken: `unknown` (or accepted, where the answer can be read), and never sent again."""
    seen: list[Pdu] = []

    def once(session: Session, pdu: Pdu) -> bool:
        seen.append(pdu)
        return how(session, pdu)

    evil.on_submit = once
    customer = prey.customer()
    prey.submit(customer, "to the evil one")
    prey.settled(customer.did, "to the evil one", "unknown", "accepted", seconds=10)
    evil.on_submit = lambda session, pdu: None
    binds = len(evil.binds)
    if how in (garbage, huge, hang_up):
        evil.binds.count(binds, 10)
    assert len(seen) == 1
    assert "to the evil one" not in [one.text for one in evil.submitted]


@pytest.mark.req("A-37")
def test_receipts_for_messages_of_others_change_nothing(prey: Prey, evil: Evil) -> None:
    """For ids of nobody, of another recipient, without an id, and of every form: nothing changes."""
    customer = prey.customer()
    prey.submit(customer, "not delivered yet")
    prey.settled(customer.did, "not delivered yet", "accepted")
    (sent,) = [one for one in evil.taken if one.text == "not delivered yet"]
    before = len(evil.answered)
    stolen = sent._replace(destination="14165550199")
    for one in (stolen, sent._replace(id="999999"), sent._replace(id="x" * 60), sent._replace(id="' OR 1=1 --")):
        for form in ("text", "tlv", "both"):
            for body in receipt_bodies(one, Receipt(form=form)):
                evil.deliver(body)
    for text in (b"", b"id: sub: stat:", b"stat:DELIVRD", b"\xff" * 200, b"id:" + b"9" * 240):
        evil.deliver(deliver_body(PHONE, customer.did, text, 0, 4))
    evil.answered.count(before + 17)
    assert prey.settled(customer.did, "not delivered yet", "accepted")
    evil.tell(sent, Receipt())
    prey.settled(customer.did, "not delivered yet", "delivered")


def test_messages_to_unknown_numbers_are_refused(prey: Prey, evil: Evil) -> None:
    """Three thousand; each refused, none kept, and a good message passes between them."""
    customer, before = prey.customer(), len(evil.answered)
    for n in range(3000):
        evil.deliver(deliver_body(PHONE, f"1416555{n % 10_000:04d}", b"spam %d" % n))
    evil.deliver(deliver_body(PHONE, "1" + customer.did, b"a good one"))
    answers = evil.answered.count(before + 3001, 30)[before:]
    assert [one.status for one in answers].count(0) == 1
    assert prey.texts(customer.did) == ["a good one"]


def test_malformed_deliver_sm_are_refused(prey: Prey, evil: Evil) -> None:
    """Each gets an answer that is no OK; nothing is stored under a customer's number."""
    customer, before = prey.customer(), len(evil.answered)
    number = "1" + customer.did
    bodies = [
        b"",
        b"\0" * 5,
        deliver_body(PHONE, number, b"x")[:-3],
        deliver_body("9" * 80, number, b"x"),
    ]
    for body in bodies:
        evil.deliver(body)
    answers = evil.answered.count(before + len(bodies))[before:]
    assert 0 not in [one.status for one in answers]
    assert prey.rows(customer.did) == []
    evil.deliver(deliver_body(PHONE, number, b"x", tlvs=b"\x04\x24\xff\xff"))  # readable but for its last parameter
    assert evil.answered.count(before + len(bodies) + 1)[-1].status == 0
    assert prey.texts(customer.did) == ["x"]


def test_a_silent_smsc_is_closed_and_bound_again(prey: Prey, evil: Evil) -> None:
    """No enquire_link is answered either: it is left, and bound to again."""
    binds = len(evil.binds)
    evil.deaf = True
    evil.binds.count(binds + 1, 15)


@pytest.mark.parametrize("how", [garbage, huge, wrong_command, silence, hang_up])
def test_a_push_answered_by_nonsense_is_repeated(
    prey: Prey, evil: Evil, how: Callable[[Session, Pdu], bool]
) -> None:  # fmt: skip
    """What was pushed there is pushed again when it has come to its senses."""
    customer = prey.pushed
    text, seen = f"pushed to {how.__name__}".replace("_", " "), threading.Event()

    def nonsense(session: Session, pdu: Pdu) -> bool:
        if text.encode() not in pdu.body or seen.is_set():
            return False
        seen.set()
        return how(session, pdu)

    evil.on_submit = nonsense
    prey.sms(customer.did, text)
    assert seen.wait(20)
    evil.submitted.first(lambda one: one.text == text, 20)
    prey.settled(customer.did, text, "delivered", seconds=10)


def test_every_status_of_an_smsc_is_final(prey: Prey, evil: Evil) -> None:
    """None of them breaks the carrier; each is final, and tried at the next carrier, not again there."""
    customer = prey.customer()
    evil.script(*(Answer(status=status) for status in (0xFFFFFFFF, 0x400, 0x33, 0x0B, 0x45, 0x65)))
    texts = [f"status {n}" for n in range(7)]
    for text in texts:
        prey.submit(customer, text)
    prey.settled(customer.did, texts[-1], "accepted", seconds=10)
    assert [one.text for one in evil.submitted if one.text in texts] == texts
