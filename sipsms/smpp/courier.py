"""To customers by SMPP: what comes in for a DID, to the ESME that is bound for it or to the customer's own server, and
receipts to the ESME (S-071, S-072, S-078).

A peer that did not answer gets the same again, under the same id (`Tag.OUR_MESSAGE_ID`): in order, before anything else
of that DID.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from sipsms import reports
from sipsms.directory import Directory
from sipsms.model import Deferred, Delivered, Delivery, Did, Media, Outcome, Rejected
from sipsms.numbers import is_digits
from sipsms.smpp import receipt
from sipsms.smpp.coding import CHARSETS, NOTIFICATION, RECEIPT, UDHI, Charset, choose, concat_header, encode
from sipsms.smpp.pdu import MAX_SHORT, Command, Pdu, Status, Tag
from sipsms.smpp.server import Smsc
from sipsms.smpp.session import NotBound
from sipsms.text import pieces

# What a peer says that is busy, or has no room: it is asked again.
BUSY: Final = frozenset(
    {Status.THROTTLED, Status.QUEUE_FULL, Status.TEMPORARY_APP_ERROR, Status.SYSTEM_ERROR, Status.WRONG_BIND_STATE}
)
# That message it will never take; anything else may be mended.
NEVER: Final = frozenset(
    {Status.PERMANENT_APP_ERROR, Status.REJECTED_BY_APP, Status.INVALID_MESSAGE_LENGTH, Status.INVALID_DESTINATION,
     Status.INVALID_SOURCE, Status.INVALID_DATA_CODING}
)  # fmt: skip
_WORDS: Final = {
    "delivered": "DELIVRD", "failed": "UNDELIV", "rejected": "REJECTD", "sent": "ACCEPTD",
    "expired": "EXPIRED",
}  # fmt: skip
_ESME_IS_BUSY: Final = 2.0  # seconds
_ASIDE: Final = 30.0  # seconds between looks of a message that stands aside


_NAME: Final = "sipsms "  # other systems may use that tag for something else


def named(pdu: Pdu) -> str:
    """The id by which another sipsms names its message; empty: it names none."""
    text = pdu.tlvs.get(Tag.OUR_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    return text if text.startswith(_NAME) else ""


class Gone(Exception):
    """No answer came: the session broke, or it took too long."""


class Peer(Protocol):
    """Something that is bound, and can be asked."""

    async def ask(self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes]) -> Pdu:
        """The answer. Raises Gone or NotBound."""


class Push(Protocol):
    """Customers' own servers."""

    async def peer(self, did: Did) -> Peer:
        """Bound to it. Raises Gone, with the reason, if that cannot be had now."""


class Segment(NamedTuple):
    """One PDU's worth of a text."""

    esm_class: int
    data_coding: int
    octets: bytes


def segments_of(text: str, reference: int, charsets: Mapping[int, Charset] = CHARSETS) -> list[Segment]:
    """A text as it travels in parts whose headers say how they belong together (3GPP TS 23.040 9.2.3.24.1)."""
    spans = pieces(text, 0, "segments")
    coding, whole = choose(text, charsets)
    if len(spans) == 1 and len(whole) <= MAX_SHORT:
        return [Segment(0, coding, whole)]
    charset = charsets.get(coding, "ucs2")
    found = []
    for index, (start, end) in enumerate(spans):
        part = text[start:end]
        octets = encode(part, charset) or part.encode("utf-16-be", "replace")
        found.append(Segment(UDHI, coding, concat_header(reference, len(spans), index + 1) + octets))
    return found


def written(number: str, mode: str) -> tuple[int, int, str]:
    """(TON, NPI, address) of a number: as ten digits (national), unless `mode` is e164."""
    if number.startswith("+"):
        return 1, 1, number[1:]
    if is_digits(number) and len(number) == 10:
        return (1, 1, f"1{number}") if mode == "e164" else (2, 1, number)
    return (3, 0, number) if is_digits(number) else (5, 0, number[:11])


class Bind:
    """An ESME's session, as a Peer."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def ask(self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes]) -> Pdu:
        answer: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
        self._connection.ask(command, dict(fields), answer, dict(tlvs))
        try:
            return await answer
        except ConnectionError as error:
            raise Gone(str(error)) from None


class SmppCourier:
    def __init__(self, smsc: Smsc, directory: Directory, push: Push, media_url: Callable[[Media], str]) -> None:
        """`media_url`: where a part of an MMS can be fetched; SMPP carries no media, so their links go."""
        self._smsc = smsc
        self._directory = directory
        self._push = push
        self._media_url = media_url

    async def deliver(self, delivery: Delivery) -> Outcome:
        did = self._directory.did(delivery.destination)
        is_receipt = delivery.message.content_type == reports.SMPP
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
            if is_receipt:
                outcome = await self._send_receipt(Bind(bound.connection), json.loads(delivery.message.text))
            else:
                outcome = await self._send_text(Bind(bound.connection), Command.DELIVER_SM, delivery, did)
        except (Gone, NotBound) as error:
            if self._smsc.hearing(did) is None:
                return _away(delivery, f"the ESME is gone: {error}")
            return Deferred(str(error), retry_after=1.0)
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
        for segment in segments_of(text, message.id):
            own = {
                **fields, "esm_class": segment.esm_class, "data_coding": segment.data_coding,
                "short_message": segment.octets,
            }  # fmt: skip
            answer = await peer.ask(command, own, tlvs)
            if answer.status:
                return refusal(answer.status)
        return Delivered()

    # --- receipts ---

    async def _send_receipt(self, peer: Peer, report: Mapping[str, Any]) -> Outcome:
        """For each part of a long text that wanted one, with the id that it was told: the same for all (G09)."""
        ids = [f"{report['id']}-{number}" for number in report["parts"]] or [report["id"]]
        word = _WORDS[report["stage"]]
        for message_id in ids:
            answer = await peer.ask(Command.DELIVER_SM, *_receipt_pdu(report, message_id, word))
            if answer.status:
                return refusal(answer.status)
        return Delivered()


def _receipt_pdu(report: Mapping[str, Any], message_id: str, word: str) -> tuple[dict[str, Any], dict[int, bytes]]:
    """From the number that the message went to, to the one that it was sent from, as the ESME wrote them."""
    text = receipt.write(message_id, word, report["submitted"], report["done"], report["text"])
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
    return fields, tlvs


def _away(delivery: Delivery, why: str) -> Outcome:
    """Until an ESME binds; what has stepped aside in its lane is not woken by that, and looks for itself."""
    return Deferred(why, retry_after=_ASIDE) if "#" in delivery.lane else Deferred(why, parked=True)


def refusal(status: int) -> Outcome:
    """A peer's answer that says no."""
    reason = f"the customer's program answered {status:#x}"
    if status in NEVER:
        return Rejected(reason)
    if status in BUSY:
        return Deferred(reason, retry_after=_ESME_IS_BUSY)
    return Deferred(reason, aside=True)
