"""Delivery receipts as text, as nearly every SMSC writes them (SMPP v3.4 appendix B). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sipsms.core.message import State

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


def other_forms(message_id: str) -> tuple[str, ...]:
    """Return the same id in the other number base, in the spellings in which SMSCs report it."""
    if not re.fullmatch("[0-9A-Fa-f]{1,20}", message_id):
        return ()
    if message_id.isdigit():
        value = int(message_id)
        found = [f"{value:x}", f"{value:X}", f"{value:08x}", f"{value:08X}"]
    else:
        value = int(message_id, 16)
        found = [str(value), f"{value:010}"]
    return tuple(one for one in dict.fromkeys(found) if one != message_id)
