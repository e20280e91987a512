"""Courier to customers by SMPP (S-071, S-072, S-078).

Messages for a DID go to the ESME that is bound for the DID or to the customer's own SMSC; receipts go to the ESME. A
peer that did not answer must get the same PDU again with the same id (`Tag.OUR_MESSAGE_ID`), before any other message
of that DID, so that the order is kept and the peer can drop the copy.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from sipsms.accounts.directory import Directory
from sipsms.core.account import Did
from sipsms.core.errors import Unavailable
from sipsms.core.message import EVENT, Deferred, Delivered, Delivery, Media, MessageKind, Outcome, Rejected, Scope
from sipsms.core.segmentation import Charset
from sipsms.smpp import receipt
from sipsms.smpp.data_coding import NOTIFICATION, RECEIPT, choose, segments_of
from sipsms.smpp.esme import Esme
from sipsms.smpp.pdu import GENERIC_NACK, MAX_SHORT, Command, Pdu, Status, Tag
from sipsms.smpp.server import Smsc
from sipsms.smpp.session import NotBound
from sipsms.smpp.submit_sm import written

# Statuses of a peer that is busy or full: the message is sent again.
BUSY: Final = frozenset(
    {Status.THROTTLED, Status.QUEUE_FULL, Status.TEMPORARY_APP_ERROR, Status.SYSTEM_ERROR, Status.WRONG_BIND_STATE}
)
# Statuses that refuse this message for good; the causes of all others may be corrected.
NEVER: Final = frozenset(
    {Status.PERMANENT_APP_ERROR, Status.REJECTED_BY_APP, Status.INVALID_MESSAGE_LENGTH, Status.INVALID_DESTINATION,
     Status.INVALID_SOURCE, Status.INVALID_DATA_CODING}
)  # fmt: skip
_WORDS: Final = {
    "delivered": "DELIVRD", "failed": "UNDELIV", "rejected": "REJECTD", "sent": "ACCEPTD",
    "expired": "EXPIRED",
}  # fmt: skip
_NO_FAILURE: Final = frozenset({"DELIVRD", "ACCEPTD"})
_ESME_IS_BUSY: Final = 2.0  # seconds until the next attempt
_ASIDE: Final = 30.0  # seconds between attempts of a delivery in a lane of its own
_REMEMBERED: Final = 10_000

_NAME: Final = "sipsms "  # distinguishes our ids: other systems may use the tag for something else


def named(pdu: Pdu) -> str:
    """Return the id by which another sipsms names its message; empty if there is none."""
    text = pdu.tlvs.get(Tag.OUR_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    return text if text.startswith(_NAME) else ""


_Sm = tuple[dict[str, Any], dict[int, bytes]]  # fields and TLVs


class Gone(Exception):
    """Missing response: the session broke or the response timed out."""


class Peer(Protocol):
    """Interface of a bound peer that takes requests."""

    async def ask(self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes], about: Any = None) -> Pdu:
        """Send a request and return its response. Raises Gone or NotBound. `about` goes with a late response."""


class Push(Protocol):
    """Interface of the customers' own SMSCs."""

    async def peer(self, did: Did) -> Peer:
        """Return a bound peer for a DID. Raises Gone with the reason."""


class LateAnswers:
    """Late responses: PDUs that need not be sent again, since peers accepted them after we gave up. In memory only."""

    def __init__(self) -> None:
        self._taken: OrderedDict[int, int] = OrderedDict()  # delivery -> number of its first PDUs that were accepted

    def came(self, about: tuple[int, int] | None, answer: Pdu) -> None:
        """Record a late response to (delivery, index of the PDU from 0); None for other requests."""
        if about is None or answer.status or answer.command == GENERIC_NACK:
            return
        delivery, index = about
        self._taken[delivery] = max(index + 1, self._taken.pop(delivery, 0))
        if len(self._taken) > _REMEMBERED:
            self._taken.popitem(last=False)

    def count(self, delivery: int) -> int:
        """Return how many of the delivery's first PDUs were accepted late."""
        return self._taken.get(delivery, 0)

    def forget(self, delivery: int) -> None:
        self._taken.pop(delivery, None)


class Bind:
    """Session of an ESME as a Peer."""

    def __init__(self, bound: Esme, late: LateAnswers) -> None:
        self._bound = bound
        self._late = late

    async def ask(self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes], about: Any = None) -> Pdu:
        try:
            return await self._bound.ask(command, fields, tlvs, partial(self._late.came, about))
        except ConnectionError as error:
            raise Gone(str(error)) from None


