"""SMPP PDUs as bytes and as values (SMPP v3.4; TLVs of 5.0 pass through). Pure.

Each command is a row of a table: its mandatory fields in order, each with its maximum length and the status for an
invalid value. The lengths are those of the specification, except for `system_id` and `password`: programs in use send
longer values. A TLV is kept as its octets, by its tag.

A customer's program is told what is wrong with its PDU. An SMSC is not: it would send the same message for days, so its
messages are read as far as they go (`lenient`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from struct import Struct
from typing import Any, Final, Literal, NamedTuple

MAX_PDU: Final = 70_000  # octets: the largest message_payload with the other fields
MAX_SHORT: Final = 254  # octets of short_message
HEADER: Final = 16
_RESPONSE: Final = 0x80000000

_header = Struct(">IIII")
_tlv = Struct(">HH")
_u32 = Struct(">I")


class Command(IntEnum):
    """Command ids of requests (section 5.1.2.1); a response has the highest bit set, too."""

    BIND_RECEIVER = 0x01
    BIND_TRANSMITTER = 0x02
    QUERY_SM = 0x03
    SUBMIT_SM = 0x04
    DELIVER_SM = 0x05
    UNBIND = 0x06
    REPLACE_SM = 0x07
    CANCEL_SM = 0x08
    BIND_TRANSCEIVER = 0x09
    OUTBIND = 0x0B
    ENQUIRE_LINK = 0x15
    SUBMIT_MULTI = 0x21
    ALERT_NOTIFICATION = 0x102
    DATA_SM = 0x103


GENERIC_NACK: Final = _RESPONSE
BINDS: Final = frozenset({Command.BIND_RECEIVER, Command.BIND_TRANSMITTER, Command.BIND_TRANSCEIVER})


class Status(IntEnum):
    """Command status (section 5.1.3)."""

    OK = 0x00
    INVALID_MESSAGE_LENGTH = 0x01
    INVALID_COMMAND_LENGTH = 0x02
    INVALID_COMMAND_ID = 0x03
    WRONG_BIND_STATE = 0x04
    ALREADY_BOUND = 0x05
    SYSTEM_ERROR = 0x08
    INVALID_SOURCE = 0x0A
    INVALID_DESTINATION = 0x0B
    INVALID_MESSAGE_ID = 0x0C
    BIND_FAILED = 0x0D
    INVALID_PASSWORD = 0x0E
    INVALID_SYSTEM_ID = 0x0F
    CANCEL_FAILED = 0x11
    REPLACE_FAILED = 0x13
    QUEUE_FULL = 0x14
    INVALID_SERVICE_TYPE = 0x15
    INVALID_NUMBER_OF_DESTINATIONS = 0x33
    INVALID_LIST_NAME = 0x34
    INVALID_DESTINATION_FLAG = 0x40
    INVALID_ESM_CLASS = 0x43
    CANNOT_SUBMIT_TO_LIST = 0x44
    SUBMIT_FAILED = 0x45
    INVALID_SYSTEM_TYPE = 0x53
    THROTTLED = 0x58
    INVALID_SCHEDULE = 0x61
    INVALID_EXPIRY = 0x62
    TEMPORARY_APP_ERROR = 0x64
    PERMANENT_APP_ERROR = 0x65
    REJECTED_BY_APP = 0x66
    QUERY_FAILED = 0x67
    INVALID_OPTIONAL_PART = 0xC0
    INVALID_PARAMETER_LENGTH = 0xC2
    MISSING_PARAMETER = 0xC3
    DELIVERY_FAILURE = 0xFE
    UNKNOWN_ERROR = 0xFF
    INVALID_DATA_CODING = 0x104  # SMPP 5.0


_STATUS_NAMES: Final = {int(status): status.name.lower() for status in Status}


def status_name(status: int) -> str:
    return _STATUS_NAMES.get(status, "other")


class Tag(IntEnum):
    """TLV tags that are evaluated (section 5.3.2)."""

    RECEIPTED_MESSAGE_ID = 0x001E
    USER_MESSAGE_REFERENCE = 0x0204
    SAR_REFERENCE = 0x020C
    SAR_TOTAL = 0x020E
    SAR_NUMBER = 0x020F
    SC_INTERFACE_VERSION = 0x0210
    MESSAGE_PAYLOAD = 0x0424
    MESSAGE_STATE = 0x0427
    OUR_MESSAGE_ID = 0x1501  # in the vendors' range; equal ids mean the same message


class Address(NamedTuple):
    """Destination of a submit_multi, in a response with the status of its refusal."""

    ton: int
    npi: int
    address: str
    list_name: str = ""  # name of a distribution list, instead of an address
    status: int = 0


class Pdu(NamedTuple):
    """PDU with its fields by the specification's names.

    Field types: int, str (C-octet strings, read as Latin-1), bytes (short_message), tuples of Address.
    """

    command: int
    sequence: int
    status: int = 0
    fields: Mapping[str, Any] = {}
    tlvs: Mapping[int, bytes] = {}

    @property
    def is_response(self) -> bool:
        return self.command >= _RESPONSE


class BadLength(Exception):
    """Impossible length in a PDU's header: nothing after it can be read. `sequence`: 0 if unknown."""

    def __init__(self, why: str, sequence: int = 0) -> None:
        super().__init__(why)
        self.sequence = sequence


