"""The JSON events that Telnyx invented and 3CX, PortSIP, VoIP.ms and others took over.

    {"data": {"event_type": "message.received", "payload": {"id": ..., "from": {"phone_number": ...},
     "to": [{"phone_number": ..., "status": ...}], "text": ..., "media": [{"url": ..., "content_type": ...}]}}}

The envelope has an id too, another one at each try; the message's is the payload's. `message.sent` and
`message.finalized` are receipts. An event of any other kind says nothing to us, and is acknowledged. Pure.
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
    "delivery_unconfirmed": State.ACCEPTED,  # sent, and the network beyond tells nothing
    "delivered": State.DELIVERED,
    "webhook_delivered": State.DELIVERED,
    "sending_failed": State.FAILED,
    "delivery_failed": State.FAILED,
    "expired": State.EXPIRED,
    "gw_timeout": State.EXPIRED,
}


def read(request: HookRequest) -> tuple[tuple[InboundSms, ...], tuple[CarrierReceipt, ...]]:
    """Messages and receipts of an event. Raises HookError."""
    data = reading.mapping(reading.parsed_json(request.body)).get("data")
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
    """One for each of our numbers it came to; usually one."""
    remote_id = reading.number_of(payload.get("id"), "payload.id")
    source = _phone(payload.get("from"), "payload.from")
    media = reading.media_of(_part(item) for item in reading.sequence(payload.get("media")))
    text = payload.get("text")
    ours = _ours(payload.get("to"))
    return tuple(
        InboundSms(
            source,
            _phone(to, "payload.to"),
            "" if text is None and media else reading.text_of(text, "payload.text"),
            remote_id,
            media,
        )
        for to in ours
    )


def receipt(payload: Mapping[str, Any]) -> CarrierReceipt:
    remote_id = reading.number_of(payload.get("id"), "payload.id")
    to = reading.sequence(payload.get("to"))
    word = reading.word_of(reading.mapping(to[0] if to else None).get("status"))
    code = reading.word_of(reading.at_path(payload, "errors.0.code"))
    state = _STATES.get(word, State.ACCEPTED)
    opted_out = state is State.FAILED and code in OPTED_OUT
    return CarrierReceipt(remote_id, state, f"{word} {code}".strip(), opted_out)


def _ours(value: object) -> list[object]:
    """Of a message to a group, the recipients that the carrier calls this hook for."""
    recipients = value if isinstance(value, list) else [value]
    called = [one for one in recipients if reading.mapping(one).get("status") == "webhook_delivered"]
    return (called or recipients[:1] or [None])[: reading.MAX_MEDIA]


def _phone(value: object, field: str) -> str:
    """`{"phone_number": "+1..."}`; some write the number itself."""
    return reading.number_of(value.get("phone_number") if isinstance(value, dict) else value, field)


def _part(item: object) -> tuple[object, object, object]:
    part = reading.mapping(item)
    return (part.get("url"), part.get("content_type"), part.get("name")) if part else (item, None, None)
