"""A carrier's SMSC without one: what its binds do before they are there, and what its answers mean."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sipsms.carrier_config import SmppConfig
from sipsms.model import Accepted, Deferred, Outcome, Rejected
from sipsms.ports import NotThere
from sipsms.smpp.bound import Recalled
from sipsms.smpp.carrier import Around, SmppCarrier
from sipsms.smpp.pdu import GENERIC_NACK, Pdu, Status
from sipsms.store.recent import Recent

SUBMITTED = 0x80000004
URL = "smpp://user:pass@smsc.example.net"


class World:
    """All that a carrier asks for: one message came just before the start; the SMSC's name is not known."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self.tasks: set[asyncio.Task[Any]] = set()

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

    def carrier(self, **options: Any) -> SmppCarrier:
        around = Around(
            self.nothing, self.nothing, lambda number: True, self.nothing, self.recall, lambda: 1000.0, self.spawn,
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
