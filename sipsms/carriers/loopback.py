"""The carrier that ends in this process: for trying out, for demonstrations and for tests.

What goes to one of our own DIDs comes back in by the same door as any carrier's message; any other number is a
simulated handset, which takes everything. `receive` (the gateway's) knows which is which. It has no hook.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sipsms.model import Accepted, Delivered, Delivery, Outcome
from sipsms.ports import HookError, HookRequest, InboundSms, Parsed

Receive = Callable[[InboundSms], Awaitable[bool]]  # True: it was for a DID of this node, and is stored


class LoopbackCarrier:
    secret = ""

    def __init__(self, name: str, receive: Receive) -> None:
        self.name = name
        self._receive = receive

    def parse(self, request: HookRequest) -> Parsed:
        raise HookError(404, f"carrier {self.name} has no hook")

    async def send(self, delivery: Delivery) -> Outcome:
        # Named after the delivery: one that is sent again after a crash is then a duplicate, and not a second message.
        remote_id = f"{self.name}-{delivery.id}"
        sms = InboundSms(delivery.source, delivery.destination, delivery.message.text, remote_id)
        return Accepted(remote_id) if await self._receive(sms) else Delivered("simulated handset")
