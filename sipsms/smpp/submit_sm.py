"""Parser and checks of submit_sm, deliver_sm, data_sm and submit_multi (S-069, S-070). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Final, NamedTuple

from sipsms.core.charset import storable
from sipsms.core.e164 import is_digits, is_ten_digits, normalise, region_of_area
from sipsms.core.segmentation import Charset, whole_letters
from sipsms.smpp.data_coding import TYPE, UDHI, CodingError, Concat, charset_of, decode, decode_segment, read_user_data
from sipsms.smpp.pdu import Pdu, Status, Tag

FARTHEST: Final = 366 * 86400.0  # longest hold or validity, seconds
MAX_PARTS: Final = 24  # 1600 characters in segments of 67
_TIME: Final = re.compile(r"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d)(\d\d)([-+R])")


class Refused(Exception):
    """Refusal of a PDU: the ESME gets `status`, the text is for the log."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = status


class Body(NamedTuple):
    """Text of a PDU; of `binary` content it shows the octets."""

    text: str
    concat: Concat | None = None
    binary: bool = False
    octets: bytes = b""  # without the user data header


class Submission(NamedTuple):
    source: str  # normalised number
    destinations: tuple[str, ...]  # normalised numbers; "" for an invalid number
    body: Body
    due_at: float | None  # seconds since the epoch
    expires_at: float | None
    registered_delivery: int


def read(pdu: Pdu, charsets: Mapping[int, Charset], now: float) -> Submission:
    """Parse and check a submit. Raises Refused."""
    fields = pdu.fields
    if fields["esm_class"] & TYPE:
        raise Refused(Status.INVALID_ESM_CLASS, f"esm_class {fields['esm_class']:#04x}")
    source = number(fields["source_addr_ton"], fields["source_addr"])
    if not source:
        raise Refused(Status.INVALID_SOURCE, f"{fields['source_addr'][:32]!r} is not a telephone number")
    body = read_body(pdu, charsets)
    _check(body)
    return Submission(
        source, _destinations(fields), body, moment(fields, "schedule_delivery_time", now, Status.INVALID_SCHEDULE),
        moment(fields, "validity_period", now, Status.INVALID_EXPIRY), fields["registered_delivery"],
    )  # fmt: skip


def _destinations(fields: Mapping[str, Any]) -> tuple[str, ...]:
    if "dest_address" in fields:
        return tuple(number(one.ton, one.address) for one in fields["dest_address"])
    return (number(fields["dest_addr_ton"], fields["destination_addr"]),)


def number(ton: int, address: str, *, tens_are_national: bool = True) -> str:
    """Return a normalised number; empty if invalid.

    An "international" number (1) may lack its +, but many programs use that type with ten digits, which are national if
    `tens_are_national` and their area code is North American."""
    address = address.strip()
    if ton == 1 and address[:1].isdigit() and not (tens_are_national and _is_national(address)):
        address = f"+{address}"
    return normalise(address) or ""


def _is_national(address: str) -> bool:
    return is_ten_digits(address) and (region_of_area(address[:3]) is not None or address[:3] == "555")


def span(seconds: float) -> str:
    """Return a relative time (section 7.1.1.2), rounded up; a month has 30 days."""
    left, found = ceil(seconds), []
    for unit in (360 * 86400, 30 * 86400, 86400, 3600, 60, 1):
        found.append(f"{min(99, left // unit):02d}")
        left %= unit
    return "".join(found) + "000R"


def read_body(pdu: Pdu, charsets: Mapping[int, Charset]) -> Body:
    """Parse short_message or message_payload with its concatenation. Raises Refused."""
    octets = pdu.fields.get("short_message", b"")
    payload = pdu.tlvs.get(Tag.MESSAGE_PAYLOAD)
    if payload is not None:
        if octets:
            raise Refused(Status.INVALID_MESSAGE_LENGTH, "both short_message and message_payload")
        octets = payload
    concat, binary = _sar(pdu.tlvs), False
    if pdu.fields["esm_class"] & UDHI:
        try:
            octets, from_header, binary = read_user_data(octets)
        except CodingError as error:
            raise Refused(Status.INVALID_MESSAGE_LENGTH, str(error)) from None
        concat = from_header or concat
    charset = charset_of(pdu.fields["data_coding"], charsets)
    if charset is None or binary:
        return Body(_shown(pdu, octets), concat, True, octets)
    try:
        whole = whole_letters(decode(octets, charset)) if concat is None else decode_segment(octets, charset)
        return Body(whole, concat, False, octets)
    except CodingError as error:
        raise Refused(Status.INVALID_MESSAGE_LENGTH, str(error)) from None


