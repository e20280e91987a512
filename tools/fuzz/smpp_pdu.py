"""SMPP: PDUs, their frames, the message in submit_sm, deliver_sm and data_sm, and receipts."""

from __future__ import annotations

from sipsms.smpp import receipt
from sipsms.smpp.data_coding import CHARSETS
from sipsms.smpp.pdu import MAX_PDU, BadLength, BadPdu, Command, Framer, Pdu, Tag, decode, encode
from sipsms.smpp.submit_sm import Refused, read, read_anything

_NOW = 1_790_000_000.0
_DLR = b"id:7 sub:001 dlvrd:001 submit date:2601010101 done date:2601010102 stat:DELIVRD err:000 text:hi"


def seeds() -> list[bytes]:
    fields = {"source_addr": "5550001111", "destination_addr": "5551234567", "short_message": b"hi"}
    pdus = [
        Pdu(Command.BIND_TRANSCEIVER, 1, 0, {"system_id": "acme", "password": "pw"}),
        Pdu(Command.SUBMIT_SM, 2, 0, fields, {Tag.SAR_REFERENCE: b"\0\1", Tag.SAR_TOTAL: b"\2", Tag.SAR_NUMBER: b"\1"}),
        Pdu(Command.SUBMIT_SM, 2, 0, {**fields, "validity_period": "000000010000000R", "esm_class": 0x40}),
        Pdu(Command.DELIVER_SM, 3, 0, {**fields, "short_message": _DLR, "esm_class": 4}),
        Pdu(Command.DELIVER_SM, 3, 0, {**fields, "short_message": b"\5\0\3\1\2\1hi", "esm_class": 0x40}),
        Pdu(Command.DATA_SM, 4, 0, {}, {Tag.MESSAGE_PAYLOAD: b"h\0i\0"}),
        Pdu(Command.QUERY_SM, 5, 0, {"message_id": "7"}),
        Pdu(Command.ENQUIRE_LINK, 6, 0, {}),
    ]
    return [encode(one) for one in pdus] + [b"".join(map(encode, pdus[-3:]))]


def check(data: bytes) -> None:
    framer = Framer()
    framer.feed(data)
    try:
        for one in framer:
            assert 16 <= len(one) <= MAX_PDU
            for lenient in (False, True):
                _check_pdu(one, lenient=lenient)
    except BadLength:
        return


def _check_pdu(data: bytes, *, lenient: bool) -> None:
    try:
        pdu = decode(data, lenient=lenient)
    except BadPdu as bad:
        assert int(bad.status) > 0
        return
    if not lenient:
        again = decode(encode(pdu))
        assert again == pdu
    if "esm_class" not in pdu.fields or "data_coding" not in pdu.fields:
        return
    try:
        read(pdu, CHARSETS, _NOW)
    except Refused as refused:
        assert int(refused.status) > 0
    body = read_anything(pdu, CHARSETS)
    body.text.encode("utf-8", "surrogatepass")
    receipt.find(body)
    receipt.read(pdu, body)
