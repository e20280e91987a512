"""What is remembered of peers: messages that may come again, texts whose parts are coming, how fast a carrier is."""

from __future__ import annotations

import asyncio
import itertools
import socket

import pytest

from sipsms.core.smpp_url import smpp_url
from sipsms.smpp import resend_detection
from sipsms.smpp.bind import Bind, Target
from sipsms.smpp.concat_refs import PATIENCE, ConcatReferences, Full, Name, reference_of
from sipsms.smpp.pdu import Command, Pdu, encode
from sipsms.smpp.peer_session import known
from sipsms.smpp.resend_detection import AGAIN, HEARD, PARTED, QUIET, Mark, ResendDetection, Started, Trail
from sipsms.smpp.settings import SmppSettings

NAME = Name("acme", "5550001111", "2125550123", 7, 3)


def make(most: int = 1000, *, gives_way: bool = False) -> ConcatReferences:
    tokens = itertools.count()
    return ConcatReferences(lambda: f"{next(tokens):012x}", most, gives_way=gives_way)


@pytest.mark.req("P-16")
def test_a_message_answered_just_now_is_in_doubt() -> None:
    trail: Trail[str] = Trail()
    trail.answered("a", "1", 100.0)
    trail.looked(100.0, all_heard=True)
    trail.answered("b", "2", 100.0 + HEARD - PARTED + 1)
    now = 100.0 + HEARD
    trail.looked(now, all_heard=True)
    assert trail.unsure(now) == [("a", "1"), ("b", "2")]
    assert trail.unsure(now, PARTED) == [("b", "2")]
    assert trail.unsure(now + 0.1) == [("b", "2")]
    trail.looked(now + HEARD, all_heard=True)
    assert len(trail) == 0, "what is long past is not kept"


@pytest.mark.req("P-10", "I4")
def test_a_message_never_acknowledged_stays_in_doubt() -> None:
    """And when it is acknowledged in the end, its peer has the usual time to act on it."""
    trail: Trail[str] = Trail()
    trail.answered("a", "1", 100.0)
    for second in range(101, 1000):
        trail.looked(float(second), all_heard=False)
    assert trail.unsure(999.0, PARTED) == [("a", "1")]
    trail.looked(1000.0, all_heard=True)
    assert trail.unsure(999.0 + HEARD) == [("a", "1")]
    assert trail.unsure(999.1 + HEARD) == []
    trail.answered("b", "2", 1001.0)
    trail.forget()
    assert trail.unsure(1001.0) == []


@pytest.mark.req("P-10", "I4", "F-01")
def test_the_mark_does_not_pass_a_message_in_doubt() -> None:
    """However long ago it came: what was never acknowledged, or only just now, and what is not answered yet."""
    mark, trail = Mark(), Trail[str]()
    assert mark.move(100.0, HEARD, trail.oldest(100.0)) == 0.0, "nothing has come"
    trail.answered("a", "1", 101.0, 100.0)
    mark.took_at = 101.0
    for second in range(102, 180):
        trail.looked(float(second), all_heard=False)
        assert mark.move(float(second), HEARD, trail.oldest(float(second))) < 100.0
    trail.looked(180.0, all_heard=True)
    assert trail.oldest(180.0) == 100.0, "it has been acknowledged only since the last look"
    assert mark.move(181.0, HEARD, trail.oldest(181.0)) == 0.0
    trail.looked(190.0, all_heard=True)
    assert 149.9 < mark.move(190.0, HEARD, min(150.0, trail.oldest(190.0))) < 150.0
    assert mark.move(190.0, 0.0, trail.oldest(190.0)) == 0.0, "the last message was earlier"
    mark.took_at = 195.0
    trail.answered("c", "2", 195.0, 189.0)
    assert 188.9 < mark.move(195.0, 0.0, trail.oldest(195.0)) < 189.0
    trail.forget()
    assert mark.move(196.0, 0.0, trail.oldest(196.0)) == 196.0


@pytest.mark.req("A-43")
def test_the_memory_of_answered_messages_is_bounded() -> None:
    trail: Trail[int] = Trail()
    for number in range(resend_detection._MOST_OF_ONE + 5):
        trail.answered("key", number, 1.0)
        if number == 2:
            trail.looked(1.0, all_heard=True)
    assert len(trail) == resend_detection._MOST_OF_ONE
    assert trail.unsure(1.0)[0] == ("key", 5)


@pytest.mark.req("I4")
def test_a_message_in_doubt_is_matched_only_by_other_sessions() -> None:
    doubts: ResendDetection[str] = ResendDetection()
    one, two = object(), object()
    doubts.add([("k", "1"), ("k", "2")], 0.0, one)
    doubts.add([("k", "3")], 0.0, two)
    assert [doubts.take("k", 1.0, one) for _ in range(2)] == ["3", None]
    assert [doubts.take("k", 1.0, two) for _ in range(3)] == ["1", "2", None]
    doubts.add([("k", "4")], 2.0)
    assert doubts.take("k", 2.0) == "4"
    doubts.add([("k", "5")], 2.0, one)
    doubts.sweep(2.0 + AGAIN)
    assert (len(doubts), doubts._by_key) == (0, {})


