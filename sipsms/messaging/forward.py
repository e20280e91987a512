"""A DID's forward (S-035..S-037): what came in goes out again from the DID, as a message of its own.

It is a message of its own because it is one: it is charged, it has its own state, and the history of the DID shows it.
Its duplicate key is that of the delivery, so that it is made once, however often this is tried.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.message import Deferred, Delivered, Delivery, Direction, Message, Outcome, Rejected
from sipsms.core.refusal import Refusal
from sipsms.messaging.alarms import Alarms
from sipsms.messaging.gateway import Gateway

_BURST, _WITHIN = 30, 30.0  # more forwards of one DID than this, in seconds, are a loop
_PAUSE = 300.0
_HOUR = 3600.0


class ForwardCourier:
    def __init__(self, gateway: Gateway, alarms: Alarms, directory: Directory, clock: Clock) -> None:
        self._gateway = gateway
        self._alarms = alarms
        self._directory = directory
        self._clock = clock
        self._told: dict[str, float] = {}
        self._recent: dict[str, deque[float]] = {}

    async def deliver(self, delivery: Delivery) -> Outcome:
        try:
            return await self._forward(delivery, self._clock())
        except Unavailable as error:
            return Deferred(f"store: {error}")

    async def _forward(self, delivery: Delivery, now: float) -> Outcome:
        message = delivery.message
        did = self._directory.did(message.did)
        if did is None or did.forward != delivery.destination:
            return Rejected("the DID does not forward there any more")
        if self._directory.is_blocked(did, delivery.destination, "out"):
            return Rejected(f"{delivery.destination} wants no messages from {did.number}")
        if self._is_loop(did.number, now):
            log.warning("forward_loop", did=did.number, to=delivery.destination)
            await self._tell(did.number, delivery.destination, now)
            return Deferred("too many forwards at once: this looks like a loop", retry=_PAUSE)
        key = blake2b(f"forward\n{delivery.id}".encode(), digest_size=20).digest()
        copy = Message(
            Direction.OUT, did.number, delivery.destination, message.text, "forward", now, did.account, did.number,
            dedupe_key=key, media=message.media,
        )  # fmt: skip
        result = await self._gateway.submit(copy)
        if isinstance(result, Refusal):
            return Rejected(result.reason, result.code)
        return Delivered(f"as message {result.message_id}")

    async def _tell(self, did: str, to: str, now: float) -> None:
        """The operator, once an hour."""
        if now - self._told.get(did, -_HOUR) >= _HOUR:
            self._told[did] = now
            await self._alarms.send(f"{did} forwards to {to} more than {_BURST} times in {_WITHIN:g} s: a loop?")

    def _is_loop(self, did: str, now: float) -> bool:
        recent = self._recent.setdefault(did, deque())
        while recent and now - recent[0] > _WITHIN:
            recent.popleft()
        if len(recent) >= _BURST:
            return True
        recent.append(now)
        return False
