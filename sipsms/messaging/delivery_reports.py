"""Delivery reports to the program that sent a message: the DID's webhook, a URL, or the ESME that sent it by SMPP.

The request for reports is the message's `notify`. Each report is a message of its own, so it is durable and leaves
once. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Final, Literal, NamedTuple
from urllib.parse import quote_plus

from sipsms.core.account import Did
from sipsms.core.message import Direction, Message

STATUS: Final = "application/x-sipsms-status+json"  # content type of what a DID's webhook hears
DLR: Final = "text/x-sipsms-dlr"  # content type of a URL that is to be called, as Kannel's dlr-url
SMPP: Final = "application/x-sipsms-smpp-receipt+json"  # content type of what an ESME gets as a receipt
BY_WEBHOOK: Final = "#webhook"  # as `notify`
_BY_URL: Final = "#dlr "
_BY_SMPP: Final = "#smpp\t"
MAX_URL: Final = 240  # characters: `notify` is kept with each message


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


class UrlReport(NamedTuple):
    mask: int
    url: str


class SmppReport(NamedTuple):
    """Receipts that an ESME asked for, and the addresses as it wrote them: its receipts must have the same."""

    mask: int  # registered_delivery
    source_ton: int
    source_npi: int
    dest_ton: int
    dest_npi: int
    parts: tuple[int, ...]  # of a long text, those whose receipt is wanted; none: it is one message
    token: str  # of the ids that these were told (TOKEN-1, TOKEN-2, ...); empty: the message's own id
    source: str
    destination: str
    reference: int | None = None  # the program's own (user_message_reference)

    def wants(self, stage: Stage) -> bool:
        if stage is Stage.SENT:
            return bool(self.mask & _INTERMEDIATE)
        return self.mask & 3 in _FINAL[stage]


def by_url(mask: int, url: str) -> str:
    """Return the `notify` of Kannel's dlr-mask and dlr-url."""
    return f"{_BY_URL}{mask} {url}"


def by_smpp(
    mask: int, source: str, destination: str, source_ton: int, source_npi: int, dest_ton: int, dest_npi: int,
    part: int = 0, token: str = "", reference: int | None = None,
) -> str:  # fmt: skip
    """Return the `notify` of registered_delivery `mask`: at most 127 characters, with a token of up to 24."""
    source, destination = _plain(source), _plain(destination)
    numbers = (part,) if part else ()
    return _written(
        SmppReport(
            mask, source_ton, source_npi, dest_ton, dest_npi, numbers, _plain(token), source, destination, reference
        )
    )


def _written(wish: SmppReport) -> str:
    mask, *kinds, numbers, token, source, destination, reference = wish
    first = mask if reference is None else f"{mask}/{reference}"
    return _BY_SMPP + "\t".join(map(str, (first, *kinds, ".".join(map(str, numbers)), token, source, destination)))


def of_parts(wishes: Iterable[str]) -> str:
    """Return the `notify` of a long text from those of its parts; empty: no report."""
    found = [wish for wish in map(smpp_wish, wishes) if wish is not None]
    if not found:
        return ""
    numbers = sorted({number for wish in found for number in wish.parts})
    references = {wish.reference for wish in found}
    reference = references.pop() if len(references) == 1 else None
    return _written(found[0]._replace(parts=tuple(numbers), reference=reference))


def _plain(address: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in address[:24])


def smpp_wish(notify: str) -> SmppReport | None:
    """The reading of `by_smpp`."""
    if not notify.startswith(_BY_SMPP):
        return None
    first, *kinds, parts, token, source, destination = notify.removeprefix(_BY_SMPP).split("\t")
    mask, _, reference = first.partition("/")
    source_ton, source_npi, dest_ton, dest_npi = map(int, kinds)
    numbers = tuple(map(int, filter(None, parts.split("."))))
    return SmppReport(
        int(mask), source_ton, source_npi, dest_ton, dest_npi, numbers, token, source, destination,
        int(reference) if reference else None,
    )  # fmt: skip


def is_wanted(notify: str) -> bool:
    """Does anybody but a phone want to hear of it?"""
    return notify.startswith("#")


def loss(message: Message, *, expired: bool, was_taken: bool) -> Stage:
    """Return the stage that the sender is told of a message that will not arrive."""
    if expired and smpp_wish(message.notify) is not None:
        return Stage.EXPIRED
    return Stage.FAILED if was_taken else Stage.REJECTED


def report_of(message: Message, stage: Stage, did: Did, now: float) -> Message | None:
    """The message that reports it; None if nobody wants to hear this. `did`: it was sent from."""
    if message.notify == BY_WEBHOOK and did.webhook is not None:
        kind, status = _EVENTS[stage]
        return _message(message, did, kind, STATUS, report(message, kind, status, now), now)
    if message.notify.startswith(_BY_URL):
        mask, _, url = message.notify.removeprefix(_BY_URL).partition(" ")
        if int(mask) & _KANNEL[stage]:
            text = fill(url, message, stage, now, int(mask))
            return _message(message, did, f"dlr {_KANNEL[stage]}", DLR, text, now)
    wish = smpp_wish(message.notify)
    if wish is not None and wish.wants(stage):
        return _message(message, did, f"smpp {stage}", SMPP, _smpp_text(message, wish, stage, now), now)
    return None


def _smpp_text(message: Message, wish: SmppReport, stage: Stage, now: float) -> str:
    """All that a receipt says, for the courier to write as SMPP does."""
    return json.dumps({
        "id": wish.token or str(message.id), "parts": list(wish.parts), "stage": str(stage),
        "submitted": message.received_at, "done": now, "source": wish.source, "source_ton": wish.source_ton,
        "source_npi": wish.source_npi, "destination": wish.destination, "dest_ton": wish.dest_ton,
        "dest_npi": wish.dest_npi, "text": message.text[:20],
        **({} if wish.reference is None else {"reference": wish.reference}),
    })  # fmt: skip


def _message(of: Message, did: Did, what: str, content_type: str, text: str, now: float) -> Message:
    name = str(of.id or of.dedupe_key)  # one that was not stored has no id
    key = blake2b(f"{what}\n{name}".encode(), digest_size=20).digest()
    return Message(
        Direction.IN, of.destination, of.did, text, "status", now, did.account, did.number, None, key,
        content_type=content_type,
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
