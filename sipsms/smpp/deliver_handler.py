"""Handler of what a carrier's SMSC sends: messages and receipts, answered when they are stored once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from secrets import token_hex
from typing import Any, Final

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_id import CourierId
from sipsms.core.errors import Unavailable
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.refusal import Refusal
from sipsms.messaging.carrier import InboundSms, Part
from sipsms.messaging.inbound import Inbound, sms_key
from sipsms.messaging.reporter import Reporter
from sipsms.smpp import receipt
from sipsms.smpp.bind import Bind
from sipsms.smpp.concat_refs import ConcatReferences, Name, reference_of
from sipsms.smpp.courier import named
from sipsms.smpp.data_coding import Concat
from sipsms.smpp.pdu import Pdu, Status
from sipsms.smpp.peer_session import Taken, known
from sipsms.smpp.resend_detection import Key, Mark, ResendDetection
from sipsms.smpp.settings import SmppConfig
from sipsms.smpp.submit_sm import Body, Refused, number, read_anything
from sipsms.store import delivery_receipts, recent
from sipsms.store.store import Store

_LONGEST_TEXT: Final = 10_000  # characters in one PDU; no phone writes so many
_OPEN_TEXTS: Final = 50  # incomplete long texts of one sender


class DeliverHandler:
    def __init__(
        self, name: str, config: SmppConfig, inbound: Inbound, reporter: Reporter, directory: Directory, store: Store,
        clock: Clock, spawn: Callable[[Coroutine[Any, Any, Any]], None],
    ) -> None:  # fmt: skip
        self._name = name
        self._origin = CourierId.of_carrier(name)
        self._config = config
        self._inbound = inbound
        self._reporter = reporter
        self._directory = directory
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self.doubts: ResendDetection[Taken] = ResendDetection()
        self._texts = ConcatReferences(partial(token_hex, 6), _OPEN_TEXTS, gives_way=True)
        self._mark = Mark()
        self._recalled = False
        self._recalling = asyncio.Lock()  # several binds start at once and wait for one recall

    def inherit(self, old: DeliverHandler) -> None:
        """Take over the state of the same carrier with its previous settings."""
        self.doubts, self._texts, self._mark, self._recalled = old.doubts, old._texts, old._mark, old._recalled

    async def recall(self) -> None:
        """Recall the messages received just before the start, which may come again. Raises Unavailable."""
        async with self._recalling:
            if self._recalled:
                return
            messages, parts = await self._store.read(lambda db: recent.recall(db, self._origin, self._clock()))
            now = self._clock()
            keys: list[Key] = [(one.source, one.destination, one.text, None) for one in messages]
            for part in parts:
                name = Name(part.source, part.source, part.destination, reference_of(part.reference), part.total)
                keys.append((part.source, part.destination, part.text, (name.reference, part.total, part.number)))
                if not part.joined:
                    self._texts.recall(name, part.reference, part.number, part.text, now)
            self.doubts.add([(key, known("")) for key in keys], now)
            self._recalled = True

    def unbound(self, bind: Bind) -> None:
        """Handle the end of a bind: the SMSC may send its last messages again."""
        now = self._clock()
        self.doubts.add(bind.unsure(now), now, bind)

    def heard_by(self, now: float, span: float, oldest: float) -> float:
        """Return the time before which received messages need not be recalled after a restart; 0 if unchanged.

        The SMSC has had their responses for `span` seconds. `oldest`: arrival of the oldest message without that, also
        of this carrier before a reload."""
        self._texts.sweep(now)
        self.doubts.sweep(now)
        return 0.0 if len(self.doubts) else self._mark.move(now, span, oldest)

    def handle(self, bind: Bind, pdu: Pdu, binds: Iterable[Bind]) -> None:
        """Store a message or receipt, then answer. `binds`: all binds of the carrier."""
        self._spawn(self._handle(bind, pdu, binds))

    async def _handle(self, bind: Bind, pdu: Pdu, binds: Iterable[Bind]) -> None:
        try:
            body = read_anything(pdu, self._config.charsets)
            if not await self._take_receipt(pdu, body):
                await self._take_message(bind, pdu, body, binds)
            status = Status.OK
        except Refused as refused:
            log.warning("smpp_refused", carrier=self._name, why=str(refused))
            status = refused.status
        except Unavailable as error:
            log.warning("store_unavailable", why=str(error))
            status = Status.TEMPORARY_APP_ERROR
        except Exception as error:
            log.crash("smpp_failed", error)
            status = Status.TEMPORARY_APP_ERROR
        bind.answer(pdu, status)

    # --- receipts ---

    async def _take_receipt(self, pdu: Pdu, body: Body) -> bool:
        """Take a receipt; False if the PDU is a message.

        A person could write the words of a receipt, too: a text alone is one only if a message between the same two
        numbers has its id.
        """
        found = receipt.read(pdu, body)
        if found is None:
            return False
        remote_id, others = receipt.names(found.id, self._config.message_ids)
        sender, recipient = self._parties(pdu)
        taken = CarrierReceipt(remote_id, found.state, found.detail, False, others, recipient, sender)
        if not found.is_certain and not await self._store.read(
            lambda db: delivery_receipts.is_ours(db, self._origin, taken)
        ):
            return False
        if remote_id:
            await self._reporter.receipt(self._origin, taken)
        else:
            log.warning("receipt_without_id", carrier=self._name)
        return True

    def _number(self, ton: int, address: str) -> str:
        """Normalise a number; ten digits are national unless the carrier uses country codes."""
        return number(ton, address, tens_are_national=self._config.numbers == "nanpa")

    def _parties(self, pdu: Pdu) -> tuple[str, str]:
        """Return (our DID or "", recipient) of a receipt, whose addresses some SMSCs swap."""
        source = self._number(pdu.fields["source_addr_ton"], pdu.fields["source_addr"])
        destination = self._number(pdu.fields["dest_addr_ton"], pdu.fields["destination_addr"])
        if self._directory.did(destination) is not None:
            return destination, source
        return (source, destination) if self._directory.did(source) is not None else ("", source)

    # --- messages ---

    async def _take_message(self, bind: Bind, pdu: Pdu, body: Body, binds: Iterable[Bind]) -> None:
        fields, now = pdu.fields, self._clock()
        if len(body.text) > _LONGEST_TEXT:
            raise Refused(Status.INVALID_MESSAGE_LENGTH, f"{len(body.text)} characters")
        source = self._number(fields["source_addr_ton"], fields["source_addr"]) or fields["source_addr"]
        destination = self._number(fields["dest_addr_ton"], fields["destination_addr"]) or fields["destination_addr"]
        concat = body.concat if body.concat is not None and body.concat.total > 1 else None
        key: Key = (source, destination, body.text, concat[:3] if concat is not None else None)
        for other in binds:  # a mute bind's messages may be sent again by this bind
            if other is not bind and (left := other.doubts(now)):
                self.doubts.add(left, now, other)
        taken, is_again = bind.take(
            self.doubts, key, now, lambda: self._take(source, destination, body, concat, named(pdu))
        )
        if is_again:
            log.note("smpp_again", carrier=self._name, source=source, destination=destination)
        try:
            await asyncio.shield(taken)
        except BaseException:
            bind.failed(taken)
            raise
        self._mark.took_at = self._clock()
        bind.count(received=1)
        bind.answered(taken, self._mark.took_at)

    async def _take(self, source: str, destination: str, body: Body, concat: Concat | None, own_id: str) -> str:
        """Store a message or segment. Return the empty id of a deliver_sm_resp. Raises Refused or Unavailable."""
        part, token, name = None, "", Name(source, source, destination, 0, 0)
        if concat is not None:
            name = name._replace(reference=concat.reference, total=concat.total)
            token = self._texts.place(name, concat.number, body.text, self._clock())
            part = Part(token, concat.number, concat.total)
        sms = InboundSms(source, destination, body.text, own_id, (), part)
        try:
            result = await self._inbound.receive(sms, self._origin, sms_key(self._name, sms))
        except Unavailable:
            if concat is not None:
                self._texts.failed(name, token, concat.number, self._clock())
            raise
        if result is None:
            raise Refused(Status.INVALID_DESTINATION, f"{destination[:32]} is no number of this server")
        if isinstance(result, Refusal):
            raise Refused(Status.REJECTED_BY_APP, result.reason)
        return ""
