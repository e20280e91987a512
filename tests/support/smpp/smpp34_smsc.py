"""smpp34 as an SMSC. It asks for no password, knows no TLS, and answers only submit_sm: what its Python side allows."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import suppress
from typing import Any, NamedTuple, Self

from tests.support.node.server import free_port
from tests.support.smpp import records as words
from tests.support.smpp.records import Came, Joiner, LoopThread, Missing, Part, Seen

try:
    import smpp34
except ImportError as why:
    raise Missing("smpp34 is not installed: pip install -e '.[dev]'") from why


class Submitted(NamedTuple):
    source: str
    destination: str
    text: str
    part: Part | None
    coding: int
    id: str
    status: int


class Smpp34Smsc:
    """`script` queues a status for each submit_sm to come; 0 when it is used up. With `receipts`, DELIVRD for each."""

    def __init__(self, receipts: bool = True) -> None:
        self.receipts = receipts
        self.submitted: Seen[Submitted] = Seen("submit_sm")
        self.binds: Seen[str] = Seen("binds")
        self.ended: Seen[str] = Seen("ended sessions")
        self._script: deque[int] = deque()
        self._sessions: dict[str, Any] = {}
        self._last = 1000
        self._loop = LoopThread()

    def __enter__(self) -> Self:
        self._loop.do(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self._loop.do(self._stop())
        self._loop.stop()

    @property
    def url(self) -> str:
        return f"smpp://carrier:secret@127.0.0.1:{self.port}"

    async def _start(self) -> None:
        self.port = free_port()
        self._server = smpp34.Server("127.0.0.1", self.port, system_id="smpp34")
        await self._server.start()
        self._serving = asyncio.create_task(self._serve())

    async def _stop(self) -> None:
        self._serving.cancel()
        await self._server.stop()

    async def _serve(self) -> None:
        while True:
            event = await self._server.next()
            if isinstance(event, smpp34.Esme):
                self._sessions[event.session_id] = event
                self.binds.add(event.system_id)
            elif isinstance(event, smpp34.Unbound):
                self._sessions.pop(event.session_id, None)
                self.ended.add(event.session_id)
            else:
                await self._submit(event)

    async def _submit(self, event: Any) -> None:
        status = self._script.popleft() if self._script else 0
        self._last += 1
        id = str(self._last)
        self.submitted.add(_read(event, id, status))
        if status:
            event.reject(status)
            return
        event.accept(id)
        if self.receipts and event.registered_delivery & 1:
            text = words.receipt_text(id, "DELIVRD").encode()
            await self._deliver(event.destination_addr, event.source_addr, text, 0, words.RECEIPT)

    async def _deliver(self, source: str, destination: str, octets: bytes, coding: int, esm_class: int) -> None:
        session = next(one for one in self._sessions.values() if one.can_receive)
        await session.deliver_sm(
            destination, octets, source_addr=source, source_addr_ton=1, source_addr_npi=1, dest_addr_ton=1,
            dest_addr_npi=1, esm_class=esm_class, data_coding=coding,
        )  # fmt: skip

    def script(self, *statuses: int) -> None:
        self._script.extend(statuses)

    def mo(self, source: str, destination: str, text: str) -> None:
        """Returns when the ESME has answered all parts."""
        self._last += 1
        for bits, coding, octets in words.parts(text, self._last):
            self._loop.do(self._deliver(source, destination, octets, coding, bits))

    def ledger(self) -> Counter[Came]:
        """Whole messages that it took, however often."""
        joiner, found = Joiner(), Counter[Came]()
        for one in self.submitted:
            whole = joiner.add(one.source, one.destination, one.part, one.text) if one.status == 0 else None
            if whole is not None:
                found[whole] += 1
        assert not joiner.open, f"parts are missing or came again: {joiner.open}"
        assert not joiner.repeated, f"parts came twice: {joiner.repeated}"
        return found


def _read(event: Any, id: str, status: int) -> Submitted:
    tlvs = {tlv.tag: tlv.value for tlv in event.tlvs}
    octets = tlvs.get(words.MESSAGE_PAYLOAD, event.short_message)
    part, rest = words.part_of(event.esm_class, octets, tlvs)
    text = words.DECODERS.get(event.data_coding, bytes.hex)(rest)
    return Submitted(event.source_addr, event.destination_addr, text, part, event.data_coding, id, status)
