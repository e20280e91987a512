"""Carriers' webhooks: the first octet chooses the carrier, the second how the other octets come (form, JSON, query)."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from typing import Final
from urllib.parse import parse_qsl, urlencode

from sipsms.carriers import payload
from sipsms.core.message import State
from sipsms.messaging.carrier import HookError, HookRequest
from tools.fuzz.carriers_under_test import KEY, NOW, URL, carriers

_TYPES: Final = ("application/x-www-form-urlencoded", "application/json", "application/json; charset=utf-16", "")
_FORMS: Final[list[dict[str, str]]] = [
    {"From": "+15551234567", "To": "+14165550000", "Body": "hi", "MessageSid": "SM1", "NumMedia": "1",
     "MediaUrl0": URL},
    {"MessageSid": "SM1", "MessageStatus": "failed", "ErrorCode": "30003"},
    {"msisdn": "15551234567", "to": "14165550000", "text": "hi", "messageId": "1", "concat-ref": "1",
     "concat-part": "1", "concat-total": "2"},
    {"from": "5551234567", "to": "4165550000", "message": "hi", "id": "1", "date": "2026-01-01", "files": URL},
    {"From": "1", "To": "2", "Text": "hi", "MessageUUID": "u", "Status": "delivered", "Media0": URL},
    {"number": "5551234567", "content": "hi"},
]  # fmt: skip
_BODIES: Final[list[object]] = [
    {"data": {"event_type": "message.received", "payload": {"id": "1", "text": "hi", "from": {"phone_number": "+1555"},
     "to": [{"phone_number": "+14165550000"}], "media": [{"url": URL, "content_type": "image/png"}]}}},
    {"data": {"event_type": "message.finalized", "payload": {"id": "1", "to": [{"status": "delivered"}]}}},
    [{"type": "message-received", "to": "+14165550000", "message": {"id": "1", "from": "+1555", "text": "hi",
      "to": ["+14165550000"], "media": [URL], "segmentCount": 1}}],
    [{"type": "message-failed", "errorCode": 4720, "message": {"id": "1"}}],
    {"From": "1", "To": ["2"], "Message": "hi", "MediaURLs": [URL], "DeliveryReceipt": False},
    {"data": {"id": "mdr2-1", "attributes": {"from": "1", "to": "2", "body": "hi", "is_mms": True}}, "included": []},
]  # fmt: skip


def seeds() -> list[bytes]:
    forms = [bytes([number, 0]) + urlencode(one).encode() for number in range(len(carriers())) for one in _FORMS]
    bodies = [bytes([number, 1]) + json.dumps(one).encode() for number in range(len(carriers())) for one in _BODIES]
    return forms + bodies


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    carrier, kind, body = carriers()[data[0] % len(carriers())], _TYPES[data[1] % len(_TYPES)], data[2:]
    url, query = f"{URL}/s3cret", {}
    if not kind:
        query, body = dict(parse_qsl(body.decode("latin-1"), max_num_fields=100) if body.count(b"&") < 100 else ()), b""
    request = HookRequest("POST" if kind else "GET", query, {"content-type": kind} if kind else {}, body, url, NOW)
    request.headers["x-twilio-signature"] = _signature(request)  # type: ignore[index]
    try:
        parsed = carrier.parse(request)
    except HookError as error:
        assert 400 <= error.status <= 599
        assert error.reason.isprintable()
        return
    for sms in parsed.messages:
        assert all(isinstance(one, str) for one in (sms.source, sms.destination, sms.text, sms.remote_id, sms.dedupe))
        assert sms.part is None or 1 <= sms.part.number <= sms.part.total <= 255
        assert all(one.url.lower().startswith(("http://", "https://")) for one in sms.media)
    for receipt in parsed.receipts:
        assert isinstance(receipt.remote_id, str)
        assert isinstance(receipt.state, State)


def _signature(request: HookRequest) -> str:
    """Return Twilio's signature of a form ("Webhooks security"): the URL, then names and values in order."""
    try:
        pairs = payload.form(request) if request.body and payload.media_type(request) == payload.FORM else []
    except HookError:
        return ""
    signed = request.url + "".join(name + value for name, value in sorted(set(pairs)))
    return b64encode(hmac.digest(KEY.encode(), signed.encode("utf-8", "replace"), hashlib.sha1)).decode()