class BadPdu(Exception):
    """Unreadable PDU, answered with `status`; the following PDUs are readable."""

    def __init__(self, status: Status, why: str, command: int, sequence: int) -> None:
        super().__init__(why)
        self.status = status
        self.command = command
        self.sequence = sequence


class _Wrong(Exception):
    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = status


# --- fields ----------------------------------------------------------------------------------------------------------

_Kind = Literal["text", "int", "short", "rest", "destinations", "failures"]


class _Field(NamedTuple):
    name: str
    kind: _Kind = "text"
    most: int = 0  # octets of a text without its NUL
    status: Status = Status.INVALID_COMMAND_LENGTH  # for a text that has no NUL or is longer


def _int(name: str) -> _Field:
    return _Field(name, "int")


def _address(prefix: str, status: Status, most: int = 20) -> tuple[_Field, ...]:
    name = {"source": "source_addr", "dest": "destination_addr", "esme": "esme_addr"}[prefix]
    return _int(f"{prefix}_addr_ton"), _int(f"{prefix}_addr_npi"), _Field(name, "text", most, status)


_SERVICE = _Field("service_type", "text", 5, Status.INVALID_SERVICE_TYPE)
_SOURCE = _address("source", Status.INVALID_SOURCE)
_DEST = _address("dest", Status.INVALID_DESTINATION)
_ID = _Field("message_id", "text", 64, Status.INVALID_MESSAGE_ID)
_ANSWER_ID = _ID._replace(most=255)  # some SMSCs give longer ids than allowed
_SCHEDULE = _Field("schedule_delivery_time", "text", 16, Status.INVALID_SCHEDULE)
_VALIDITY = _Field("validity_period", "text", 16, Status.INVALID_EXPIRY)
_SHORT = _Field("short_message", "short", MAX_SHORT, Status.INVALID_MESSAGE_LENGTH)
_SYSTEM_ID = _Field("system_id", "text", 64, Status.INVALID_SYSTEM_ID)
_PASSWORD = _Field("password", "text", 64, Status.INVALID_PASSWORD)

_BIND = (
    _SYSTEM_ID, _PASSWORD, _Field("system_type", "text", 12, Status.INVALID_SYSTEM_TYPE), _int("interface_version"),
    _int("addr_ton"), _int("addr_npi"), _Field("address_range", "text", 40),
)  # fmt: skip
_AFTER_ADDRESSES = (
    _int("esm_class"), _int("protocol_id"), _int("priority_flag"), _SCHEDULE, _VALIDITY, _int("registered_delivery"),
    _int("replace_if_present_flag"), _int("data_coding"), _int("sm_default_msg_id"), _SHORT,
)  # fmt: skip
_SM = (_SERVICE, *_SOURCE, *_DEST, *_AFTER_ADDRESSES)

_REQUESTS: Final[dict[int, tuple[_Field, ...]]] = {
    Command.BIND_RECEIVER: _BIND,
    Command.BIND_TRANSMITTER: _BIND,
    Command.BIND_TRANSCEIVER: _BIND,
    Command.OUTBIND: (_SYSTEM_ID, _PASSWORD),
    Command.UNBIND: (),
    Command.ENQUIRE_LINK: (),
    Command.SUBMIT_SM: _SM,
    Command.DELIVER_SM: _SM,
    Command.SUBMIT_MULTI: (
        _SERVICE, *_SOURCE, _Field("dest_address", "destinations", 0, Status.INVALID_NUMBER_OF_DESTINATIONS),
        *_AFTER_ADDRESSES,
    ),
    Command.DATA_SM: (
        _SERVICE, *_address("source", Status.INVALID_SOURCE, 64), *_address("dest", Status.INVALID_DESTINATION, 64),
        _int("esm_class"), _int("registered_delivery"), _int("data_coding"),
    ),
    Command.QUERY_SM: (_ID, *_SOURCE),
    Command.CANCEL_SM: (_SERVICE, _ID, *_SOURCE, *_DEST),
    Command.REPLACE_SM: (
        _ID, *_SOURCE, _SCHEDULE, _VALIDITY, _int("registered_delivery"), _int("sm_default_msg_id"), _SHORT,
    ),
    Command.ALERT_NOTIFICATION: (
        *_address("source", Status.INVALID_SOURCE, 64), *_address("esme", Status.INVALID_DESTINATION, 64),
    ),
}  # fmt: skip
_RESPONSES: Final[dict[int, tuple[_Field, ...]]] = {
    Command.BIND_RECEIVER: (_SYSTEM_ID,),
    Command.BIND_TRANSMITTER: (_SYSTEM_ID,),
    Command.BIND_TRANSCEIVER: (_SYSTEM_ID,),
    Command.UNBIND: (),
    Command.ENQUIRE_LINK: (),
    Command.SUBMIT_SM: (_ANSWER_ID,),
    Command.DELIVER_SM: (_ANSWER_ID,),
    Command.DATA_SM: (_ANSWER_ID,),
    Command.SUBMIT_MULTI: (_ANSWER_ID, _Field("unsuccess_sme", "failures")),
    Command.QUERY_SM: (_ANSWER_ID, _Field("final_date", "text", 16), _int("message_state"), _int("error_code")),
    Command.CANCEL_SM: (),
    Command.REPLACE_SM: (),
}
_NAMED: Final = frozenset(command for command, fields in _RESPONSES.items() if fields == (_ANSWER_ID,))
_TABLES: Final[dict[int, tuple[_Field, ...]]] = {
    **_REQUESTS, **{_RESPONSE | command: fields for command, fields in _RESPONSES.items()}, GENERIC_NACK: (),
}  # fmt: skip

