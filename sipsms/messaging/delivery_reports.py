"""Delivery reports to the program that sent a message: the DID's webhook, a URL, or the ESME that sent it by SMPP.

The request is the message's `report`. Each report is a message of its own, so it is durable and leaves once. Pure.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Final, Literal
from urllib.parse import quote_plus

from sipsms.core.account import Did
from sipsms.core.message import Direction, Message, MessageKind
from sipsms.core.report_request import SmppRequest, UrlRequest, WebhookRequest

Kind = Literal["message.sent", "message.finalized"]
Status = Literal["sent", "delivered", "sending_failed", "delivery_failed"]


class Stage(StrEnum):
    SENT = "sent"  # a carrier has it
    DELIVERED = "delivered"
    FAILED = "failed"  # after a carrier had it
    REJECTED = "rejected"  # no carrier took it
    EXPIRED = "expired"  # its time was over; only ESMEs hear it like that


_EVENTS: Final[dict[Stage, tuple[Kind, Status]]] = {
    Stage.SENT: ("message.sent", "sent"),
    Stage.DELIVERED: ("message.finalized", "delivered"),
    Stage.FAILED: ("message.finalized", "delivery_failed"),
    Stage.REJECTED: ("message.finalized", "sending_failed"),
    Stage.EXPIRED: ("message.finalized", "sending_failed"),
}
_KANNEL: Final = {  # bits of dlr-mask
    Stage.SENT: 8, Stage.DELIVERED: 1, Stage.FAILED: 2, Stage.REJECTED: 16, Stage.EXPIRED: 16,
}  # fmt: skip
_FINAL = {  # values of registered_delivery's bits
    Stage.DELIVERED: (1, 3), Stage.FAILED: (1, 2), Stage.REJECTED: (1, 2), Stage.EXPIRED: (1, 2),
}  # fmt: skip
_INTERMEDIATE = 0x10  # of registered_delivery (SMPP 3.4 section 5.2.17)


def loss(message: Message, *, expired: bool, was_taken: bool) -> Stage:
    """Return the stage that the sender is told of a message that will not arrive."""
    if expired and isinstance(message.report, SmppRequest):
        return Stage.EXPIRED
    return Stage.FAILED if was_taken else Stage.REJECTED


def report_of(message: Message, stage: Stage, did: Did, now: float) -> Message | None:
    """The message that reports it; None if nobody wants to hear this. `did`: it was sent from."""
    match message.report:
        case WebhookRequest() if did.webhook is not None:
            kind, status = _EVENTS[stage]
            return _message(message, did, kind, MessageKind.STATUS, report(message, kind, status, now), now)
        case UrlRequest(mask, url) if mask & _KANNEL[stage]:
            text = fill(url, message, stage, now, mask)
            return _message(message, did, f"dlr {_KANNEL[stage]}", MessageKind.DLR, text, now)
        case SmppRequest() as request if _wants(request, stage):
            text = _smpp_text(message, request, stage, now)
            return _message(message, did, f"smpp {stage}", MessageKind.SMPP, text, now)
    return None


def _wants(request: SmppRequest, stage: Stage) -> bool:
    if stage is Stage.SENT:
        return bool(request.mask & _INTERMEDIATE)
    return request.mask & 3 in _FINAL[stage]


def _smpp_text(message: Message, wish: SmppRequest, stage: Stage, now: float) -> str:
    """All that a receipt says, for the courier to write as SMPP does."""
    return json.dumps({
        "id": wish.token or str(message.id), "parts": list(wish.parts), "stage": str(stage),
        "submitted": message.received_at, "done": now, "source": wish.source, "source_ton": wish.source_ton,
        "source_npi": wish.source_npi, "destination": wish.destination, "dest_ton": wish.dest_ton,
        "dest_npi": wish.dest_npi, "text": message.text[:20],
        **({} if wish.reference is None else {"reference": wish.reference}),
    })  # fmt: skip


def _message(of: Message, did: Did, what: str, kind: MessageKind, text: str, now: float) -> Message:
    name = str(of.id or of.dedupe_key)  # one that was not stored has no id
    key = blake2b(f"{what}\n{name}".encode(), digest_size=20).digest()
    return Message(
        Direction.IN, of.destination, of.did, text, "status", now, did.account, did.number, None, key,
        kind=kind,
    )  # fmt: skip


def fill(url: str, message: Message, stage: Stage, now: float, mask: int = 0) -> str:
    """Kannel's escape codes (user's guide, "Delivery reports"), encoded for a URL; a code that is not here stays."""
    values = {
        "d": str(_KANNEL[stage]), "p": message.destination, "q": message.destination, "P": message.source,
        "Q": message.source, "I": str(message.id), "F": str(message.id), "T": str(int(now)), "R": str(mask),
        "t": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S"), "A": str(stage), "n": message.account,
        "%": "%",
    }  # fmt: skip
    parts = url.split("%")
    filled = [parts[0]]
    rest = iter(parts[1:])
    for part in rest:
        if part[:1] in values and part:
            filled.append(quote_plus(values[part[0]]) + part[1:])
        elif not part:  # %%
            filled.append("%25" + next(rest, ""))
        else:
            filled.append("%" + part)
    return "".join(filled)


def report(message: Message, kind: Kind, status: Status, at: float) -> str:
    """Return the text of a status event, to be kept until the DID's webhook has it."""
    return json.dumps(
        {
            "kind": kind, "status": status, "at": at, "id": message.id, "source": message.source,
            "destination": message.destination, "text": message.text, "received_at": message.received_at,
            "mms": bool(message.media),
        }
    )  # fmt: skip
