"""The carriers that are YAML files: each is loaded as it stands, then sends, receives and reads a receipt.

The answers and requests are the vendors' examples, by their documentation; the carrier is a stub on a real socket.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from sipsms.app import settings
from sipsms.carriers.registry import build
from sipsms.core.message import Accepted, Deferred, Outcome, Rejected, Scope, State, Unknown
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.carrier import Carrier, CarrierTools, HookRequest, InboundMedia, InboundSms, Part
from sipsms.web.client import AiohttpClient
from tests.carriers.kit import FORM, HOOK_URL, NOW, PICTURE, KeptMedia, delivery, hook, refusal
from tests.support.node.stub_carrier import Answer, StubCarrier, Taken

FILES = sorted((Path(__file__).parents[2] / "etc" / "carriers").glob("*.yaml"))
NAMES = ("bandwidth", "bulkvs", "flowroute", "goip", "plivo", "signalwire", "telnyx", "twilio", "voipms", "vonage")


@pytest.fixture
def stub() -> Iterator[StubCarrier]:
    with StubCarrier() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[AiohttpClient]:
    opened = AiohttpClient()
    yield opened
    await opened.close()


@pytest.fixture
def carriers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The configuration of all files, as a user's own file would have it."""
    found: dict[str, Any] = {}
    for file in FILES:
        text = file.read_text("utf-8")
        for name in re.findall(r"env:(\w+)", text):
            monkeypatch.setenv(name, "s3cret")
        copy = tmp_path / file.name
        copy.write_text(f"domain: sip.example.net\n{text}")
        found |= settings.load(copy).carriers
    return found


def made(carriers: dict[str, Any], name: str, client: Any = None, url: str = "") -> Carrier:
    options = carriers[name]
    changed = options.model_copy(update={"url": url}) if url else options
    return build(name, changed, CarrierTools(client, KeptMedia(), lambda: NOW, HOOK_URL))


def test_every_shipped_carrier_file_is_valid(carriers: dict[str, Any]) -> None:
    assert sorted(carriers) == list(NAMES)
    for name in NAMES:
        assert made(carriers, name).secret == "s3cret"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_shipped_carrier_file_names_its_page(file: Path) -> None:
    page = FILES[0].parents[2] / "docs" / "carriers" / file.with_suffix(".md").name
    assert page.exists()
    assert f"docs/carriers/{page.name}" in file.read_text("utf-8")


# --- out --------------------------------------------------------------------------------------------------------------

HOOK = f"{HOOK_URL}/s3cret"
SENT: dict[str, tuple[Any, Any]] = {
    "flowroute": (
        {"data": {"type": "message", "attributes": {
            "from": "14165550000", "to": "15551234567", "body": "hi", "dlr_callback": HOOK}}},
        {"data": {"type": "message", "attributes": {
            "from": "14165550000", "to": "15551234567", "body": "hi", "dlr_callback": HOOK, "is_mms": "true",
            "media_urls": [PICTURE.url]}}},
    ),
    "plivo": (
        {"src": "14165550000", "dst": "15551234567", "text": "hi", "type": "sms", "method": "POST", "url": HOOK},
        {"src": "14165550000", "dst": "15551234567", "text": "hi", "type": "mms", "method": "POST", "url": HOOK,
         "media_urls": [PICTURE.url]},
    ),
    "bulkvs": (
        {"From": "14165550000", "To": ["15551234567"], "Message": "hi", "delivery_status_webhook_url": HOOK},
        {"From": "14165550000", "To": ["15551234567"], "Message": "hi", "delivery_status_webhook_url": HOOK,
         "MediaURLs": [PICTURE.url]},
    ),
    "vonage": (
        {"api_key": ["YOUR_API_KEY"], "api_secret": ["s3cret"], "from": ["14165550000"], "to": ["15551234567"],
         "text": ["hi"], "type": ["unicode"], "client-ref": ["7"], "callback": [HOOK]},
        None,
    ),
}  # fmt: skip

