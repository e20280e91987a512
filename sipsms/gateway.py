"""The middle: every door in ends in `submit`; a device that registers ends in `reachable`.

`submit` asks the dialplan, commits message, deliveries and duplicate key together, and only then returns: whoever
called may answer its client. It knows couriers by name only and never waits for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from sipsms import log
from sipsms.dialplan import Decision, Dialplan, Facts, Refusal, RefusalCode
from sipsms.directory import Directory
from sipsms.model import Account, Delivery, Device, Direction, Message, Route, State
from sipsms.notice import IMDN, delivered_notice
from sipsms.numbers import normalise
from sipsms.ports import Clock, GatewayStore, InboundSms, Location
from sipsms.queue import Queue, carrier_lane

SIP = "sip"


class Receipt(NamedTuple):
    message_id: int
    duplicate: bool = False


def carrier_key(carrier: str, remote_id: str) -> bytes | None:
    """What makes two deliveries of one message by a carrier the same; None if it gives no id."""
    if not remote_id:
        return None
    return blake2b(f"{carrier}\n{remote_id}".encode("utf-8", "surrogateescape"), digest_size=20).digest()


def _notice_key(message: Message) -> bytes:
    return blake2b(f"notice\n{message.id}".encode(), digest_size=20).digest()


def device_lane(device: int) -> str:
    return f"sip:{device}"


class Gateway:
    def __init__(
        self,
        store: GatewayStore,
        directory: Directory,
        location: Location,
        queue: Queue,
        dialplan: Dialplan,
        clock: Clock,
        keep: float,
    ) -> None:
        """`keep`: seconds a message waits for its destination before it expires."""
        self._store = store
        self._directory = directory
        self._location = location
        self._queue = queue
        self._clock = clock
        self.keep = keep
        self._open: set[str] = set()  # accounts with messages that wait for their first device
        self._adopted: set[int] = set()  # devices that have been given those
        self.dialplan = dialplan

    async def start(self, accounts: Sequence[str]) -> None:
        """After a restart. `accounts` still have messages from before their first device."""
        self._open.update(accounts)
        for account in accounts:
            await self._adopt_all(account)
        await self.take_new()

    def is_reachable(self, lane: str) -> bool:
        """Does a device's lane wait although the device is registered?"""
        device = lane.removeprefix("sip:")
        return device.isdigit() and self._location.binding_of(int(device), self._clock()) is not None

    # --- doors ---

    async def send(
        self, account: Account, source: str, destination: str, text: str, origin: str, *,
        dedupe_key: bytes | None = None, expires_at: float | None = None, to_account: str = "", instance: str = "",
        device: int = 0, notify: str = "",
    ) -> Receipt | Refusal:  # fmt: skip
        """An account's SMS goes out, or its message to another account. Raises Unavailable.

        `source` and `destination` have been checked. `to_account`: instead of a number; `instance`: only that device of
        it. `device`: of the account, where this was written. `notify`: what it calls the message, if it wants a notice.
        """
        message = Message(
            Direction.OUT, source, to_account or destination, text, origin, self._clock(), account.name,
            "" if to_account else source, expires_at, dedupe_key, notify=notify, device=device if notify else 0,
        )  # fmt: skip
        copies = self._copies(account, device, message) if account.copies and device and not to_account else []
        return await self.submit(message, copies, instance)

    def _copies(self, account: Account, device: int, message: Message) -> list[Delivery]:
        """What one device has sent, for the account's others: in the conversation with the number it went to."""
        route = Route(SIP, account.name, message.destination, "copy")
        now = self._clock()
        others = [one for one in self._location.devices(account.name) if one.id != device]
        return [self._to_device(message, route, one, now + self.keep, now) for one in others]

    async def receive(self, sms: InboundSms, origin: str, dedupe_key: bytes | None = None) -> Receipt | Refusal | None:
        """An SMS arrives from the telephone network. None: the destination is no DID of ours. Raises Unavailable."""
        number = normalise(sms.destination)
        did = self._directory.did(number) if number else None
        if did is None:
            return None
        source = normalise(sms.source) or sms.source[:64]
        message = Message(
            Direction.IN, source, did.number, sms.text, origin, self._clock(), did.account, did.number, None,
            dedupe_key, sms.remote_id,
        )  # fmt: skip
        return await self.submit(message)

    async def submit(self, message: Message, copies: Sequence[Delivery] = (), instance: str = "") -> Receipt | Refusal:
        """Commit a message with all its deliveries, then let them go. Raises Unavailable: nothing was stored."""
        decision = self.plan(message)
        if decision.refusal is not None:
            return decision.refusal
        now = self._clock()
        planned = [*self._planned(message, decision.routes, now), *copies]
        if instance:
            chosen = self._location.device_of_instance(message.destination, instance)
            planned = [one for one in planned if one.device == chosen]
            if not planned:
                return Refusal(RefusalCode.NO_ROUTE, "this device is not known any more")
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
        self._queue.offer(stored.deliveries)
        if any(one.courier == SIP for one in stored.deliveries):
            await self._catch_up(stored.deliveries)
        return Receipt(stored.message_id)

    # --- notices of delivery (RFC 5438) ---

    async def tell_delivered(self) -> None:
        """Those who have not been told yet: after a restart, or where the store could not write then."""
        for message, recipient in await self._store.unnoticed():
            await self.delivered(message, recipient)

    async def delivered(self, message: Message, recipient: str) -> None:
        """Tell the sender, who wanted to know. Once, also when this is asked again after a restart."""
        notice = Message(
            Direction.IN, recipient, message.account, delivered_notice(message.notify, recipient, self._clock()),
            "notice", self._clock(), message.account, "", None, _notice_key(message), content_type=IMDN,
            device=message.device,
        )  # fmt: skip
        if message.device:
            await self.submit(notice)
        await self._store.noticed(message.id)

    async def known(self, dedupe_key: bytes) -> Receipt | None:
        """The receipt given before for this key, also before a restart."""
        message_id = await self._store.find_duplicate(dedupe_key)
        return Receipt(message_id, duplicate=True) if message_id is not None else None

    # --- routes ---

    def plan(self, message: Message) -> Decision:
        """What the dialplan says to a message; one that concerns no number is for the account it names."""
        if not message.did:
            return Decision((Route(SIP, message.destination, message.source, "to an account"),))
        facts = Facts(
            direction=message.direction, account=message.account, did=message.did, source=message.source,
            destination=message.destination,
        )  # fmt: skip
        if message.direction is Direction.IN:
            return self.dialplan.incoming(facts, self._directory.did(message.did))
        return self.dialplan.outgoing(facts)

    def _planned(self, message: Message, routes: Sequence[Route], now: float) -> list[Delivery]:
        """Outgoing: one delivery, by the first carrier, the others being tried after it. Incoming: all destinations."""
        if message.direction is Direction.OUT:
            first = self._deliveries(message, routes[0], now) if routes else []
            others = ",".join(route.courier for route in routes[1:])
            return [one._replace(others=others) for one in first] if others else first
        return [delivery for route in routes for delivery in self._deliveries(message, route, now)]

    def _deliveries(self, message: Message, route: Route, now: float) -> list[Delivery]:
        expires_at = min(message.expires_at or now + self.keep, now + self.keep)
        if route.courier != SIP:
            lane = carrier_lane(route.courier, route.source, route.destination)
            return [
                Delivery(message, route.courier, route.destination, route.source, lane, expires_at, now, due_at=now)
            ]
        known = self._location.devices(route.destination)
        if message.content_type and message.device:  # a notice is for the phone that wanted it
            known = [one for one in known if one.id == message.device]
        elif not known:
            self._open.add(route.destination)
            lane = f"sip:{route.destination}"
            return [Delivery(message, SIP, route.destination, route.source, lane, expires_at, now, open=True)]
        return [self._to_device(message, route, device, expires_at, now) for device in known]

    def _to_device(self, message: Message, route: Route, device: Device, expires_at: float, now: float) -> Delivery:
        reachable = self._location.binding_of(device.id, now) is not None and not self._owes(device)
        return Delivery(
            message, SIP, route.destination, route.source, device_lane(device.id), expires_at, now, device.id,
            State.QUEUED, due_at=now if reachable else None,
        )  # fmt: skip

    # --- devices ---

    async def reachable(self, device: Device) -> None:
        """A device registered: what waits for it goes out now."""
        lane = device_lane(device.id)
        if self._owes(device):
            self._queue.expect(lane)
            count = await self._store.adopt_open(device.aor, device.id, lane, self._clock())
            self._adopted.add(device.id)
            if count:
                log.handed_over(device.aor, count, "first registration")
        self._queue.wake(lane)

    def _owes(self, device: Device) -> bool:
        """It has not been given yet what came before any device of its account was known."""
        return device.aor in self._open and device.id not in self._adopted

    async def came_back_as(self, gone: Device, heir: Device) -> bool:
        """The phone behind `gone` registers as `heir` now; what waits for the one is the other's.

        False: an attempt to reach the old one is still out; ask again when it is over.
        """
        lane = device_lane(heir.id)
        if self._queue.is_working_on(device_lane(gone.id)):
            return False
        self._queue.expect(lane)
        count = await self._store.move_lane(gone.id, device_lane(gone.id), heir.id, lane, self._clock())
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
