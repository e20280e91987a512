"""Twilio and SignalWire."""

from __future__ import annotations

import hmac
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sipsms.carriers.outcomes import basic
from sipsms.carriers.settings import TwilioConfig
from sipsms.carriers.twilio import TwilioCarrier
from sipsms.core.http_client import HttpReply, NoAnswer, NotSent
from sipsms.core.message import Accepted, Deferred, Outcome, Rejected, Scope, State, Unknown
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.carrier import Carrier, HookReply, HookRequest, InboundMedia, InboundSms
from tests.carriers.kit import FORM, HOOK_URL, JSON, PICTURE, ScriptedClient, delivery, hook, refusal, reply, tools

SID = "AC00000000000000000000000000000000"
URL = f"{HOOK_URL}/s3cret"


def carrier(answer: HttpReply | Exception | None = None, **changes: Any) -> tuple[TwilioCarrier, ScriptedClient]:
    client = ScriptedClient(answer or reply({"sid": "SM1", "status": "queued"}, 201))
    given_ = {"type": "twilio", "account_sid": SID, "auth_token": "t0ken", "inbound": {"secret": "s3cret"}, **changes}
    return TwilioCarrier("twilio", TwilioConfig.model_validate(given_), tools(client)), client


async def test_a_message_is_sent_as_twilio_asks() -> None:
    acme, client = carrier()
    assert await acme.send(delivery("hi & {x} 😀")) == Accepted("SM1")
    method, url, headers, body = client.requests[0]
    assert (method, url) == ("POST", f"https://api.twilio.com/2010-04-01/Accounts/{SID}/Messages.json")
    assert headers["Authorization"] == basic(SID, "t0ken")
    assert parse_qs(body.decode()) == {
        "From": ["+14165550000"], "To": ["+15551234567"], "Body": ["hi & {x} 😀"], "StatusCallback": [URL],
    }  # fmt: skip


async def test_media_and_a_messaging_service_are_sent() -> None:
    acme, client = carrier(messaging_service_sid="MG00000000", inbound=None)
    await acme.send(delivery("", PICTURE, PICTURE))
    assert parse_qs(client.requests[0][3].decode()) == {
        "From": ["+14165550000"], "To": ["+15551234567"], "MessagingServiceSid": ["MG00000000"],
        "MediaUrl": [PICTURE.url, PICTURE.url],
    }  # fmt: skip


async def test_an_api_key_authenticates() -> None:
    acme, client = carrier(auth_token=None, api_key_sid="SK00000000", api_key_secret="k", inbound=None)
    await acme.send(delivery())
    assert client.requests[0][2]["Authorization"] == basic("SK00000000", "k")


async def test_signalwire_is_sent_to_its_own_url() -> None:
    acme, client = carrier(url="https://x.signalwire.com/api/laml", account_sid="0000-0000-0000")
    await acme.send(delivery())
    assert client.requests[0][1] == (
        "https://x.signalwire.com/api/laml/2010-04-01/Accounts/0000-0000-0000/Messages.json"
    )


def failed(status: int, code: Any, **headers: str) -> HttpReply:
    return reply({"code": code, "message": "t0ken hi", "status": status}, status, **headers)


NOTHING = Unknown("answered 201 with a body that is not understood")
OUTCOMES: list[tuple[HttpReply | Exception, Outcome]] = [
    (reply({"sid": "SM1", "status": "failed", "error_code": 30007}, 201), Rejected("refused, error 30007", "30007")),
    (reply({"sid": "SM1", "status": "failed", "error_code": 21610}, 201),
     Rejected("refused, error 21610", "21610", opt_out=True)),
    (reply({"status": "queued"}, 201), NOTHING),
    (reply(b'{"sid": "SM', 201), NOTHING),
    (reply(b"", 201), NOTHING),
    (reply([], 201), NOTHING),
    (failed(400, 21610), Rejected("answered 400, error 21610", "21610", opt_out=True)),
    (failed(400, 21211), Rejected("answered 400, error 21211", "21211")),
    (failed(400, 30001), Deferred("answered 400, error 30001")),
    (failed(401, 20003), Deferred("answered 401, error 20003", scope=Scope.COURIER)),
    (failed(403, 20005), Deferred("answered 403, error 20005", scope=Scope.COURIER)),
    (failed(429, 20429, retry_after="4"), Deferred("answered 429, error 20429", 4.0)),
    (failed(401, None), Deferred("answered 401: the carrier refuses our credentials", scope=Scope.COURIER)),
    (reply(b"", 503), Deferred("answered 503")),
    (reply(b"", 404), Rejected("answered 404", "404")),
    (NotSent("cannot connect"), Deferred("not sent: cannot connect", scope=Scope.COURIER)),
    (NoAnswer("no answer in time"), Unknown("no answer: no answer in time")),
]  # fmt: skip


@pytest.mark.req("D6", "F-12", "F-13")
@pytest.mark.parametrize(("answer", "outcome"), OUTCOMES)
async def test_each_answer_gives_its_outcome(answer: HttpReply | Exception, outcome: Outcome) -> None:
    acme, client = carrier(answer)
    assert await acme.send(delivery()) == outcome
    assert len(client.requests) == 1


