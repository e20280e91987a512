"""Messages from the telephone network: an SMS, an MMS, or a part of a long text, with STOP and START.

A message is stored when `receive` returns, so that the carrier may have its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from sipsms.accounts.directory import Directory
from sipsms.core.account import Did
from sipsms.core.charset import storable
from sipsms.core.clock import Clock
from sipsms.core.e164 import normalise, sender
from sipsms.core.message import Direction, Media, Message
from sipsms.core.queue_rows import StoredPart
from sipsms.core.refusal import Refusal
from sipsms.messaging.carrier import InboundSms
from sipsms.messaging.concatenation import Concatenation
from sipsms.messaging.gateway import Gateway, Receipt
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.store.store import Store


def carrier_key(carrier: str, remote_id: str) -> bytes | None:
    """Return the duplicate key of a carrier's message; None if the carrier gives no id."""
    if not remote_id:
        return None
    return blake2b(f"{carrier}\n{remote_id}".encode("utf-8", "surrogateescape"), digest_size=20).digest()


def sms_key(carrier: str, sms: InboundSms) -> bytes | None:
    """Return the duplicate key of an SMS, with our number: one carrier id sent to two DIDs is two messages."""
    name = sms.dedupe or sms.remote_id
    return carrier_key(carrier, f"{name}\n{normalise(sms.destination) or sms.destination}" if name else "")


class Inbound:
    def __init__(
        self, store: Store, directory: Directory, gateway: Gateway, consent: SendingPolicy,
        parts: Concatenation[Receipt | Refusal | None], clock: Clock,
    ) -> None:  # fmt: skip
        self._store = store
        self._directory = directory
        self._gateway = gateway
        self._consent = consent
        self._parts = parts
        self._clock = clock

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
        source, text = sender(sms.source), storable(sms.text)
        if sms.part is not None and sms.part.total > 1:
            return await self._receive_part(sms, source, did, text, origin)
        media = tuple(Media(one.content_type, one.name, url=one.url) for one in sms.media)
        message = Message(
            Direction.IN, source, did.number, text, origin, self._clock(), did.account, did.number, None,
            dedupe_key, sms.remote_id[:128], media=(*stored, *media),
        )  # fmt: skip
        return await self._take(message, did)

    async def _take(self, message: Message, did: Did) -> Receipt | Refusal:
        answer = ""
        if self._consent.concerns(message) and not await self.is_stored(message.dedupe_key):
            answer = await self._consent.heard(message, did)
        result = await self._gateway.submit(message)
        if answer and isinstance(result, Receipt) and not result.duplicate:
            now = self._clock()
            reply = Message(Direction.OUT, did.number, message.source, answer, "auto", now, did.account, did.number)
            await self._gateway.submit(reply)
        return result

    async def is_stored(self, dedupe_key: bytes | None) -> bool:
        """Return whether a message with this key is stored; such a message is not new. Raises Unavailable.

        A carrier that repeats a STOP must not block anew who has written START since.
        """
        return dedupe_key is not None and await self._store.find_duplicate(dedupe_key) is not None

    async def _receive_part(self, sms: InboundSms, source: str, did: Did, text: str, origin: str) -> Receipt | Refusal:
        assert sms.part is not None
        part = StoredPart(
            origin, source, did.number, sms.part.reference[:64], sms.part.number, sms.part.total, text,
            sms.remote_id[:128], self._clock(),
        )  # fmt: skip
        return await self._parts.add(part) or Receipt(0)

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
        return await self._take(message, did)
