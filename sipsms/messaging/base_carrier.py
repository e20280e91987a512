"""The carrier with no more than `send`: default answers for what only some carriers can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sipsms.core.message import Delivery, Outcome
from sipsms.messaging.carrier import HookError, HookRequest, InboundSms, Parsed


class BaseCarrier:
    """Defaults of the Protocol `Carrier`: no hook, no polls, no look-ups, always up."""

    poll_every = 0.0
    can_look_up = False
    secret = ""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def drops_duplicates(self) -> bool:
        return False

    @property
    def is_down(self) -> bool:
        return False

    @property
    def status(self) -> str:
        return ""

    def parse(self, request: HookRequest) -> Parsed:
        raise HookError(404, f"carrier {self.name} has no hook")

    async def poll(self, since: float) -> Sequence[InboundSms]:
        return ()

    async def look_up(self, delivery: Delivery, began: float) -> Outcome | None:
        return None

    def media_headers(self, url: str) -> Mapping[str, str]:
        return {}
