"""The checks before each outgoing message, for all ways to send."""

from __future__ import annotations

from pathlib import Path

from sipsms.core.account import Account, Did
from sipsms.core.directory_rows import Block
from sipsms.core.refusal import RefusalCode
from sipsms.messaging.settings import PolicySettings
from tests.support.messaging.program import program

DEMO = Account("demo", caller_id="")
ALICE = Account("alice", "demo", caller_id="5550001111")
PEER = "5551234567"


async def test_an_invalid_order_is_refused_with_its_code(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        assert await client.refused(source="5550002222") is RefusalCode.SOURCE, "not for SMS"
        assert await client.refused(source="5559998888") is RefusalCode.SOURCE
        assert await client.refused(source="x y z ü") is RefusalCode.SOURCE
        assert await client.refused(destination="") is RefusalCode.NO_DESTINATION
        for number in ("911", "12", "9005551234", "+4479111234567", "\u0665\u0665\u0665", "abc"):
            assert await client.refused(destination=number) is RefusalCode.DESTINATION, number
        assert await client.refused(" \n") is RefusalCode.EMPTY
        assert await client.refused("x" * 161) is RefusalCode.TOO_LONG
        assert await client.refused("a\0b") is RefusalCode.TEXT
        assert await client.refused("a\ud83d") is RefusalCode.TEXT
        assert await client.refused("see bit.ly/x") is RefusalCode.POLICY
        assert await client.count() == 0
        assert await client.send("x" * 160, destination=f"+1 ({PEER[:3]}) {PEER[3:]}") == 1


async def test_an_order_without_source_uses_the_caller_id_or_the_only_did(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        assert await client.send(account=ALICE, source="") == 1
        assert await client.send("the only one", source="") == 2
        client.core.directory.update(2, False, [], [Did("5550003333", "demo")], frozenset())
        assert await client.refused(source="") is RefusalCode.NO_SOURCE
        assert await client.core.rows("SELECT DISTINCT source FROM messages") == [("5550001111",)]


async def test_bulk_and_blocked_destinations_are_refused(tmp_path: Path) -> None:
    async with program(tmp_path, policy=PolicySettings(same_text=1, destinations=5)) as client:
        await client.send("buy our things")
        assert await client.refused("buy our things", destination="5551230000") is RefusalCode.BULK
        await client.core.messaging.consent.set_block(Block("5550001111", PEER, "out"), "t")
        assert await client.refused("something else") is RefusalCode.BLOCKED
