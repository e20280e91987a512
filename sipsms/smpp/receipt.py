"""Delivery receipts as text: what nearly every SMSC writes into a deliver_sm (SMPP v3.4 appendix B). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from sipsms.core.message import State

NO_ERROR: Final = "000"

# message_state (section 5.2.28) and the word of the text.
STATES: Final = {
    1: "ENROUTE", 2: "DELIVRD", 3: "EXPIRED", 4: "DELETED", 5: "UNDELIV", 6: "ACCEPTD", 7: "UNKNOWN", 8: "REJECTD",
}  # fmt: skip
CODES: Final = {word: code for code, word in STATES.items()}
_MEANS: Final = {
    "DELIVRD": State.DELIVERED, "EXPIRED": State.EXPIRED, "DELETED": State.FAILED, "UNDELIV": State.FAILED,
    "REJECTD": State.FAILED, "ENROUTE": State.ACCEPTED, "ACCEPTD": State.ACCEPTED, "UNKNOWN": State.ACCEPTED,
    # as they are also seen
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
    """What is there; the text of the message behind `text:` is not looked at."""
    head = re.split(r"\btext:", text, maxsplit=1, flags=re.IGNORECASE)[0]
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(head[:512]):
        found.setdefault(name.lower(), value)
    return ReceiptText(found.get("id", ""), found.get("stat", "").upper(), found.get("err", ""))


def state_of(word: str, code: int | None = None) -> State:
    """By the TLV message_state if it is there, else by the word; what nobody knows is still under way."""
    if code is not None and code in STATES:
        word = STATES[code]
    return _MEANS.get(word, State.ACCEPTED)


_ERROR: Final = re.compile(rf"(?:{'|'.join(_MEANS)}) ([0-9A-Za-z]{{1,3}})")


def error_code(reasons: Iterable[str]) -> str:
    """`err` of a receipt, by what carriers' receipts said ("UNDELIV 045"); 000: none of them had a code."""
    found = filter(None, map(_ERROR.fullmatch, reasons))
    return next((match[1].zfill(3) for match in found), NO_ERROR)


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%y%m%d%H%M")


def write(message_id: str, word: str, submitted: float, done: float, text: str, error: str = NO_ERROR) -> str:
    """`submitted` and `done`: seconds since the epoch; in the text they are UTC, to the minute. `text`: the message's,
    of which 20 characters are shown."""
    delivered = "001" if word == "DELIVRD" else "000"
    shown = re.sub(r"[^\x20-\x7e]", "?", text[:20])
    return (
        f"id:{message_id} sub:001 dlvrd:{delivered} submit date:{_date(submitted)} done date:{_date(done)} "
        f"stat:{word} err:{error} text:{shown}"
    )


def other_forms(message_id: str) -> tuple[str, ...]:
    """The same id in the other base, as SMSCs are seen to write it: some answer in hexadecimal and report in decimal,
    or the other way round, in either case of letters, filled with zeros or not."""
    if not re.fullmatch("[0-9A-Fa-f]{1,20}", message_id):
        return ()
    if message_id.isdigit():
        value = int(message_id)
        found = [f"{value:x}", f"{value:X}", f"{value:08x}", f"{value:08X}"]
    else:
        value = int(message_id, 16)
        found = [str(value), f"{value:010}"]
    return tuple(one for one in dict.fromkeys(found) if one != message_id)
