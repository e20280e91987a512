"""What a program hears of a message that it sent, where it has asked for that: the DID's webhook, or a URL of its own.

The wish stands in the message's `notify`; each report is a message of its own, so it is durable and leaves once. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Final, NamedTuple
from urllib.parse import quote_plus

from sipsms import events
from sipsms.events import Kind, Status
from sipsms.model import Did, Direction, Message

STATUS: Final = "application/x-sipsms-status+json"  # content type of what a DID's webhook hears
DLR: Final = "text/x-sipsms-dlr"  # content type of a URL that is to be called, as Kannel's dlr-url
BY_WEBHOOK: Final = "#webhook"  # as `notify`
_BY_URL: Final = "#dlr "
MAX_URL: Final = 240  # characters: `notify` is kept with each message


class Stage(StrEnum):
    SENT = "sent"  # a carrier has it
    DELIVERED = "delivered"
    FAILED = "failed"  # after a carrier had it
    REJECTED = "rejected"  # no carrier took it


_EVENTS: Final[dict[Stage, tuple[Kind, Status]]] = {
    Stage.SENT: ("message.sent", "sent"),
    Stage.DELIVERED: ("message.finalized", "delivered"),
    Stage.FAILED: ("message.finalized", "delivery_failed"),
    Stage.REJECTED: ("message.finalized", "sending_failed"),
}
_KANNEL: Final = {Stage.SENT: 8, Stage.DELIVERED: 1, Stage.FAILED: 2, Stage.REJECTED: 16}  # bits of dlr-mask


class Wish(NamedTuple):
    mask: int
    url: str


def by_url(mask: int, url: str) -> str:
    """What to give as `notify` for Kannel's dlr-mask and dlr-url."""
    return f"{_BY_URL}{mask} {url}"


def is_wanted(notify: str) -> bool:
    """Does anybody but a phone want to hear of it?"""
    return notify.startswith("#")


def report_of(message: Message, stage: Stage, did: Did, now: float) -> Message | None:
    """The message that reports it; None if nobody wants to hear this. `did`: it was sent from."""
    if message.notify == BY_WEBHOOK and did.webhook is not None:
        kind, status = _EVENTS[stage]
        return _message(message, did, kind, STATUS, events.report(message, kind, status, now), now)
    if message.notify.startswith(_BY_URL):
        mask, _, url = message.notify.removeprefix(_BY_URL).partition(" ")
        if int(mask) & _KANNEL[stage]:
            text = fill(url, message, stage, now, int(mask))
            return _message(message, did, f"dlr {_KANNEL[stage]}", DLR, text, now)
    return None


def _message(of: Message, did: Did, what: str, content_type: str, text: str, now: float) -> Message:
    key = blake2b(f"{what}\n{of.id}".encode(), digest_size=20).digest()
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
