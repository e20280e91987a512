"""Delivery receipts of SMSCs: recognised, read and written (SMPP v3.4 appendix B). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from sipsms.core.message import State
from sipsms.core.queue_rows import fold_id
from sipsms.smpp.data_coding import TYPE, is_receipt
from sipsms.smpp.pdu import Pdu, Tag
from sipsms.smpp.submit_sm import Body

NO_ERROR: Final = "000"

# message_state (section 5.2.28) and the word in the text.
STATES: Final = {
    1: "ENROUTE", 2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV", 6: "ACCEPTD", 7: "UNKNOWN", 8: "REJECTD",
}  # fmt: skip
CODES: Final = {word: code for code, word in STATES.items()}
_MEANS: Final = {
    "DELIVRD": State.DELIVERED, "EXPIRED": State.EXPIRED, "DELETED": State.FAILED, "UNDELIV": State.FAILED,
    "REJECTD": State.FAILED, "ENROUTE": State.ACCEPTED, "ACCEPTD": State.ACCEPTED, "UNKNOWN": State.ACCEPTED,
    # other spellings in use
    "DELIVERED": State.DELIVERED, "UNDELIVERABLE": State.FAILED, "REJECTED": State.FAILED, "FAILED": State.FAILED,
    "ACCEPTED": State.ACCEPTED, "BUFFERED": State.ACCEPTED, "SKIPPED": State.FAILED,
}  # fmt: skip
_FIELD: Final = re.compile(
    r"\b(id|sub|dlvrd|submit date|done date|stat|err)[:=]\s*(\S*?)(?=\s|$)", re.IGNORECASE | re.ASCII
)


class ReceiptText(NamedTuple):
    id: str = ""
    word: str = ""  # DELIVRD, ...
    error: str = ""


def parse(text: str) -> ReceiptText:
    """Parse a receipt; the message's text after `text:` is ignored."""
    head = re.split(r"\btext:", text, maxsplit=1, flags=re.IGNORECASE)[0]
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(head[:512]):
        found.setdefault(name.lower(), value)
    return ReceiptText(found.get("id", ""), found.get("stat", "").upper(), found.get("err", ""))


class Receipt(NamedTuple):
    """Receipt in a PDU of an SMSC."""

    id: str  # as the SMSC writes it; may be empty if `is_certain`
    state: State
    detail: str  # the word and the error code; empty if delivered
    is_certain: bool  # False: only its text says that it is one


def read(pdu: Pdu, body: Body) -> Receipt | None:
    """Return the receipt in a deliver_sm or data_sm; None if the PDU is a message.

    esm_class says that it is one (section 5.2.12), or some SMSCs forget that and have the two parameters, or one of
    them or the mark of an acknowledgement beside a receipt's text."""
    named = pdu.tlvs.get(Tag.RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1").strip()
    told = pdu.tlvs.get(Tag.MESSAGE_STATE, b"")
    is_marked = is_receipt(pdu.fields["esm_class"])
    found = find(body) if is_marked or b"tat" in body.octets.replace(b"\0", b"").lower() else ReceiptText()
    remote_id, is_whole = named or found.id, found.word in _MEANS
    has_state = bool(told) or is_whole
    hinted = bool(named or told or pdu.fields["esm_class"] & TYPE)
    if not is_marked and not (remote_id and has_state):
        return None
    state = state_of(found.word, told[0] if told else None)
    word = found.word or STATES.get(told[0] if told else 0, "")
    detail = "" if state is State.DELIVERED else f"{word} {found.error}".strip()
    return Receipt(remote_id, state, detail, is_marked or hinted)


def find(body: Body) -> ReceiptText:
    """Return the receipt in a text: in ASCII, else as data_coding says, else in UCS-2 of either byte order.

    Some SMSCs copy the data_coding of the message into its receipt, whose octets are ASCII."""
    readings = (body.octets.decode("latin-1"), body.text, body.octets.replace(b"\0", b"").decode("latin-1"))
    found = (one for one in map(parse, readings) if one.id.isascii() and one.id.isprintable())
    return max(found, key=lambda one: bool(one.id) + (one.word in _MEANS), default=ReceiptText())


def state_of(word: str, code: int | None = None) -> State:
    """Return the state by the TLV message_state if present, else by the word; unknown means accepted."""
    if code is not None and code in STATES:
        word = STATES[code]
    return _MEANS.get(word, State.ACCEPTED)


_ERROR: Final = re.compile(rf"(?:{'|'.join(_MEANS)}) ([0-9A-Za-z]{{1,3}})")


def error_code(reasons: Iterable[str]) -> str:
    """Return `err` of a receipt from the carriers' reasons ("UNDELIV 045"); 000 if there is no code."""
    found = filter(None, map(_ERROR.fullmatch, reasons))
    return next((match[1].zfill(3) for match in found), NO_ERROR)


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%y%m%d%H%M")


def write(message_id: str, word: str, submitted: float, done: float, text: str, error: str = NO_ERROR) -> str:
    """Return the text of a receipt: times (seconds since the epoch) in UTC, 20 characters of the message."""
    delivered = "001" if word == "DELIVRD" else "000"
    shown = re.sub(r"[^\x20-\x7e]", "?", text[:20])
    return (
        f"id:{message_id} sub:001 dlvrd:{delivered} submit date:{_date(submitted)} done date:{_date(done)} "
        f"stat:{word} err:{error} text:{shown}"
    )


MessageIds = Literal["auto", "same", "hex-decimal"]


def names(message_id: str, mode: MessageIds) -> tuple[str, tuple[str, ...]]:
    """Return (id, other forms) by which a receipt's message is looked up.

    The other forms are folded. SMSCs write one number with and without leading zeros, in capital and small letters, in
    decimal and hexadecimal; `mode` is the carrier's setting `message_ids`."""
    folded, others = fold_id(message_id), _other_bases(message_id)
    if mode == "hex-decimal" and others:
        return others[0], others
    return message_id, (folded,) if mode == "same" else (folded, *others)


def _other_bases(message_id: str) -> tuple[str, ...]:
    """Return the id's number in the other base; both if its digits may be of either."""
    if not re.fullmatch("[0-9A-Fa-f]{1,20}", message_id):
        return ()
    from_hex = str(int(message_id, 16))
    found = (f"{int(message_id):x}", from_hex) if message_id.isdigit() else (from_hex,)
    return tuple(dict.fromkeys(one for one in found if one != fold_id(message_id)))