# Messages of an SMSC: texts as long as the longest of data_sm, and as much of short_message as there is.
_LENIENT: Final[dict[int, tuple[_Field, ...]]] = {
    command: tuple(
        field._replace(most=max(64, field.most), kind="rest" if field.kind == "short" else field.kind)
        for field in _REQUESTS[command]
    )
    for command in (Command.DELIVER_SM, Command.DATA_SM)
}

Read = tuple[Any, int]  # the value and the position after it


def _read_text(data: bytes, at: int, field: _Field) -> Read:
    end = data.find(0, at, at + field.most + 1)
    if end < 0:
        raise _Wrong(field.status, f"{field.name} has no end, or is longer than {field.most}")
    return data[at:end].decode("latin-1"), end + 1


def _read_int(data: bytes, at: int, field: _Field) -> Read:
    if at >= len(data):
        raise _Wrong(Status.INVALID_COMMAND_LENGTH, f"the PDU ends before {field.name}")
    return data[at], at + 1


def _read_short(data: bytes, at: int, field: _Field) -> Read:
    length, at = _read_int(data, at, field)
    if length > field.most or at + length > len(data):
        raise _Wrong(Status.INVALID_MESSAGE_LENGTH, f"sm_length {length} does not fit")
    return data[at : at + length], at + length


def _read_rest(data: bytes, at: int, field: _Field) -> Read:
    length, at = _read_int(data, at, field)
    return data[at : at + length], min(at + length, len(data))


def _read_destinations(data: bytes, at: int, field: _Field) -> Read:
    count, at = _read_int(data, at, field)
    if not 1 <= count <= 254:
        raise _Wrong(field.status, f"{count} destinations")
    found = []
    for _ in range(count):
        flag, at = _read_int(data, at, field)
        if flag == 1:
            ton, at = _read_int(data, at, field)
            npi, at = _read_int(data, at, field)
            address, at = _read_text(data, at, _DEST[2])
            found.append(Address(ton, npi, address))
        elif flag == 2:
            name, at = _read_text(data, at, _Field("dl_name", "text", 20, Status.INVALID_LIST_NAME))
            found.append(Address(0, 0, "", name))
        else:
            raise _Wrong(Status.INVALID_DESTINATION_FLAG, f"dest_flag {flag}")
    return tuple(found), at


def _read_failures(data: bytes, at: int, field: _Field) -> Read:
    count, at = _read_int(data, at, field)
    found = []
    for _ in range(count):
        ton, at = _read_int(data, at, field)
        npi, at = _read_int(data, at, field)
        address, at = _read_text(data, at, _DEST[2])
        if at + 4 > len(data):
            raise _Wrong(Status.INVALID_COMMAND_LENGTH, "the PDU ends within unsuccess_sme")
        found.append(Address(ton, npi, address, status=_u32.unpack_from(data, at)[0]))
        at += 4
    return tuple(found), at


_READERS: Final[dict[_Kind, Callable[[bytes, int, _Field], Read]]] = {
    "text": _read_text, "int": _read_int, "short": _read_short, "rest": _read_rest,
    "destinations": _read_destinations, "failures": _read_failures,
}  # fmt: skip
_EMPTY: Final[dict[_Kind, Any]] = {"text": "", "int": 0, "short": b"", "rest": b"", "destinations": (), "failures": ()}


