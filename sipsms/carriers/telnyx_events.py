"""Parser of the JSON events of Telnyx, which 3CX, PortSIP, VoIP.ms and others use. Pure.

    {"data": {"event_type": "message.received", "payload": {"id": ..., "from": {"phone_number": ...},
     "to": [{"phone_number": ..., "status": ...}], "text": ..., "media": [{"url": ..., "content_type": ...}]}}}

The message's id is the payload's; the envelope's id is different in each attempt. `message.sent` and
`message.finalized` are receipts. Events of other kinds are acknowledged and ignored.
Sources: developers.telnyx.com "Receiving webhooks for messaging", 3CX "generic SMS provider".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sipsms.carriers import payload as reading
from sipsms.core.message import State
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.carrier import HookError, HookRequest, InboundSms

OPTED_OUT: Final = frozenset({"40300"})  # Telnyx: "Blocked due to STOP message"

_STATES: Final[Mapping[str, State]] = {
    "queued": State.ACCEPTED,
    "sending": State.ACCEPTED,
    "sent": State.ACCEPTED,
    "delivery_unconfirmed": State.ACCEPTED,  # sent, but the network reports nothing
    "delivered": State.DELIVERED,
    "webhook_delivered": State.DELIVERED,
    "sending_failed": State.FAILED,
    "delivery_failed": State.FAILED,
    "expired": State.EXPIRED,
    "gw_timeout": State.EXPIRED,
}


def read(request: HookRequest) -> tuple[tuple[InboundSms, ...], tuple[CarrierReceipt, ...]]:
    """Return the messages and receipts of an event. Raises HookError."""
    data = reading.mapping(reading.parsed_json(request)).get("data")
    if not isinstance(data, dict):
        raise HookError(400, "field 'data' is missing")
    kind = data.get("event_type")
    payload = reading.mapping(data.get("payload"))
    if kind == "message.received":
        return messages(payload), ()
    if kind in ("message.sent", "message.finalized"):
        return (), (receipt(payload),)
    return (), ()


def messages(payload: Mapping[str, Any]) -> tuple[InboundSms, ...]:
    """Return a message for each of our DIDs in the event; usually there is one. Raises HookError."""
    remote_id = reading.number_of(payload.get("id"), "payload.id")
    source = _phone(payload.get("from"), "payload.from")
    media = reading.media_of(_part(item) for item in reading.sequence(payload.get("media")))
    text = payload.get("text")
    ours = _ours(payload.get("to"))
    return tuple(
        InboundSms(
            source,
            _phone(to, "payload.to"),
            reading.optional_text_of(text, "payload.text"),
            remote_id,
            media,
        )
        for to in ours
    )


def receipt(payload: Mapping[str, Any]) -> CarrierReceipt:
    """Return the receipt of an event. Raises HookError."""
    remote_id = reading.number_of(payload.get("id"), "payload.id")
    to = reading.sequence(payload.get("to"))
    word = reading.word_of(reading.mapping(to[0] if to else None).get("status"))
    code = reading.word_of(reading.at_path(payload, "errors.0.code"))
    state = _STATES.get(word, State.ACCEPTED)
    opted_out = state is State.FAILED and code in OPTED_OUT
    return CarrierReceipt(remote_id, state, f"{word} {code}".strip(), opted_out)


def _ours(value: object) -> list[object]:
    """Return the recipients of a group message that the carrier calls this hook for."""
    recipients = value if isinstance(value, list) else [value]
    called = [one for one in recipients if reading.mapping(one).get("status") == "webhook_delivered"]
    return (called or recipients[:1] or [None])[: reading.MAX_MEDIA]


def _phone(value: object, field: str) -> str:
    """Return the number of `{"phone_number": "+1..."}`, or a bare number, which some carriers send."""
    return reading.number_of(value.get("phone_number") if isinstance(value, dict) else value, field)


def _part(item: object) -> tuple[object, object, object]:
    part = reading.mapping(item)
    return (part.get("url"), part.get("content_type"), part.get("name")) if part else (item, None, None)
