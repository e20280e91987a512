"""What a carrier's SMSC sends: stored once, even when a bind ends and the message comes again by the next."""

from __future__ import annotations

import asyncio
import time

import pytest

from sipsms.smpp.carrier import SmppCarriers
from sipsms.smpp.connection import Connection
from sipsms.store.recent import Recent

from .parts import Parts, Smsc, config, is_up, until


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(monkeypatch)


@pytest.mark.req("P-16")
async def test_several_binds_recall_the_last_messages_once(parts: Parts) -> None:
    """Else the first of two equal texts would be taken for a message told again, and the second, too."""
    parts.recalled = [Recent("acme", "2125550123", "5550001111", "hello", 1, 0.0)]
    async with asyncio.timeout(30), Smsc() as smsc:
        carrier = parts.build("acme", config(smsc, binds=3))
        carrier.start()
        await is_up(carrier, 3)
        assert len(carrier.deliver.doubts) == 1
        await carrier.close()


@pytest.mark.req("I4", "P-10")
async def test_a_reload_does_not_lose_an_equal_text(parts: Parts) -> None:
    async with asyncio.timeout(30), Smsc() as smsc:
        smscs = SmppCarriers(parts.build, parts.spawn)
        smscs.start()
        await is_up(smscs.make("acme", config(smsc)))
        await smsc.tell("yes")
        fresh = smscs.make("acme", config(smsc, window=5))
        await is_up(fresh)
        await asyncio.gather(*parts.tasks)
        assert len(fresh.deliver.doubts) == 0
        await smsc.tell("yes")
        assert parts.texts == ["yes", "yes"]
        await smscs.close()


@pytest.mark.req("I4", "P-10")
async def test_messages_in_progress_are_answered_before_the_unbind(parts: Parts) -> None:
    async with asyncio.timeout(30), Smsc() as smsc:
        carrier = parts.build("acme", config(smsc))
        carrier.start()
        await is_up(carrier)
        parts.storing.clear()
        smsc.deliver("yes")
        await until(lambda: len(parts.tasks) == 1)
        closing = asyncio.ensure_future(carrier.close())
        await until(lambda: carrier.pool._closing is not None)
        parts.storing.set()
        await closing
        await smsc.answers.acquire()
        assert (parts.texts, len(carrier.deliver.doubts)) == (["yes"], 0)


@pytest.mark.req("I4", "P-10")
async def test_a_message_not_stored_when_the_bind_ends_may_be_repeated(parts: Parts) -> None:
    """The answer to what was stored before the unbind has been heard; the answer to the other has not."""
    async with asyncio.timeout(30), Smsc() as smsc:
        carrier = parts.build("acme", config(smsc))
        carrier.start()
        await is_up(carrier)
        await smsc.tell("heard")
        parts.storing.clear()
        smsc.deliver("not heard")
        await until(lambda: len(parts.tasks) == 2)
        await carrier.close()
        assert [doubt.key[2] for doubt in carrier.deliver.doubts._known.values()] == ["not heard"]
        parts.storing.set()
        await asyncio.gather(*parts.tasks)


@pytest.mark.req("I4", "P-10")
async def test_without_an_answer_to_the_unbind_the_last_messages_are_in_doubt(parts: Parts) -> None:
    async with asyncio.timeout(30), Smsc() as smsc:
        smsc.answers_unbind = False
        carrier = parts.build("acme", config(smsc))
        carrier.start()
        await is_up(carrier)
        await smsc.tell("yes")
        await carrier.close()
        assert len(carrier.deliver.doubts) == 1


class NeverHeard(Connection):
    """What it says is not acknowledged."""

    def unread(self) -> int:
        return 1


@pytest.mark.req("I4", "P-10", "F-01")
async def test_unacknowledged_messages_are_recalled(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark stays before it, but when the bind has ended in order, it need not."""
    monkeypatch.setattr("sipsms.smpp.bind.Connection", NeverHeard)
    async with asyncio.timeout(30), Smsc() as smsc:
        ahead = 0.0
        parts.clock = lambda: time.time() + ahead
        smscs = SmppCarriers(parts.build, parts.spawn)
        smscs.start()
        await is_up(smscs.make("acme", config(smsc)))
        before = time.time()
        await smsc.tell("yes")
        after, ahead = time.time(), 20.0
        assert before - 1.0 < smscs.heard_by(time.time() + ahead, 10.0)["carrier:acme"] < after
        await smscs.close()
        assert smscs.heard_by(time.time() + ahead, 0.0)["carrier:acme"] > before + ahead
