"""The newest messages of a door."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection

from sipsms.core.message import Direction, Message
from sipsms.store import recent as module
from sipsms.store.recent import Recent, recall, recent
from sipsms.store.smpp_marks import set_heard
from tests.support.messaging.core import core


def _message(number: int, origin: str, when: float) -> Message:
    return Message(Direction.OUT, "5550001111", "2125550123", f"m{number}", origin, when, "alice", "5550001111")


async def test_recent_messages_are_of_one_origin_and_a_time_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STEP", 3)
    async with core(tmp_path, run=False) as here:
        assert await here.store.read(lambda db: recent(db, "smpp", 60.0)) == []
        for number in range(20):
            origin = "sip" if number % 4 == 3 else "smpp"
            await here.store.accept(_message(number, origin, 1000.0 + 10 * number), (), 1.0)

        def look(db: Connection) -> list[str]:
            return [one.text for one in recent(db, "smpp", 60.0)]

        assert await here.store.read(look) == ["m18", "m17", "m16", "m14", "m13"]
        late = await here.store.read(lambda db: recent(db, "smpp", 60.0, after=1160.0))
        assert [one.text for one in late] == ["m18", "m17"], "later than that time only"
        (newest,) = await here.store.read(lambda db: recent(db, "smpp", 60.0, 1))
        assert newest == Recent("alice", "5550001111", "2125550123", "m18", newest.id, 1180.0)
        assert len(await here.store.read(lambda db: recent(db, "smpp", 1e6))) == 15
        assert await here.store.read(lambda db: recent(db, "smp", 1e6)) == []


@pytest.mark.req("P-10", "F-01")
async def test_recall_goes_back_to_the_last_answer_that_the_peers_received(tmp_path: Path) -> None:
    """However long ago that is, within bounds: a peer that received no answer tells it again when it has lost us."""
    async with core(tmp_path, run=False) as here:
        for number in range(20):
            await here.store.accept(_message(number, "smpp", 1000.0 + 10 * number), (), 1.0)

        def look(db: Connection) -> list[str]:
            return [one.text for one in recall(db, "smpp", 1200.0)[0]]

        assert (await here.store.read(look))[-1] == "m9", "nothing is known of what they have heard"
        await here.store.write(lambda db: set_heard(db, "smpp", 1145.0))
        assert await here.store.read(look) == ["m19", "m18", "m17", "m16", "m15"]
        await here.store.write(lambda db: set_heard(db, "smpp", 1190.0))
        assert await here.store.read(look) == []