def _write(field: _Field, value: Any) -> bytes:
    match field.kind:
        case "text":
            octets = str(value).encode("latin-1", "replace").replace(b"\0", b"")
            return octets[: field.most] + b"\0"
        case "int":
            return bytes((value,))
        case "short" | "rest":
            return bytes((len(value),)) + bytes(value)
        case "destinations":
            return bytes((len(value),)) + b"".join(_destination(one) for one in value)
        case "failures":
            return bytes((len(value),)) + b"".join(_plain(one) + _u32.pack(one.status) for one in value)


def _plain(one: Address) -> bytes:
    return bytes((one.ton, one.npi)) + _write(_DEST[2], one.address)


def _destination(one: Address) -> bytes:
    return b"\x02" + _write(_Field("", "text", 20), one.list_name) if one.list_name else b"\x01" + _plain(one)


# --- whole PDUs ------------------------------------------------------------------------------------------------------


def encode(pdu: Pdu) -> bytes:
    """Return the octets of a PDU; missing fields are empty. Raises ValueError if it is too long."""
    body = b"".join(
        _write(field, pdu.fields[field.name] if field.name in pdu.fields else _EMPTY[field.kind])
        for field in _TABLES[pdu.command]
    )
    if pdu.tlvs:
        body += b"".join(_tlv.pack(tag, len(value)) + value for tag, value in pdu.tlvs.items())
    if len(body) + HEADER > MAX_PDU:
        raise ValueError(f"a PDU of {len(body) + HEADER} octets")
    return _header.pack(HEADER + len(body), pdu.command, pdu.status, pdu.sequence) + body


def encode_response(request: Pdu, status: int = 0, message_id: str = "") -> bytes:
    """Return the usual response, with a message id where the command has one; without a body for an error (4.4.2)."""
    body = message_id.encode("latin-1") + b"\0" if request.command in _NAMED and not status else b""
    return _header.pack(HEADER + len(body), request.command | _RESPONSE, status, request.sequence) + body


def nack(status: int, sequence: int) -> bytes:
    return _header.pack(HEADER, GENERIC_NACK, status, sequence)


def decode(data: bytes, *, lenient: bool = False) -> Pdu:
    """Parse one whole PDU with its header. Raises BadPdu.

    `lenient`: the peer is an SMSC. Of its messages only the mandatory fields must be there.
    """
    _, command, status, sequence = _header.unpack_from(data)
    fields = _LENIENT.get(command) if lenient else None
    fields = fields or _TABLES.get(command)
    if fields is None:
        raise BadPdu(Status.INVALID_COMMAND_ID, f"command {command:#010x} is not known", command, sequence)
    values: dict[str, Any] = {}
    at = HEADER
    if status and command >= _RESPONSE:  # a refusal; some peers send a malformed body
        return Pdu(command, sequence, status, {field.name: _EMPTY[field.kind] for field in fields})
    try:
        for field in fields:
            if at == len(data) and command >= _RESPONSE:  # a response may come without its body
                values[field.name] = _EMPTY[field.kind]
                continue
            values[field.name], at = _READERS[field.kind](data, at, field)
        tlvs = _tlvs(data, at, lax=lenient or command >= _RESPONSE) if at < len(data) else {}
    except _Wrong as wrong:
        raise BadPdu(wrong.status, str(wrong), command, sequence) from None
    return Pdu(command, sequence, status, values, tlvs)


def _tlvs(data: bytes, at: int, *, lax: bool) -> dict[int, bytes]:
    """Parse the TLVs; `lax` stops at octets that are none, with which a response or an SMSC's PDU is still valid."""
    found: dict[int, bytes] = {}
    while at < len(data):
        if at + 4 > len(data):
            if lax:
                break
            raise _Wrong(Status.INVALID_OPTIONAL_PART, "octets behind the last parameter")
        tag, length = _tlv.unpack_from(data, at)
        at += 4
        if at + length > len(data):
            if lax:
                break
            raise _Wrong(Status.INVALID_PARAMETER_LENGTH, f"TLV {tag:#06x} is longer than the PDU")
        found[tag] = data[at : at + length]
        at += length
    return found


class Framer:
    """Splitter of received octets into PDUs; it holds at most one PDU beyond what it was fed."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def has_part(self) -> bool:
        return bool(self._buffer)

    def next(self) -> bytes | None:
        """Return the next whole PDU; None if incomplete. Raises BadLength as soon as the header is known."""
        if len(self._buffer) < HEADER:
            return None
        length, _, _, sequence = _header.unpack_from(self._buffer)
        if not HEADER <= length <= MAX_PDU:
            raise BadLength(f"a PDU of {length} octets", sequence)
        if len(self._buffer) < length:
            return None
        found = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        return found

    def __iter__(self) -> Iterator[bytes]:
        while (data := self.next()) is not None:
            yield data
