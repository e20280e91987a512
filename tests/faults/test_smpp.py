"""SMPP in the middle of a load: either side is killed, again and again; what was promised is kept, once each."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from smpp.kit import OK, OUR_ID, PHONE, Customer, Esme, SmppSite

from tests.support.smpp import esme_ledger
from tests.support.smpp.esme_ledger import Books, Job, Sender
from tests.support.smpp.smsc import THROTTLED, Answer, Receipt, Smsc, Submitted
from tests.support.smpp.wire import DELIVER, RESPONSE, Closed, read_deliver

pytestmark = pytest.mark.e2e

SETTLED = {"accepted", "delivered", "unknown", "failed"}
KILLS = 3


class Line(SmppSite):
    """ESMEs on one side, an SMSC on the other."""

    def __init__(self, folder: Path, smsc: Smsc, **carrier: Any) -> None:
        options = {"type": "smpp", "url": smsc.url, "long": "payload", "response_timeout": "1s", **carrier}
        super().__init__(
            folder, 6, carriers={"smsc": options}, queue={"retry_min": "100ms", "retry_max": "300ms"},
            smpp={"response_timeout": "2s"}, messages={"max_length": 1600},
        )  # fmt: skip

    def settle(self, texts: list[str], seconds: float = 25) -> list[dict[str, Any]]:
        """What was sent, when all of these texts are there and nothing waits any more: parts that were stored but not
        joined when the server was killed, are joined within some seconds."""

        def look() -> list[dict[str, Any]] | None:
            rows = self.sent()
            there = {row["text"] for row in rows}
            return rows if there >= set(texts) and all(row["state"] in SETTLED for row in rows) else None

        with suppress(AssertionError):
            return list(self.wait(look, seconds))
        return self.sent()

    def sent(self) -> list[dict[str, Any]]:
        return [row for row in self.rows() if row["direction"] == "out"]


@pytest.fixture
def smsc() -> Iterator[Smsc]:
    with Smsc() as smsc:
        smsc.default = Answer(receipts=(Receipt(),))
        yield smsc


@pytest.fixture
def line(smsc: Smsc, tmp_path: Path) -> Iterator[Line]:
    with Line(tmp_path / "line", smsc) as line:
        yield line
        line.no_crash()


@contextmanager
def running(*works: Callable[[threading.Event], None]) -> Iterator[threading.Event]:
    """Each in a thread of its own, until the end, when they are told to stop."""
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(stop,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop.set()
        for thread in threads:
            thread.join(15)


def until(what: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.01)


def check(line: Line, smsc: Smsc, texts: list[str], unknown_allowed: int) -> None:
    """Every text is stored once; each left once, or is `unknown` and left at most once."""
    rows = line.settle(texts)
    waiting = [row for row in rows if row["state"] not in SETTLED]
    assert not waiting, waiting[:3]
    stored = Counter(row["text"] for row in rows)
    assert not (lost := [text for text in texts if not stored[text]]), f"{len(lost)} lost: {lost[:3]}"
    assert not (twice := [text for text in stored if stored[text] > 1]), f"{len(twice)} stored twice: {twice[:3]}"
    assert not stored.keys() - set(texts), "something else was stored"
    left = Counter(one.text for one in smsc.taken)
    assert not (twice := [text for text in left if left[text] > 1]), f"{len(twice)} sent twice: {twice[:3]}"
    for row in rows:
        if row["state"] in ("accepted", "delivered"):
            assert left[row["text"]] == 1, row
    unknown = [row["text"] for row in rows if row["state"] == "unknown"]
    print(f"{len(rows)} messages, {len(unknown)} unknown")
    assert len(unknown) <= unknown_allowed
    assert not [row for row in rows if row["state"] == "failed"]


@pytest.mark.req("F-01", "I1", "I2", "I3", "I4", "P-17")
def test_a_server_that_is_killed_under_load_keeps_what_it_accepted(line: Line, smsc: Smsc, tmp_path: Path) -> None:
    """Two sessions of an ESME, a window of ten each, every seventh text long; what has no answer is sent again."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice, customer = random.Random(seed), line.customer()
    jobs = [Job(did, PHONE, f"by {did}", 500) for did in (customer.did, customer.second)]
    books = [Books(tmp_path / f"books{n}") for n in range(2)]
    senders = [
        Sender(line.smpp_port, customer.user, customer.password, job, book)
        for job, book in zip(jobs, books, strict=True)
    ]  # fmt: skip
    with running(*(sender.run for sender in senders)):
        for _ in range(KILLS):
            count = sum(len(book.answers) for book in books)
            until(lambda count=count: sum(len(book.answers) for book in books) > count + 100)
            time.sleep(dice.uniform(0, 0.2))
            line.kill()
            line.start()
        until(lambda: not any(sender.left() for sender in senders), 40)
    assert not any(book.refused for book in books)
    print([(sender.sessions, sender.again) for sender in senders])
    assert sum(sender.again for sender in senders) > 0, "the kills hit nothing"
    check(line, smsc, [text for job in jobs for text in job.texts.values()], KILLS * 10)