TAKEN: dict[str, Any] = {
    "flowroute": {"data": {"id": "mdr2-1", "type": "message", "links": {"self": "x"}}},
    "plivo": {"message": "message(s) queued", "message_uuid": ["u-1"], "api_id": "a"},
    "bulkvs": {"RefId": "ref-1", "From": "1", "MessageType": "SMS",
               "Results": [{"To": "15551234567", "Status": "SUCCESS"}]},
    "vonage": {"message-count": "1", "messages": [{"to": "1", "message-id": "0C1", "status": "0"}]},
}  # fmt: skip
IDS = {"flowroute": "mdr2-1", "plivo": "u-1", "bulkvs": "ref-1", "vonage": "0C1"}


def body_of(taken: Taken) -> Any:
    return taken.json if "json" in taken.headers["content-type"] else parse_qs(taken.body.decode())


@pytest.mark.parametrize("name", SENT)
async def test_a_message_is_sent_as_each_carrier_asks(
    name: str, carriers: dict[str, Any], stub: StubCarrier, client: AiohttpClient
) -> None:
    stub.default = Answer(200, TAKEN[name])
    acme = made(carriers, name, client, stub.url)
    assert await acme.send(delivery("hi")) == Accepted(IDS[name])
    text, picture = SENT[name]
    if picture is not None:
        assert await acme.send(delivery("hi", PICTURE)) == Accepted(IDS[name])
    assert [body_of(taken) for taken in stub.taken] == [one for one in (text, picture) if one is not None]
    assert name == "vonage" or stub.taken[0].headers["authorization"].startswith("Basic ")


def vonage(status: str) -> Any:
    return {"message-count": "1", "messages": [{"status": status, "error-text": "s3cret hi"}]}


DOWN = {"scope": Scope.COURIER}
ANSWERS: list[tuple[str, Answer, Outcome]] = [
    ("flowroute", Answer(401, {}), Deferred("answered 401", **DOWN)),
    ("flowroute", Answer(403, {}), Deferred("answered 403", **DOWN)),
    ("flowroute", Answer(422, {"errors": [{}]}), Rejected("answered 422", "422")),
    ("flowroute", Answer(429, {}, {"Retry-After": "5"}), Deferred("answered 429", 5.0)),
    ("plivo", Answer(402, {}), Deferred("answered 402", **DOWN)),
    ("plivo", Answer(400, {"error": "s3cret"}), Rejected("answered 400", "400")),
    ("bulkvs", Answer(200, {"RefId": "r", "Results": [{"Status": "FAILED"}]}), Rejected("answered FAILED", "FAILED")),
    ("bulkvs", Answer(200, {"RefId": "r"}), Unknown("answered 200 without a word at Results.0.Status")),
    ("bulkvs", Answer(401, {}), Deferred("answered 401", **DOWN)),
    ("vonage", Answer(200, vonage("1")), Deferred("answered 1")),
    ("vonage", Answer(200, vonage("4")), Deferred("answered 4", **DOWN)),
    ("vonage", Answer(200, vonage("9")), Deferred("answered 9", **DOWN)),
    ("vonage", Answer(200, vonage("7")), Rejected("answered 7", "7")),
    ("vonage", Answer(200, vonage("3")), Rejected("answered 3", "3")),
    ("vonage", Answer(200, {"message-count": "0", "messages": []}),
     Unknown("answered 200 without a word at messages.0.status")),
    ("vonage", Answer(200, b"<html>"), Unknown("answered 200 with a body that is not JSON")),
]  # fmt: skip


@pytest.mark.req("D6", "F-12")
@pytest.mark.parametrize(("name", "answer", "outcome"), ANSWERS)
async def test_each_answer_gives_its_outcome(
    name: str, answer: Answer, outcome: Outcome, carriers: dict[str, Any], stub: StubCarrier, client: AiohttpClient
) -> None:
    stub.default = answer
    assert await made(carriers, name, client, stub.url).send(delivery()) == outcome


