"""The centre of messaging: every way in ends in `submit`; a device that registers ends in `reachable`.

`submit` asks the dialplan, commits message, deliveries and duplicate key together, and only then returns: whoever
called may answer its client. It knows couriers by name only and never waits for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple
from zlib import crc32

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.account import Account, Did
from sipsms.core.clock import Clock
from sipsms.core.directory_rows import Block
from sipsms.core.e164 import normalise
from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Delivery, Direction, Media, Message, MessageKind, Route, State
from sipsms.core.queue_rows import CarrierReceipt, StoredPart
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.registration import Device
from sipsms.core.report_request import ImdnRequest
from sipsms.core.segmentation import encoding_of, pieces, segments
from sipsms.messaging import delivery_reports
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.concatenation import Concatenation
from sipsms.messaging.delivery_reports import Stage, report_of
from sipsms.messaging.event_stream import EventStream
from sipsms.messaging.imdn import delivery_notice
from sipsms.messaging.location import Location
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.queue.queue import Queue
from sipsms.routing.dialplan import Decision, Dialplan, Facts
from sipsms.store.store import Store

SIP, CALLBACK, WEBHOOK, MAIL, FORWARD, MEDIA = "sip", "callback", "webhook", "mail", "forward", "media"
APP = "app"  # fetched by an app of the account
SMPP = "smpp"  # a customer's ESME, or its SMPP server

# Seconds that a delivery is tried, where that is not as long as a message is kept.
PATIENCE = {CALLBACK: 3 * 86400.0, WEBHOOK: 4 * 86400.0, MAIL: 5 * 86400.0}
_REPORTS = {MessageKind.STATUS: WEBHOOK, MessageKind.DLR: CALLBACK, MessageKind.SMPP: SMPP}
RECEIPT_LANES = 32  # of a DID: receipts need no order, and none waits for a lost answer to another
_USUAL = CarrierOptions(mms=True)


class Receipt(NamedTuple):
    message_id: int
    duplicate: bool = False


def carrier_key(carrier: str, remote_id: str) -> bytes | None:
    """Return the duplicate key of a carrier's message; None if the carrier gives no id."""
    if not remote_id:
        return None
    return blake2b(f"{carrier}\n{remote_id}".encode("utf-8", "surrogateescape"), digest_size=20).digest()


def sms_key(carrier: str, sms: InboundSms) -> bytes | None:
    """The same for a message as it came: one to two of our numbers is two messages, whatever its id."""
    name = sms.dedupe or sms.remote_id
    return carrier_key(carrier, f"{name}\n{normalise(sms.destination) or sms.destination}" if name else "")


def _notice_key(message: Message) -> bytes:
    return blake2b(f"notice\n{message.id}".encode(), digest_size=20).digest()


def _held(delivery: Delivery, due_at: float) -> Delivery:
    """Not before its time, and in a lane of its own: what is written meanwhile does not wait for it."""
    later = delivery.expires_at + due_at - delivery.created_at
    expires_at = min(later, delivery.message.expires_at or later)  # the sender's own limit is no span
    return delivery._replace(lane=delivery.lane.held(due_at), due_at=due_at, expires_at=expires_at)