def test_credentials_are_sent_only_to_the_host_of_the_carrier() -> None:
    acme, _ = carrier()
    own = {"Authorization": basic(SID, "t0ken")}
    assert acme.media_headers(f"https://api.twilio.com/2010-04-01/Accounts/{SID}/Messages/MM1/Media/ME1") == own
    for url in (
        "http://api.twilio.com/x", "https://api.twilio.com:444/x", "https://api.twilio.com.evil.example/x",
        "https://evil.example/https://api.twilio.com/", "https://api.twilio.com@evil.example/", "https://[", "",
    ):  # fmt: skip
        assert acme.media_headers(url) == {}


WRONG = [
    {"auth_token": None},
    {"api_key_sid": "SK00000000"},
    {"auth_token": None, "api_key_sid": "SK00000000", "api_key_secret": "k"},
    {"account_sid": "../../x"},
]


@pytest.mark.parametrize("changes", WRONG)
def test_an_invalid_configuration_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        carrier(**changes)


# --- in ---------------------------------------------------------------------------------------------------------------


def signed(fields: dict[str, str], key: str = "t0ken", url: str = URL, **headers: str) -> HookRequest:
    text = url + "".join(name + value for name, value in sorted(fields.items()))
    signature = b64encode(hmac.new(key.encode(), text.encode(), "sha1").digest()).decode()
    return hook(urlencode(fields).encode(), {**FORM, "x-twilio-signature": signature, **headers})


MESSAGE = {"MessageSid": "SM9", "SmsStatus": "received", "From": "+15551234567", "To": "+14165550000", "Body": "hé 😀",
           "NumMedia": "0"}  # fmt: skip
PARTS = {"NumMedia": "2", "MediaUrl0": "https://api.twilio.com/a", "MediaContentType0": "image/png",
         "MediaUrl1": "https://api.twilio.com/b", "MediaContentType1": "video/mp4"}  # fmt: skip


def test_an_incoming_message_is_read() -> None:
    acme: Carrier = carrier()[0]
    parsed = acme.parse(signed(MESSAGE))
    assert list(parsed.messages) == [InboundSms("+15551234567", "+14165550000", "hé 😀", "SM9")]
    assert parsed.reply == HookReply(200, "<Response/>", "text/xml")


def test_media_of_incoming_messages_are_read() -> None:
    (message,) = carrier()[0].parse(signed(MESSAGE | PARTS | {"Body": ""})).messages
    assert message.media == (
        InboundMedia("https://api.twilio.com/a", "image/png"),
        InboundMedia("https://api.twilio.com/b", "video/mp4"),
    )


RECEIPTS = [
    ("queued", "", State.ACCEPTED, False), ("sent", "", State.ACCEPTED, False),
    ("delivered", "", State.DELIVERED, False), ("read", "", State.DELIVERED, False),
    ("undelivered", "30005", State.FAILED, False), ("failed", "21610", State.FAILED, True),
    ("canceled", "", State.FAILED, False), ("a new word", "", State.ACCEPTED, False),
]  # fmt: skip


@pytest.mark.parametrize(("word", "code", "state", "opt_out"), RECEIPTS)
def test_receipts_are_read(word: str, code: str, state: State, opt_out: bool) -> None:
    fields = {"MessageSid": "SM9", "MessageStatus": word, **({"ErrorCode": code} if code else {})}
    parsed = carrier()[0].parse(signed(fields))
    assert list(parsed.receipts) == [CarrierReceipt("SM9", state, f"{word} {code}".strip(), opt_out)]
    assert parsed.messages == ()


@pytest.mark.req("A-41", "A-42", "W-05")
def test_a_hook_without_signature_is_refused() -> None:
    acme, _ = carrier()
    good = signed(MESSAGE)
    assert refusal(acme, good) == 0
    assert refusal(acme, signed(MESSAGE, "other")) == 401
    assert refusal(acme, signed(MESSAGE, url=URL + "/")) == 401
    assert refusal(acme, hook(good.body, FORM)) == 401
    assert refusal(acme, hook(good.body + b"&x=1", good.headers)) == 401
    assert refusal(acme, hook(good.body, {**good.headers, **JSON})) == 415
    assert refusal(acme, HookRequest("GET", MESSAGE, good.headers, b"", URL)) == 401


def test_a_separate_signing_key_is_used() -> None:
    acme, _ = carrier(signing_key="PSK", url="https://x.signalwire.com/api/laml")
    assert refusal(acme, signed(MESSAGE, "PSK")) == 0
    assert refusal(acme, signed(MESSAGE)) == 401


@pytest.mark.parametrize("missing", ["MessageSid", "From", "To"])
def test_a_hook_with_missing_fields_is_refused(missing: str) -> None:
    assert refusal(carrier()[0], signed({k: v for k, v in MESSAGE.items() if k != missing})) == 400


@given(st.dictionaries(st.sampled_from([*MESSAGE, *PARTS, "MessageStatus"]), st.text(st.characters(codec="utf-8"))))
def test_any_form_is_answered(fields: dict[str, str]) -> None:
    refusal(carrier()[0], signed(fields))


@given(st.binary(max_size=100), st.sampled_from([FORM, JSON, {}]))
def test_any_body_is_answered(body: bytes, headers: dict[str, str]) -> None:
    assert refusal(carrier()[0], hook(body, headers)) in (400, 401, 415)
