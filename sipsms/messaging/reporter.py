"""Delivery reports: takes those of carriers, and tells senders that want to know what became of their messages.

Each report is a message of its own with a duplicate key, so a report that is owed may be sent again after a restart.
"""

from __future__ import annotations

from hashlib import blake2b

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.message import Delivery, Direction, Message, MessageKind, State
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.core.report_request import ImdnRequest
from sipsms.messaging.delivery_reports import Stage, loss, report_of
from sipsms.messaging.event_stream import EventStream
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.imdn import delivery_notice
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.store.store import Store


def _notice_key(message: Message) -> bytes:
    return blake2b(f"notice\n{message.id}".encode(), digest_size=20).digest()


class Reporter:
    def __init__(
        self, store: Store, directory: Directory, gateway: Gateway, consent: SendingPolicy, feed: EventStream,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._store = store
        self._directory = directory
        self._gateway = gateway
        self._consent = consent
        self._feed = feed
        self._clock = clock

    async def receipt(self, courier: str, receipt: CarrierReceipt) -> None:
        """Take a delivery report of a carrier. Raises Unavailable."""
        changed = await self._store.receipt(courier, receipt, self._clock())
        if changed is None:
            return
        log.receipt(changed.message.id, changed.id, courier, str(changed.state), receipt.detail)
        self._feed.changed(changed, changed.state, receipt.detail)
        if receipt.opt_out:
            await self._consent.opted_out(changed)
        if changed.message.report and changed.state is not State.ACCEPTED:
            await self.ended(changed)

    async def ended(self, delivery: Delivery) -> None:
        """Tell the sender of a message, who wants to know, how a delivery has ended. Raises Unavailable."""
        message, recipient = delivery.message, delivery.destination
        state = await self._store.outcome(message.id)
        if state is State.DELIVERED:
            await self._notify(message, recipient, Stage.DELIVERED)
        elif state in (State.FAILED, State.EXPIRED):
            await self._notify(message, recipient, _loss(message, state, bool(delivery.remote_id)))

    async def tell_ended(self) -> None:
        """Send delivery reports that are still owed: after a restart, or when the store could not write them."""
        for message, recipient in await self._store.unnoticed():
            await self._notify(message, recipient, Stage.DELIVERED)
        for message, recipient, was_taken in await self._store.unnoticed_losses():
            state = await self._store.outcome(message.id)
            await self._notify(message, recipient, _loss(message, state, was_taken))

    async def report(self, message: Message, stage: Stage) -> None:
        """To the program that sent it, if it wants to hear this."""
        did, sender = self._directory.did(message.did), self._directory.account(message.account)
        if did is None or sender is None or sender.customer != did.account:
            return  # the number is another's now
        event = report_of(message, stage, did, self._clock())
        if event is not None:
            await self._gateway.submit(event)

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
            await self._gateway.submit(notice)
        await self._store.noticed(message.id)


def _loss(message: Message, state: State, was_taken: bool) -> Stage:
    return loss(message, expired=state is State.EXPIRED, was_taken=was_taken)
