"""Carrier by SMPP (S-078): a pool of binds to its SMSC sends and receives messages.

Only one message of a (source, destination) pair is in flight at a time, so the bind used does not affect the order. The
outcome of a message that was in flight when a bind broke is unknown, because SMPP gives a message no id before the
response. Two events settle an unknown outcome: a late response, and a receipt for that recipient with an id that
belongs to no other message (D6, P-10).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator
from math import ceil, inf
from typing import Any, Final

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_id import CourierId
from sipsms.core.message import (
    Accepted,
    Attempt,
    Deferred,
    Delivered,
    Delivery,
    Outcome,
    Rejected,
    Scope,
    State,
    Unknown,
)
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import NotThere
from sipsms.messaging.inbound import Inbound
from sipsms.messaging.reporter import Reporter
from sipsms.smpp import receipt
from sipsms.smpp.bind import Bind, Resolve
from sipsms.smpp.bind_pool import BindPool
from sipsms.smpp.courier import Gone
from sipsms.smpp.deliver_handler import DeliverHandler
from sipsms.smpp.pdu import GENERIC_NACK, Command, Pdu, Status
from sipsms.smpp.session import NotBound
from sipsms.smpp.settings import SmppConfig
from sipsms.smpp.submit_encoder import address, encode
from sipsms.smpp.throttle import Pace
from sipsms.store import delivery_receipts
from sipsms.store.store import Store

_NOT_BOUND: Final = 2.0  # seconds until the next attempt while no bind is up
_NO_ROOM: Final = 0.2  # seconds until the next attempt of a message above the window
_FIRST_BIND: Final = 5.0  # seconds after the start in which messages wait for a bind and use no other carrier
_REMEMBERED: Final = 10_000

_THROTTLES: Final = frozenset({Status.THROTTLED, Status.QUEUE_FULL})
_LATER: Final = frozenset({Status.SYSTEM_ERROR, Status.TEMPORARY_APP_ERROR})
_MEND: Final = frozenset(
    {Status.WRONG_BIND_STATE, Status.BIND_FAILED, Status.INVALID_PASSWORD, Status.INVALID_SYSTEM_ID}
)  # the SMSC refuses every message until the settings are corrected


class SmppCarrier(BaseCarrier):
    can_look_up = True

    def __init__(
        self, name: str, config: SmppConfig, inbound: Inbound, reporter: Reporter, directory: Directory, store: Store,
        clock: Clock, resolve: Resolve, spawn: Callable[[Coroutine[Any, Any, Any]], None],
    ) -> None:  # fmt: skip
        super().__init__(name)
        self.config = config
        self._store = store
        self._clock = clock
        self.deliver = DeliverHandler(name, config, inbound, reporter, directory, store, clock, spawn)
        self.pool = BindPool(name, config, self.deliver, clock, resolve, self._came_late)
        self._pace = Pace()
        self._started = clock()
        self._late: OrderedDict[int, Pdu] = OrderedDict()  # delivery -> late response

    def start(self) -> None:
        self._started = self._clock()
        self.pool.start()

    async def close(self) -> None:
        """Unbind; messages in flight still get their responses before."""
        await self.pool.close()

    def inherit(self, old: SmppCarrier) -> None:
        """Take over the state of the same carrier with its previous settings."""
        self._late = old._late
        self.deliver.inherit(old.deliver)

    def binds(self) -> Iterator[dict[str, Any]]:
        return self.pool.rows(CourierId.of_carrier(self.name))

    # --- out ---

    @property
    def status(self) -> str:
        return self.pool.why

    def room(self) -> int:
        """Return how many messages may be in flight.

        The windows of the open binds, but at most two seconds of messages at the rate that the SMSC accepts. Without a
        bind one, so that one delivery finds out. Just after the start 0, so that deliveries wait for the first bind."""
        if binds := self.pool.transmitters():
            windows = len(binds) * self.config.window
            return min(windows, ceil(2 * self._pace.rate)) if self._pace.rate else windows
        return 0 if self._clock() < self._started + _FIRST_BIND else 1

    @property
    def is_down(self) -> bool:
        """True if no message can be sent now."""
        return not self.pool.transmitters()

    def rate(self, now: float) -> float:
        """Return the messages a second that the SMSC accepts; 0 if unknown."""
        return self._pace.rate_at(now)

    async def send(self, delivery: Delivery) -> Outcome:
        """Send a delivery, without waiting for a window: one begun but not sent has an unknown outcome after a kill."""
        now = self._clock()
        if paused := self._pace.paused(now):
            return Deferred("throttled", retry=paused, scope=Scope.COURIER, attempt=Attempt.NOT_MADE)
        binds = self.pool.transmitters()
        if not binds:
            why = self.pool.why or "no transmitter is bound"
            return Deferred(why, retry=_NOT_BOUND, scope=Scope.COURIER, attempt=Attempt.NOT_MADE)
        bind = min(binds, key=lambda one: one.submits)
        if bind.submits >= self.config.window:
            return Deferred("the window is full", retry=_NO_ROOM, attempt=Attempt.NOT_MADE)
        try:
            sm = encode(delivery, self.config, now)
        except Exception as error:  # a bug; nothing was sent
            log.crash("smpp_cannot_write", error)
            return Rejected("it cannot be written as SMPP", unsent=True)
        bind.submits += 1
        try:
            answer = await bind.ask(Command.SUBMIT_SM, sm.fields, sm.tlvs, delivery.id)
        except NotBound:
            return Deferred("the bind has just ended", retry=_NOT_BOUND, scope=Scope.COURIER, attempt=Attempt.NOT_MADE)
        except Gone as error:
            return Unknown(str(error))
        finally:
            bind.submits -= 1
        return self._outcome(bind, answer)

    def _outcome(self, bind: Bind, answer: Pdu) -> Outcome:
        now, status = self._clock(), answer.status
        if answer.command == GENERIC_NACK and status not in _THROTTLES | _LATER | _MEND:
            return Rejected(f"the SMSC does not understand it: {status:#x}", f"{status:#x}")
        if status == Status.OK:
            self._pace.taken(now)
            bind.count(sent=1)
            return Accepted(answer.fields.get("message_id", "").strip())
        reason = f"the SMSC answered {status:#x}"
        if status in _THROTTLES:
            return Deferred(reason, retry=self._pace.throttled(now), scope=Scope.COURIER)
        if status in _LATER:
            return Deferred(reason)
        if status in _MEND:
            return Deferred(reason, scope=Scope.COURIER)
        return Rejected(reason, f"{status:#x}")

    # --- lost responses ---

    def _came_late(self, delivery: Any, answer: Pdu) -> None:
        if delivery is not None:
            self._late[delivery] = answer
            if len(self._late) > _REMEMBERED:
                self._late.popitem(last=False)

    async def look_up(self, delivery: Delivery, began: float) -> Outcome | None:
        """Settle an unknown outcome by a late response or an unmatched receipt; None if there is neither.

        Raises NotThere if the SMSC has refused the message temporarily."""
        late = self._late.pop(delivery.id, None)
        if late is not None:
            return self._late_outcome(late)
        ours = "" if self.config.sender_name else delivery.source  # as in receipts: a sender name is no DID
        courier, since = CourierId.of_carrier(self.name), began - 1.0
        found = await self._store.read(
            lambda db: delivery_receipts.unmatched(db, courier, ours, delivery.destination, since)
        )
        for one in found:
            if one.state is State.ACCEPTED:  # the receipt says only that the SMSC has the message
                return await self._query(one.remote_id, delivery) or Accepted(one.remote_id)
            return Accepted(one.remote_id)
        return None

    def _late_outcome(self, answer: Pdu) -> Outcome:
        """Return the outcome of a late response. Raises NotThere if the SMSC has refused temporarily."""
        status = answer.status
        if status in _THROTTLES | _LATER | _MEND:
            raise NotThere
        if status or answer.command == GENERIC_NACK:
            return Rejected(f"the SMSC answered {status:#x}, too late")
        return Accepted(answer.fields.get("message_id", "").strip())

    async def _query(self, remote_id: str, delivery: Delivery) -> Outcome | None:
        """Ask the SMSC for the message's state (query_sm); None if there is nothing new."""
        binds, source = self.pool.transmitters(), address(delivery.source, self.config)
        if not binds:
            return None
        fields = {
            "message_id": remote_id, "source_addr_ton": source[0], "source_addr_npi": source[1],
            "source_addr": source[2],
        }  # fmt: skip
        try:
            answer = await binds[0].ask(Command.QUERY_SM, fields, {})
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


