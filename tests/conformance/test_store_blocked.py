"""The store cannot write for a while: C-027, C-028, C-030, C-034, C-059 (second half), F-05."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sipsms.store.sqlite import sqlite3
from tests.support.sip.wire import Draft, Incoming, Phone, Silence, listening

from .lab import Account, Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("blocked"), 40) as lab:
        yield lab


@contextlib.contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """Another process holds the store's write lock."""
    connection = sqlite3.connect(lab.store, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@pytest.mark.req("C-027")
def test_c027_no_provisional_while_the_store_takes_two_seconds(lab: Lab, account: Account, udp_phone: Phone) -> None:
    draft = udp_phone.signed(udp_phone.message_draft("5554443001", "slow"))
    with locked(lab):
        udp_phone.send(draft)
        udp_phone.assert_silent(2.0)
    assert udp_phone.response_to(draft).status == 202
    assert lab.texts(account.did) == ["slow"]


@pytest.mark.req("C-027", "F-05")
def test_c027_store_that_takes_three_seconds(lab: Lab, account: Account, udp_phone: Phone) -> None:
    """One final answer and no provisional one; it may be a 503 by then, and then nothing was stored."""
    draft = udp_phone.signed(udp_phone.message_draft("5554443001", "slow"))
    answers = []
    with locked(lab):
        udp_phone.send(draft)
        with contextlib.suppress(Silence):
            answers.append(udp_phone.wire.receive(3.0))
            udp_phone.assert_silent(0.2)
    if not answers:
        answers.append(udp_phone.wire.receive(1.0))
    assert answers[0].status in (202, 503)
    assert lab.texts(account.did) == (["slow"] if answers[0].status == 202 else [])
    udp_phone.assert_silent(0.1)


@pytest.mark.req("C-034")
def test_c034_retransmissions_while_the_store_is_blocked(lab: Lab, account: Account, phone: Phone) -> None:
    draft = phone.signed(phone.message_draft("5554443001", "absorbed"))
    with locked(lab):
        for _ in range(4):
            phone.send(draft)
            phone.assert_silent(0.1)
    assert phone.response_to(draft).status == 202
    phone.assert_silent(0.3)
    assert lab.texts(account.did) == ["absorbed"]


@pytest.mark.req("C-030")
def test_c030_stream_closed_before_the_answer(lab: Lab, account: Account, tcp_phone: Phone) -> None:
    with listening("tcp") as other:
        draft = tcp_phone.signed(tcp_phone.message_draft("5554443001", "nobody waits"))
        draft.set("Via", tcp_phone.via(f"127.0.0.1:{other.address[1]}"))
        with locked(lab):
            tcp_phone.send(draft)
            tcp_phone.assert_silent(0.1)
            tcp_phone.close()
        lab.wait(lambda: lab.texts(account.did) == ["nobody waits"])
        assert other.connections(0.3) <= 1


@pytest.mark.req("F-05")
def test_f05_strangers_are_answered_meanwhile(lab: Lab, phone: Phone) -> None:
    with locked(lab):
        assert phone.ask(phone.options(), 0.5).status == 200
        assert phone.ask(phone.register_draft(), 0.5).status == 401
        assert phone.settled(phone.message_draft("123")).status == 484


@dataclass
class Blocked:
    """What was asked while the store was locked for longer than anybody waits, and what came, when."""

    accounts: list[Account] = field(default_factory=list)
    phones: list[Phone] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    answers: list[tuple[Incoming, float] | None] = field(default_factory=list)


@pytest.fixture(scope="module")
def blocked(lab: Lab) -> Iterator[Blocked]:
    """Four MESSAGEs and two REGISTERs with two contacts, all at once."""
    found = Blocked()
    for number in range(6):
        found.accounts.append(lab.account())
        phone = lab.phone(found.accounts[-1], "udp" if number % 2 else "tcp")
        found.phones.append(phone)
        draft = (
            phone.message_draft("5554443001", "in vain")
            if number < 4
            else phone.register_draft("<sip:a@192.0.2.1>", "<sip:b@192.0.2.2>")
        )
        found.drafts.append(phone.signed(draft))
    with locked(lab):
        began = time.monotonic()
        for phone, draft in zip(found.phones, found.drafts, strict=True):
            phone.send(draft)
        for phone, draft in zip(found.phones, found.drafts, strict=True):
            try:
                response = phone.response_to(draft, max(0.1, 8.0 - (time.monotonic() - began)))
                found.answers.append((response, response.at - began))
            except Silence:
                found.answers.append(None)
    yield found
    for phone in found.phones:
        phone.close()


@pytest.mark.req("C-028", "F-05")
def test_c028_no_408_but_503(lab: Lab, blocked: Blocked) -> None:
    for answer, account in zip(blocked.answers[:4], blocked.accounts[:4], strict=True):
        assert answer is not None, "no answer within 8 s"
        response, after = answer
        assert response.status == 503
        assert response.has("retry-after")
        assert after < 7.0  # F-05: about 5 s, however many wait
        assert lab.rows(account.did) == []


@pytest.mark.req("C-028", "D1")
def test_c028_the_next_try_is_taken(lab: Lab, blocked: Blocked) -> None:
    for phone, account in zip(blocked.phones[:4], blocked.accounts[:4], strict=True):
        with contextlib.suppress(Silence):
            lab.wait(lambda phone=phone: phone.message("5554443001", "at last").status == 202, 12.0)  # type: ignore[misc]
        assert lab.texts(account.did).count("at last") == 1


@pytest.mark.req("C-059")
def test_c059_store_error(lab: Lab, blocked: Blocked) -> None:
    """RFC 3261 section 10.3, step 7: a failed commit MUST be answered with 500, and nothing changes."""
    for answer, account, phone in zip(blocked.answers[4:], blocked.accounts[4:], blocked.phones[4:], strict=True):
        assert answer is not None, "no answer within 8 s"
        assert answer[0].status == 500
        assert lab.bindings(account.name) == {}
        assert phone.bindings() == {}
