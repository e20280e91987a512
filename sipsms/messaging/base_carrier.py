"""The carrier with no more than `send`: default answers for what only some carriers can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sipsms.core.message import Delivery, Outcome
from sipsms.messaging.carrier import HookError, HookRequest, InboundSms, Parsed


class BaseCarrier:
    poll_every = 0.0
    can_look_up = False
    secret = ""

    def __init__(self, name: str) -> None:
        self.name = name

    def parse(self, request: HookRequest) -> Parsed:
        raise HookError(404, f"carrier {self.name} has no hook")

    async def poll(self, since: float) -> Sequence[InboundSms]:
        return ()

    async def look_up(self, delivery: Delivery, began: float) -> Outcome | None:
        return None

    def media_headers(self, url: str) -> Mapping[str, str]:
        return {}