@pytest.mark.req("F-01", "I1", "I4")
def test_an_esme_that_is_killed_under_load_sends_each_message_once(line: Line, smsc: Smsc, tmp_path: Path) -> None:
    """It goes on from its books, and sends again all that has no answer there."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice, customer, path, count = random.Random(seed), line.customer(), tmp_path / "books", 450
    arguments = [str(line.smpp_port), customer.user, customer.password, customer.did, PHONE, str(path), str(count)]
    command = [sys.executable, esme_ledger.__file__, *arguments]
    job = Job(customer.did, PHONE, "durable", count)
    for kills in range(KILLS):
        with subprocess.Popen(command) as process:
            until(lambda kills=kills: len(line.sent()) > (kills + 1) * 80)
            time.sleep(dice.uniform(0, 0.1))
            process.kill()
    assert subprocess.run(command, timeout=40, check=False).returncode == 0
    books = Books(path)
    assert books.answers.keys() == job.pdus.keys()
    check(line, smsc, list(job.texts.values()), 0)


@pytest.mark.req("F-14", "I2", "P-10")
def test_a_carrier_that_is_cut_and_killed_under_load_loses_no_message(line: Line, smsc: Smsc, tmp_path: Path) -> None:
    """What was with it at that moment may be `unknown`: its receipt settles it where one comes."""
    customer = line.customer()
    job, books = Job(customer.did, PHONE, "to the carrier", 350), Books(tmp_path / "books")
    dice = random.Random(14)
    smsc.rule = lambda one: Answer(cut=True) if dice.random() < 0.01 else None
    sender = Sender(line.smpp_port, customer.user, customer.password, job, books)
    with running(sender.run):
        for n in range(3):
            smsc.taken.count(len(smsc.taken) + 60)
            smsc.cut() if n % 2 else smsc.kill()
            if not n % 2:
                smsc.start()
        until(lambda: not sender.left(), 40)
    check(line, smsc, list(job.texts.values()), 60)
    taken = {one.text for one in smsc.taken}
    for row in line.sent():
        assert row["text"] in taken or row["state"] == "unknown"


@pytest.mark.req("F-14", "P-10")
def test_a_late_answer_and_a_receipt_settle_what_is_unknown(line: Line, smsc: Smsc) -> None:
    customer = line.customer()
    recipients = ["14165550101", "14165550102", "14165550103"]
    smsc.default = Answer()
    smsc.script(Answer(after=3.0), Answer(cut=True, receipts=(Receipt(),)), Answer(cut=True))
    texts = ["answered late", "told by a receipt", "never told"]
    with Esme(line.smpp_port) as esme:
        esme.bind(customer.user, customer.password)
        for text, to, count in zip(texts, recipients, (1, 2, 3), strict=True):
            assert esme.submit(customer.did, to, text).status == OK
            smsc.submitted.count(count)
            if count == 1:
                line.settled(customer.did, text, "unknown", seconds=3)
                until(lambda: smsc.sessions[0].open == 0)  # the late answer is out, before the session is cut
        line.settled(customer.did, "answered late", "accepted", seconds=25)
        line.settled(customer.did, "told by a receipt", "delivered", seconds=25)
        line.settled(customer.did, "never told", "unknown")
    assert [one.text for one in smsc.submitted] == texts, "none was sent again"


@pytest.mark.req("F-15", "P-09")
def test_an_smsc_that_throttles_gets_every_message_in_order(line: Line, smsc: Smsc) -> None:
    """It takes forty a second and throttles what is beyond: order kept, none lost, and its share falls."""
    customer = line.customer()
    slot, lock, answers = [0, 0], threading.Lock(), []

    def forty(one: Submitted) -> Answer | None:
        with lock:
            second = int(one.at)
            if slot[0] != second:
                slot[:] = [second, 0]
            slot[1] += 1
            answers.append((one.at, slot[1] > 40))
            return Answer(status=THROTTLED) if slot[1] > 40 else None

    smsc.rule = forty
    texts = [f"stormy {n}" for n in range(150)]
    with Esme(line.smpp_port) as esme:
        esme.bind(customer.user, customer.password)
        for n, text in enumerate(texts):
            assert esme.submit(customer.did, f"1416555{n % 30:04d}", text).status == OK
        smsc.taken.count(150, 60)
    check(line, smsc, texts, 0)
    lanes: dict[str, list[int]] = defaultdict(list)
    for one in smsc.taken:
        lanes[one.destination].append(int(one.text.split()[1]))
    assert all(lane == sorted(lane) for lane in lanes.values())
    throttled = sum(one for _, one in answers)
    print(f"{answers[-1][0] - answers[0][0]:.1f} s, throttled {throttled} of {len(answers)}")
    assert 0 < throttled < 0.2 * len(answers), "it sends as much as the SMSC takes, having been told once or twice"


@pytest.mark.req("F-15", "P-09")
def test_an_smsc_that_throttles_every_second_submit_gets_every_message_once(line: Line, smsc: Smsc) -> None:
    """However unreasonable: order kept, none lost, none twice."""
    customer = line.customer()
    smsc.script(*(Answer(status=THROTTLED if n % 2 else 0) for n in range(8)))
    texts = [f"every other {n}" for n in range(12)]
    with Esme(line.smpp_port) as esme:
        esme.bind(customer.user, customer.password)
        for text in texts:
            assert esme.submit(customer.did, PHONE, text).status == OK
        smsc.taken.count(12, 60)
    assert [one.text for one in smsc.taken] == texts
    check(line, smsc, texts, 0)


class Hearer:
    """An ESME that hears, over as many sessions as it takes; each message by its name."""

    def __init__(self, line: Line, customer: Customer) -> None:
        self._line, self._customer = line, customer
        self.heard: dict[bytes, str] = {}
        self.repeated = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with suppress(OSError, Closed), Esme(self._line.smpp_port, seconds=0.5) as esme:
                esme.bind(self._customer.user, self._customer.password)
                while not stop.is_set():
                    with suppress(TimeoutError):
                        self._take(esme)
            stop.wait(0.05)

    def _take(self, esme: Esme) -> None:
        pdu = esme.receive()
        if pdu.command == DELIVER:
            found = read_deliver(pdu)
            self.repeated += found.tlvs[OUR_ID] in self.heard
            assert self.heard.setdefault(found.tlvs[OUR_ID], found.text) == found.text
            esme.send(RESPONSE | DELIVER, b"\0", pdu.sequence)


@pytest.mark.req("F-01", "F-06", "I1", "I4", "P-16")
def test_a_server_that_is_killed_passes_each_message_to_the_esme_once(line: Line, smsc: Smsc) -> None:
    """From an SMSC that delivers again what was not answered, to an ESME: by name each comes once, and in order."""
    customer = line.customer()
    hearer, texts = Hearer(line, customer), [f"stream {n}" for n in range(400)]

    def stream(stop: threading.Event) -> None:
        for n, text in enumerate(texts):
            smsc.mo(PHONE, "1" + (customer.did, customer.second)[n % 2], text)
            stop.wait(0.01)

    with running(hearer.run, stream):
        for kills in range(KILLS):
            until(lambda kills=kills: len(hearer.heard) > kills * 80 + 20, 30)
            line.kill()
            line.start()
        until(lambda: len(set(hearer.heard.values())) == len(texts), 30)
    rows = line.rows()
    stored = Counter(row["text"] for row in rows)
    assert stored == Counter(texts), [text for text in stored if stored[text] > 1]
    assert Counter(hearer.heard.values()) == Counter(texts), "one name, one message"
    print(f"{hearer.repeated} came again under the same name")
    for did in (customer.did, customer.second):
        own = [row["text"] for row in sorted(rows, key=lambda row: row["id"]) if row["to"] == did]
        assert [text for text in hearer.heard.values() if text in set(own)] == own


@pytest.mark.req("F-16", "P-11", "P-12")
def test_receipts_that_are_doubled_early_or_late_settle_their_message(line: Line, smsc: Smsc) -> None:
    customer = line.customer()
    forms: dict[str, tuple[Receipt, ...]] = {
        "doubled": (Receipt(times=3),), "early": (Receipt(before=True),), "lost": (), "late": (),
        "changed": (Receipt(state="ACCEPTD"), Receipt(state="DELIVRD"), Receipt(state="UNDELIV")),
    }  # fmt: skip
    with Esme(line.smpp_port) as esme:
        esme.bind(customer.user, customer.password)
        for text, receipts in forms.items():
            smsc.script(Answer(receipts=receipts))
            assert esme.submit(customer.did, PHONE, text).status == OK
            smsc.taken.first(lambda one, text=text: one.text == text)
        for text in ("doubled", "early", "changed"):
            line.settled(customer.did, text, "delivered")
    (late,) = [one for one in smsc.taken if one.text == "late"]
    line.settled(customer.did, "late", "accepted")
    line.stop()
    line.age(3 * 86400)
    line.start()
    smsc.tell(late, Receipt(state="UNDELIV"))
    line.settled(customer.did, "late", "failed", seconds=10)
    line.settled(customer.did, "lost", "accepted")
    assert len(smsc.taken) == len(forms)