# --- in ---------------------------------------------------------------------------------------------------------------


def plivo(fields: dict[str, str], key: str = "s3cret") -> HookRequest:
    """As Plivo signs messages: MA-V3."""
    signed = f"{HOOK}?{''.join(k + v for k, v in sorted(fields.items()))}.n1"
    signature = b64encode(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()).decode()
    headers = {**FORM, "x-plivo-signature-ma-v3": signature, "x-plivo-signature-v3-nonce": "n1"}
    return hook(urlencode(fields).encode(), headers)


def flowroute(kind: str = "message", **attributes: Any) -> dict[str, Any]:
    usual = {"direction": "inbound", "from": "15551234567", "to": "14165550000", "body": "hé", "status": "delivered"}
    return {"data": {"attributes": usual | attributes, "id": "mdr2-9", "type": kind}}


INCLUDED = [{"attributes": {"url": "https://h.example/a.png", "mime_type": "image/png", "file_name": "a.png"}}]
SMS = {"From": "15551234567", "To": "14165550000", "MessageUUID": "u-9"}
VONAGE = {"msisdn": "15551234567", "to": "14165550000", "messageId": "0B9", "text": "hé", "type": "unicode"}
A = "https://h.example/a.png"


def came(text: str, remote_id: str, *media: InboundMedia, part: Part | None = None) -> InboundSms:
    return InboundSms("15551234567", "14165550000", text, remote_id, media, part)


MESSAGES: list[tuple[str, HookRequest, InboundSms]] = [
    ("flowroute", hook(flowroute()), came("hé", "mdr2-9")),
    ("flowroute", hook(flowroute(is_mms=True) | {"included": INCLUDED}),
     came("hé", "mdr2-9", InboundMedia(A, "image/png", "a.png"))),
    ("plivo", plivo({**SMS, "Text": "hé", "Type": "sms"}), came("hé", "u-9")),
    ("plivo", plivo({**SMS, "Body": "hé", "Type": "mms", "MediaCount": "1", "Media1": A}),
     came("hé", "u-9", InboundMedia(A))),
    ("plivo", plivo({**SMS, "Type": "mms", "MediaCount": "1", "Media0": A}), came("", "u-9", InboundMedia(A))),
    ("bulkvs", hook({"From": "15551234567", "To": ["14165550000"], "Message": "hé"}), came("hé", "")),
    ("bulkvs", hook({"From": "15551234567", "To": ["14165550000"], "Message": "", "MediaURLs": [A, f"{A}.smil"]}),
     came("", "", InboundMedia(A))),
    ("vonage", hook(VONAGE), came("hé", "0B9")),
    ("vonage", hook(urlencode(VONAGE).encode(), FORM), came("hé", "0B9")),
    ("vonage", HookRequest("GET", VONAGE, {}, b""), came("hé", "0B9")),
    ("vonage", hook({**VONAGE, "concat": "true", "concat-ref": "08B5", "concat-total": "3", "concat-part": "2"}),
     came("hé", "0B9", part=Part("08B5", 2, 3))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "request_", "expected"), MESSAGES)
def test_messages_are_read(name: str, request_: HookRequest, expected: InboundSms, carriers: dict[str, Any]) -> None:
    parsed = made(carriers, name).parse(request_)
    assert (list(parsed.messages), list(parsed.receipts)) == ([expected], [])
    assert (parsed.reply.status, parsed.reply.body) == ((204, "") if name == "vonage" else (200, "ok"))


def dlr(status: str, code: Any = None) -> dict[str, Any]:
    return {"data": {"attributes": {"status": status, "status_code": code}, "id": "r", "type": "delivery_receipt"}}


def failed(detail: str, *, opt_out: bool = False) -> CarrierReceipt:
    return CarrierReceipt("r", State.FAILED, detail, opt_out)


