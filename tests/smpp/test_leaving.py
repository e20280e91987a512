"""A carrier's bind that we end: what its SMSC has heard the answer to is in no doubt by the next one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sipsms.messaging.carrier import InboundSms
from sipsms.smpp.carrier import Around, SmppCarrier, Smscs
from sipsms.smpp.connection import Connection
from sipsms.smpp.esme import Recalled
from sipsms.smpp.pdu import BINDS, Command, Framer, Pdu, decode, encode, encode_response
from sipsms.smpp.settings import SmppConfig

PHONE, DID = "2125550123", "5550001111"


class Smsc:
    """Answers each bind, and an unbind as it is told to; `bound[n]` writes to the n-th bind that there was."""

    def __init__(self) -> None:
        self.bound: list[asyncio.StreamWriter] = []
        self.answers = asyncio.Semaphore(0)
        self.answers_unbind = True
        self.before_bind: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
        self._sequence = 0

    async def __aenter__(self) -> Smsc:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.bound:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = Framer()
        while octets := await reader.read(65536):
            framer.feed(octets)
            while (one := framer.next()) is not None:
                await self._heed(decode(one), writer)

    async def _heed(self, pdu: Pdu, writer: asyncio.StreamWriter) -> None:
        if pdu.is_response:
            self.answers.release()
        elif pdu.command in BINDS:
            if self.before_bind is not None:
                await self.before_bind(writer)
            writer.write(encode(Pdu(pdu.command | 0x80000000, pdu.sequence, 0, {"system_id": "smsc"})))
            self.bound.append(writer)
        elif pdu.command != Command.UNBIND or self.answers_unbind:
            writer.write(encode_response(pdu))
        else:
            writer.close()

    def deliver(self, text: str, bind: int = -1) -> None:
        self._sequence += 1
        fields = {
            "source_addr_ton": 2, "source_addr": PHONE, "dest_addr_ton": 2, "destination_addr": DID,
            "short_message": text.encode("ascii"),
        }  # fmt: skip
        self.bound[bind].write(encode(Pdu(Command.DELIVER_SM, self._sequence, 0, fields)))

    async def tell(self, text: str, bind: int = -1) -> None:
        """And hear the answer."""
        self.deliver(text, bind)
        await asyncio.wait_for(self.answers.acquire(), 10)


class World:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.storing = asyncio.Event()
        self.storing.set()
        self.tasks: set[asyncio.Future[Any]] = set()

    async def receive(self, sms: InboundSms, *_: Any) -> object:
        await self.storing.wait()
        self.texts.append(sms.text)
        return object()

    async def nothing(self, *_: Any) -> Any:
        return []

    async def recall(self, origin: str) -> Recalled:
        return Recalled([], [])

    async def resolve(self, host: str, port: int) -> list[str]:
        return [host]

    def spawn(self, work: Any) -> None:
        self.tasks.add(asyncio.ensure_future(work))

    def around(self, clock: Callable[[], float] = time.time) -> Around:
        return Around(
            self.receive, self.nothing, lambda number: True, self.nothing, self.recall, clock, self.spawn,
            self.resolve,
        )  # fmt: skip


def config(smsc: Smsc, **options: Any) -> SmppConfig:
    return SmppConfig.model_validate({"type": "smpp", "url": f"smpp://user:pass@127.0.0.1:{smsc.port}", **options})


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def is_up(carrier: SmppCarrier, binds: int = 1) -> None:
    await until(lambda: len(carrier._links) >= binds)


@pytest.mark.req("I4", "P-10")
async def test_a_reload_loses_no_equal_text() -> None:
    async with asyncio.timeout(30), Smsc() as smsc:
        world = World()
        smscs = Smscs(world.around())
        smscs.start()
        await is_up(smscs.make("acme", config(smsc)))
        await smsc.tell("yes")
        fresh = smscs.make("acme", config(smsc, window=5))
        await is_up(fresh)
        await asyncio.gather(*world.tasks)
        assert len(fresh._doubts) == 0
        await smsc.tell("yes")
        assert world.texts == ["yes", "yes"]
        await smscs.close()


@pytest.mark.req("I4", "P-10")
async def test_what_is_under_way_is_answered_before_the_unbind() -> None:
    async with asyncio.timeout(30), Smsc() as smsc:
        world = World()
        carrier = SmppCarrier("acme", config(smsc), world.around())
        carrier.start()
        await is_up(carrier)
        world.storing.clear()
        smsc.deliver("yes")
        await until(lambda: len(world.tasks) == 1)
        closing = asyncio.ensure_future(carrier.close())
        await asyncio.sleep(0.1)
        world.storing.set()
        await closing
        await smsc.answers.acquire()
        assert (world.texts, len(carrier._doubts)) == (["yes"], 0)


@pytest.mark.req("I4", "P-10")
async def test_what_is_not_stored_when_the_bind_ends_may_come_again() -> None:
    """The answer to what was stored before the unbind has been heard; the answer to the other has not."""
    async with asyncio.timeout(30), Smsc() as smsc:
        world = World()
        carrier = SmppCarrier("acme", config(smsc), world.around())
        carrier.start()
        await is_up(carrier)
        await smsc.tell("heard")
        world.storing.clear()
        smsc.deliver("not heard")
        await until(lambda: len(world.tasks) == 2)
        await carrier.close()
        assert [doubt.key[2] for doubt in carrier._doubts._known.values()] == ["not heard"]
        world.storing.set()
        await asyncio.gather(*world.tasks)


@pytest.mark.req("I4", "P-10")
async def test_without_an_answer_to_the_unbind_it_is_in_doubt() -> None:
    async with asyncio.timeout(30), Smsc() as smsc:
        smsc.answers_unbind = False
        carrier = SmppCarrier("acme", config(smsc), World().around())
        carrier.start()
        await is_up(carrier)
        await smsc.tell("yes")
        await carrier.close()
        assert len(carrier._doubts) == 1


class NeverHeard(Connection):
    """What it says is not acknowledged."""

    def unread(self) -> int:
        return 1


@pytest.mark.req("I4", "P-10", "F-01")
async def test_what_is_not_acknowledged_is_recalled_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark stays before it, but when the bind has ended in order, it need not."""
    monkeypatch.setattr("sipsms.smpp.bind.Connection", NeverHeard)
    async with asyncio.timeout(30), Smsc() as smsc:
        world, ahead = World(), 0.0
        smscs = Smscs(world.around(lambda: time.time() + ahead))
        smscs.start()
        await is_up(smscs.make("acme", config(smsc)))
        before = time.time()
        await smsc.tell("yes")
        after, ahead = time.time(), 20.0
        assert before - 1.0 < smscs.heard_by(time.time() + ahead, 10.0)["carrier:acme"] < after
        await smscs.close()
        assert smscs.heard_by(time.time() + ahead, 0.0)["carrier:acme"] > before + ahead


async def test_nothing_binds_again_while_it_ends() -> None:
    """One bind is up, one is just being made, one waits for its next try."""
    async with asyncio.timeout(30), Smsc() as smsc:
        carrier = SmppCarrier("acme", config(smsc, binds=2), World().around())
        wait = asyncio.Event()

        async def second(writer: asyncio.StreamWriter) -> None:
            if smsc.bound:
                await wait.wait()

        smsc.before_bind = second
        carrier.start()
        await is_up(carrier)
        closing = asyncio.ensure_future(carrier.close())
        await asyncio.sleep(0.05)
        wait.set()
        await closing
        assert carrier._links == []
        assert all(keeper.done() for keeper in carrier._keepers)
        await asyncio.sleep(1.5)
        assert carrier._links == []
        assert list(carrier.binds()) == []
