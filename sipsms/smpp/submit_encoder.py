"""Encoder of a delivery as the submit_sm that a carrier's SMSC takes. It does no I/O."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sipsms.core.message import Delivery
from sipsms.core.segmentation import pieces
from sipsms.smpp.data_coding import Segment, choose, segments_of
from sipsms.smpp.pdu import MAX_SHORT, Tag
from sipsms.smpp.settings import SmppConfig
from sipsms.smpp.submit_sm import span, written

_LONGEST_VALIDITY: Final = 3 * 86400.0  # seconds; many SMSCs refuse more


class Sm(NamedTuple):
    """Fields and TLVs of a submit_sm."""

    fields: dict[str, Any]
    tlvs: dict[int, bytes]


def encode(delivery: Delivery, config: SmppConfig, now: float) -> Sm:
    """Return the submit_sm of a delivery."""
    source, dest = address(delivery.source, config), address(delivery.destination, config)
    fields = {
        "service_type": config.service_type, "registered_delivery": int(config.receipts),
        "source_addr_ton": _own(config.source_ton, source[0]),
        "source_addr_npi": _own(config.source_npi, source[1]), "source_addr": source[2],
        "dest_addr_ton": _own(config.dest_ton, dest[0]), "dest_addr_npi": _own(config.dest_npi, dest[1]),
        "destination_addr": dest[2],
    }  # fmt: skip
    expires_at = delivery.message.expires_at
    if config.validity and expires_at is not None and expires_at - now < _LONGEST_VALIDITY:
        fields["validity_period"] = span(max(1.0, expires_at - now))
    body = _body(delivery, config)
    return Sm({**fields, **body.fields}, body.tlvs)


def address(number: str, config: SmppConfig) -> tuple[int, int, str]:
    """Return (TON, NPI, address) of a number, as this carrier wants it."""
    if config.numbers == "e164" and (found := written(number, "e164"))[0] == 1:
        return found[0], found[1], f"+{found[2]}"
    return written(number, "" if config.numbers == "nanpa" else "e164")


def _own(configured: int | None, usual: int) -> int:
    return usual if configured is None else configured


def _body(delivery: Delivery, config: SmppConfig) -> Sm:
    """Return the content of the PDU: the delivery's segment, or the whole text, if long as a payload."""
    whole = delivery.message.text
    spans = pieces(whole, 0, "segments") if delivery.end and config.text_unit == "segments" else []
    if (delivery.start, delivery.end) in spans and len(spans) > 1:
        index, reference = spans.index((delivery.start, delivery.end)), delivery.message.id
        segment = segments_of(whole, reference, config.charsets)[index]
        return _part(segment, reference, len(spans), index + 1, config)
    coding, octets = choose(delivery.text, config.charsets)
    if len(octets) > (140 if coding else 160):
        return Sm({"data_coding": coding}, {Tag.MESSAGE_PAYLOAD: octets})
    return Sm({"data_coding": coding, "short_message": octets[:MAX_SHORT]}, {})


def _part(segment: Segment, reference: int, total: int, index: int, config: SmppConfig) -> Sm:
    if config.long == "udh":
        fields = {"esm_class": segment.esm_class, "data_coding": segment.data_coding}
        return Sm({**fields, "short_message": segment.octets}, {})
    tlvs: dict[int, bytes] = {
        Tag.SAR_REFERENCE: (reference & 0xFFFF).to_bytes(2, "big"), Tag.SAR_TOTAL: bytes((total,)),
        Tag.SAR_NUMBER: bytes((index,)),
    }  # fmt: skip
    return Sm({"data_coding": segment.data_coding, "short_message": segment.octets[6:]}, tlvs)