@pytest.mark.req("P-10")
def test_a_message_in_doubt_is_matched_once_and_within_its_time() -> None:
    doubts: ResendDetection[str] = ResendDetection()
    doubts.add([("k", "1"), ("k", "2"), ("other", "3")], 0.0)
    assert [doubts.take("k", 1.0) for _ in range(3)] == ["1", "2", None]
    assert doubts.take("nothing", 1.0) is None
    doubts.add([("late", "4")], 10.0)
    assert doubts.take("other", AGAIN) is None
    assert len(doubts) == 1
    doubts.sweep(10.0 + AGAIN)
    assert len(doubts) == 0
    assert doubts._by_key == {}


@pytest.mark.req("I4", "P-10")
async def test_a_link_whose_peer_receives_nothing_is_mute() -> None:
    """An SMSC that asks much, and whose system has no room for the answers: each is said once to be in doubt."""
    now = [100.0]

    def asked(link: Bind, pdu: Pdu) -> None:
        link.answer(pdu)
        taken = known("")
        link.under_way[taken] = Started(pdu.sequence, now[0])
        link.answered(taken, now[0])
        came.release()

    came, ended = asyncio.Semaphore(0), asyncio.Event()

    async def smsc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        deliver = {"short_message": b"hello", "source_addr": "1", "destination_addr": "2"}
        writer.write(encode(Pdu(0x80000000 | Command.BIND_TRANSCEIVER, 1, 0, {"system_id": "smsc"})))
        writer.writelines(encode(Pdu(Command.DELIVER_SM, n, 0, deliver)) for n in range(2, 5002))
        await ended.wait()
        writer.close()

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    async with asyncio.timeout(30), await asyncio.start_server(smsc, sock=listener) as server:
        target = Target(smpp_url(f"smpp://127.0.0.1:{listener.getsockname()[1]}"), "user", "pw", SmppSettings().limits)
        link = Bind(target, Command.BIND_TRANSCEIVER, lambda: now[0], asked, _resolve)
        await link.open()
        for _ in range(5000):
            await came.acquire()
        assert not link.is_mute(now[0]), "it has just been heard"
        now[0] += QUIET
        assert link.is_mute(now[0])
        left = link.doubts(now[0])
        assert [key for key, _ in left][-1] == 5001
        assert link.doubts(now[0]) == link.unsure(now[0]) == []
        ended.set()
        await link.until_closed()
        server.close()


async def _resolve(host: str, port: int) -> list[str]:
    return [host]


@pytest.mark.req("P-13")
def test_the_parts_of_one_text_have_one_token() -> None:
    texts = make()
    first = texts.place(NAME, 2, "two", 0.0)
    assert reference_of(first) == 7
    assert texts.place(NAME, 2, "two", 1.0) == first, "the same part again"
    assert texts.place(NAME, 1, "one", 1.0) == first
    assert texts.place(NAME._replace(reference=8), 1, "one", 1.0) != first
    assert texts.place(NAME, 3, "three", 2.0) == first
    assert texts.place(NAME, 1, "one", 3.0) != first, "it was whole: the reference is used again"


@pytest.mark.req("P-13")
def test_a_repeated_part_number_begins_the_next_text() -> None:
    texts = make()
    first = texts.place(NAME, 1, "one", 0.0)
    second = texts.place(NAME, 1, "uno", 1.0)
    assert second != first
    assert texts.place(NAME, 2, "due", 1.0) == second


def test_a_part_that_could_not_be_stored_is_still_missing() -> None:
    texts = make()
    short = NAME._replace(total=2)
    token = texts.place(short, 1, "one", 0.0)
    assert texts.place(short, 2, "two", 0.0) == token
    texts.failed(short, token, 2, 0.0)
    assert texts.place(short, 2, "two", 1.0) == token


@pytest.mark.req("A-43")
def test_one_customer_does_not_evict_references_of_another() -> None:
    texts = make()
    mine = texts.place(NAME, 1, "one", 0.0)
    for number in range(1000):
        texts.place(Name("eve", "1", "2", number, 2), 1, "x", 1.0)
    with pytest.raises(Full):
        texts.place(Name("eve", "1", "3", 0, 2), 1, "x", 1.0)
    assert texts.place(NAME, 2, "two", 2.0) == mine
    texts.sweep(3.0 + PATIENCE)
    assert texts.place(Name("eve", "1", "3", 0, 2), 1, "x", 400.0)
    assert texts.place(NAME, 3, "three", 400.0) != mine


@pytest.mark.req("P-13", "A-43")
def test_a_sender_evicts_only_its_own_texts() -> None:
    """From a carrier all comes by one bind: nobody is refused for what a stranger's phone sends."""
    texts = make(50, gives_way=True)
    mine = texts.place(NAME, 1, "one", 0.0)
    first = texts.place(Name("eve", "eve", "2", 0, 2), 1, "x", 1.0)
    for number in range(1, 20_000):
        texts.place(Name("eve", "eve", "2", number % 65_536, 2), 1, "x", 1.0)
    assert len(texts._open) == 51
    assert texts.place(Name("eve", "eve", "2", 0, 2), 2, "x", 2.0) != first
    assert texts.place(NAME, 2, "two", 2.0) == mine
    for number in range(20_000):
        texts.place(Name(str(number), str(number), "2", 0, 2), 1, "x", 3.0)
    assert len(texts._open) <= 10_000


@pytest.mark.req("P-13", "F-01")
def test_parts_are_recalled_after_a_restart() -> None:
    texts = make()

    texts.recall(NAME, "0007aaaa", 1, "one", 100.0)
    texts.recall(NAME, "0007bbbb", 1, "uno", 100.0)
    assert texts.place(NAME, 2, "due", 101.0) == "0007bbbb"