RECEIPTS: list[tuple[str, HookRequest, CarrierReceipt]] = [
    ("flowroute", hook(dlr("message buffered", 1003)), CarrierReceipt("r", State.ACCEPTED, "message buffered 1003")),
    ("flowroute", hook(dlr("delivered")), CarrierReceipt("r", State.DELIVERED, "delivered")),
    ("flowroute", hook(dlr("smsc rejected", "2")), failed("smsc rejected 2")),
    ("plivo", plivo({"MessageUUID": "r", "Status": "delivered"}), CarrierReceipt("r", State.DELIVERED, "delivered")),
    ("plivo", plivo({"MessageUUID": "r", "Status": "failed", "ErrorCode": "200"}), failed("failed 200", opt_out=True)),
    ("plivo", plivo({"MessageUUID": "r", "Status": "undelivered", "ErrorCode": "30"}), failed("undelivered 30")),
    ("bulkvs", hook({"DeliveryReceipt": True, "RefId": "r", "Status": "DELIVRD"}),
     CarrierReceipt("r", State.DELIVERED, "DELIVRD")),
    ("vonage", hook({"msisdn": "1", "to": "2", "messageId": "r", "status": "delivered", "err-code": "0"}),
     CarrierReceipt("r", State.DELIVERED, "delivered 0")),
    ("vonage", HookRequest("GET", {"messageId": "r", "status": "expired", "err-code": "3"}, {}, b""),
     CarrierReceipt("r", State.EXPIRED, "expired 3")),
    ("vonage", hook({"messageId": "r", "status": "rejected", "err-code": 7}), failed("rejected 7")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "request_", "expected"), RECEIPTS)
def test_receipts_are_read(
    name: str, request_: HookRequest, expected: CarrierReceipt, carriers: dict[str, Any]
) -> None:
    parsed = made(carriers, name).parse(request_)
    assert (list(parsed.messages), list(parsed.receipts)) == ([], [expected])


@pytest.mark.req("A-41", "A-42", "W-05")
def test_a_plivo_hook_without_signature_is_refused(carriers: dict[str, Any]) -> None:
    acme = made(carriers, "plivo")
    fields = {**SMS, "Text": "hi"}
    assert refusal(acme, plivo(fields)) == 0
    assert refusal(acme, plivo(fields, "other")) == 401
    assert refusal(acme, hook(urlencode(fields).encode(), FORM)) == 401
    assert refusal(acme, hook(plivo(fields).body + b"&x=", plivo(fields).headers)) == 401


def test_an_empty_vonage_hook_is_answered(carriers: dict[str, Any]) -> None:
    assert made(carriers, "vonage").parse(HookRequest("GET", {}, {}, b"")).reply.status == 204


@pytest.mark.req("A-41", "W-05")
def test_a_vonage_signature_is_checked_if_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comment of the file, taken away."""
    text = next(file for file in FILES if file.stem == "vonage").read_text("utf-8")
    for name in re.findall(r"env:(\w+)", text):
        monkeypatch.setenv(name, "s3cret")
    copy = tmp_path / "vonage.yaml"
    copy.write_text("domain: a\n" + text.replace("# signature:", "signature:"))
    acme = made(dict(settings.load(copy).carriers), "vonage")
    assert refusal(acme, hook(VONAGE)) == 401
    fields = {**VONAGE, "timestamp": str(int(NOW))}
    signed = "".join(f"&{k}={v}" for k, v in sorted(fields.items()))
    sig = hmac.new(b"s3cret", signed.encode(), hashlib.sha256).hexdigest().upper()
    for request in (
        hook(json.dumps({**fields, "sig": sig}).encode(), {"content-type": "application/json"}),
        hook(urlencode({**fields, "sig": sig}).encode(), FORM),
        HookRequest("GET", {**fields, "sig": sig}, {}, b"", HOOK, NOW),
    ):
        assert refusal(acme, request) == 0
