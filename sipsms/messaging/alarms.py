"""Alarms: what the operator must hear of, by e-mail. Without an address of the operator, they have no route."""

from __future__ import annotations

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.message import Direction, Message, MessageKind
from sipsms.messaging.gateway import Gateway
from sipsms.store.store import Store


class Alarms:
    def __init__(self, store: Store, directory: Directory, gateway: Gateway, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._gateway = gateway
        self._clock = clock

    async def send(self, text: str) -> None:
        """Tell the operator. Raises Unavailable."""
        now = self._clock()
        await self._gateway.submit(
            Message(Direction.IN, "sipsms", "operator", text, "alarm", now, kind=MessageKind.ALARM)
        )

    async def disable_target(self, did: str, kind: str, why: str) -> None:
        """Switch off a callback or webhook of a DID that is gone, or fails for days. Raises Unavailable."""
        changed = await self._store.disable_target(did, kind, why)
        self._directory.disable_target(did, kind, why)
        if changed:
            log.warning("target_disabled", did=did, kind=kind, why=why)
            await self.send(f"The {kind} of {did} is switched off: {why}")
