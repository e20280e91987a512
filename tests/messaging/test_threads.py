"""An account with several DIDs answers from the DID that its peer last wrote to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Account, Did
from sipsms.core.directory_rows import Block
from sipsms.core.message import HTTP_APIS
from sipsms.core.refusal import RefusalCode
from sipsms.messaging.carrier import InboundMedia, Part
from sipsms.messaging.explain import explain
from sipsms.messaging.order import Sent
from tests.support.messaging.program import Program, program
from tests.support.messaging.traffic import arrive

ALICE = Account("alice", "demo", caller_id="5550001111", reply_from_thread=True)
BOB = Account("bob", "demo", caller_id="5550001111")
FIRST, SECOND, THIRD = "5550001111", "5550002222", "5550003333"
PEER = "5551234567"


def set_up(client: Program, *dids: Did, accounts: tuple[Account, ...] = (ALICE, BOB)) -> None:
    """Give the customer's DIDs to alice: she gets the messages of all three."""
    own = [Did(number, "demo", "alice") for number in (FIRST, SECOND, THIRD)]
    client.core.directory.update(2, False, accounts, [*own, *dids], frozenset())


async def source(client: Program, account: Account = ALICE, **values: Any) -> str:
    """Return the number that an order without a source is sent from."""
    sent = await client.order(account=account, source=values.pop("source", ""), **values)
    assert isinstance(sent, Sent), sent
    return sent.source


@pytest.mark.parametrize("origin", ["sip", "smpp", *sorted(HTTP_APIS)])
async def test_every_entry_point_answers_from_the_did_of_the_thread(tmp_path: Path, origin: str) -> None:
    async with program(tmp_path) as client:
        set_up(client)
        assert await source(client, text="1", origin=origin) == FIRST, "nobody wrote: the caller ID"
        await arrive(client.core, source=PEER, to=SECOND)
        await arrive(client.core, source="5551239999", to=THIRD)
        assert await source(client, text="2", origin=origin) == SECOND
        assert await source(client, text="3", origin=origin, destination=f"+1 {PEER}") == SECOND, "another spelling"
        assert await source(client, text="4", origin=origin, source=THIRD) == THIRD, "it states one"
        await arrive(client.core, source="+1" + PEER, to=THIRD)
        assert await source(client, text="5", origin=origin) == THIRD
        assert await source(client, BOB, text="6", origin=origin) == FIRST, "an account without the setting"


