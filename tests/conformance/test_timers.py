"""The long timers of RFC 3261 section 17, all at the same time: C-033, C-038, C-039, C-041, C-094, C-097 (timeout).

One scenario is one thread with a phone of its own; the tests look at what the scenarios have seen. About 40 s.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.sip.wire import Incoming, Phone, Silence

from .lab import Account, Lab

pytestmark = pytest.mark.e2e

Scenario = Callable[[Lab, Account], Any]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("timers"), 40) as lab:
        yield lab


class Run(threading.Thread):
    """A scenario at work."""

    def __init__(self, lab: Lab, scenario: Scenario) -> None:
        super().__init__(name=scenario.__name__, daemon=True)
        self.account = lab.account()
        self._work = lambda: scenario(lab, self.account)
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self.join(90)
        assert not self.is_alive(), "the scenario did not end"
        if self._error is not None:
            raise self._error
        return self._result


@pytest.fixture(scope="module")
def runs(lab: Lab) -> dict[str, Run]:
    lab.sms(lab.account().did, "warm")  # the sender is made before the threads share it
    started = {scenario.__name__: Run(lab, scenario) for scenario in SCENARIOS}
    for run in started.values():
        run.start()
    return started


_sending = threading.Lock()


def _send_sms(lab: Lab, did: str, text: str) -> None:
    with _sending:
        lab.sms(did, text)


def _times(phone: Phone, seconds: float, on_each: Callable[[Incoming], None] = lambda one: None) -> list[Incoming]:
    """All requests of this time; `at` says when."""
    deadline, found = time.monotonic() + seconds, []
    while True:
        try:
            found.append(phone.request(max(0.0, deadline - time.monotonic())))
        except Silence:
            return found
        on_each(found[-1])


# --- scenarios -------------------------------------------------------------------------------------------------------


def retransmissions(lab: Lab, account: Account, transport: str = "udp") -> tuple[list[bytes], list[str]]:
    """The same request at 0, 31 and 33 seconds."""
    with lab.phone(account, transport) as phone:
        draft = phone.signed(phone.message_draft("5554443001", "timer J"))
        first = phone.ask(draft)
        answers = [first.raw]
        for after in (31.0, 33.0):
            time.sleep(max(0.0, first.at + after - time.monotonic()))
            answers.append(phone.ask(draft).raw)
    return answers, lab.texts(account.did)


def retransmissions_tcp(lab: Lab, account: Account) -> tuple[list[bytes], list[str]]:
    return retransmissions(lab, account, "tcp")


def silent_phone(lab: Lab, account: Account) -> tuple[list[Incoming], dict[str, Any]]:
    """A phone that never answers, by UDP."""
    with lab.phone(account) as phone:
        phone.register()
        _send_sms(lab, account.did, "timer E")
        first = phone.request()
        found = [first, *_times(phone, first.at + 33.5 - time.monotonic())]
        return found, lab.delivery(account.did)


def provisional_answer(lab: Lab, account: Account) -> list[Incoming]:
    """A phone that answers 100 at once, and 200 after 9 s."""
    with lab.phone(account) as phone:
        phone.register()
        _send_sms(lab, account.did, "trying")
        first = phone.request()
        phone.answer(first, 100, "Trying")
        found = [first, *_times(phone, first.at + 9.0 - time.monotonic())]
        phone.answer(first)
        lab.delivery(account.did, state="delivered", attempts=1)
        return found


def silent_stream(lab: Lab, account: Account) -> list[Incoming]:
    """A phone that does not answer for 12 s, by TCP."""
    with lab.phone(account, "tcp") as phone:
        phone.register()
        _send_sms(lab, account.did, "no timer E")
        first = phone.request()
        found = [first, *_times(phone, 12.0)]
        phone.answer(first)
        lab.delivery(account.did, state="delivered", attempts=1)
        return found


def stream_timeout(lab: Lab, account: Account) -> tuple[list[Incoming], dict[str, Any]]:
    """A phone on TCP that does not answer at all: timer F."""
    with lab.phone(account, "tcp") as phone:
        phone.register()
        _send_sms(lab, account.did, "timer F")
        first = phone.request()
        found = [first, *_times(phone, 33.0)]
        return found, lab.delivery(account.did)


def three_contacts(lab: Lab, account: Account) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """One phone takes it, one is busy, one is silent."""
    phones = [lab.phone(account, transport) for transport in ("udp", "tcp", "udp")]
    for phone in phones:
        phone.register()
    sender = lab.phone(lab.account())
    answer = sender.message(account.did, "to three")
    sender.assert_silent(0.2)  # exactly one answer
    assert answer.status == 202
    phones[0].take()
    phones[1].take(status=486)
    seen = [[one.text for one in phones[2].requests_for(1.2)], [one.text for one in phones[0].requests_for(0.2, 200)]]
    lab.delivery(account.did, state="queued", attempts=1)
    sender.assert_silent(0.1)
    rows = lab.rows(account.did)[-1]["deliveries"]
    for phone in (*phones, sender):
        phone.close()
    return seen, rows


def late_duplicates(lab: Lab, account: Account) -> list[Incoming]:
    """A second 200 one, three and 6 s after the first (timer K is 5 s)."""
    with lab.phone(account) as phone:
        phone.register()
        _send_sms(lab, account.did, "timer K")
        request = phone.take()
        found = []
        for pause in (1.0, 2.0, 3.0):
            found += _times(phone, pause)
            phone.answer(request)
        found += _times(phone, 0.5)
        lab.delivery(account.did, state="delivered", attempts=1)
        return found


SCENARIOS: list[Scenario] = [
    retransmissions, retransmissions_tcp, silent_phone, provisional_answer, silent_stream, stream_timeout,
    three_contacts, late_duplicates,
]  # fmt: skip


# --- what they must have seen ----------------------------------------------------------------------------------------


@pytest.mark.req("C-094", "C-10")
def test_c094_three_contacts(runs: dict[str, Run]) -> None:
    (silent, taken), rows = runs["three_contacts"].result()
    assert set(silent) == {"to three"}  # retransmissions only
    assert taken == []
    assert sorted(row["state"] for row in rows) == ["delivered", "queued", "sending"]


@pytest.mark.req("C-040")
def test_c040_late_duplicates(runs: dict[str, Run]) -> None:
    assert runs["late_duplicates"].result() == []


@pytest.mark.req("C-039")
def test_c039_provisional_answer(runs: dict[str, Run]) -> None:
    found = runs["provisional_answer"].result()
    assert len({one.branch for one in found}) == 1
    assert _intervals(found) == pytest.approx([4.0, 4.0], abs=0.4)


@pytest.mark.req("C-041")
def test_c041_no_retransmission_on_a_stream(runs: dict[str, Run]) -> None:
    assert len(runs["silent_stream"].result()) == 1


@pytest.mark.req("C-033", "D7")
@pytest.mark.parametrize("scenario", ["retransmissions", "retransmissions_tcp"])
def test_c033_retransmissions_at_31_and_33_seconds(runs: dict[str, Run], scenario: str) -> None:
    answers, texts = runs[scenario].result()
    assert answers[0].startswith(b"SIP/2.0 202 ")
    assert answers[1] == answers[0]
    assert answers[2].startswith(b"SIP/2.0 202 ")
    assert texts == ["timer J"]


@pytest.mark.req("C-038", "C-097")
def test_c038_silent_phone(runs: dict[str, Run]) -> None:
    found, delivery = runs["silent_phone"].result()
    assert len({one.raw for one in found}) == 1
    assert len(found) == 11
    assert _intervals(found) == pytest.approx([0.5, 1, 2] + [4] * 7, abs=0.4)
    assert delivery["state"] == "queued"
    assert delivery["attempts"] == 1


@pytest.mark.req("C-041", "C-097")
def test_c041_timeout_on_a_stream(runs: dict[str, Run]) -> None:
    found, delivery = runs["stream_timeout"].result()
    assert len(found) == 1
    assert delivery["state"] == "queued"


def _intervals(found: list[Incoming]) -> list[float]:
    return [later.at - earlier.at for earlier, later in itertools.pairwise(found)]
