"""The queue on a real store: stale memory must not lose a message or send one twice."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Account, Did
from sipsms.core.errors import Unavailable
from sipsms.core.flow_address import FlowAddress
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import EVENT, Accepted, Deferred, Delivery, Outcome, Rejected, Scope, Unknown
from sipsms.core.registration import Binding
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.queue.courier_state import CourierLimits
from sipsms.messaging.settings import QueueSettings
from tests.support.messaging.core import ScriptedCourier, core
from tests.support.messaging.traffic import accepted, arrive, register

OPEN = "SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending')"


async def test_a_backlog_larger_than_one_query_is_sent_completely(tmp_path: Path) -> None:
    """1,200 due messages in 400 lanes at the start; a look fetches 500."""
    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}, run=False) as here:
        here.queue.set_paused(["carrier:sim"])
        for number in range(1200):
            await accepted(here, f"{number}", f"212{number % 400:07d}")
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        await sim.wait(1200, 20)
        await here.until(OPEN, [(0,)])


async def test_a_query_that_fails_once_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = ScriptedCourier(Deferred("busy", retry=5))
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        await accepted(here, "one", "2125550123")
        await here.until("SELECT state, attempts FROM deliveries", [("queued", 1)])
        real, failed = here.store.due, asyncio.Event()

        async def broken(*arguments: Any, **named: Any) -> Any:
            monkeypatch.setattr(here.store, "due", real)
            failed.set()
            raise Unavailable("once")

        monkeypatch.setattr(here.store, "due", broken)
        here.clock.now += 6
        here.queue.poll()
        async with asyncio.timeout(5):
            await failed.wait()
        here.clock.now += 2
        await sim.wait(2)


@pytest.mark.parametrize("answer", [Deferred("480", retry=3600), Deferred("gone", retry=EVENT)])
async def test_a_phone_with_a_backlog_is_tried_once_per_registration(tmp_path: Path, answer: Outcome) -> None:
    phone = ScriptedCourier(*[answer] * 1000)
    async with core(tmp_path, {"sip": phone}) as here:
        await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        gone = here.location.bindings("alice", here.clock.now)
        await here.location.apply("alice", [], gone, here.clock.now)
        for number in range(120):
            await arrive(here, f"{number}")
        for times in (1, 2):
            await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
            await phone.wait(times)
            await here.until("SELECT attempts, state FROM deliveries ORDER BY id LIMIT 1", [(times, "queued")])
            for _ in range(20):
                await here.store.ping()
            assert len(phone.seen) == times
        phone.outcomes = []
        await register(here, "sip:a@h:1", instance="<urn:uuid:1>")
        await phone.wait(122)
        assert [int(text) for text in phone.texts[2:]] == list(range(120))


async def test_a_carrier_that_is_removed_and_added_again_sends_in_order(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        here.queue.set_paused(["carrier:sim"])
        await accepted(here, "one", "2125550123")
        here.queue.remove_courier("carrier:sim")
        await accepted(here, "two", "2125550123")
        here.queue.set_paused([])
        await here.store.ping()
        assert sim.seen == []
        here.queue.set_courier("carrier:sim", sim)
        await sim.wait(2)
        await accepted(here, "three", "2125550123")
        await sim.wait(3)
        assert sim.texts == ["one", "two", "three"]


async def test_a_message_survives_that_its_carrier_is_removed_during_the_commit(tmp_path: Path) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        sending = asyncio.create_task(accepted(here, "one", "2125550123"))
        await asyncio.sleep(0)
        here.queue.remove_courier("carrier:sim")
        await sending
        await here.until("SELECT state FROM deliveries", [("queued",)])
        here.queue.set_courier("carrier:sim", sim)
        here.clock.now += 400
        here.queue.poll()
        await sim.wait(1)


async def test_queued_messages_move_to_the_new_device_after_the_attempt_under_way(tmp_path: Path) -> None:
    """The phone crashed and is back as another device, while an attempt to reach the old one is still out."""
    phone = ScriptedCourier(Deferred("no answer", retry=EVENT))
    phone.gate = asyncio.Event()
    async with core(tmp_path, {"sip": phone}) as here:
        await register(here, "sip:a@h:1111")
        gone = here.location.devices("alice")[0]
        for text in ("one", "two"):
            await arrive(here, text)
        await phone.wait(1)
        here.clock.now += 10
        old = here.location.bindings("alice", here.clock.now)[0]
        heir = await register(here, "sip:a@h:2222")
        await here.location.apply("alice", [], [old], here.clock.now)
        pair = here.location.successor(old)
        assert pair is not None
        assert not await here.messaging.devices.came_back_as(*pair)
        phone.gate.set()
        await here.until("SELECT attempts, state FROM deliveries ORDER BY id LIMIT 1", [(1, "queued")])
        async with asyncio.timeout(5):
            while not await here.messaging.devices.came_back_as(*pair):
                await here.store.ping()
        await phone.wait(3)
        assert [(one.device, one.message.text) for one in phone.seen[1:]] == [(heir, "one"), (heir, "two")]
        assert gone.id != heir


async def test_a_crash_after_the_first_registration_does_not_hold_up_its_messages(tmp_path: Path) -> None:
    phone = ScriptedCourier()
    async with core(tmp_path, {"sip": phone}) as here:
        for text in ("one", "two"):
            await arrive(here, text)
        binding = Binding("alice", "sip:a@h:1", here.clock.now + 3600, "c", 1, FlowAddress("udp:192.0.2.1:5060"))
        await here.location.apply("alice", [binding], [], here.clock.now)  # and no more: the process dies here
    async with core(tmp_path, {"sip": phone}) as here:
        await phone.wait(2)
        assert phone.texts == ["one", "two"]


async def test_a_crash_after_a_later_registration_does_not_hold_up_its_messages(tmp_path: Path) -> None:
    phone = ScriptedCourier()
    async with core(tmp_path, {"sip": phone}) as here:
        device = await register(here, "sip:a@h:1")
        await here.location.apply("alice", [], here.location.bindings("alice", here.clock.now), here.clock.now)
        await arrive(here, "one")
        binding = Binding("alice", "sip:a@h:1", here.clock.now + 3600, "c", 2, FlowAddress("udp:192.0.2.1:5060"))
        await here.location.apply("alice", [binding], [], here.clock.now)
    async with core(tmp_path, {"sip": phone}) as here:
        await phone.wait(1)
        assert phone.seen[0].device == device


async def test_a_wake_of_a_lane_survives_an_unavailable_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = ScriptedCourier()
    async with core(tmp_path, {"sip": phone}) as here:
        await register(here, "sip:a@h:1")
        await here.location.apply("alice", [], here.location.bindings("alice", here.clock.now), here.clock.now)
        for text in ("one", "two", "three"):
            await arrive(here, text)
        failures = 3
        real = here.store.begin

        async def begin(*arguments: Any) -> bool:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise Unavailable("away")
            return await real(*arguments)

        monkeypatch.setattr(here.store, "begin", begin)
        await register(here, "sip:a@h:1")
        await phone.wait(3, 10)
        assert phone.texts == ["one", "two", "three"]


async def test_new_messages_do_not_overtake_those_that_waited_for_the_first_phone(tmp_path: Path) -> None:
    phone = ScriptedCourier()
    async with core(tmp_path, {"sip": phone}) as here:
        for number in range(3):
            await arrive(here, f"old {number}")
        await asyncio.gather(register(here, "sip:a@h:1"), arrive(here, "new"), arrive(here, "newer"))
        await phone.wait(5)
        assert phone.texts == ["old 0", "old 1", "old 2", "new", "newer"]


async def test_a_failed_registration_does_not_disturb_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with core(tmp_path, {}) as here:
        real = here.store.writer.put

        def broken(*_: Any) -> Any:
            monkeypatch.setattr(here.store.writer, "put", real)
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            future.get_loop().call_later(0.01, future.set_exception, Unavailable("full"))
            return future

        monkeypatch.setattr(here.store.writer, "put", broken)
        results = await asyncio.gather(
            register(here, "sip:a@h:1", instance="<urn:uuid:a>"),
            register(here, "sip:a@h:2", instance="<urn:uuid:b>"),
            return_exceptions=True,
        )
        assert isinstance(results[0], Unavailable)
        assert [one.contact for one in here.location.bindings("alice", here.clock.now)] == ["sip:a@h:2"]
        assert [one.key for one in here.location.devices("alice")] == ["<urn:uuid:b>"]
        assert await here.rows("SELECT contact FROM bindings") == [("sip:a@h:2",)]


async def test_an_account_has_a_bounded_number_of_devices(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        for number in range(100):
            here.clock.now += 1
            await register(here, f"sip:a@h:{number + 1}", instance=f"<urn:uuid:{number}>")
            await here.location.apply("alice", [], here.location.bindings("alice", here.clock.now), here.clock.now)
        assert len(here.location.devices("alice")) <= 41
        assert (await here.rows("SELECT count(*) FROM devices"))[0][0] <= 41
        assert here.location.devices("alice")[-1].key == "<urn:uuid:99>"


class Moody:
    """A courier that does all that couriers do, and writes down what it did."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.calm = False
        self.out: set[str] = set()
        self.over: dict[int, str] = {}
        self.taken: dict[str, list[int]] = defaultdict(list)
        self.wrong: list[str] = []

    async def deliver(self, delivery: Delivery) -> Outcome:
        if delivery.lane in self.out:
            self.wrong.append(f"two out in {delivery.lane}")
        if delivery.id in self.over:
            self.wrong.append(f"{delivery.id} again, was {self.over[delivery.id]}")
        self.out.add(delivery.lane)
        try:
            await asyncio.sleep(self.dice.choice([0, 0, 0, 0.001, 0.003]))
        finally:
            self.out.discard(delivery.lane)
        return self._answer(delivery)

    def _answer(self, delivery: Delivery) -> Outcome:
        mood = 1.0 if self.calm else self.dice.random()
        if mood < 0.08:
            return Deferred("busy", retry=self.dice.choice([1.0, 5.0, 60.0]))
        if mood < 0.10:
            return Deferred("down", scope=Scope.COURIER, retry=2.0)
        self.taken[delivery.lane].append(delivery.id)
        if mood < 0.12:
            self.over[delivery.id] = "failed"
            return Rejected("no", "400")
        if mood < 0.14:
            self.over[delivery.id] = "unknown"
            return Unknown("?")
        self.over[delivery.id] = "accepted"
        return Accepted("r")


