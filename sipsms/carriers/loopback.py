"""Loopback carrier, which ends in this process: for trials, demonstrations and tests.

A message to one of our own DIDs is received like any carrier's message. Any other number is a simulated handset, which
accepts everything. `receive` (the gateway's) decides which number is ours. The carrier has no hook.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sipsms.core.message import Accepted, Delivered, Delivery, Media, Outcome
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import InboundSms

# Returns True if the message was for a DID of this node and is stored.
Receive = Callable[[InboundSms, tuple[Media, ...]], Awaitable[bool]]


class LoopbackCarrier(BaseCarrier):
    def __init__(self, name: str, receive: Receive) -> None:
        super().__init__(name)
        self._receive = receive

    @property
    def drops_duplicates(self) -> bool:
        return True

    async def send(self, delivery: Delivery) -> Outcome:
        # Named after the delivery, so that a delivery sent again after a crash is a duplicate and not a second message.
        remote_id = f"{self.name}-{delivery.id}"
        sms = InboundSms(delivery.source, delivery.destination, delivery.text, remote_id)
        is_ours = await self._receive(sms, delivery.message.media)
        return Accepted(remote_id) if is_ours else Delivered("simulated handset")
