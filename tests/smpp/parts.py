"""What a carrier by SMPP works with: gateway, directory and store in memory, and an SMSC to bind to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sipsms.messaging.carrier import InboundSms
from sipsms.smpp.carrier import SmppCarrier
from sipsms.smpp.pdu import BINDS, Command, Framer, Pdu, decode, encode, encode_response
from sipsms.smpp.settings import SmppConfig
from sipsms.store import delivery_receipts, recent

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


class Parts:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock: Callable[[], float] = time.time
        self.texts: list[str] = []
        self.storing = asyncio.Event()
        self.storing.set()
        self.tasks: set[asyncio.Future[Any]] = set()
        self.recalled: list[recent.Recent] = []
        self.looked: list[tuple[Any, ...]] = []
        monkeypatch.setattr(recent, "recall", lambda *_: (self.recalled, []))
        monkeypatch.setattr(delivery_receipts, "unmatched", lambda _, *facts: self.looked.append(facts) or [])

    # --- gateway, directory, store ---

    async def receive(self, sms: InboundSms, *_: Any) -> object:
        await self.storing.wait()
        self.texts.append(sms.text)
        return object()

    async def receipt(self, *_: Any) -> None:
        pass

    def did(self, number: str) -> str:
        return number

    async def read(self, query: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(0)
        return query(None)

    # --- the node ---

    async def resolve(self, host: str, port: int) -> list[str]:
        return [host]

    def spawn(self, work: Any) -> None:
        self.tasks.add(asyncio.ensure_future(work))

    def build(self, name: str, config: SmppConfig) -> SmppCarrier:
        me: Any = self
        return SmppCarrier(name, config, me, me, me, me, lambda: self.clock(), self.resolve, self.spawn)


def config(smsc: Smsc, **options: Any) -> SmppConfig:
    return SmppConfig.model_validate({"type": "smpp", "url": f"smpp://user:pass@127.0.0.1:{smsc.port}", **options})


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def is_up(carrier: SmppCarrier, binds: int = 1) -> None:
    await until(lambda: len(carrier.pool.binds) >= binds)