def read_anything(pdu: Pdu, charsets: Mapping[int, Charset]) -> Body:
    """Parse a body like `read_body`, but show the octets of one that no sender can correct.

    If there are both a message_payload and a short_message, the longer is the message."""
    octets = max(pdu.fields.get("short_message", b""), pdu.tlvs.get(Tag.MESSAGE_PAYLOAD, b""), key=len)
    if Tag.MESSAGE_PAYLOAD in pdu.tlvs:
        tlvs = {tag: value for tag, value in pdu.tlvs.items() if tag != Tag.MESSAGE_PAYLOAD}
        pdu = pdu._replace(fields={**pdu.fields, "short_message": octets}, tlvs=tlvs)
    try:
        body = read_body(pdu, charsets)
        return body._replace(text=storable(body.text))
    except Refused:
        return Body(_shown(pdu, octets), None, True, octets)


def _shown(pdu: Pdu, octets: bytes) -> str:
    return f"(binary message, coding {pdu.fields['data_coding']}, {len(octets)} octets: {octets.hex()})"


def read_text(pdu: Pdu, charsets: Mapping[int, Charset]) -> str:
    """Return the text of a PDU that carries a whole text, unchecked. Raises Refused."""
    body = read_body(pdu, charsets)
    _check(body)
    return body.text


def _sar(tlvs: Mapping[int, bytes]) -> Concat | None:
    """Return the SAR TLVs (section 5.3.2.22 to 24); None unless all three are valid."""
    found = [tlvs.get(tag) for tag in (Tag.SAR_REFERENCE, Tag.SAR_TOTAL, Tag.SAR_NUMBER)]
    if not all(found):
        return None
    reference, total, part = (int.from_bytes(one or b"", "big") for one in found)
    return Concat(reference & 0xFFFF, total, part, True) if 1 <= part <= total <= 255 else None


def _check(body: Body) -> None:
    if body.binary:
        raise Refused(Status.INVALID_DATA_CODING, "binary, or a data_coding that is not known")
    if body.concat is not None and body.concat.total > MAX_PARTS:
        raise Refused(Status.INVALID_MESSAGE_LENGTH, f"more than {MAX_PARTS} segments")


def moment(fields: Mapping[str, Any], name: str, now: float, status: Status) -> float | None:
    """Return an absolute or relative time (section 7.1.1) in seconds since the epoch; None if absent.

    A validity is cut to a year. Raises Refused, also for a schedule of more than a year."""
    text = fields.get(name, "")
    if not text:
        return None
    at = _seconds(text, name, now, status)
    if name == "schedule_delivery_time" and at > now + FARTHEST:
        raise Refused(status, f"{name} {text!r} is more than a year away")
    return min(at, now + FARTHEST)


def _seconds(text: str, name: str, now: float, status: Status) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise Refused(status, f"{name} {text!r}")
    year, month, day, hour, minute, second, tenth, quarters = map(int, match.groups()[:8])
    if match[9] == "R":
        days = year * 365 + month * 30 + day
        return now + timedelta(days=days, hours=hour, minutes=minute, seconds=second).total_seconds()
    try:
        local = datetime(2000 + year, month, day, hour, minute, second, tenth * 100_000, UTC).timestamp()
    except ValueError:
        raise Refused(status, f"{name} {text!r}") from None
    offset = quarters * 900
    return local - offset if match[9] == "+" else local + offset


def smpp_time(at: float) -> str:
    """Return an absolute time in UTC, as in `final_date`."""
    return datetime.fromtimestamp(at, UTC).strftime("%y%m%d%H%M%S") + "000+"


def written(number: str, mode: str) -> tuple[int, int, str]:
    """Return (TON, NPI, address) of a number: national with ten digits, unless `mode` is e164."""
    if number.startswith("+"):
        return 1, 1, number[1:]
    if is_digits(number) and len(number) == 10:
        return (1, 1, f"1{number}") if mode == "e164" else (2, 1, number)
    return (3, 0, number) if is_digits(number) else (5, 0, number[:11])
