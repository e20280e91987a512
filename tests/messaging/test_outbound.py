"""The checks that every way to send has, and what becomes of a refused message."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.core.account import Account, Did
from sipsms.core.directory_rows import Block
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import RefusalCode
from sipsms.messaging.order import File
from sipsms.messaging.settings import PolicySettings
from tests.support.messaging.media import PNG
from tests.support.messaging.program import broken, program

DEMO = Account("demo", caller_id="")
ALICE = Account("alice", "demo", caller_id="5550001111")
PEER = "5551234567"


async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        assert await one.refused(source="5550002222") is RefusalCode.SOURCE, "not for SMS"
        assert await one.refused(source="5559998888") is RefusalCode.SOURCE
        assert await one.refused(source="x y z ü") is RefusalCode.SOURCE
        assert await one.refused(destination="") is RefusalCode.NO_DESTINATION
        for number in ("911", "12", "9005551234", "+4479111234567", "\u0665\u0665\u0665", "abc"):
            assert await one.refused(destination=number) is RefusalCode.DESTINATION, number
        assert await one.refused(" \n") is RefusalCode.EMPTY
        assert await one.refused("x" * 161) is RefusalCode.TOO_LONG
        assert await one.refused("a\0b") is RefusalCode.TEXT
        assert await one.refused("a\ud83d") is RefusalCode.TEXT
        assert await one.refused("see bit.ly/x") is RefusalCode.POLICY
        assert await one.count() == 0
        assert await one.send("x" * 160, destination=f"+1 ({PEER[:3]}) {PEER[3:]}") == 1


async def test_who_is_meant_where_no_sender_is_named(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        assert await one.send(account=ALICE, source="") == 1
        assert await one.send("the only one", source="") == 2
        one.core.directory.update(2, False, [], [Did("5550003333", "demo")], frozenset())
        assert await one.refused(source="") is RefusalCode.NO_SOURCE
        assert await one.core.rows("SELECT DISTINCT source FROM messages") == [("5550001111",)]


async def test_bulk_and_blocks(tmp_path: Path) -> None:
    async with program(tmp_path, policy=PolicySettings(same_text=1, destinations=5)) as one:
        await one.send("buy our things")
        assert await one.refused("buy our things", destination="5551230000") is RefusalCode.BULK
        await one.core.gateway.consent.set_block(Block("5550001111", PEER, "out"), "t")
        assert await one.refused("something else") is RefusalCode.BLOCKED


async def test_files(tmp_path: Path) -> None:
    async with program(tmp_path) as one:
        await one.send("", files=[File(PNG, name="cat.png"), File(url="https://example.net/a.png")])
        assert one.fetched == ["https://example.net/a.png"]
        assert await one.refused(files=[File(PNG)] * 4) is RefusalCode.MEDIA_COUNT
        assert await one.refused(files=[File(url="https://example.net/gone")]) is RefusalCode.MEDIA
        assert await one.refused(files=[File(b"MZ no picture")]) is RefusalCode.MEDIA
        assert await one.refused(files=[File(url="https://example.net/big")]) is RefusalCode.MEDIA_SIZE
        assert await one.refused("x" * 2049, files=[File(PNG)]) is RefusalCode.TOO_LONG
        assert await one.count() == 1


async def test_what_is_refused_leaves_no_file_and_no_count(tmp_path: Path) -> None:
    async with program(tmp_path, daily=5) as one:
        for _ in range(3):
            assert await one.refused("see bit.ly/x", files=[File(PNG), File(PNG)]) is RefusalCode.POLICY
            assert await one.refused(files=[File(PNG), File(url="https://example.net/gone")]) is RefusalCode.MEDIA
        real, one.core.gateway.submit = one.core.gateway.submit, broken  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await one.send(files=[File(PNG)])
        one.core.gateway.submit = real  # type: ignore[method-assign]
        assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []
        assert await one.usage.sent("demo") == 0
