"""Carrier by SMPP (S-078): a pool of binds to its SMSC sends and receives messages.

Only one message of a (source, destination) pair is in flight at a time, so the bind used does not affect the order. The
outcome of a message that was in flight when a bind broke is unknown, because SMPP gives a message no id before the
response. Two events settle an unknown outcome: a late response, and a receipt for that recipient with an id that
belongs to no other message (D6, P-10).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from secrets import token_hex
from typing import Any, Final, NamedTuple, Protocol

from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.message import Accepted, Deferred, Delivered, Delivery, Outcome, Rejected, State, Unknown
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.refusal import Refusal
from sipsms.core.segmentation import pieces
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import InboundSms, NotThere, Part
from sipsms.messaging.gateway import sms_key
from sipsms.smpp import receipt
from sipsms.smpp.bind import Bind, Resolve, Target
from sipsms.smpp.concat_refs import ConcatReferences, Name, reference_of
from sipsms.smpp.courier import Gone, Segment, named, segments_of, written
from sipsms.smpp.data_coding import CHARSETS, Charset, Concat, choose, is_receipt
from sipsms.smpp.esme import Recalled
from sipsms.smpp.pdu import GENERIC_NACK, MAX_SHORT, Command, Pdu, Status, Tag
from sipsms.smpp.resend_detection import LONGEST, Key, Mark, ResendDetection, Started
from sipsms.smpp.session import MODES, Limits, NotBound
from sipsms.smpp.settings import SmppConfig
from sipsms.smpp.submit_sm import Body, Refused, number, read_anything, read_body, span
from sipsms.smpp.throttle import Pace

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to bind
_STABLE: Final = 10.0  # seconds after which a bind counts as stable, even without a message
_NOT_BOUND: Final = 2.0  # seconds until the next attempt while no bind is up
_NO_ROOM: Final = 0.2  # seconds until the next attempt of a message above the window
_FIRST_BIND: Final = 5.0  # seconds after the start in which messages wait for a bind and use no other carrier
_LAST_ANSWERS: Final = 10.0  # seconds for the last responses before an unbind
_LONGEST_VALIDITY: Final = 3 * 86400.0  # seconds; many SMSCs refuse more
_REMEMBERED: Final = 10_000
_LONGEST_TEXT: Final = 10_000  # characters in one PDU; no phone writes so many
_OPEN_TEXTS: Final = 50  # incomplete long texts of one sender
_WINDOW: Final = 100  # the SMSC's messages that are being stored at once

_THROTTLES: Final = frozenset({Status.THROTTLED, Status.QUEUE_FULL})
_LATER: Final = frozenset({Status.SYSTEM_ERROR, Status.TEMPORARY_APP_ERROR})
_MEND: Final = frozenset(
    {Status.WRONG_BIND_STATE, Status.BIND_FAILED, Status.INVALID_PASSWORD, Status.INVALID_SYSTEM_ID}
)  # the SMSC refuses every message until the settings are corrected
_BINDS: Final = {
    "transceiver": (Command.BIND_TRANSCEIVER,), "transmitter": (Command.BIND_TRANSMITTER,),
    "separate": (Command.BIND_TRANSMITTER, Command.BIND_RECEIVER),
}  # fmt: skip


class Unmatched(Protocol):
    """Receipt with an id that belongs to no message."""

    @property
    def remote_id(self) -> str: ...
    @property
    def state(self) -> State: ...


@dataclass(frozen=True, slots=True)
class CarrierServices:
    """Functions of the node that a carrier's SMSC needs."""

    receive: Callable[..., Awaitable[Any]]  # `Gateway.receive`
    receipt: Callable[[str, CarrierReceipt], Awaitable[None]]
    is_ours: Callable[[str], bool]  # True for a DID of this server
    unmatched: Callable[[str, str, str, float], Awaitable[Sequence[Unmatched]]]  # courier, sender, recipient, since
    recall: Callable[[str], Awaitable[Recalled]]  # origin -> messages received just before the start
    clock: Clock
    spawn: Callable[[Coroutine[Any, Any, Any]], None]
    resolve: Resolve


_Taken = asyncio.Future[None]  # done when a message from the SMSC is stored


class _Sm(NamedTuple):
    """Fields and TLVs of a submit_sm that depend on the text."""

    fields: dict[str, Any]
    tlvs: dict[int, bytes]


