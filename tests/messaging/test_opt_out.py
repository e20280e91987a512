"""The opt-out words STOP and START in both directions: the gateway on a real store."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.app.carrier_set import CarrierCourier
from sipsms.carriers.settings import LoopbackConfig
from sipsms.core.courier_id import MAIL
from sipsms.core.directory_rows import Block
from sipsms.core.message import (
    Rejected,
)
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.order import Sent
from sipsms.messaging.settings import PolicySettings
from tests.support.messaging.core import ScriptedCourier, core
from tests.support.messaging.traffic import DID, PHONE, SIM, arrive, send, with_did


class Sends:
    """A carrier that is a courier in disguise."""

    name, secret, poll_every, can_look_up = "sim", "", 0.0, False

    def __init__(self, courier: ScriptedCourier) -> None:
        self.send = courier.deliver


@pytest.mark.req("S-131", "G12")
async def test_a_number_that_answers_stop_is_blocked_until_start(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        assert isinstance(await send(here), Sent)
        await arrive(here, "Stop. Thank you")
        refusal = await send(here)
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.BLOCKED
        assert PHONE in refusal.reason
        assert isinstance(await send(here, to="2125550124"), Sent), "only that number"
        await arrive(here, "START")
        assert isinstance(await send(here), Sent)
        assert await here.rows("SELECT owner, number, direction, active FROM blocks") == [(DID, PHONE, "out", 0)]


@pytest.mark.req("G12", "S-131")
async def test_a_repeated_stop_from_the_carrier_does_not_block_again(tmp_path: Path) -> None:
    """A carrier repeats itself, and a poll reads the last hours once more; the person has written START since."""
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        await arrive(here, "STOP", remote_id="1")
        await arrive(here, "START", remote_id="2")
        assert (await arrive(here, "STOP", remote_id="1")).duplicate
        assert isinstance(await send(here), Sent)


async def test_a_sentence_that_contains_stop_does_not_block(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        await arrive(here, "please stop by the shop")
        assert isinstance(await send(here), Sent)


@pytest.mark.req("S-131")
async def test_a_customer_that_answers_stop_gets_no_more_messages_of_that_number(tmp_path: Path) -> None:
    mail = ScriptedCourier()
    couriers = {MAIL: mail, SIM: ScriptedCourier()}
    async with core(tmp_path, couriers, prepare=with_did(emails=("a@b.net",))) as here:
        await arrive(here, "buy!", remote_id="1")
        await mail.wait(1)
        assert isinstance(await send(here, "STOP"), Sent)
        await arrive(here, "buy!!", remote_id="2")
        await arrive(here, "me, too", "2125550124", remote_id="3")
        await mail.wait(2)
        assert mail.texts == ["buy!", "me, too"]
        assert await here.rows("SELECT text FROM messages WHERE direction = 'in' ORDER BY id") == [
            ("buy!",), ("buy!!",), ("me, too",),
        ], "kept all the same"  # fmt: skip
        assert isinstance(await send(here, "start"), Sent)
        await arrive(here, "thanks", remote_id="4")
        await mail.wait(3)


@pytest.mark.req("S-131")
async def test_start_does_not_lift_a_block_of_the_operator(tmp_path: Path) -> None:
    """Neither a block of before the STOP, nor one that came after it."""
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        await arrive(here, "STOP", remote_id="1")
        await here.store.set_block(Block(DID, PHONE, "out"), "by hand", here.clock.now)
        await arrive(here, "START", remote_id="2")
        assert isinstance(await send(here), Refusal)
        assert await here.rows("SELECT active, reason FROM blocks") == [(1, "by hand")]


@pytest.mark.req("S-131")
async def test_a_stop_is_in_force_after_a_restart(tmp_path: Path) -> None:
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        await arrive(here, "STOP")
    async with core(tmp_path, {SIM: ScriptedCourier()}) as here:
        here.directory.update(*(await here.store.directory(0))._replace(whole=False, accounts=[], dids=[]))
        assert isinstance(await send(here), Refusal)


@pytest.mark.req("S-131", "G12")
async def test_a_stop_ends_queued_messages_but_not_its_own_confirmation(tmp_path: Path) -> None:
    """Accepted before, the carrier away, then STOP: it does not go out any more. The answer to the STOP does."""
    sim = ScriptedCourier()
    policy = PolicySettings(stop_reply="You are off the list.")
    async with core(tmp_path, policy=policy) as here:
        await send(here, "news")
        await arrive(here, "STOP", remote_id="1")
        courier = CarrierCourier(Sends(sim), LoopbackConfig(type="loopback"), here.messaging.consent)
        here.queue.set_courier(SIM, courier)
        await sim.wait(1)
        assert sim.texts == ["You are off the list."]
        await here.until("SELECT text, state FROM messages JOIN deliveries ON message_id = messages.id "
                         "WHERE courier = 'carrier:sim' ORDER BY messages.id",
                         [("news", "failed"), ("You are off the list.", "accepted")])  # fmt: skip


@pytest.mark.req("G12")
async def test_an_opt_out_known_to_the_carrier_blocks_the_number(tmp_path: Path) -> None:
    sim = ScriptedCourier(Rejected("21610", opt_out=True))
    async with core(tmp_path, {SIM: sim}) as here:
        await send(here)
        await here.until("SELECT state FROM deliveries", [("failed",)])
        (delivery,) = sim.seen
        await here.messaging.consent.opted_out(delivery)
        assert isinstance(await send(here), Refusal)
