"""Bandwidth v2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.carriers.bandwidth import BandwidthCarrier
from sipsms.carriers.outcomes import basic
from sipsms.carriers.settings import BandwidthConfig
from sipsms.core.http_client import HttpReply, NoAnswer, NotSent
from sipsms.core.message import Accepted, Deferred, Outcome, Rejected, Scope, State, Unknown
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.carrier import Carrier, InboundMedia, InboundSms
from tests.carriers.kit import JSON, JUNK, PICTURE, ScriptedClient, delivery, hook, refusal, reply, tools


def carrier(answer: HttpReply | Exception | None = None, **changes: Any) -> tuple[BandwidthCarrier, ScriptedClient]:
    client = ScriptedClient(answer or reply({"id": "b1"}, 202))
    given_ = {
        "type": "bandwidth", "account_id": "123", "application_id": "app", "auth": {"basic": ["u", "p4ss"]},
        "inbound": {"secret": "s3cret"}, "opt_out_codes": [4999], **changes,
    }  # fmt: skip
    return BandwidthCarrier("bandwidth", BandwidthConfig.model_validate(given_), tools(client)), client


async def test_a_message_is_sent_as_bandwidth_asks() -> None:
    acme, client = carrier()
    assert await acme.send(delivery("hi 😀")) == Accepted("b1")
    await acme.send(delivery("", PICTURE))
    method, url, headers, body = client.requests[0]
    assert (method, url) == ("POST", "https://messaging.bandwidth.com/api/v2/users/123/messages")
    assert headers["Authorization"] == basic("u", "p4ss")
    both = {"applicationId": "app", "from": "+14165550000", "to": ["+15551234567"], "tag": "7"}
    assert json.loads(body) == both | {"text": "hi 😀"}
    assert json.loads(client.requests[1][3]) == both | {"text": "", "media": [PICTURE.url]}


NOTHING = Unknown("answered 202 with a body that is not understood")
OUTCOMES: list[tuple[HttpReply | Exception, Outcome]] = [
    (reply({}, 202), NOTHING),
    (reply(b'{"id": "b', 202), NOTHING),
    (reply([], 202), NOTHING),
    (reply({"type": "request-validation", "description": "p4ss hi"}, 400), Rejected("answered 400", "400")),
    (reply({}, 401), Deferred("answered 401: the carrier refuses our credentials", scope=Scope.COURIER)),
    (reply({}, 403), Deferred("answered 403: the carrier refuses our credentials", scope=Scope.COURIER)),
    (reply({}, 429, retry_after="2"), Deferred("answered 429", 2.0)),
    (reply({}, 500), Deferred("answered 500")),
    (NotSent("cannot connect"), Deferred("not sent: cannot connect", scope=Scope.COURIER)),
    (NoAnswer("no answer in time"), Unknown("no answer: no answer in time")),
]


@pytest.mark.req("D6", "F-12", "F-13")
@pytest.mark.parametrize(("answer", "outcome"), OUTCOMES)
async def test_each_answer_gives_its_outcome(answer: HttpReply | Exception, outcome: Outcome) -> None:
    acme, client = carrier(answer)
    assert await acme.send(delivery()) == outcome
    assert len(client.requests) == 1


def test_credentials_are_sent_only_to_the_host_of_the_carrier() -> None:
    acme, _ = carrier()
    own = "https://messaging.bandwidth.com/api/v2/users/123/media/a.png"
    assert acme.media_headers(own) == {"Authorization": basic("u", "p4ss")}
    assert acme.media_headers(own.replace("https", "http")) == {}
    assert acme.media_headers("https://evil.example/media/a.png") == {}


# --- in ---------------------------------------------------------------------------------------------------------------

MESSAGE: dict[str, Any] = {
    "id": "b9", "owner": "+14165550000", "to": ["+14165550000", "+14165550001"], "from": "+15551234567", "text": "hi",
    "media": ["https://messaging.bandwidth.com/a.png", "https://messaging.bandwidth.com/0.smil"], "direction": "in",
}  # fmt: skip


def event(kind: Any = "message-received", message: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "time": "x",
        "to": "+14165550000",
        "message": MESSAGE if message is None else message,
    } | changes


EXPECTED = InboundSms(
    "+15551234567", "+14165550000", "hi", "b9", (InboundMedia("https://messaging.bandwidth.com/a.png"),)
)


def test_incoming_messages_are_read() -> None:
    acme: Carrier = carrier()[0]
    parsed = acme.parse(hook([event(), event("message-news"), event(to=None)]))
    assert list(parsed.messages) == [EXPECTED, EXPECTED]
    assert parsed.reply.status == 200


RECEIPTS = [
    ("message-sending", None, State.ACCEPTED, False),
    ("message-delivered", None, State.DELIVERED, False),
    ("message-failed", 4720, State.FAILED, False),
    ("message-failed", 4999, State.FAILED, True),
]


@pytest.mark.parametrize(("kind", "code", "state", "opt_out"), RECEIPTS)
def test_receipts_are_read(kind: str, code: int | None, state: State, opt_out: bool) -> None:
    parsed = carrier()[0].parse(hook([event(kind, errorCode=code)]))
    assert list(parsed.receipts) == [CarrierReceipt("b9", state, f"{kind} {code or ''}".strip(), opt_out)]
    assert parsed.messages == ()


@pytest.mark.req("A-41", "A-42", "W-05")
def test_a_hook_without_basic_authentication_is_refused() -> None:
    acme, _ = carrier(inbound={"secret": "s", "auth": {"basic": ["me", "cb"]}})
    assert refusal(acme, hook([event()], {"authorization": basic("me", "cb")})) == 0
    for wrong in ("", basic("me", ""), basic("u", "p4ss"), "Basic"):
        assert refusal(acme, hook([event()], {"authorization": wrong})) == 401
    assert refusal(acme, hook([event()])) == 401


BAD = [{}, "x", 5, None, [event()] * 101, [event(message={})], [event("message-failed", {})], [event(message=[])]]


@pytest.mark.parametrize("body", BAD)
def test_an_unreadable_hook_is_refused(body: Any) -> None:
    assert refusal(carrier()[0], hook(body)) == 400


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: str(junk)[:10])
@pytest.mark.parametrize("field", list(MESSAGE))
def test_junk_is_refused(field: str, junk: Any) -> None:
    acme, _ = carrier()
    for kind in ("message-received", "message-failed", junk):
        refusal(acme, hook([event(kind, MESSAGE | {field: junk}), event(kind, to=junk, errorCode=junk), junk]))


@given(st.binary(max_size=100))
def test_any_body_is_answered(body: bytes) -> None:
    refusal(carrier()[0], hook(body, JSON))
