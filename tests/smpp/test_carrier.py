"""A carrier's SMSC without one: what its binds do before they are there, and what its answers mean."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsms.core.message import Accepted, Attempt, Deferred, Delivery, Direction, Message, Outcome, Rejected
from sipsms.messaging.carrier import NotThere
from sipsms.smpp.carrier import SmppCarrier
from sipsms.smpp.pdu import GENERIC_NACK, Pdu, Status
from sipsms.smpp.settings import SmppConfig
from sipsms.store.recent import Recent

from .parts import Parts

SUBMITTED = 0x80000004
URL = "smpp://user:pass@smsc.example.net"


class World(Parts):
    """All that a carrier asks for: one message came just before the start; the SMSC's name is not known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.clock = lambda: 1000.0
        self.asked = asyncio.Semaphore(0)
        self.recalled = [Recent("acme", "2125550123", "5550001111", "hello", 1, 0.0)]

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.release()
        raise OSError("no such name")

    def carrier(self, **options: Any) -> SmppCarrier:
        return self.build("acme", SmppConfig.model_validate({"type": "smpp", "url": URL, **options}))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.mark.req("P-09")
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Pdu(SUBMITTED, 1, 0, {"message_id": "a1"}), Accepted),
        (Pdu(SUBMITTED, 1, Status.THROTTLED, {}), Deferred),
        (Pdu(SUBMITTED, 1, Status.SYSTEM_ERROR, {}), Deferred),
        (Pdu(SUBMITTED, 1, Status.BIND_FAILED, {}), Deferred),
        (Pdu(SUBMITTED, 1, Status.SUBMIT_FAILED, {}), Rejected),
        (Pdu(GENERIC_NACK, 1, 0, {}), Rejected),
        (Pdu(GENERIC_NACK, 1, Status.INVALID_COMMAND_LENGTH, {}), Rejected),
        (Pdu(GENERIC_NACK, 1, Status.THROTTLED, {}), Deferred),
    ],
)
async def test_each_status_of_the_smsc_gives_its_outcome(world: World, answer: Pdu, outcome: type[Outcome]) -> None:
    class NoLink:
        def count(self, **_: int) -> None: ...

    assert isinstance(world.carrier()._outcome(NoLink(), answer), outcome)  # type: ignore[arg-type]


@pytest.mark.req("F-14", "P-10")
async def test_a_late_answer_settles_an_unknown_delivery(world: World) -> None:
    late = world.carrier()._late_outcome
    assert late(Pdu(SUBMITTED, 1, 0, {"message_id": "a1"})) == Accepted("a1")
    assert isinstance(late(Pdu(SUBMITTED, 1, Status.INVALID_DESTINATION, {})), Rejected)
    assert isinstance(late(Pdu(GENERIC_NACK, 1, 0, {})), Rejected)
    with pytest.raises(NotThere):
        late(Pdu(SUBMITTED, 1, Status.THROTTLED, {}))


def delivery(**changes: Any) -> Delivery:
    message = Message(Direction.OUT, "5550001111", "2125550123", "hello", "v1", 1000.0, "demo", "5550001111", **changes)
    return Delivery(message, "carrier:acme", "2125550123", "5550001111", "lane", 9e9, 1000.0)


@pytest.mark.req("P-10")
@pytest.mark.parametrize(("options", "sender"), [({}, "5550001111"), ({"sender_name": "ACME"}, "")])
async def test_only_receipts_from_its_source_settle_a_delivery(
    world: World, options: dict[str, str], sender: str
) -> None:
    """A receipt for a message that went by a name says the name: it is no number of ours."""
    assert await world.carrier(**options).look_up(delivery(), 900.0) is None
    assert world.looked == [("carrier:acme", sender, "2125550123", 899.0)]


async def test_the_number_of_messages_under_way_follows_the_binds(world: World) -> None:
    """Just after the start none, for a bind may come; then one, that finds out that there is no bind."""
    now = 1000.0
    world.clock = lambda: now
    carrier = world.carrier(binds=2, window=5)
    carrier.start()
    assert carrier.room() == 0
    now = 1006.0
    assert carrier.room() == 1
    await asyncio.wait_for(carrier.close(), 5)


class Open:
    """A bind that is up, and whose SMSC answers when it is told to."""

    is_bound, mode = True, "transceiver"

    def __init__(self) -> None:
        self.submits = 0
        self.waiting: list[asyncio.Future[Pdu]] = []

    async def ask(self, *_: Any) -> Pdu:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]

    def count(self, **_: int) -> None:
        pass


@pytest.mark.req("P-08")
async def test_each_bind_has_its_own_window_for_messages(world: World) -> None:
    """Whatever else is asked by it: look-ups, enquire_link."""
    carrier, links = world.carrier(binds=2, window=2), [Open(), Open()]
    carrier.pool.binds = links  # type: ignore[assignment]
    assert carrier.room() == 4
    sends = [asyncio.create_task(carrier.send(delivery())) for _ in range(4)]
    while [len(link.waiting) for link in links] != [2, 2]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    links[1].waiting.pop().set_result(Pdu(SUBMITTED, 1, 0, {"message_id": "1"}))
    await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
    fifth = asyncio.create_task(carrier.send(delivery()))
    while len(links[1].waiting) != 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    carrier.pool.binds = links[:1]  # type: ignore[assignment]
    for link in links:
        for answer in link.waiting:
            answer.set_result(Pdu(SUBMITTED, 1, 0, {"message_id": "1"}))
    assert {type(one) for one in await asyncio.gather(*sends, fifth)} == {Accepted}
    assert [link.submits for link in links] == [0, 0]


async def test_throttling_limits_the_messages_under_way(world: World) -> None:
    """At a rate that the SMSC has taught us: who waits for a turn a minute ahead would not see that it takes more."""
    carrier = world.carrier(binds=4, window=250)
    carrier.pool.binds = [Open()] * 4  # type: ignore[list-item]
    assert carrier.room() == 1000
    carrier._pace.rate = 1.2
    assert carrier.room() == 3
    carrier._pace.rate = 900.0
    assert carrier.room() == 1000


async def test_a_message_that_cannot_be_written_is_not_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    carrier = world.carrier()
    carrier.pool.binds = [Open()]  # type: ignore[list-item]
    monkeypatch.setattr("sipsms.smpp.carrier.encode", None)
    assert await carrier.send(delivery()) == Rejected("it cannot be written as SMPP", unsent=True)


async def test_a_message_after_the_close_is_deferred_at_once(world: World) -> None:
    carrier = world.carrier()
    await carrier.close()
    outcome = await asyncio.wait_for(carrier.send(delivery()), 1)
    assert isinstance(outcome, Deferred)
    assert outcome.attempt is Attempt.NOT_MADE
