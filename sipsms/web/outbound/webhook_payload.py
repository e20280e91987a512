"""What webhooks are told: JSON events in the shape of Telnyx and 3CX, and their signatures. Pure.

Receivers that read these (3CX, PortSIP, FS PBX, MMSGate) want numeric ids, `media` even when it is empty, and numbers
as E.164. The signature is that of Standard Webhooks (https://www.standardwebhooks.com), so its libraries can check it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sipsms.core.e164 import as_format
from sipsms.core.message import Direction, Media, Message

Event = dict[str, Any]

_PREFIX: Final = "whsec_"


def number_in(number: str, mode: str, usual: str) -> str:
    """A stored number in a DID's dialing mode (S-046): nanpa, e164, or empty for what is usual at that door."""
    return as_format(number, mode if mode in ("nanpa", "e164") else usual)


def received(message: Message, media: Sequence[tuple[str, str]], mode: str = "") -> Event:
    """`message.received`. `media`: URL and content type of each part.

    The event's id is the message's: MMSGate looks for it in the lists of `web/rest_messages`.
    """
    parts = [{"url": url, "content_type": content_type} for url, content_type in media]
    payload = _payload(message, "webhook_delivered", mode) | {"media": parts}
    return _event("message.received", message.id, message.received_at, payload)


def status(text: str, event: int, mode: str = "") -> Event:
    """`message.sent` once the carrier has it, `message.finalized` at the end. `text`: of `report`."""
    told = json.loads(text)
    message = Message(
        Direction.OUT, told["source"], told["destination"], told["text"], "", told["received_at"], id=told["id"],
        media=(Media(),) if told["mms"] else (),
    )  # fmt: skip
    payload = _payload(message, told["status"], mode) | {"id": str(message.id), "media": []}
    return _event(told["kind"], event, told["at"], payload)


def encode(event: Event) -> bytes:
    """The same event is the same bytes: signatures are over these."""
    return json.dumps(event, separators=(",", ":")).encode()


def _event(kind: str, event: int, occurred_at: float, payload: Event) -> Event:
    occurred = _iso(occurred_at)
    record = {"id": event, "event_type": kind, "record_type": "event", "occurred_at": occurred, "payload": payload}
    return {"data": record}


def _payload(message: Message, state: str, mode: str) -> Event:
    return {
        "id": message.id,
        "record_type": "message",
        "direction": "inbound" if message.direction is Direction.IN else "outbound",
        "type": message.kind.upper(),
        "from": {"phone_number": number_in(message.source, mode, "e164")},
        "to": [{"phone_number": number_in(message.destination, mode, "e164"), "status": state}],
        "text": message.text,
        "received_at": _iso(message.received_at),
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- signatures -------------------------------------------------------------------------------------------------------


def signed_headers(secrets: str, identity: str, now: float, body: bytes) -> Mapping[str, str]:
    """webhook-id, -timestamp and -signature: HMAC-SHA256 over `id.timestamp.body` in base64.

    `secrets`: one, or during a rotation the new and the old one with a space between; each gives a signature. One that
    begins with whsec_ is base64, any other is its own bytes.
    """
    timestamp = str(int(now))
    content = f"{identity}.{timestamp}.".encode() + body
    signatures = " ".join("v1," + _sign(_key(secret), content) for secret in secrets.split())
    return {"webhook-id": identity, "webhook-timestamp": timestamp, "webhook-signature": signatures}


def _sign(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):  # not of that kind after all
        return secret.encode()
