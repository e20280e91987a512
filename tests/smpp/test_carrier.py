"""A carrier's SMSC without one: what its binds do before they are there, and what its answers mean."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsms.core.message import Accepted, Deferred, Delivery, Direction, Message, Outcome, Rejected
from sipsms.messaging.carrier import NotThere
from sipsms.smpp.carrier import Around, SmppCarrier
from sipsms.smpp.esme import Recalled
from sipsms.smpp.pdu import GENERIC_NACK, Pdu, Status
from sipsms.smpp.settings import SmppConfig
from sipsms.smpp.submit_sm import span
from sipsms.store.recent import Recent

SUBMITTED = 0x80000004
URL = "smpp://user:pass@smsc.example.net"


class World:
    """All that a carrier asks for: one message came just before the start; the SMSC's name is not known."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.looked: list[tuple[str, str, str, float]] = []

    async def recall(self, origin: str) -> Recalled:
        await asyncio.sleep(0)
        return Recalled([Recent("acme", "2125550123", "5550001111", "hello", 1, 0.0)], [])

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.release()
        raise OSError("no such name")

    def spawn(self, work: Any) -> None:
        self.tasks.add(asyncio.ensure_future(work))

    async def nothing(self, *_: Any) -> Any:
        return []

    async def unmatched(self, courier: str, sender: str, recipient: str, since: float) -> Any:
        self.looked.append((courier, sender, recipient, since))
        return []

    def carrier(self, **options: Any) -> SmppCarrier:
        around = Around(
            self.nothing, self.nothing, lambda number: True, self.unmatched, self.recall, lambda: 1000.0, self.spawn,
            self.resolve,
        )  # fmt: skip
        return SmppCarrier("acme", SmppConfig.model_validate({"type": "smpp", "url": URL, **options}), around)


@pytest.mark.req("P-16")
async def test_several_binds_recall_what_came_last_once() -> None:
    """Else the first of two equal texts would be taken for a message told again, and the second, too."""
    world = World()
    carrier = world.carrier(binds=3)
    carrier.start()
    for _ in range(3):
        await asyncio.wait_for(world.asked.acquire(), 5)
    assert len(carrier._doubts) == 1
    await asyncio.wait_for(carrier.close(), 5)


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
async def test_what_answers_mean(answer: Pdu, outcome: type[Outcome]) -> None:
    class NoLink:
        def count(self, **_: int) -> None: ...

    assert isinstance(World().carrier()._outcome(NoLink(), answer), outcome)  # type: ignore[arg-type]


@pytest.mark.req("F-14", "P-10")
async def test_what_a_late_answer_means() -> None:
    late = World().carrier()._late_outcome
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
async def test_whose_receipts_may_settle_it(options: dict[str, str], sender: str) -> None:
    """A receipt for a message that went by a name says the name: it is no number of ours."""
    world = World()
    assert await world.carrier(**options).look_up(delivery(), 900.0) is None
    assert world.looked == [("carrier:acme", sender, "2125550123", 899.0)]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (300.0, "000000000500000R"), (59.2, "000000000100000R"), (90_061.0, "000001010101000R"),
        (-5.0, "000000000001000R"), (4 * 86400.0, ""), (None, ""),
    ],
)  # fmt: skip
async def test_how_long_it_is_worth_something(seconds: float | None, written: str) -> None:
    one = delivery(expires_at=None if seconds is None else 1000.0 + seconds)
    assert World().carrier()._sm(one).fields.get("validity_period", "") == written
    assert World().carrier(validity=False)._sm(one).fields.get("validity_period", "") == ""


def test_a_relative_time_has_an_end() -> None:
    assert span(1e12).startswith("99")
    assert len(span(1e12)) == 16


async def test_binds_that_are_not_up_are_shown_with_the_reason() -> None:
    world = World()
    carrier = world.carrier(bind="separate", binds=2)
    assert list(carrier.binds()) == []
    carrier.start()
    for _ in range(4):
        await asyncio.wait_for(world.asked.acquire(), 5)
    await asyncio.sleep(0)
    rows = [(row["mode"], row["state"], row["why"]) for row in carrier.binds()]
    why = "smsc.example.net:2775: no such name"
    assert rows == [("transmitter", "unbound", why), ("receiver", "unbound", why)]
    await asyncio.wait_for(carrier.close(), 5)


async def test_how_many_may_be_under_way() -> None:
    """Just after the start none, for a bind may come; then one, that finds out that there is no bind."""
    now = 1000.0
    world = World()
    carrier = world.carrier(binds=2, window=5)
    carrier._clock = lambda: now
    carrier.start()
    assert carrier.room() == 0
    now = 1006.0
    assert carrier.room() == 1
    await asyncio.wait_for(carrier.close(), 5)


class Open:
    """A bind that is up, and whose SMSC answers when it is told to."""

    is_bound, mode, asked = True, "transceiver", 9

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[Pdu]] = []

    async def ask(self, *_: Any) -> Pdu:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]

    def count(self, **_: int) -> None:
        pass


@pytest.mark.req("P-08")
async def test_each_bind_has_a_window_for_messages() -> None:
    """Whatever else is asked by it: look-ups, enquire_link."""
    carrier, links = World().carrier(binds=2, window=2), [Open(), Open()]
    carrier._links = links  # type: ignore[assignment]
    assert carrier.room() == 4
    sends = [asyncio.create_task(carrier.send(delivery())) for _ in range(4)]
    while [len(link.waiting) for link in links] != [2, 2]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    links[1].waiting.pop().set_result(Pdu(SUBMITTED, 1, 0, {"message_id": "1"}))
    await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
    fifth = asyncio.create_task(carrier.send(delivery()))
    while len(links[1].waiting) != 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    carrier._links = links[:1]  # type: ignore[assignment]
    for link in links:
        for answer in link.waiting:
            answer.set_result(Pdu(SUBMITTED, 1, 0, {"message_id": "1"}))
    assert {type(one) for one in await asyncio.gather(*sends, fifth)} == {Accepted}
    assert carrier._out == {}


async def test_no_more_are_under_way_than_go_soon() -> None:
    """At a rate that the SMSC has taught us: who waits for a turn a minute ahead would not see that it takes more."""
    carrier = World().carrier(binds=4, window=250)
    carrier._links = [Open()] * 4  # type: ignore[list-item]
    assert carrier.room() == 1000
    carrier._pace.rate = 1.2
    assert carrier.room() == 3
    carrier._pace.rate = 900.0
    assert carrier.room() == 1000


async def test_what_cannot_be_written_has_not_left() -> None:
    carrier = World().carrier()
    carrier._links = [Open()]  # type: ignore[list-item]
    carrier._sm = None  # type: ignore[assignment,method-assign]
    assert await carrier.send(delivery()) == Rejected("it cannot be written as SMPP", unsent=True)