@pytest.mark.req("F-10", "F-15")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_1500_messages_survive_outages_pauses_and_restarts_once_and_in_order(tmp_path: Path, seed: int) -> None:
    """Refusals, outages, pauses and restarts, then calm: all gone, once, in order."""
    dice = random.Random(seed)
    moody, now, sent, total = Moody(dice), 1_000_000.0, 0, 1500
    while True:
        settings, line = QueueSettings(keep=86400.0, retry_max=30), CourierLimits(dice.choice([1, 8, 32]))
        async with core(tmp_path, {"carrier:sim": moody}, settings=settings, line=line) as here:
            here.clock.now = now
            for _ in range(dice.randint(10, 40)):
                count = min(dice.randint(1, 40), total - sent)
                await asyncio.gather(*(
                    accepted(here, f"{sent + step}", f"212{dice.randrange(100):07d}") for step in range(count)
                ))  # fmt: skip
                sent += count
                here.clock.now += dice.random() * 2
                weather = dice.random()
                if weather < 0.3:
                    here.queue.set_paused(["carrier:sim"] if weather < 0.1 else [])
                await asyncio.sleep(dice.random() * 0.01)
            if sent >= total:
                moody.calm = True
                here.queue.set_paused([])
                async with asyncio.timeout(300):  # one at a time, each with two commits, on a busy disk
                    while await here.rows(OPEN) != [(0,)]:
                        here.clock.now += 35  # longer than any pause and than the longest time between looks
                        await asyncio.sleep(0.05)
                assert await here.rows("SELECT count(*) FROM messages") == [(total,)]
                break
            now = here.clock.now
    assert moody.wrong == []
    assert len(moody.over) == total
    assert [lane for lane, ids in moody.taken.items() if ids != sorted(ids)] == []


