"""The declarative carrier beyond its first options: words, media, parts, receipts, signatures, who may call."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sipsms.carriers.http_api import HttpCarrier
from sipsms.carriers.outcomes import basic
from sipsms.carriers.settings import HttpCarrierConfig
from sipsms.core.http_client import HttpReply
from sipsms.core.message import Accepted, Deferred, Outcome, Rejected, Scope, State, Unknown
from sipsms.core.queue_rows import CarrierReceipt
from sipsms.messaging.carrier import HookRequest, InboundMedia, Part
from tests.carriers.kit import FORM, HOOK_URL, JSON, JUNK, NOW, PICTURE, ScriptedClient, delivery, hook, refusal
from tests.carriers.kit import reply as answered
from tests.carriers.kit import tools as given_tools


def carrier(answer: HttpReply | None = None, **changes: Any) -> tuple[HttpCarrier, ScriptedClient]:
    client = ScriptedClient(answer or answered({}))
    given_ = {"type": "http", "url": "https://api.acme.example/send", **changes}
    return HttpCarrier("acme", HttpCarrierConfig.model_validate(given_), given_tools(client)), client


def inbound(**options: Any) -> HttpCarrier:
    return carrier(inbound={"secret": "s3cret", **options})[0]


# --- out --------------------------------------------------------------------------------------------------------------

WORDS = {
    "status": [200],
    "id": "id",
    "word": "word",
    "words": {"0": "taken", "busy": "later", "locked": "down", "never": "refused", "stop": "opt_out", "hm": "unknown"},
    "statuses": {"401": "down", "404": "later", "403": "opt_out"},
}

MEANT: list[tuple[HttpReply, Outcome]] = [
    (answered({"word": "0", "id": "r"}), Accepted("r")),
    (answered({"word": 0, "id": 5}), Accepted("5")),
    (answered({"word": "0"}), Accepted("")),
    (answered({"word": "busy"}, retry_after="9"), Deferred("answered busy", 9.0)),
    (answered({"word": "locked"}), Deferred("answered locked", scope=Scope.COURIER)),
    (answered({"word": "never"}), Rejected("answered never", "never")),
    (answered({"word": "stop"}), Rejected("answered stop", "stop", opt_out=True)),
    (answered({"word": "hm"}), Unknown("answered hm")),
    (answered({"word": "else"}), Unknown("answered else")),
    (answered({"word": "hi there, {text}"}), Unknown("answered no plain word")),
    (answered({}), Unknown("answered 200 without a word at word")),
    (answered({"word": None}), Unknown("answered 200 without a word at word")),
    (answered(b'{"word": "0'), Unknown("answered 200 with a body that is not JSON")),
    (answered({}, 401), Deferred("answered 401", scope=Scope.COURIER)),
    (answered({}, 403), Rejected("answered 403", "403", opt_out=True)),
    (answered({}, 404), Deferred("answered 404")),
    (answered({"word": "stop"}, 400), Rejected("answered stop", "stop", opt_out=True)),
    (answered({"word": "else"}, 400), Rejected("answered 400", "400")),
    (answered({"word": "0", "id": "r"}, 503), Accepted()),
]


@pytest.mark.req("D6", "F-12")
@pytest.mark.parametrize(("answer", "outcome"), MEANT)
async def test_words_and_statuses_give_their_outcome(answer: HttpReply, outcome: Outcome) -> None:
    assert await carrier(answer, ok=WORDS)[0].send(delivery()) == outcome


async def test_an_unknown_word_gives_the_outcome_other() -> None:
    acme, _ = carrier(answered({"word": "else"}), ok={**WORDS, "other": "refused"})
    assert await acme.send(delivery()) == Rejected("answered else", "else")


MEDIA = {"mms": True, "media": {"field": "mms.urls", "fields": {"kind": "mms"}}}


async def test_media_are_sent_in_json() -> None:
    acme, client = carrier(fields={"to": "{to}", "kind": "sms"}, **MEDIA)
    await acme.send(delivery("hi"))
    await acme.send(delivery("hi", PICTURE, PICTURE))
    assert [json.loads(body) for _, _, _, body in client.requests] == [
        {"to": "5551234567", "kind": "sms"},
        {"to": "5551234567", "kind": "mms", "mms": {"urls": [PICTURE.url, PICTURE.url]}},
    ]


@pytest.mark.parametrize("body", ["form", "query"])
async def test_media_are_sent_as_repeated_form_fields(body: str) -> None:
    acme, client = carrier(body=body, fields={"to": "{to}"}, mms=True, media={"field": "url"})
    await acme.send(delivery("hi", PICTURE, PICTURE))
    _, url, _, sent = client.requests[0]
    assert parse_qs(sent.decode() or urlsplit(url).query)["url"] == [PICTURE.url, PICTURE.url]


async def test_media_are_rejected_by_a_carrier_without_mms() -> None:
    acme, client = carrier()
    assert await acme.send(delivery("hi", PICTURE)) == Rejected("the carrier takes no media")
    assert client.requests == []


async def test_the_url_of_the_hook_is_sent() -> None:
    acme, client = carrier(fields={"to": "{to}"}, hook_field="dlr.url", inbound={"secret": "s3cret"})
    await acme.send(delivery())
    assert json.loads(client.requests[0][3])["dlr"] == {"url": f"{HOOK_URL}/s3cret"}


async def test_credentials_may_stand_in_the_query() -> None:
    acme, client = carrier(auth={"query": {"key": "a&b", "secret": "ü"}}, url="https://a.example/x?v=1")
    await acme.send(delivery())
    assert dict(parse_qsl(urlsplit(client.requests[0][1]).query)) == {"v": "1", "key": "a&b", "secret": "ü"}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"mms": True}, "`mms: true` needs `media`"),
    ({"auth": {"bearer": "a", "query": {"b": "c"}}}, "expected one of"),
    ({"ok": {"words": {"a": "taken"}}}, "`words` needs `word`"),
    ({"ok": {"statuses": {"teapot": "down"}}}, "pattern"),
    ({"inbound": {"secret": "s", "media": {"url": "Media"}}}, "expected `items"),
    ({"media": {"field": "to.urls"}}, "claim the same place"),
    ({"body": "form", "media": {"field": "m", "fields": {"x": [1]}}}, "are flat"),
    ({"inbound": {"secret": "s", "fields": {"from": []}}}, "at least 1"),
]


@pytest.mark.parametrize(("changes", "why"), WRONG)
def test_an_invalid_configuration_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        carrier(**changes)


# --- in ---------------------------------------------------------------------------------------------------------------

SMS = {"from": "5551234567", "to": "4165550000", "text": "hi"}


def test_the_first_present_field_is_read() -> None:
    acme = inbound(fields={"from": ["src", "from"], "to": "to", "text": ["Text", "Body"]})
    parsed = acme.parse(hook({"from": "5551234567", "to": "4165550000", "Body": "hi"}))
    assert [one.text for one in parsed.messages] == ["hi"]
    assert refusal(acme, hook({"from": "1", "to": "2"})) == 400


A, B = "https://h.example/a.png", "https://h.example/b.jpg"
FOUND = (InboundMedia(A, "image/png", "a.png"), InboundMedia(B))

MEDIA_IN: list[tuple[dict[str, Any], dict[str, Any], Any]] = [
    ({"items": "m"}, {"m": [A, B]}, (InboundMedia(A), InboundMedia(B))),
    ({"items": "m", "url": "u.v", "type": "t", "name": "n"},
     {"m": [{"u": {"v": A}, "t": "image/png; x=1", "n": "a.png"}, {"u": {"v": B}}]}, FOUND),
    ({"url": "Media{n}", "type": "Type{n}", "name": "Name{n}"},
     {"Media1": A, "Type1": "image/png", "Name1": "a.png", "Media2": B}, FOUND),
    ({"url": "Media{n}"}, {"Media0": A, "Media1": B}, (InboundMedia(A), InboundMedia(B))),
    ({"items": "m"}, {}, ()),
    ({"items": "m"}, {"m": "x"}, ()),
    ({"items": "m"}, {"m": [None, 5, {}, "", "ftp://h/x", "https:///x", "http://[", f"{A} x", "https://h/" + "x" * 3000,
                            "https://h/l.smil"]}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("where", "fields", "media"), MEDIA_IN)
def test_media_of_incoming_messages_are_read(where: dict[str, Any], fields: dict[str, Any], media: Any) -> None:
    (message,) = inbound(media=where).parse(hook(SMS | fields)).messages
    assert tuple(message.media) == media


def test_an_mms_without_text_is_accepted() -> None:
    acme = inbound(media={"items": "m"})
    assert acme.parse(hook({"from": "1", "to": "2", "m": [A]})).messages[0].text == ""
    assert refusal(acme, hook({"from": "1", "to": "2", "m": []})) == 400


PARTS: list[tuple[dict[str, Any], Part | int | None]] = [
    ({"ref": "a", "n": "2", "of": "3"}, Part("a", 2, 3)),
    ({"ref": 7, "n": 1, "of": 255}, Part("7", 1, 255)),
    ({}, None),
    ({"ref": "a", "n": "1", "of": "1"}, None),
    ({"ref": "a", "n": "0", "of": "3"}, 400),
    ({"ref": "a", "n": "4", "of": "3"}, 400),
    ({"ref": "a", "n": "x", "of": "3"}, 400),
    ({"ref": "a", "n": "1", "of": "99999999"}, 400),
    ({"ref": "a", "n": "1", "of": "٣"}, 400),
]


@pytest.mark.parametrize(("fields", "expected"), PARTS)
def test_parts_of_long_texts_are_read(fields: dict[str, Any], expected: Part | int | None) -> None:
    acme = inbound(part={"reference": "ref", "number": "n", "total": "of"})
    if isinstance(expected, int):
        assert refusal(acme, hook(SMS | fields)) == expected
    else:
        assert acme.parse(hook(SMS | fields)).messages[0].part == expected


RECEIPTS = {"detail": "code", "states": {"sent": "accepted", "delivered": "delivered", "failed": "failed"},
            "opt_out": ["21"]}  # fmt: skip

GIVEN: list[tuple[dict[str, Any], CarrierReceipt]] = [
    ({"id": "r", "status": "delivered"}, CarrierReceipt("r", State.DELIVERED, "delivered")),
    ({"id": 5, "status": "DELIVERED"}, CarrierReceipt("5", State.DELIVERED, "DELIVERED")),
    ({"id": "r", "status": "sent"}, CarrierReceipt("r", State.ACCEPTED, "sent")),
    ({"id": "r", "status": "failed", "code": 9}, CarrierReceipt("r", State.FAILED, "failed 9")),
    ({"id": "r", "status": "failed", "code": "21"}, CarrierReceipt("r", State.FAILED, "failed 21", opt_out=True)),
    ({"id": "r", "status": "news"}, CarrierReceipt("r", State.ACCEPTED, "news")),
    ({"id": "r", "status": ["?"]}, CarrierReceipt("r", State.ACCEPTED, "")),
]


@pytest.mark.parametrize(("fields", "receipt"), GIVEN)
def test_receipts_are_read(fields: dict[str, Any], receipt: CarrierReceipt) -> None:
    parsed = inbound(receipts=RECEIPTS).parse(hook(fields))
    assert (list(parsed.receipts), list(parsed.messages)) == ([receipt], [])


def test_receipts_and_messages_are_told_apart() -> None:
    acme = inbound(receipts={**RECEIPTS, "when": {"dlr": ["true"]}}, when={"dir": ["in"]})
    both = SMS | {"id": "r", "status": "delivered"}
    assert len(acme.parse(hook(both | {"dlr": True})).receipts) == 1
    assert len(acme.parse(hook(both | {"dlr": False, "dir": "in"})).messages) == 1
    neither = acme.parse(hook(both | {"dlr": False, "dir": "out"}))
    assert (len(neither.messages), len(neither.receipts), neither.reply.body) == (0, 0, "ok")


def test_a_receipt_without_id_is_refused() -> None:
    assert refusal(inbound(receipts=RECEIPTS), hook({"status": "sent"})) == 400


def test_an_empty_request_is_answered_only_if_ping_is_configured() -> None:
    empty = HookRequest("GET", {}, {}, b"")
    assert refusal(inbound(), empty) == 400
    assert inbound(ping=True).parse(empty).reply.body == "ok"


# --- who calls --------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-41")
def test_basic_authentication_of_the_hook_is_checked() -> None:
    acme = inbound(auth={"basic": ["u", "p"]})
    assert refusal(acme, hook(SMS, {"authorization": basic("u", "p")})) == 0
    for wrong in ("", basic("u", "q"), basic("u", ""), "Basic", "Bearer p", "Basic \xff"):
        assert refusal(acme, hook(SMS, {"authorization": wrong})) == 401


def signed(body: bytes, key: bytes = b"k", stamp: str | None = None) -> str:
    content = body if stamp is None else stamp.encode() + b"." + body
    return hmac.new(key, content, hashlib.sha256).hexdigest()


BODY = json.dumps(SMS).encode()


@pytest.mark.req("A-41", "A-42", "W-05")
def test_a_hmac_of_the_body_is_checked() -> None:
    acme = inbound(signature={"kind": "hmac-sha256", "key": "k", "prefix": "sha256=", "header": "X-Hub"})
    good = f"sha256={signed(BODY)}"
    assert refusal(acme, hook(BODY, {**JSON, "x-hub": good})) == 0
    for wrong in ("", "sha256=", signed(BODY), f"sha256={signed(BODY, b'')}", good[:-1], good.upper(), "\xff"):
        assert refusal(acme, hook(BODY, {**JSON, "x-hub": wrong})) == 401
    assert refusal(acme, hook(BODY + b" ", {**JSON, "x-hub": good})) == 401


@pytest.mark.req("W-05", "A-42", "A-49")
@pytest.mark.parametrize(("off", "status"), [(0, 0), (299, 0), (-299, 0), (301, 401), (-301, 401), (86400, 401)])
def test_a_hmac_with_a_timestamp_is_checked(off: int, status: int) -> None:
    acme = inbound(signature={"kind": "hmac-sha256", "key": "k", "timestamp": "X-Time"})
    stamp = str(int(NOW) + off)
    headers = {**JSON, "x-signature": signed(BODY, stamp=stamp), "x-time": stamp}
    assert refusal(acme, hook(BODY, headers)) == status
    assert refusal(acme, hook(BODY, {**headers, "x-time": str(int(NOW) + 1)})) == 401
    assert refusal(acme, hook(BODY, {**headers, "x-time": "soon"})) == 401


QUERY = {name: str(value) for name, value in SMS.items()}


@pytest.mark.req("A-42", "W-05")
@pytest.mark.parametrize("stamp", [None, str(int(NOW))])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_hmac_of_no_body_does_not_sign_the_query(method: str, stamp: str | None) -> None:
    """A signature of an empty body, once seen, would admit any message in the query."""
    acme = inbound(ping=True, signature={"kind": "hmac-sha256", "key": "k", "timestamp": stamp and "X-Time"})
    headers = {"x-signature": signed(b"", stamp=stamp), "x-time": stamp or ""}
    assert refusal(acme, hook(b"", headers, QUERY, method)) == 401
    assert refusal(acme, hook(b"", headers, {}, method)) == 0, "a ping has nothing to sign"


@pytest.mark.req("A-42", "W-05")
@pytest.mark.parametrize(
    ("method", "body", "kind", "status"),
    [
        ("GET", b"", {}, 0),
        ("POST", b"", {}, 0),
        ("GET", urlencode(QUERY).encode(), FORM, 401),
        ("GET", BODY, JSON, 401),
        ("POST", BODY, JSON, 401),
        ("POST", urlencode(QUERY).encode(), {}, 401),
    ],
)
def test_a_body_that_plivo_does_not_sign_is_refused(
    method: str, body: bytes, kind: dict[str, str], status: int
) -> None:
    """Plivo signs URL, fields of a form and nonce ("Signature validation", V3); a GET has no body."""
    acme = inbound(signature={"kind": "plivo", "key": "k"})
    url = f"{HOOK_URL}/s3cret?" + "&".join(f"{name}={value}" for name, value in sorted(QUERY.items()))
    made = b64encode(hmac.digest(b"k", f"{url}.n1".encode(), hashlib.sha256)).decode()
    headers = {**kind, "x-plivo-signature-v3": made, "x-plivo-signature-v3-nonce": "n1"}
    assert refusal(acme, hook(body, headers, QUERY, method, url)) == status


ALL: dict[str, Any] = {
    "media": {"items": "media", "url": "url", "type": "type"},
    "part": {"reference": "ref", "number": "n", "total": "of"},
    "receipts": RECEIPTS,
    "when": {"from": ["5551234567"]},
}


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: str(junk)[:10])
@pytest.mark.parametrize("field", ["from", "to", "text", "media", "ref", "n", "of", "status", "id", "code"])
def test_junk_is_refused(field: str, junk: Any) -> None:
    acme = inbound(**ALL)
    refusal(acme, hook(SMS | {"ref": "a", "n": "1", "of": "2"} | {field: junk}))
    refusal(acme, hook({"status": "sent", "id": "r", field: junk}))
    refusal(acme, hook(SMS | {"media": [{"url": junk, "type": junk}, junk]}))
    refusal(acme, hook(junk if not isinstance(junk, bytes) else None))


KINDS = [{}, {"signature": {"kind": "plivo", "key": "k"}}, {"signature": {"kind": "vonage", "key": "k"}}]


@given(st.binary(max_size=200), st.sampled_from([FORM, JSON, {}]), st.sampled_from(KINDS))
def test_any_body_is_answered(body: bytes, headers: dict[str, str], options: dict[str, Any]) -> None:
    refusal(inbound(**ALL | options), hook(body, headers))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["from", "to", "text", "media", "status", "id", "sig", "url", "0"]), inner,
                        max_size=5)))  # fmt: skip
def test_any_json_is_answered(value: Any) -> None:
    refusal(inbound(**ALL), hook(value))
    refusal(inbound(**ALL | KINDS[2]), hook(value))