class SmppCourier:
    def __init__(
        self, smsc: Smsc, directory: Directory, push: Push, media_url: Callable[[Media], str], late: LateAnswers,
        charsets: Callable[[], Mapping[int, Charset]],
    ) -> None:  # fmt: skip
        """`media_url`: returns the public URL of an MMS attachment; SMPP carries no media, so the URLs are sent.
        `late`: late responses to this courier's requests. `charsets`: character sets by data_coding.
        """
        self._late = late
        self._charsets = charsets
        self._smsc = smsc
        self._directory = directory
        self._push = push
        self._media_url = media_url

    async def deliver(self, delivery: Delivery) -> Outcome:
        did = self._directory.did(delivery.destination)
        is_receipt = delivery.message.kind is MessageKind.SMPP
        if did is None or did.smpp is None or not did.smpp.enabled:
            return Rejected("SMPP is off for this number", unsent=True)
        if delivery.message.account != did.account:
            return Rejected("the number is another customer's now", unsent=True)
        if not is_receipt and did.smpp.url:
            return await self._to_server(delivery, did)
        return await self._to_esme(delivery, did, is_receipt)

    async def _to_esme(self, delivery: Delivery, did: Did, is_receipt: bool) -> Outcome:
        if is_receipt:
            await self._smsc.answered(did)
        bound = self._smsc.hearing(did)
        if bound is None:
            return _away(delivery, "no ESME is bound")
        try:
            peer = Bind(bound, self._late)
            if is_receipt:
                outcome = await self._send_receipt(peer, delivery)
            else:
                outcome = await self._send_text(peer, Command.DELIVER_SM, delivery, did)
        except (Gone, NotBound) as error:
            if self._smsc.hearing(did) is None:
                return _away(delivery, f"the ESME is gone: {error}")
            return Deferred(str(error), retry=1.0)
        if isinstance(outcome, Delivered):
            bound.connection.sent += 1
        return outcome

    async def _to_server(self, delivery: Delivery, did: Did) -> Outcome:
        try:
            peer = await self._push.peer(did)
            return await self._send_text(peer, Command.SUBMIT_SM, delivery, did)
        except (Gone, NotBound) as error:
            return Deferred(str(error))

    # --- messages ---

    async def _send_text(self, peer: Peer, command: int, delivery: Delivery, did: Did) -> Outcome:
        message = delivery.message
        links = [self._media_url(media) for media in message.media]
        text = "\n".join(filter(None, [message.text, *links]))
        source, dest = written(message.source, did.dialing_mode), written(did.number, did.dialing_mode)
        fields = {
            "source_addr_ton": source[0], "source_addr_npi": source[1], "source_addr": source[2],
            "dest_addr_ton": dest[0], "dest_addr_npi": dest[1], "destination_addr": dest[2],
        }  # fmt: skip
        tlvs: dict[int, bytes] = {Tag.OUR_MESSAGE_ID: f"{_NAME}{message.id} {message.received_at:.0f}".encode() + b"\0"}
        pdus = [({**fields, **own}, {**tlvs, **more}) for own, more in _bodies(text, message.id, self._charsets())]
        return await self._send(peer, command, pdus, delivery)

    # --- receipts ---

    async def _send_receipt(self, peer: Peer, delivery: Delivery) -> Outcome:
        """Send a receipt of one state for each segment that requested it, with the id that the ESME got (G09)."""
        report = json.loads(delivery.message.text)
        ids = [f"{report['id']}-{number}" for number in report["parts"]] or [report["id"]]
        word, error = _WORDS[report["stage"]], receipt.NO_ERROR
        if word not in _NO_FAILURE:
            try:
                error = await self._smsc.enquiries.error_of(ids[0])
            except Unavailable as why:
                return Deferred(str(why))
        pdus = [_receipt_pdu(report, message_id, word, error) for message_id in ids]
        return await self._send(peer, Command.DELIVER_SM, pdus, delivery)

    async def _send(self, peer: Peer, command: int, pdus: Sequence[_Sm], delivery: Delivery) -> Outcome:
        """Send the PDUs one after the other, except those that were accepted late."""
        for index in range(self._late.count(delivery.id), len(pdus)):
            try:
                answer = await peer.ask(command, *pdus[index], (delivery.id, index))
            except Gone:
                if self._late.count(delivery.id) <= index:
                    raise
                continue  # an earlier copy was accepted meanwhile
            if answer.status and self._late.count(delivery.id) <= index:
                return refusal(answer.status)
        self._late.forget(delivery.id)
        return Delivered()


def _bodies(text: str, reference: int, charsets: Mapping[int, Charset]) -> list[_Sm]:
    """Return the text fields and TLVs of each PDU; one payload if a segment does not fit (UTF-8)."""
    segments = segments_of(text, reference, charsets)
    if any(len(one.octets) > MAX_SHORT for one in segments):
        coding, octets = choose(text, charsets)
        return [({"data_coding": coding}, {Tag.MESSAGE_PAYLOAD: octets})]
    return [
        ({"esm_class": one.esm_class, "data_coding": one.data_coding, "short_message": one.octets}, {})
        for one in segments
    ]


def _receipt_pdu(report: Mapping[str, Any], message_id: str, word: str, error: str) -> _Sm:
    """Return a receipt from the message's recipient to its sender, as the ESME wrote their addresses."""
    text = receipt.write(message_id, word, report["submitted"], report["done"], report["text"], error)
    fields = {
        "source_addr_ton": report["dest_ton"], "source_addr_npi": report["dest_npi"],
        "source_addr": report["destination"], "dest_addr_ton": report["source_ton"],
        "dest_addr_npi": report["source_npi"], "destination_addr": report["source"],
        "esm_class": NOTIFICATION if word == "ACCEPTD" else RECEIPT, "short_message": text.encode("ascii")[:MAX_SHORT],
    }  # fmt: skip
    tlvs: dict[int, bytes] = {
        Tag.RECEIPTED_MESSAGE_ID: message_id.encode("ascii") + b"\0",
        Tag.MESSAGE_STATE: bytes((receipt.CODES[word],)),
    }
    if "reference" in report:
        tlvs[Tag.USER_MESSAGE_REFERENCE] = report["reference"].to_bytes(2, "big")
    return fields, tlvs


def _away(delivery: Delivery, why: str) -> Outcome:
    """Return the outcome while no ESME is bound; a bind does not wake a delivery in a lane of its own."""
    return Deferred(why, retry=_ASIDE) if delivery.lane.is_aside else Deferred(why, retry=EVENT)


def refusal(status: int) -> Outcome:
    """Return the outcome of a peer's refusal."""
    reason = f"the customer's program answered {status:#x}"
    if status in NEVER:
        return Rejected(reason)
    if status in BUSY:
        return Deferred(reason, retry=_ESME_IS_BUSY)
    return Deferred(reason, scope=Scope.MESSAGE)