async def test_an_mms_and_a_text_in_parts_count_as_messages_of_the_peer(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        set_up(client)
        await arrive(client.core, source=PEER, to=SECOND, media=(InboundMedia("https://c.example/1.png", "image/png"),))
        assert await source(client, text="1") == SECOND
        for number in (1, 2):
            await arrive(client.core, f"part {number}", source=PEER, to=THIRD, part=Part("r", number, 2))
        assert await source(client, text="2") == THIRD


@pytest.mark.parametrize("whole", [SECOND, ""])
async def test_a_text_in_parts_is_one_message_if_the_peer_writes_in_between(tmp_path: Path, whole: str) -> None:
    """The thread decides when the text is whole; a stated caller ID stays."""
    async with program(tmp_path) as client:
        set_up(client)
        for number in (1, 2):
            part = Part("r", number, 2)
            await client.order(f"part {number} ", account=ALICE, source=whole, origin="smpp", part=part, max_text=1600)
            await arrive(client.core, source=PEER, to=THIRD)
        rows = await client.core.rows("SELECT source, text FROM messages WHERE direction = 'out'")
        assert rows == [(whole or THIRD, "part 1 part 2 ")]


async def test_a_did_that_may_not_send_any_more_is_not_used(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        set_up(client)
        for changed in (Did(SECOND, "demo", "alice", sms=False), Did(SECOND, "other", "")):
            set_up(client)
            await arrive(client.core, source=PEER, to=SECOND)
            set_up(client, changed)
            assert await source(client, text=str(changed)[:150]) == FIRST
        nobody = replace(ALICE, caller_id="")
        set_up(client, Did(SECOND, "demo", "alice", sms=False), accounts=(nobody,))
        assert await client.refused(account=nobody, source="", origin="sip") is RefusalCode.NO_SOURCE


async def test_only_messages_that_reach_the_account_count(tmp_path: Path) -> None:
    """Another phone's conversation, and a blocked message, are nothing that the account could answer."""
    customer, carol = Account("demo", reply_from_thread=True), Account("carol", "demo", reply_from_thread=True)
    async with program(tmp_path) as client:
        set_up(client, Did(THIRD, "demo", "carol"), accounts=(customer, ALICE, carol))
        await arrive(client.core, source=PEER, to=SECOND)
        await arrive(client.core, source=PEER, to=THIRD)
        assert await source(client, text="1") == SECOND
        assert await source(client, carol, text="2") == THIRD
        await client.core.messaging.consent.set_block(Block(FIRST, PEER, "in"), "t")
        await arrive(client.core, source=PEER, to=FIRST)
        assert await source(client, text="3") == SECOND
        set_up(client, Did(SECOND, "demo", ""), accounts=(customer, ALICE))
        await arrive(client.core, source=PEER, to=SECOND)
        assert await source(client, customer, text="4") == SECOND, "without a phone it is the customer's"


async def test_a_carriers_repetition_does_not_move_the_thread_back(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        set_up(client)
        await arrive(client.core, "a", source=PEER, to=SECOND, remote_id="1")
        await arrive(client.core, "b", source=PEER, to=THIRD, remote_id="2")
        await arrive(client.core, "a", source=PEER, to=SECOND, remote_id="1")
        assert await source(client) == THIRD


@pytest.mark.parametrize("key", ["", "k1"])
async def test_a_retry_is_the_same_message_if_the_peer_wrote_to_another_did_meanwhile(tmp_path: Path, key: str) -> None:
    async with program(tmp_path) as client:
        set_up(client)
        before = await client.order(account=ALICE, source="", idempotency=key)
        await arrive(client.core, source=PEER, to=SECOND)
        again = await client.order(account=ALICE, source="", idempotency=key)
        assert isinstance(before, Sent)
        assert isinstance(again, Sent)
        assert (again.message, again.source, again.duplicate) == (before.message, FIRST, True)


async def test_a_retry_after_a_restart_is_the_same_message(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        set_up(client)
        first = await client.send(account=ALICE, source="")
        client.core.clock.now += 1
        client.outbound = client.make()
        await arrive(client.core, source=PEER, to=SECOND)
        again = await client.order(account=ALICE, source="")
        assert isinstance(again, Sent)
        assert (again.message, again.source, again.duplicate) == (first, FIRST, True)


async def test_messages_of_one_phone_keep_their_order(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        set_up(client)
        await arrive(client.core, source=PEER, to=SECOND)
        texts = [f"no {number}" for number in range(50)]
        await asyncio.gather(*(client.order(text, account=ALICE, source="", origin="sip") for text in texts))
        rows = await client.core.rows("SELECT text FROM messages WHERE direction = 'out' ORDER BY id")
        assert [row[0] for row in rows] == texts


async def test_the_route_of_an_account_says_which_number_it_sends_from_and_why(tmp_path: Path) -> None:
    async with program(tmp_path) as client:
        set_up(client, accounts=(ALICE, BOB, Account("demo")))

        async def first_line(name: str) -> tuple[str, str]:
            found = await explain(client.core.messaging, client.core.directory, {}, name, PEER, "hi")
            return found["trace"][0], (found["routes"] or [found["refused"]])[0]

        to = f"carrier:sim -> {PEER} (from "
        assert await first_line("alice") == (f"caller ID {FIRST}: the caller ID of alice", f"{to}{FIRST})")
        await arrive(client.core, source=PEER, to=SECOND)
        assert await first_line("alice") == (
            f"caller ID {SECOND}: the number that {PEER} last wrote to",
            f"{to}{SECOND})",
        )
        assert await first_line("bob") == (f"caller ID {FIRST}: the caller ID of bob", f"{to}{FIRST})")
        assert await first_line("demo") == ("account demo has no caller ID",) * 2