class SmppCarrier(BaseCarrier):
    """Carrier with its pool of binds."""

    can_look_up = True

    def __init__(self, name: str, config: SmppConfig, around: CarrierServices) -> None:
        super().__init__(name)
        self.config = config
        self._why = "not bound yet"  # why it has no bind; empty: it has
        self._around = around
        self._clock = around.clock
        self._courier = f"carrier:{name}"
        self._charsets: Mapping[int, Charset] = {**CHARSETS, **config.charsets}
        username, password = config.credentials
        limits = Limits(_WINDOW, config.response_timeout, config.enquire_link, config.response_timeout)
        self._target = Target(
            config.url, username, password, limits, config.verify, config.ca, config.system_type
        )  # fmt: skip
        self._links: list[Bind] = []
        self._worked: set[Bind] = set()  # binds that have sent a message
        self._out: Counter[Bind] = Counter()  # messages in flight by bind
        self._keepers: list[asyncio.Task[None]] = []
        self._room = asyncio.Semaphore(config.binds * config.window)
        self._pace = Pace()
        self._started = around.clock()
        self._late: OrderedDict[int, Pdu] = OrderedDict()  # delivery -> late response
        self._doubts: ResendDetection[_Taken] = ResendDetection()
        self._texts = ConcatReferences(partial(token_hex, 6), _OPEN_TEXTS, gives_way=True)
        self._recalled = False
        self._recalling = asyncio.Lock()  # several binds start at once and wait for one recall
        self._mark = Mark()
        self._closing: asyncio.Future[None] | None = None

    # --- binds ---

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._started = self._clock()
        for command in _BINDS[self.config.bind]:
            self._keepers += [loop.create_task(self._keep(command)) for _ in range(self.config.binds)]

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    def _is_closing(self) -> bool:
        return self._closing is not None

    async def _close(self) -> None:
        with suppress(TimeoutError):  # messages in flight get their response
            async with asyncio.timeout(_LAST_ANSWERS):
                for _ in range(self.config.binds * self.config.window):
                    await self._room.acquire()
        await asyncio.gather(*(link.close() for link in self._links))  # each keeper handles the end of its bind
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers.clear()

    async def _keep(self, command: Command) -> None:
        """Keep one bind open until the carrier is closed."""
        pause = _FIRST_PAUSE
        while not self._is_closing():
            link = Bind(self._target, command, self._clock, self._asked, self._around.resolve, self._came_late)
            try:
                async with self._recalling:
                    await self._recall()
                await link.open()
            except (Gone, Unavailable) as error:
                if self._why != str(error):
                    self._why = str(error)
                    log.warning("smpp_not_bound", carrier=self.name, why=self._why)
                await asyncio.sleep(pause * (0.9 + 0.2 * random.random()))
                pause = min(_LONGEST_PAUSE, pause * 2)
                continue
            except Exception as error:  # a bug must not end the bind for ever
                log.crash("smpp_bind_failed", error)
                await asyncio.sleep(_LONGEST_PAUSE)
                continue
            self._links.append(link)
            self._why, began = "", self._clock()
            log.note("smpp_carrier_bound", carrier=self.name, smsc=link.peer_id, mode=str(link.mode))
            try:
                if self._is_closing():  # the bind came up during the close
                    await link.close()
                await link.until_closed()
            finally:
                self._links.remove(link)
                self._left(link)
            if link in self._worked or self._clock() - began >= _STABLE:
                pause = _FIRST_PAUSE
            self._worked.discard(link)
            await asyncio.sleep(pause * (0.9 + 0.2 * random.random()))
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _left(self, link: Bind) -> None:
        now = self._clock()
        self._doubts.add(link.unsure(now), now, link)
        if not self._links:
            self._why = link.why or "unbound"
        log.warning("smpp_carrier_unbound", carrier=self.name, why=link.why)

    async def _recall(self) -> None:
        """Recall the messages received just before the start, which may come again. Raises Unavailable."""
        if not self._recalled:
            found, now = await self._around.recall(self._courier), self._clock()
            known: _Taken = asyncio.get_running_loop().create_future()
            known.set_result(None)
            keys: list[Key] = [(one.source, one.destination, one.text, None) for one in found.messages]
            for part in found.parts:
                name = Name(part.source, part.source, part.destination, reference_of(part.reference), part.total)
                keys.append((part.source, part.destination, part.text, (name.reference, part.total, part.number)))
                if not part.joined:
                    self._texts.recall(name, part.reference, part.number, part.text, now)
            self._doubts.add([(key, known) for key in keys], now)
            self._recalled = True

    def inherit(self, old: SmppCarrier) -> None:
        """Take over the state of the same carrier with its previous settings."""
        self._doubts, self._texts, self._late, self._recalled = old._doubts, old._texts, old._late, old._recalled
        self._mark = old._mark

    def oldest(self, now: float) -> float:
        """Return the arrival time of the oldest message whose response may be lost; inf if none."""
        return min((link.oldest(now) for link in self._links), default=inf)

    def heard_by(self, now: float, span: float, oldest: float) -> float:
        """Return the time before which received messages need not be recalled after a restart.

        Returns 0 if unchanged. The SMSC has received the responses to these messages and has had `span` seconds to
        process them. `oldest`: arrival time of the oldest message without that, also of this carrier before a reload.
        """
        self._texts.sweep(now)
        self._doubts.sweep(now)
        return 0.0 if len(self._doubts) else self._mark.move(now, span, oldest)

    def binds(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the open binds, and one row for each kind of missing binds."""
        for link in self._links:
            yield link.shown(self._courier, "")
        url = self.config.url
        for command in _BINDS[self.config.bind]:
            missing = self.config.binds - sum(link.mode == MODES[command] for link in self._links)
            if missing and self._keepers:
                yield {
                    "direction": "out", "name": self._courier, "account": "", "peer": f"{url.host}:{url.port}",
                    "mode": str(MODES[command]), "tls": url.tls, "state": "unbound", "since": 0.0, "sent": 0,
                    "received": 0, "why": self._why or f"{missing} of {self.config.binds} are not up",
                }  # fmt: skip

    # --- out ---

    @property
    def status(self) -> str:
        return self._why

    def room(self) -> int:
        """Return how many messages may be in flight.

        The limit is the sum of the windows of the open binds, but at most two seconds of messages at the rate that the
        SMSC accepts, because the SMSC may accept more by then. Without a bind the limit is one, so that one delivery
        finds out. Just after the start the limit is 0, so that deliveries wait for the first bind and use no other
        carrier.
        """
        if links := self._transmitters():
            windows = len(links) * self.config.window
            return min(windows, ceil(2 * self._pace.rate)) if self._pace.rate else windows
        return 0 if self._clock() < self._started + _FIRST_BIND else 1

    @property
    def is_down(self) -> bool:
        """True if no message can be sent now."""
        return not self._transmitters()

    def rate(self, now: float) -> float:
        """Return the messages a second that the SMSC accepts; 0 if unknown."""
        return self._pace.rate_at(now)

    async def send(self, delivery: Delivery) -> Outcome:
        """Send a delivery and return its outcome.

        The method must not wait here for a free window: a delivery that was begun and not sent when the server is
        killed has an unknown outcome.
        """
        async with self._room:
            now = self._clock()
            if paused := self._pace.paused(now):
                return Deferred("throttled", retry_after=paused, whole_courier=True, untried=True)
            links = self._transmitters()
            if not links:
                why = self._why or "no transmitter is bound"
                return Deferred(why, retry_after=_NOT_BOUND, whole_courier=True, untried=True)
            link = min(links, key=lambda one: self._out[one])
            if self._out[link] >= self.config.window:
                return Deferred("the window is full", retry_after=_NO_ROOM, untried=True)
            try:
                sm = self._sm(delivery)
            except Exception as error:  # a bug; nothing was sent
                log.crash("smpp_cannot_write", error)
                return Rejected("it cannot be written as SMPP", unsent=True)
            self._out[link] += 1
            try:
                answer = await link.ask(Command.SUBMIT_SM, sm.fields, sm.tlvs, delivery.id)
            except NotBound:
                return Deferred("the bind has just ended", retry_after=_NOT_BOUND, whole_courier=True, untried=True)
            except Gone as error:
                return Unknown(str(error))
            finally:
                self._out[link] -= 1
                if not self._out[link]:
                    del self._out[link]
            return self._outcome(link, answer)

    def _transmitters(self) -> list[Bind]:
        return [link for link in self._links if link.is_bound and link.mode != "receiver"]

    def _outcome(self, link: Bind, answer: Pdu) -> Outcome:
        now, status = self._clock(), answer.status
        if answer.command == GENERIC_NACK and status not in _THROTTLES | _LATER | _MEND:
            return Rejected(f"the SMSC does not understand it: {status:#x}", f"{status:#x}")
        if status == Status.OK:
            self._pace.taken(now)
            link.count(sent=1)
            self._worked.add(link)
            return Accepted(answer.fields.get("message_id", "").strip())
        reason = f"the SMSC answered {status:#x}"
        if status in _THROTTLES:
            return Deferred(reason, retry_after=self._pace.throttled(now), whole_courier=True)
        if status in _LATER:
            return Deferred(reason)
        if status in _MEND:
            return Deferred(reason, whole_courier=True)
        return Rejected(reason, f"{status:#x}")

    def _sm(self, delivery: Delivery) -> _Sm:
        config = self.config
        source, dest = self._address(delivery.source), self._address(delivery.destination)
        fields = {
            "service_type": config.service_type, "registered_delivery": int(config.receipts),
            "source_addr_ton": _own(config.source_ton, source[0]),
            "source_addr_npi": _own(config.source_npi, source[1]), "source_addr": source[2],
            "dest_addr_ton": _own(config.dest_ton, dest[0]), "dest_addr_npi": _own(config.dest_npi, dest[1]),
            "destination_addr": dest[2],
        }  # fmt: skip
        expires_at, now = delivery.message.expires_at, self._clock()
        if self.config.validity and expires_at is not None and expires_at - now < _LONGEST_VALIDITY:
            fields["validity_period"] = span(max(1.0, expires_at - now))
        body = self._body(delivery)
        return _Sm({**fields, **body.fields}, body.tlvs)

    def _address(self, written_number: str) -> tuple[int, int, str]:
        if self.config.numbers == "e164" and (found := written(written_number, "e164"))[0] == 1:
            return found[0], found[1], f"+{found[2]}"
        return written(written_number, "" if self.config.numbers == "nanpa" else "e164")

    def _body(self, delivery: Delivery) -> _Sm:
        """Return the content of the PDU.

        The content is a segment if the delivery is a segment, else the whole text. A long text goes as a payload.
        """
        whole = delivery.message.text
        spans = pieces(whole, 0, "segments") if delivery.end and self.config.text_unit == "segments" else []
        if (delivery.start, delivery.end) in spans and len(spans) > 1:
            index = spans.index((delivery.start, delivery.end))
            reference = delivery.message.id
            return self._part(segments_of(whole, reference, self._charsets)[index], reference, len(spans), index + 1)
        coding, octets = choose(delivery.text, self._charsets)
        if len(octets) > (140 if coding else 160):
            return _Sm({"data_coding": coding}, {Tag.MESSAGE_PAYLOAD: octets})
        return _Sm({"data_coding": coding, "short_message": octets[:MAX_SHORT]}, {})

    def _part(self, segment: Segment, reference: int, total: int, index: int) -> _Sm:
        if self.config.long == "udh":
            fields = {"esm_class": segment.esm_class, "data_coding": segment.data_coding}
            return _Sm({**fields, "short_message": segment.octets}, {})
        tlvs: dict[int, bytes] = {
            Tag.SAR_REFERENCE: (reference & 0xFFFF).to_bytes(2, "big"), Tag.SAR_TOTAL: bytes((total,)),
            Tag.SAR_NUMBER: bytes((index,)),
        }  # fmt: skip
        return _Sm({"data_coding": segment.data_coding, "short_message": segment.octets[6:]}, tlvs)

    # --- lost responses ---

    def _came_late(self, delivery: Any, answer: Pdu) -> None:
        if delivery is not None:
            self._late[delivery] = answer
            if len(self._late) > _REMEMBERED:
                self._late.popitem(last=False)

    async def look_up(self, delivery: Delivery, began: float) -> Outcome | None:
        """Settle an unknown outcome by a late response or an unmatched receipt.

        Returns None if there is neither. Raises NotThere if the SMSC has refused the message temporarily.
        """
        late = self._late.pop(delivery.id, None)
        if late is not None:
            return self._late_outcome(late)
        ours = "" if self.config.sender_name else delivery.source  # as in receipts: a sender name is no DID
        found = await self._around.unmatched(self._courier, ours, delivery.destination, began - 1.0)
        for one in found:
            if one.state is State.ACCEPTED:  # the receipt says only that the SMSC has the message
                return await self._query(one.remote_id, delivery) or Accepted(one.remote_id)
            return Accepted(one.remote_id)
        return None

    def _late_outcome(self, answer: Pdu) -> Outcome:
        """Return the outcome of a late response.

        Raises NotThere if the SMSC has refused the message temporarily.
        """
        status = answer.status
        if status in _THROTTLES | _LATER | _MEND:
            raise NotThere
        if status or answer.command == GENERIC_NACK:
            return Rejected(f"the SMSC answered {status:#x}, too late")
        return Accepted(answer.fields.get("message_id", "").strip())

    async def _query(self, remote_id: str, delivery: Delivery) -> Outcome | None:
        """Ask the SMSC for the message's state (query_sm); None if there is nothing new."""
        links, source = self._transmitters(), self._address(delivery.source)
        if not links:
            return None
        fields = {
            "message_id": remote_id, "source_addr_ton": source[0], "source_addr_npi": source[1],
            "source_addr": source[2],
        }  # fmt: skip
        try:
            answer = await links[0].ask(Command.QUERY_SM, fields, {})
        except (Gone, NotBound):
            return None
        if answer.status:
            return None
        state = receipt.state_of("", answer.fields.get("message_state"))
        if state is State.DELIVERED:
            return Delivered("the SMSC says so")
        if state in (State.FAILED, State.EXPIRED):
            return Rejected("the SMSC says that it failed")
        return None

    # --- in ---

    def _asked(self, link: Bind, pdu: Pdu) -> None:
        self._around.spawn(self._take(link, pdu))

    async def _take(self, link: Bind, pdu: Pdu) -> None:
        """Store a receipt or message from the SMSC, then answer."""
        try:
            if is_receipt(pdu.fields["esm_class"]):
                status = await self._take_receipt(pdu)
            else:
                status = await self._take_message(link, pdu)
        except Refused as refused:
            log.warning("smpp_refused", carrier=self.name, why=str(refused))
            status = refused.status
        except Unavailable as error:
            log.warning("store_unavailable", why=str(error))
            status = Status.TEMPORARY_APP_ERROR
        except Exception as error:
            log.crash("smpp_failed", error)
            status = Status.TEMPORARY_APP_ERROR
        link.answer(pdu, status)

    async def _take_receipt(self, pdu: Pdu) -> int:
        try:
            text = read_body(pdu, self._charsets).text
        except Refused:  # the TLVs may be sufficient
            text = ""
        found = receipt.parse(text)
        by_tlv = pdu.tlvs.get(Tag.RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1").strip()
        state_code = pdu.tlvs.get(Tag.MESSAGE_STATE, b"")
        remote_id = by_tlv or found.id
        if not remote_id:
            log.warning("receipt_without_id", carrier=self.name)
            return Status.OK
        state = receipt.state_of(found.word, state_code[0] if state_code else None)
        word = found.word or receipt.STATES.get(state_code[0] if state_code else 0, "")
        detail = "" if state is State.DELIVERED else f"{word} {found.error}".strip()
        others = receipt.other_forms(remote_id) if self.config.message_ids != "same" else ()
        if self.config.message_ids == "hex-decimal" and others:
            remote_id, others = others[0], others[1:]
        sender, recipient = self._parties(pdu)
        await self._around.receipt(
            self._courier, CarrierReceipt(remote_id, state, detail, False, others, recipient, sender)
        )
        return Status.OK

    def _number(self, ton: int, address: str) -> str:
        """Normalise a number.

        If the carrier uses country codes, an "international" number of ten digits is not a national number.
        """
        return number(ton, address, tens_are_national=self.config.numbers == "nanpa")

    def _parties(self, pdu: Pdu) -> tuple[str, str]:
        """Return (our DID, recipient) of a receipt; the DID is empty if it is not ours.

        A receipt's source is the message's recipient, but some SMSCs swap the addresses.
        """
        source = self._number(pdu.fields["source_addr_ton"], pdu.fields["source_addr"])
        destination = self._number(pdu.fields["dest_addr_ton"], pdu.fields["destination_addr"])
        if self._around.is_ours(destination):
            return destination, source
        return (source, destination) if self._around.is_ours(source) else ("", source)

    async def _take_message(self, link: Bind, pdu: Pdu) -> int:
        fields, now = pdu.fields, self._clock()
        body = read_anything(pdu, self._charsets)
        if len(body.text) > _LONGEST_TEXT:
            raise Refused(Status.INVALID_MESSAGE_LENGTH, f"{len(body.text)} characters")
        source = self._number(fields["source_addr_ton"], fields["source_addr"]) or fields["source_addr"]
        destination = self._number(fields["dest_addr_ton"], fields["destination_addr"]) or fields["destination_addr"]
        concat = body.concat if body.concat is not None and body.concat.total > 1 else None
        key: Key = (source, destination, body.text, concat[:3] if concat is not None else None)
        for other in self._links:  # a mute bind's messages may be sent again by this bind
            if other is not link and (left := other.doubts(now)):
                self._doubts.add(left, now, other)
        taken = self._doubts.take(key, now, link) if len(self._doubts) else None
        since = now
        if taken is not None and not (taken.done() and (taken.cancelled() or taken.exception() is not None)):
            since -= LONGEST
            log.note("smpp_again", carrier=self.name, source=source, destination=destination)
        else:
            taken = asyncio.ensure_future(self._store(source, destination, body, concat, named(pdu)))
        link.under_way[taken] = Started(key, since)
        try:
            await asyncio.shield(taken)
        except BaseException:
            link.failed(taken)
            raise
        self._mark.took_at = self._clock()
        link.count(received=1)
        link.answered(taken, self._mark.took_at)
        return Status.OK

    async def _store(self, source: str, destination: str, body: Body, concat: Concat | None, own_id: str) -> None:
        """Store an incoming message or segment. Raises Refused or Unavailable."""
        part, token, name = None, "", Name(source, source, destination, 0, 0)
        if concat is not None:
            name = name._replace(reference=concat.reference, total=concat.total)
            token = self._texts.place(name, concat.number, body.text, self._clock())
            part = Part(token, concat.number, concat.total)
        sms = InboundSms(source, destination, body.text, own_id, (), part)
        try:
            result = await self._around.receive(sms, self._courier, sms_key(self.name, sms))
        except Unavailable:
            if concat is not None:
                self._texts.failed(name, token, concat.number, self._clock())
            raise
        if result is None:
            raise Refused(Status.INVALID_DESTINATION, f"{destination[:32]} is no number of this server")
        if isinstance(result, Refusal):
            raise Refused(Status.REJECTED_BY_APP, result.reason)


def _own(configured: int | None, usual: int) -> int:
    return usual if configured is None else configured


class SmppCarriers:
    """Set of all carriers of type smpp of a node."""

    def __init__(self, around: CarrierServices) -> None:
        self._around = around
        self._all: dict[str, SmppCarrier] = {}
        self._old: set[SmppCarrier] = set()
        self._started = False

    def make(self, name: str, config: SmppConfig) -> SmppCarrier:
        """Return the carrier with these settings; an existing carrier is kept if they have not changed."""
        old = self._all.get(name)
        if old is not None and old.config == config:
            return old
        if old is not None:
            self._around.spawn(self._leave(old))
        carrier = self._all[name] = SmppCarrier(name, config, self._around)
        if old is not None:
            carrier.inherit(old)
        if self._started:
            carrier.start()
        return carrier

    async def _leave(self, old: SmppCarrier) -> None:
        """Close a carrier; its messages in flight still get their responses before the unbind."""
        self._old.add(old)
        await old.close()
        self._old.discard(old)

    def keep(self, names: Iterable[str]) -> None:
        """Close the carriers that are no longer configured."""
        for name in self._all.keys() - set(names):
            self._around.spawn(self._leave(self._all.pop(name)))

    def start(self) -> None:
        self._started = True
        for carrier in self._all.values():
            carrier.start()

    def binds(self) -> Iterator[dict[str, Any]]:
        for carrier in (*self._all.values(), *self._old):
            yield from carrier.binds()

    def heard_by(self, now: float, span: float) -> dict[str, float]:
        """Return the times of `SmppCarrier.heard_by` by origin."""
        oldest = {name: carrier.oldest(now) for name, carrier in self._all.items()}
        for old in self._old:
            oldest[old.name] = min(oldest.get(old.name, inf), old.oldest(now))
        return {f"carrier:{name}": one.heard_by(now, span, oldest[name]) for name, one in self._all.items()}

    async def close(self) -> None:
        await asyncio.gather(*(carrier.close() for carrier in (*self._all.values(), *self._old)))
