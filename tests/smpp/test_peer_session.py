"""Messages of a session: in progress, answered lately, and those that its peer may send again."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from sipsms.smpp.peer_session import PeerSession, known
from sipsms.smpp.resend_detection import ResendDetection, Started


def waiting(session: PeerSession, key: str, since: float) -> asyncio.Future[str]:
    taken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    session.under_way[taken] = Started(key, since)
    return taken


@pytest.mark.req("P-10", "I4", "F-01")
async def test_the_oldest_message_in_doubt_is_known() -> None:
    session = PeerSession()
    assert session.oldest(190.0) == inf
    first, second = waiting(session, "b", 150.0), waiting(session, "c", 189.0)
    assert session.oldest(190.0) == 150.0
    first.set_result("1")
    session.answered(first, 190.0)
    session.failed(second)
    assert session.oldest(190.0) == 150.0, "its response may be lost"


@pytest.mark.req("I4")
async def test_each_message_is_in_doubt_once() -> None:
    session = PeerSession()
    answered, open_ = waiting(session, "a", 1.0), waiting(session, "b", 2.0)
    answered.set_result("7")
    session.answered(answered, 3.0)
    (key, result), (other, taken) = session.unsure(4.0)
    assert (key, result.result()) == ("a", "7")
    assert (other, taken) == ("b", open_)
    assert session.unsure(4.0) == []
    open_.set_result("8")
    session.answered(open_, 5.0)
    assert session.unsure(6.0) == [], "it was returned while it was in progress"


@pytest.mark.req("P-10")
async def test_a_message_that_could_not_be_stored_is_no_duplicate() -> None:
    doubts: ResendDetection[asyncio.Future[str]] = ResendDetection()
    failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    failed.set_exception(OSError("full"))
    doubts.add([("a", failed), ("b", known("7"))], 0.0)
    session = PeerSession()

    async def stored() -> str:
        return "8"

    for key, result, came_again in (("a", "8", False), ("b", "7", True), ("b", "8", False)):
        taken, is_again = session.take(doubts, key, 1.0, stored)
        assert (await taken, is_again) == (result, came_again)