async def test_a_stream_binding_from_before_a_restart_is_not_reachable(tmp_path: Path) -> None:
    async with core(tmp_path, {}) as here:
        await register(here, "sip:a@h:1", received=FlowAddress("tcp:192.0.2.1:4000"), local="tcp:0.0.0.0:5060", flow=1)
    async with core(tmp_path, {}) as here:
        assert not here.location.holds_flow("tcp:0.0.0.0:5060", 1)
        (binding,) = here.location.bindings("alice", here.clock.now)
        assert binding.flow == 0
        assert here.location.binding_of(binding.device, here.clock.now) is None
        assert here.queue.sweeper._is_reachable(LaneKey.of_device(binding.device)) is False


async def test_an_account_named_like_a_device_id_does_not_hold_up_that_device(tmp_path: Path) -> None:
    """Extensions are often named 1, 2, 3: what waits for the first phone of account 1 is not in the way of device 1."""
    phone = ScriptedCourier()
    async with core(tmp_path, {"sip": phone}) as here:
        here.directory.update(2, False, [Account("1", "demo")], [Did("5550003333", "demo", "1")], frozenset())
        assert await here.messaging.inbound.receive(InboundSms("2125550123", "5550003333", "for account 1"), "test")
        assert await register(here, "sip:a@h:1") == 1
        await arrive(here, "for device 1")
        await phone.wait(1)
        assert phone.texts == ["for device 1"]
        await here.until("SELECT text, state FROM messages JOIN deliveries ON message_id = messages.id ORDER BY 1",
                         [("for account 1", "queued"), ("for device 1", "accepted")])  # fmt: skip
