"""The JSON of webhooks, and its signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.message import Direction
from sipsms.messaging.delivery_reports import report
from sipsms.web.outbound.webhook_payload import encode, received, signed_headers, status
from tests.support.http.client import AT, message


@pytest.mark.req("S-045", "S-046")
def test_the_payload_of_a_received_message_has_its_fields() -> None:
    from sipsms.core.message import Media

    mms = message(media=(Media("image/jpeg", "abc.jpg", 5, "t"),))
    assert received(mms, [("https://host/media/abc.jpg", "image/jpeg")]) == {
        "data": {
            "id": 4412,
            "event_type": "message.received",
            "record_type": "event",
            "occurred_at": "2026-10-02T18:24:31Z",
            "payload": {
                "id": 4412,
                "record_type": "message",
                "direction": "inbound",
                "type": "MMS",
                "from": {"phone_number": "+12125550123"},
                "to": [{"phone_number": "+17185550100", "status": "webhook_delivered"}],
                "text": "hello",
                "received_at": "2026-10-02T18:24:31Z",
                "media": [{"url": "https://host/media/abc.jpg", "content_type": "image/jpeg"}],
            },
        }
    }


def test_the_payload_has_an_empty_list_without_media() -> None:
    payload = received(message(), [])["data"]["payload"]
    assert (payload["type"], payload["media"]) == ("SMS", [])


@pytest.mark.req("S-046")
@pytest.mark.parametrize(("mode", "number"), [("", "+12125550123"), ("e164", "+12125550123"), ("nanpa", "2125550123")])
def test_numbers_follow_the_dialing_mode(mode: str, number: str) -> None:
    assert received(message(), [], mode)["data"]["payload"]["from"] == {"phone_number": number}


def test_the_payload_of_a_status_has_its_fields() -> None:
    sent = message(direction=Direction.OUT, source="7185550100", destination="2125550123")
    data = status(report(sent, "message.finalized", "delivery_failed", AT + 5), 8)["data"]
    assert (data["event_type"], data["occurred_at"]) == ("message.finalized", "2026-10-02T18:24:36Z")
    assert data["payload"]["direction"] == "outbound"
    assert data["payload"]["to"] == [{"phone_number": "+12125550123", "status": "delivery_failed"}]


@given(st.text())
def test_any_text_gives_valid_json(text: str) -> None:
    body = encode(received(message(text), []))
    assert body.isascii()
    assert json.loads(body)["data"]["payload"]["text"] == text


@pytest.mark.req("W-01")
def test_the_signature_matches_the_example_of_standard_webhooks() -> None:
    """The values are those of the reference library's own test."""
    headers = signed_headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.req("W-01")
def test_two_secrets_give_two_signatures() -> None:
    both = signed_headers("new-one old-one", "msg_1", 5, b"x")["webhook-signature"].split(" ")
    alone = [signed_headers(secret, "msg_1", 5, b"x")["webhook-signature"] for secret in ("new-one", "old-one")]
    assert both == alone
    digest = hmac.new(b"new-one", b"msg_1.5.x", hashlib.sha256).digest()
    assert both[0] == "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize("secret", ["whsec_!!!", "whsec_abc", "ключ"])
def test_a_secret_that_is_no_base64_is_used_as_bytes(secret: str) -> None:
    digest = hmac.new(secret.encode(), b"m.5.x", hashlib.sha256).digest()
    assert signed_headers(secret, "m", 5, b"x")["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