class SmppCarriers:
    """Set of all carriers of type smpp of a node."""

    def __init__(
        self, build: Callable[[str, SmppConfig], SmppCarrier], spawn: Callable[[Coroutine[Any, Any, Any]], None]
    ) -> None:
        self._build = build
        self._spawn = spawn
        self._all: dict[str, SmppCarrier] = {}
        self._old: set[SmppCarrier] = set()
        self._started = False

    def make(self, name: str, config: SmppConfig) -> SmppCarrier:
        """Return the carrier with these settings; an existing carrier is kept if they have not changed."""
        old = self._all.get(name)
        if old is not None and old.config == config:
            return old
        if old is not None:
            self._spawn(self._leave(old))
        carrier = self._all[name] = self._build(name, config)
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
            self._spawn(self._leave(self._all.pop(name)))

    def start(self) -> None:
        self._started = True
        for carrier in self._all.values():
            carrier.start()

    def binds(self) -> Iterator[dict[str, Any]]:
        for carrier in (*self._all.values(), *self._old):
            yield from carrier.binds()

    def heard_by(self, now: float, span: float) -> dict[str, float]:
        """Return the times of `DeliverHandler.heard_by` by origin."""
        oldest: defaultdict[str, float] = defaultdict(lambda: inf)
        for one in (*self._all.values(), *self._old):
            oldest[one.name] = min(oldest[one.name], one.pool.oldest(now))
        return {
            CourierId.of_carrier(name): one.deliver.heard_by(now, span, oldest[name]) for name, one in self._all.items()
        }

    async def close(self) -> None:
        await asyncio.gather(*(carrier.close() for carrier in (*self._all.values(), *self._old)))
