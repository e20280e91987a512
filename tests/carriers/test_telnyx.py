"""Telnyx and the 3CX shape."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sipsms.carriers.settings import TelnyxConfig
from sipsms.carriers.telnyx import TelnyxCarrier
from sipsms.core.http_client import HttpReply, NoAnswer, NotSent
from sipsms.core.message import Accepted, Deferred, Outcome, Rejected, Scope, State, Unknown
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.carrier import Carrier, HookError, HookRequest, InboundMedia, InboundSms
from tests.carriers.kit import JSON, JUNK, NOW, PICTURE, ScriptedClient, delivery, hook, refusal, reply, tools

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = b64encode(PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def carrier(answer: HttpReply | Exception | None = None, **changes: Any) -> tuple[TelnyxCarrier, ScriptedClient]:
    client = ScriptedClient(answer or reply({"data": {"id": "m1"}}))
    given_ = {"type": "telnyx", "api_key": "KEY123", "inbound": {"secret": "s3cret"}, **changes}
    return TelnyxCarrier("telnyx", TelnyxConfig.model_validate(given_), tools(client)), client


async def test_a_message_is_sent_as_telnyx_asks() -> None:
    acme, client = carrier(messaging_profile_id="p1")
    assert await acme.send(delivery("hi {x} 😀")) == Accepted("m1")
    await acme.send(delivery("", PICTURE))
    method, url, headers, body = client.requests[0]
    assert (method, url) == ("POST", "https://api.telnyx.com/v2/messages")
    assert headers["Authorization"] == "Bearer KEY123"
    both = {"from": "+14165550000", "to": "+15551234567", "messaging_profile_id": "p1"}
    assert json.loads(body) == both | {"text": "hi {x} 😀"}
    assert json.loads(client.requests[1][3]) == both | {"text": "", "media_urls": [PICTURE.url]}


async def test_a_provider_of_the_3cx_shape_is_configured() -> None:
    acme, client = carrier(reply({"data": {"payload": {"id": "x9"}}}), url="https://sms.example.net/", path="/3cx/send")
    assert await acme.send(delivery()) == Accepted("x9")
    assert client.requests[0][1] == "https://sms.example.net/3cx/send"
    assert json.loads(client.requests[0][3]) == {"from": "+14165550000", "to": "+15551234567", "text": "hi"}


def failed(status: int, code: Any, **headers: str) -> HttpReply:
    return reply({"errors": [{"code": code, "title": "KEY123 hi"}]}, status, **headers)


NOTHING = Unknown("answered 200 with a body that is not understood")
OUTCOMES: list[tuple[HttpReply | Exception, Outcome]] = [
    (reply({"data": {"id": 5}}, 202), Accepted("5")),
    (reply({"data": {}}), NOTHING),
    (reply({"data": {"id": None}}), NOTHING),
    (reply(b'{"data": {"id": "m'), NOTHING),
    (reply(b"<html>"), NOTHING),
    (reply([]), NOTHING),
    (failed(401, "10009"), Deferred("answered 401, error 10009", scope=Scope.COURIER)),
    (failed(403, "10010"), Deferred("answered 403, error 10010", scope=Scope.COURIER)),
    (failed(403, "20100"), Deferred("answered 403, error 20100", scope=Scope.COURIER)),
    (failed(429, "10011", retry_after="3"), Deferred("answered 429, error 10011", 3.0)),
    (failed(400, "40318"), Deferred("answered 400, error 40318")),
    (failed(403, "40300"), Rejected("answered 403, error 40300", "40300", opt_out=True)),
    (failed(400, 40300), Rejected("answered 400, error 40300", "40300", opt_out=True)),
    (failed(422, "40310"), Rejected("answered 422, error 40310", "40310")),
    (failed(400, "KEY123 hi there"), Rejected("answered 400, error no plain word", "no plain word")),
    (reply({}, 400), Rejected("answered 400", "400")),
    (reply(b"", 401), Deferred("answered 401: the carrier refuses our credentials", scope=Scope.COURIER)),
    (reply(b"", 403), Deferred("answered 403: the carrier refuses our credentials", scope=Scope.COURIER)),
    (reply(b"", 429), Deferred("answered 429")),
    (reply(b"", 503, retry_after="5"), Deferred("answered 503", 5.0)),
    (reply(b"", 302), Deferred("answered 302: the carrier is elsewhere", scope=Scope.COURIER)),
    (NotSent("cannot connect"), Deferred("not sent: cannot connect", scope=Scope.COURIER)),
    (NoAnswer("no answer in time"), Unknown("no answer: no answer in time")),
]


@pytest.mark.req("D6", "F-12", "F-13")
@pytest.mark.parametrize(("answer", "outcome"), OUTCOMES)
async def test_each_answer_gives_its_outcome(answer: HttpReply | Exception, outcome: Outcome) -> None:
    acme, client = carrier(answer)
    assert await acme.send(delivery()) == outcome
    assert len(client.requests) == 1


# --- in ---------------------------------------------------------------------------------------------------------------

ID = "40385f64-5717-4562-b3fc-2c963f66afa6"
PAYLOAD: dict[str, Any] = {
    "id": ID, "direction": "inbound", "type": "MMS", "from": {"phone_number": "+15551234567", "carrier": "x"},
    "to": [{"phone_number": "+14165550000", "status": "webhook_delivered"}], "text": "hi", "parts": 1,
    "media": [{"url": "https://media.telnyx.com/a.png", "content_type": "image/png", "sha256": "x", "size": 4}],
}  # fmt: skip


def event(kind: Any = "message.received", **changes: Any) -> dict[str, Any]:
    return {"data": {"id": "other", "event_type": kind, "record_type": "event", "payload": PAYLOAD | changes}}


@pytest.mark.req("S-045")
def test_an_incoming_message_is_read() -> None:
    acme: Carrier = carrier()[0]
    parsed = acme.parse(hook(event()))
    media = (InboundMedia("https://media.telnyx.com/a.png", "image/png"),)
    assert list(parsed.messages) == [InboundSms("+15551234567", "+14165550000", "hi", ID, media)]
    assert parsed.reply.status == 200


def test_a_message_to_several_dids_is_one_message_for_each() -> None:
    """Of all its recipients, those this hook is called for; each is a message of its own."""
    to = [{"phone_number": f"+1416555000{n}", "status": s} for n, s in enumerate(["", "webhook_delivered"] * 2)]
    messages = carrier()[0].parse(hook(event(to=to))).messages
    assert [(one.destination, one.remote_id) for one in messages] == [("+14165550001", ID), ("+14165550003", ID)]


def receipt(state: State, detail: str, *, opt_out: bool = False) -> CarrierReceipt:
    return CarrierReceipt(ID, state, detail, opt_out)


RECEIPTS = [
    ("message.sent", "sent", None, receipt(State.ACCEPTED, "sent")),
    ("message.finalized", "delivered", None, receipt(State.DELIVERED, "delivered")),
    ("message.finalized", "sending_failed", "40300", receipt(State.FAILED, "sending_failed 40300", opt_out=True)),
    ("message.finalized", "delivery_failed", "40008", receipt(State.FAILED, "delivery_failed 40008")),
    ("message.finalized", "delivery_unconfirmed", None, receipt(State.ACCEPTED, "delivery_unconfirmed")),
    ("message.finalized", "expired", None, receipt(State.EXPIRED, "expired")),
    ("message.finalized", "a new word", None, receipt(State.ACCEPTED, "a new word")),
]


@pytest.mark.parametrize(("kind", "status", "code", "expected"), RECEIPTS)
def test_receipts_are_read(kind: str, status: str, code: str | None, expected: CarrierReceipt) -> None:
    body = event(kind, to=[{"phone_number": "+15551234567", "status": status}], errors=[{"code": code}] if code else [])
    parsed = carrier()[0].parse(hook(body))
    assert (list(parsed.receipts), list(parsed.messages)) == ([expected], [])


def signed(body: bytes, at: float = NOW, key: Ed25519PrivateKey = PRIVATE) -> HookRequest:
    signature = b64encode(key.sign(f"{at:.0f}|".encode() + body)).decode()
    return hook(body, {**JSON, "telnyx-timestamp": f"{at:.0f}", "telnyx-signature-ed25519": signature})


@pytest.mark.req("A-41", "A-42", "W-05")
def test_a_hook_without_the_configured_signature_is_refused() -> None:
    acme, _ = carrier(public_key=PUBLIC)
    body = json.dumps(event()).encode()
    assert acme.parse(signed(body)).messages == acme.parse(signed(body)).messages  # again: the same key, one message
    assert refusal(acme, hook(body, JSON)) == 401
    assert refusal(acme, signed(body, NOW - 301)) == 401
    assert refusal(acme, signed(body, key=Ed25519PrivateKey.from_private_bytes(bytes(32)))) == 401
    good = signed(body)
    assert refusal(acme, hook(body.replace(b"hi", b"ho"), good.headers)) == 401
    assert refusal(carrier()[0], hook(body, JSON)) == 0


@pytest.mark.parametrize("key", ["", "x", "AAAA", b64encode(bytes(31)).decode(), b64encode(bytes(33)).decode()])
def test_an_invalid_public_key_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="44 characters of base64"):
        carrier(public_key=key)


def test_without_inbound_there_is_no_hook() -> None:
    acme, _ = carrier(inbound=None)
    assert (acme.secret, refusal(acme, hook(event()))) == ("", 404)


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: str(junk)[:10])
@pytest.mark.parametrize("field", [*PAYLOAD, "errors"])
def test_junk_is_refused(field: str, junk: Any) -> None:
    acme, _ = carrier()
    for kind in ("message.received", "message.finalized", junk):
        refusal(acme, hook(event(kind, **{field: junk})))
    refusal(acme, hook({"data": {"event_type": "message.received", "payload": junk}}))
    refusal(acme, hook({"data": junk}))
    refusal(acme, hook(event(to=[{"phone_number": junk, "status": junk}], media=[{"url": junk}, junk])))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*PAYLOAD, "status", "url"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(["message.received", "message.sent"]), st.sampled_from(list(PAYLOAD)), VALUES)
def test_any_event_is_answered(kind: str, field: str, value: Any) -> None:
    refusal(carrier()[0], hook(event(kind, **{field: value})))


@given(st.binary(max_size=100))
def test_any_body_is_answered(body: bytes) -> None:
    refusal(carrier()[0], hook(body, JSON))
    with pytest.raises(HookError):
        carrier(public_key=PUBLIC)[0].parse(hook(body, JSON))
