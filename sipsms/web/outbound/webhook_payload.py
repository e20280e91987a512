"""Events of webhooks: JSON in the form of Telnyx and 3CX, and their signatures. Pure.

Receivers of these events (3CX, PortSIP, FS PBX, MMSGate) need numeric ids, `media` even when empty, and numbers as
E.164. Signatures follow Standard Webhooks (https://www.standardwebhooks.com), so that its libraries can check them.
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
    """Return a stored number in a DID's dialing mode (S-046): nanpa, e164, or empty for `usual`."""
    return as_format(number, mode if mode in ("nanpa", "e164") else usual)


def received(message: Message, media: Sequence[tuple[str, str]], mode: str = "") -> Event:
    """Return the event `message.received`, whose id is the message's. `media`: URL and content type of each part."""
    parts = [{"url": url, "content_type": content_type} for url, content_type in media]
    payload = _payload(message, "webhook_delivered", mode) | {"media": parts}
    return _event("message.received", message.id, message.received_at, payload)


def status(text: str, event: int, mode: str = "") -> Event:
    """Return the event `message.sent` or `message.finalized` of a delivery report's stored text."""
    told = json.loads(text)
    message = Message(
        Direction.OUT, told["source"], told["destination"], told["text"], "", told["received_at"], id=told["id"],
        media=(Media(),) if told["mms"] else (),
    )  # fmt: skip
    payload = _payload(message, told["status"], mode) | {"id": str(message.id), "media": []}
    return _event(told["kind"], event, told["at"], payload)


def encode(event: Event) -> bytes:
    """Return an event as bytes, the same for equal events because signatures cover them."""
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
        "type": "MMS" if message.is_mms else "SMS",
        "from": {"phone_number": number_in(message.source, mode, "e164")},
        "to": [{"phone_number": number_in(message.destination, mode, "e164"), "status": state}],
        "text": message.text,
        "received_at": _iso(message.received_at),
    }


def _iso(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- signatures -------------------------------------------------------------------------------------------------------


def signed_headers(secrets: str, identity: str, now: float, body: bytes) -> Mapping[str, str]:
    """Return the headers webhook-id, webhook-timestamp and webhook-signature.

    The signature is HMAC-SHA256 over `id.timestamp.body` in base64. `secrets`: one secret, or during a rotation the new
    and the old one separated by a space; each gives a signature. A secret that begins with whsec_ is base64; any other
    is used as its own bytes.
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
    except (binascii.Error, ValueError):  # not base64: the bytes of the text
        return secret.encode()
