"""When each SMPP peer was last heard."""

from __future__ import annotations

from pathlib import Path

from sipsms.store.smpp_marks import heard, set_heard
from tests.support.messaging.core import core


async def test_the_mark_of_a_peer_is_the_last_time_that_was_set(tmp_path: Path) -> None:
    async with core(tmp_path, run=False) as here:
        assert await here.store.read(lambda db: heard(db, "esme")) == 0.0
        for name, at in (("esme", 5.5), ("other", 7.0), ("esme", 9.5), ("n" * 100, 1.0)):
            await here.store.write(lambda db, name=name, at=at: set_heard(db, name, at))
        assert [await here.store.read(lambda db, name=name: heard(db, name)) for name in ("esme", "other")] == [
            9.5,
            7.0,
        ]
        assert await here.store.read(lambda db: heard(db, "n" * 100)) == 1.0, "a long name"