class Gateway:
    def __init__(
        self,
        store: Store,
        directory: Directory,
        location: Location,
        queue: Queue,
        dialplan: Dialplan,
        clock: Clock,
        keep: float,
        consent: SendingPolicy,
        parts: Concatenation[Receipt | Refusal | None],
        feed: EventStream | None = None,
    ) -> None:
        """`keep`: seconds a message waits for its destination before it expires."""
        self.feed = feed or EventStream(clock)
        self._store = store
        self._directory = directory
        self._location = location
        self._queue = queue
        self._clock = clock
        self.keep = keep
        self._open: set[str] = set()  # accounts with messages that wait for their first device
        self._adopted: set[int] = set()  # devices that have been given those
        self.dialplan = dialplan
        self.consent = consent
        self.parts = parts
        self.limits: dict[str, CarrierOptions] = {}  # by courier
        self.patience = dict(PATIENCE)
        self.operator = ""  # e-mail address of who hears of trouble

    async def start(self, accounts: Sequence[str]) -> None:
        """After a restart. `accounts` still have messages from before their first device."""
        self._open.update(accounts)
        for account in accounts:
            await self._adopt_all(account)
        await self.take_new()

    def is_reachable(self, lane: LaneKey) -> bool:
        """Does a device's lane wait although the device is registered?"""
        return bool(lane.device) and self._location.binding_of(lane.device, self._clock()) is not None

    # --- ways in ---

    def copies(self, account: Account, device: int, message: Message) -> list[Delivery]:
        """Return copies of what one device has sent for the account's other devices."""
        route = Route(SIP, account.name, message.destination, "copy")
        now = self._clock()
        others = [one for one in self._location.devices(account.name) if one.id != device]
        return [self._to_device(message, route, one, now + self.keep, now) for one in others]

    async def receive(
        self, sms: InboundSms, origin: str, dedupe_key: bytes | None = None, stored: tuple[Media, ...] = ()
    ) -> Receipt | Refusal | None:
        """An SMS or MMS arrives from the telephone network. None: the destination is no DID of ours.

        `stored`: parts of it that are in our store already. A part of a long text waits for the others; its receipt
        names no message. Raises Unavailable.
        """
        number = normalise(sms.destination)
        did = self._directory.did(number) if number else None
        if did is None:
            return None
        source = normalise(sms.source) or sms.source[:64]
        if sms.part is not None and sms.part.total > 1:
            return await self._receive_part(sms, source, did, origin)
        media = tuple(Media(one.content_type, one.name, url=one.url) for one in sms.media)
        message = Message(
            Direction.IN, source, did.number, sms.text, origin, self._clock(), did.account, did.number, None,
            dedupe_key, sms.remote_id[:128], media=(*stored, *media),
        )  # fmt: skip
        return await self._incoming(message, did)

    async def _incoming(self, message: Message, did: Did) -> Receipt | Refusal:
        answer = ""
        if self.consent.concerns(message) and not await self._is_there(message):
            answer = await self.consent.heard(message, did)
        result = await self.submit(message)
        if answer and isinstance(result, Receipt) and not result.duplicate:
            now = self._clock()
            reply = Message(Direction.OUT, did.number, message.source, answer, "auto", now, did.account, did.number)
            await self.submit(reply)
        return result

    async def _is_there(self, message: Message) -> bool:
        """A carrier that tells of a STOP again must not block anew who has written START since."""
        return message.dedupe_key is not None and await self._store.find_duplicate(message.dedupe_key) is not None

    async def _receive_part(self, sms: InboundSms, source: str, did: Did, origin: str) -> Receipt | Refusal:
        assert sms.part is not None
        part = StoredPart(
            origin, source, did.number, sms.part.reference[:64], sms.part.number, sms.part.total, sms.text,
            sms.remote_id[:128], self._clock(),
        )  # fmt: skip
        return await self.parts.add(part) or Receipt(0)

    async def whole(self, parts: Sequence[StoredPart], text: str) -> Receipt | Refusal | None:
        """A long text, as far as it has come. None: its number is no DID of ours any more."""
        first = parts[0]
        did = self._directory.did(first.destination)
        if did is None:
            return None
        name = " ".join(one.remote_id or f"{one.received_at!r}" for one in parts)
        message = Message(
            Direction.IN, first.source, did.number, text, first.origin, self._clock(), did.account, did.number, None,
            carrier_key(f"parts of {first.origin}", f"{first.reference} {name}"), first.remote_id,
        )  # fmt: skip
        return await self._incoming(message, did)

    async def complete(self, message: Message, media: Sequence[Media]) -> None:
        """The parts of an incoming MMS have been fetched, as far as they could be: now it is delivered."""
        message = message._replace(media=tuple(media))
        routes = self.plan(message).routes
        now = self._clock()
        added = await self._store.add(message, self._planned(message, routes, now), MEDIA, now)
        self._queue.offer(added)
        await self._catch_up([one for one in added if one.courier == SIP])

    async def submit(
        self, message: Message, copies: Sequence[Delivery] = (), instance: str = "", due_at: float | None = None
    ) -> Receipt | Refusal:
        """Commit a message with all its deliveries, then let them go. Raises Unavailable: nothing was stored."""
        decision = self.plan(message)
        if decision.refusal is not None:
            return decision.refusal
        now = self._clock()
        if message.direction is Direction.IN and any(not one.token for one in message.media):
            planned = [self._by(MEDIA, message, message.did, message.source, now)]
        else:
            planned = [*self._planned(message, decision.routes, now), *copies]
        if instance:
            chosen = self._location.device_of_instance(message.destination, instance)
            planned = [one for one in planned if one.device == chosen]
            if not planned:
                return Refusal(RefusalCode.NO_ROUTE, "this device is not known any more")
        if due_at is not None and due_at > now:
            planned = [_held(delivery, due_at) for delivery in planned]
        deliveries = [self._queue.reserve(delivery) for delivery in planned]
        try:
            stored = await self._store.accept(message, deliveries, now)
        except BaseException:
            self._queue.release(deliveries)
            raise
        if stored.duplicate:
            self._queue.release(deliveries)
            log.duplicate(stored.message_id, message.origin)
            return Receipt(stored.message_id, duplicate=True)
        log.accepted(
            stored.message_id, message.direction.value, message.origin, message.source, message.destination,
            len(stored.deliveries),
        )  # fmt: skip
        if not message.kind:
            self.feed.note(message._replace(id=stored.message_id), "accepted")
        self._queue.offer(stored.deliveries, deliveries)
        if any(one.courier == SIP for one in stored.deliveries):
            await self._catch_up(stored.deliveries)
        return Receipt(stored.message_id)

    # --- how it went ---

    async def receipt(self, courier: str, receipt: CarrierReceipt) -> None:
        """Take a delivery report of a carrier. Raises Unavailable."""
        changed = await self._store.receipt(courier, receipt, self._clock())
        if changed is None:
            return
        log.receipt(changed.message.id, changed.id, courier, str(changed.state), receipt.detail)
        self.changed(changed, changed.state, receipt.detail)
        if receipt.opt_out:
            await self.opted_out(changed)
        if changed.message.report and changed.state is not State.ACCEPTED:
            await self.ended(changed)

    def changed(self, delivery: Delivery, state: State, detail: str = "") -> None:
        """A delivery is in another state, or has been tried in vain: tell who listens."""
        if not delivery.message.kind:
            self.feed.note(delivery.message, str(state), delivery.courier, detail)

    def objection(self, delivery: Delivery) -> str:
        """Return why an accepted SMS must not leave any more (it may have waited for days); empty: it may."""
        message = delivery.message
        did, sender = self._directory.did(message.did), self._directory.account(message.account)
        if did is None:
            return f"{message.did} is no number of this server any more" if message.did else ""
        if message.origin == "auto":
            return ""  # what answers a STOP still goes
        if sender is None or not sender.enabled:
            return "its account is off or removed"
        if sender.customer != did.account:
            return f"{did.number} is another customer's now"
        if not did.sms:
            return f"{did.number} is switched off for SMS"
        if self._directory.is_blocked(did, delivery.destination, "out"):
            return "the recipient has answered STOP meanwhile, or is blocked"
        return ""

    async def opted_out(self, delivery: Delivery) -> None:
        """The carrier knows that the recipient wants nothing of this sender."""
        if did := delivery.message.did:
            await self.consent.set_block(
                Block(did, delivery.destination, "out"), "the carrier says that they opted out"
            )

    async def ended(self, delivery: Delivery) -> None:
        """A delivery is over, for better or worse, and its sender wants to hear of it."""
        state = await self._store.outcome(delivery.message.id)
        if state is State.DELIVERED:
            await self.delivered(delivery.message, delivery.destination)
        elif state in (State.FAILED, State.EXPIRED):
            await self._lost(delivery.message, delivery.destination, state, bool(delivery.remote_id))

    async def tell_ended(self) -> None:
        """Send delivery reports that are still owed: after a restart, or when the store could not write them."""
        for message, recipient in await self._store.unnoticed():
            await self.delivered(message, recipient)
        for message, recipient, was_taken in await self._store.unnoticed_losses():
            await self._lost(message, recipient, await self._store.outcome(message.id), was_taken)

    async def _lost(self, message: Message, recipient: str, state: State, was_taken: bool) -> None:
        stage = delivery_reports.loss(message, expired=state is State.EXPIRED, was_taken=was_taken)
        await self._notify(message, recipient, stage)

    async def delivered(self, message: Message, recipient: str) -> None:
        """Tell the sender, who wanted to know. Once, also when this is asked again after a restart."""
        await self._notify(message, recipient, Stage.DELIVERED)

    async def report(self, message: Message, stage: Stage) -> None:
        """To the program that sent it, if it wants to hear this."""
        did, sender = self._directory.did(message.did), self._directory.account(message.account)
        if did is None or sender is None or sender.customer != did.account:
            return  # the number is another's now
        event = report_of(message, stage, did, self._clock())
        if event is not None:
            await self.submit(event)

    async def _notify(self, message: Message, recipient: str, stage: Stage) -> None:
        """A notice of delivery, or that there will be none (RFC 5438), or a report to a program."""
        if not isinstance(message.report, ImdnRequest):
            await self.report(message, stage)
            await self._store.noticed(message.id)
            return
        delivered = stage is Stage.DELIVERED
        text = delivery_notice(message.report.message_id, recipient, self._clock(), delivered=delivered)
        notice = Message(
            Direction.IN, recipient, message.account, text, "notice", self._clock(), message.account, "", None,
            _notice_key(message), kind=MessageKind.IMDN, device=message.device,
        )  # fmt: skip
        if message.device:
            await self.submit(notice)
        await self._store.noticed(message.id)

    async def disable_target(self, did: str, kind: str, why: str) -> None:
        """A DID's callback or webhook has said that it is gone, or fails for days."""
        changed = await self._store.disable_target(did, kind, why)
        self._directory.disable_target(did, kind, why)
        if changed:
            log.warning("target_disabled", did=did, kind=kind, why=why)
            await self.alarm(f"The {kind} of {did} is switched off: {why}")

    async def alarm(self, text: str) -> None:
        """Tell the operator by e-mail, if there is an address."""
        if self.operator:
            now = self._clock()
            message = Message(Direction.IN, "sipsms", "operator", text, "alarm", now, kind=MessageKind.ALARM)
            await self.submit(message)

    async def known(self, dedupe_key: bytes) -> Receipt | None:
        """The receipt given before for this key, also before a restart."""
        message_id = await self._store.find_duplicate(dedupe_key)
        return Receipt(message_id, duplicate=True) if message_id is not None else None

    async def is_cancelled(self, message: int) -> bool:
        """Was it called back before any of it left?"""
        return await self._store.is_cancelled(message)

    # --- routes ---

    def plan(self, message: Message) -> Decision:
        """Return the routes of a message; a message that concerns no number is for the account it names."""
        if not message.did:
            if message.kind is MessageKind.ALARM:
                return Decision((Route(MAIL, self.operator, message.source, "to the operator"),))
            return Decision((Route(SIP, message.destination, message.source, "to an account"),))
        if message.kind in _REPORTS:
            return Decision((Route(_REPORTS[message.kind], message.did, message.source, "of one it sent"),))
        facts = Facts(
            direction=message.direction, account=message.account, did=message.did, source=message.source,
            destination=message.destination, kind="mms" if message.is_mms else "sms",
        )  # fmt: skip
        if message.direction is Direction.IN:
            return self._plan_incoming(facts)
        decision = self.dialplan.outgoing(facts)
        return decision if not message.is_mms or decision.refusal else self._with_mms(decision)

    def explain(self, message: Message) -> Decision:
        """Return the decision of `plan`, with the changes to the text on the way."""
        decision = self.plan(message)
        if message.direction is Direction.IN or decision.refusal or not decision.routes:
            return decision
        encoding = encoding_of(message.text)
        parts = len(self._spans(message, decision.routes))
        how = f"{segments(message.text)} segments at a carrier that takes it whole"
        if parts:
            unit = self.limits.get(decision.routes[0].courier, _USUAL).text_unit
            how = f"in {parts} segments of one SMS" if unit == "segments" else f"in {parts} messages"
        trace = [f"text: {len(message.text)} characters, {encoding}, {how}"] if message.text else []
        return decision._replace(trace=(*decision.trace, *trace))

    def _plan_incoming(self, facts: Facts) -> Decision:
        did = self._directory.did(facts.did)
        if did is not None:
            sender = self._directory.did(facts.source) if did.forward else None
            forwards = sender is not None and bool(sender.forward)
            facts = facts._replace(kept=self.consent.is_kept(did, facts.source), forwards=forwards)
        return self.dialplan.incoming(facts, did)

    def _with_mms(self, decision: Decision) -> Decision:
        """Only the carriers that take media."""
        able = tuple(route for route in decision.routes if self.limits.get(route.courier, _USUAL).mms)
        trace = [f"{route.courier}: takes no MMS" for route in decision.routes if route not in able]
        if able:
            return Decision(able, (*decision.trace, *trace))
        refusal = Refusal(RefusalCode.NO_MMS, "no carrier for this number takes MMS")
        return Decision((), (*decision.trace, *trace), refusal)

    def _planned(self, message: Message, routes: Sequence[Route], now: float) -> list[Delivery]:
        """Outgoing: by the first carrier, the others being tried after it. Incoming: to all destinations."""
        if message.direction is Direction.IN or not routes or not message.did:
            return [delivery for route in routes for delivery in self._deliveries(message, route, now)]
        if len(routes) > 1:
            routes = sorted(routes, key=lambda route: self._queue.is_away(route.courier))
        first, others = routes[0], ",".join([route.courier for route in routes[1:]])
        delivery = self._by(first.courier, message, first.destination, first.source, now, others)
        spans = self._spans(message, routes)
        return [delivery._replace(start=start, end=end) for start, end in spans] if spans else [delivery]

    def _spans(self, message: Message, routes: Sequence[Route]) -> list[tuple[int, int]]:
        """The pieces in which a long text goes, so that each carrier on its way takes them; none: as it is."""
        found: list[tuple[int, int]] = []
        for route in routes:
            limits = self.limits.get(route.courier, _USUAL)
            cuts = limits.max_text or limits.text_unit == "segments"
            if cuts and not (limits.long_texts == "mms" and limits.mms) and not message.media:
                found = max(found, pieces(message.text, limits.max_text, limits.text_unit), key=len)
        return found if len(found) > 1 else []

    def _by(
        self, courier: str, message: Message, destination: str, source: str, now: float, others: str = ""
    ) -> Delivery:
        """By anything but SIP, as soon as may be."""
        keep = self.patience.get(courier, self.keep)
        expires_at = min(message.expires_at or now + keep, now + keep)
        if message.direction is Direction.OUT:
            lane = LaneKey.between(courier, source, destination)
        else:
            lane = LaneKey.to(courier, destination)
        if message.kind is MessageKind.SMPP:
            lane = lane.branch(crc32(message.dedupe_key or b"") % RECEIPT_LANES)
        return Delivery(message, courier, destination, source, lane, expires_at, now, due_at=now, others=others)

    def _deliveries(self, message: Message, route: Route, now: float) -> list[Delivery]:
        """To all phones of an account, or by one of the other ways."""
        owner = self._directory.account(route.destination) if route.courier == SIP else None
        if owner is not None and owner.app_messages and not message.kind:
            return [self._by(APP, message, route.destination, route.source, now)]
        if route.courier != SIP:
            return [self._by(route.courier, message, route.destination, route.source, now)]
        expires_at = min(message.expires_at or now + self.keep, now + self.keep)
        known = self._location.devices(route.destination)
        if message.kind and message.device:  # a notice is for the phone that wanted it
            known = [one for one in known if one.id == message.device]
        elif not known:
            self._open.add(route.destination)
            lane = LaneKey.to(SIP, route.destination)
            return [Delivery(message, SIP, route.destination, route.source, lane, expires_at, now, open=True)]
        return [self._to_device(message, route, device, expires_at, now) for device in known]

    def _to_device(self, message: Message, route: Route, device: Device, expires_at: float, now: float) -> Delivery:
        reachable = self._location.binding_of(device.id, now) is not None and not self._owes(device)
        return Delivery(
            message, SIP, route.destination, route.source, LaneKey.of_device(device.id), expires_at, now, device.id,
            State.QUEUED, due_at=now if reachable else None,
        )  # fmt: skip

    # --- devices ---

    async def reachable(self, device: Device) -> None:
        """A device registered: what waits for it goes out now."""
        lane = LaneKey.of_device(device.id)
        if self._owes(device):
            self._queue.expect(lane)
            count = await self._store.adopt_open(device.aor, device.id, lane, self._clock())
            self._adopted.add(device.id)
            if count:
                log.handed_over(device.aor, count, "first registration")
        self._queue.wake(lane)

    def _owes(self, device: Device) -> bool:
        """Return whether a device must still get what came before any device of its account was known."""
        return device.aor in self._open and device.id not in self._adopted

    async def came_back_as(self, gone: Device, heir: Device) -> bool:
        """The phone behind `gone` registers as `heir` now; what waits for the one is the other's.

        False: an attempt to reach the old one is still out; ask again when it is over.
        """
        lane = LaneKey.of_device(heir.id)
        if self._queue.is_working_on(LaneKey.of_device(gone.id)):
            return False
        self._queue.expect(lane)
        count = await self._store.move_lane(gone.id, LaneKey.of_device(gone.id), heir.id, lane, self._clock())
        if count:
            log.handed_over(gone.aor, count, "the phone came back under another contact")
            self._queue.wake(lane)
        return True

    async def take_new(self) -> None:
        """Somebody else wrote to the store: see what is for us."""
        found = await self._queue.take_new()
        self._open.update(delivery.destination for delivery in found if delivery.open)
        await self._catch_up(found)

    async def _catch_up(self, deliveries: Sequence[Delivery]) -> None:
        """A device may have registered between the plan and the commit."""
        now = self._clock()
        for delivery in deliveries:
            if delivery.courier != SIP or delivery.due_at is not None:
                continue
            if not delivery.device:
                await self._adopt_all(delivery.destination)
            elif self._location.binding_of(delivery.device, now) is not None:
                self._queue.wake(delivery.lane)

    async def _adopt_all(self, account: str) -> None:
        """Every device of the account that is known by now gets what came before the first."""
        for device in list(self._location.devices(account)):
            self._adopted.discard(device.id)
            await self.reachable(device)
