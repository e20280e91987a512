"""The configured HTTP carrier: two tables, what leaves and what comes in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.carriers.http_api import HttpCarrier
from sipsms.carriers.payload import at_path
from sipsms.carriers.settings import HttpCarrierConfig
from sipsms.core.http_client import HttpReply, NoAnswer, NotSent
from sipsms.core.message import Accepted, Deferred, Delivery, Direction, Message, Outcome, Rejected, Scope, Unknown
from sipsms.messaging.carrier import Carrier, CarrierTools, HookError, HookReply, HookRequest, InboundSms
from tests.carriers.kit import KeptMedia

BASE: dict[str, Any] = {
    "type": "http",
    "url": "https://api.acme.example/send",
    "auth": {"bearer": "t0ken"},
    "fields": {"from": "{from}", "to": "{to}", "text": "{text}", "ref": "{id}"},
    "ok": {"status": [200, 202], "id": "data.id"},
    "inbound": {"secret": "h00k", "fields": {"from": "from", "to": "to", "text": "text", "id": "id"}},
}

MESSAGE = Message(
    Direction.OUT, "4165550000", "5551234567", "hi {to} {{x}} é 😀", "sip", 0.0, account="alice", did="4165550000"
)
DELIVERY = Delivery(MESSAGE, "carrier:acme", "5551234567", "4165550000", "lane", 1e9, 0.0, id=7)


class FakeClient:
    def __init__(self, answer: HttpReply | Exception) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str, dict[str, str], bytes, float]] = []

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0,
        limit: int = 65536,
    ) -> HttpReply:  # fmt: skip
        self.requests.append((method, url, dict(headers), body, timeout))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def reply(status: int = 200, body: bytes = b'{"data": {"id": "r1"}}', **headers: str) -> HttpReply:
    return HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, body)


def carrier(answer: HttpReply | Exception | None = None, **changes: Any) -> tuple[HttpCarrier, FakeClient]:
    client = FakeClient(reply() if answer is None else answer)
    tools = CarrierTools(client, KeptMedia(), lambda: 0.0, "https://sms.example.net/hooks/acme")
    return HttpCarrier("acme", HttpCarrierConfig.model_validate(BASE | changes), tools), client


# --- what leaves ------------------------------------------------------------------------------------------------------


async def test_a_message_is_sent_as_json() -> None:
    acme, client = carrier()
    assert await acme.send(DELIVERY) == Accepted("r1")
    ((method, url, headers, body, timeout),) = client.requests
    assert (method, url, timeout) == ("POST", "https://api.acme.example/send", 30.0)
    assert headers == {
        "Accept": "application/json",
        "Authorization": "Bearer t0ken",
        "Content-Type": "application/json",
    }
    assert json.loads(body) == {"from": "4165550000", "to": "5551234567", "text": MESSAGE.text, "ref": "7"}


BODIES: list[tuple[dict[str, Any], dict[str, Any], Any]] = [
    ({"message.to": "{to}", "message.from": "{from}"}, {}, {"message": {"to": "5551234567", "from": "4165550000"}}),
    ({"to": ["{to}"], "n": 1, "ok": True, "none": None, "x": {"y": "{id}!"}}, {},
     {"to": ["5551234567"], "n": 1, "ok": True, "none": None, "x": {"y": "7!"}}),
    ({"t": "<{from}> {account} {{literal}}"}, {}, {"t": "<4165550000> alice {literal}"}),
    ({"to": "{to}", "did": "{did}"}, {"numbers": "e164"}, {"to": "+15551234567", "did": "+14165550000"}),
    ({"to": "{to}"}, {"numbers": "e164-bare"}, {"to": "15551234567"}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "changes", "expected"), BODIES)
async def test_json_fields_are_filled_in(fields: dict[str, Any], changes: dict[str, Any], expected: Any) -> None:
    acme, client = carrier(fields=fields, **changes)
    await acme.send(DELIVERY)
    assert json.loads(client.requests[0][3]) == expected


FLAT = {"to": "{to}", "msg": "{text}", "flash": False, "n": 2, "none": None}
FLAT_SENT = {"to": "5551234567", "msg": MESSAGE.text, "flash": "false", "n": "2"}


async def test_a_message_is_sent_as_a_form() -> None:
    acme, client = carrier(body="form", fields=FLAT)
    await acme.send(DELIVERY)
    _, url, headers, body, _ = client.requests[0]
    assert dict(parse_qsl(body.decode())) == FLAT_SENT
    assert (url, headers["Content-Type"]) == (BASE["url"], "application/x-www-form-urlencoded")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_message_is_sent_as_a_query(method: str) -> None:
    acme, client = carrier(body="query", method=method, url="https://a.example/x?key=1", fields=FLAT)
    await acme.send(DELIVERY)
    sent, url, headers, body, _ = client.requests[0]
    assert (sent, body) == (method, b"")
    assert dict(parse_qsl(urlsplit(url).query)) == {"key": "1", **FLAT_SENT}
    assert url.isascii()
    assert "Content-Type" not in headers


async def test_headers_and_basic_authentication_are_sent() -> None:
    acme, client = carrier(auth={"basic": ["u", "p"]}, headers={"content-type": "application/x", "X-Key": "k"})
    await acme.send(DELIVERY)
    assert client.requests[0][2] == {
        "Accept": "application/json",
        "Authorization": "Basic dTpw",
        "content-type": "application/x",
        "X-Key": "k",
    }


async def test_secrets_may_stand_in_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_PASSWORD", "{to}%")
    acme, client = carrier(fields={"password": "env:ACME_PASSWORD", "to": "{to}"})
    await acme.send(DELIVERY)
    assert json.loads(client.requests[0][3]) == {"password": "{to}%", "to": "5551234567"}


@pytest.mark.req("A-31")
@given(text=st.text(max_size=40), body=st.sampled_from(["json", "form", "query"]))
async def test_a_text_cannot_add_fields(text: str, body: str) -> None:
    acme, client = carrier(body=body, fields={"text": "{text}", "to": "{to}"})
    await acme.send(DELIVERY._replace(message=MESSAGE._replace(text=text)))
    _, url, _, sent, _ = client.requests[0]
    if body == "json":
        fields = json.loads(sent)
    else:
        pairs = sent.decode() if body == "form" else urlsplit(url).query
        fields = dict(parse_qsl(pairs, keep_blank_values=True))
    assert fields == {"text": text, "to": "5551234567"}


async def test_half_a_surrogate_pair_is_sent_replaced_in_a_form() -> None:
    acme, client = carrier(body="form", fields={"text": "{text}"})
    await acme.send(DELIVERY._replace(message=MESSAGE._replace(text="a\ud83d")))
    assert client.requests[0][3] == b"text=a%3F"


# --- what the answer means --------------------------------------------------------------------------------------------

OUTCOMES: list[tuple[HttpReply | Exception, Outcome]] = [
    (reply(200), Accepted("r1")),
    (reply(202, b'{"data": {"id": 12345}}'), Accepted("12345")),
    (reply(200, b'{"data": {}}'), Accepted("")),
    (reply(200, b'{"data": {"id": null}}'), Accepted("")),
    (reply(200, b'{"data": {"id": [1]}}'), Accepted("")),
    (reply(200, b'{"data": {"id": true}}'), Accepted("")),
    (reply(200, b"[]"), Accepted("")),
    (reply(200, b"<html>"), Unknown("answered 200 with a body that is not JSON")),
    (reply(200, b""), Unknown("answered 200 with a body that is not JSON")),
    (reply(200, b"\xff\xfe\x00"), Unknown("answered 200 with a body that is not JSON")),
    (reply(200, b"[" * 60000), Unknown("answered 200 with a body that is not JSON")),
    (reply(204), Unknown("answered 204, which is not in ok.status")),
    (reply(429), Deferred("answered 429")),
    (reply(429, retry_after="17"), Deferred("answered 429", retry=17.0)),
    (reply(503, retry_after="86400"), Deferred("answered 503", retry=3600.0)),
    (reply(503, retry_after="9" * 5000), Deferred("answered 503")),
    (reply(503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), Deferred("answered 503")),
    (reply(503, retry_after="-1"), Deferred("answered 503")),
    (reply(500), Deferred("answered 500")),
    (reply(502), Deferred("answered 502")),
    (reply(400, b"t0ken hi"), Rejected("answered 400", code="400")),
    (reply(401), Deferred("answered 401: the carrier refuses our credentials", scope=Scope.COURIER)),
    (reply(504), Unknown("answered 504: something between us and the carrier had no answer from it")),
    (reply(301, location="https://x"), Deferred("answered 301: the carrier is elsewhere", scope=Scope.COURIER)),
    (NotSent("cannot connect"), Deferred("not sent: cannot connect", scope=Scope.COURIER)),
    (NoAnswer("no answer in time"), Unknown("no answer: no answer in time")),
]


@pytest.mark.req("D6", "F-12", "F-13")
@pytest.mark.parametrize(("answer", "outcome"), OUTCOMES)
async def test_each_answer_gives_its_outcome(answer: HttpReply | Exception, outcome: Outcome) -> None:
    acme, client = carrier(answer)
    assert await acme.send(DELIVERY) == outcome
    assert len(client.requests) == 1


async def test_without_a_configured_id_the_body_is_ignored() -> None:
    acme, _ = carrier(reply(200, b"<html>"), ok={"status": [200]})
    assert await acme.send(DELIVERY) == Accepted("")


# --- what comes in ----------------------------------------------------------------------------------------------------

SMS = InboundSms("+15551234567", "4165550000", "héllo 😀", "m1")
JSON = {"content-type": "application/json; charset=utf-8"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
FLAT_SMS = {"from": "+15551234567", "to": "4165550000", "text": "héllo 😀", "id": "m1"}
FORM_BODY = b"from=%2B15551234567&to=4165550000&text=h%C3%A9llo+%F0%9F%98%80&id=m1"


def hook(body: bytes, headers: Mapping[str, str] | None = None) -> HookRequest:
    return HookRequest("POST", {}, headers or {}, body)


GOOD = [
    hook(json.dumps(FLAT_SMS).encode(), JSON),
    hook(json.dumps(FLAT_SMS, ensure_ascii=False).encode(), JSON),
    hook(json.dumps(FLAT_SMS).encode(), {"content-type": "application/vnd.acme+json"}),
    hook(json.dumps(FLAT_SMS).encode()),
    hook(FORM_BODY, FORM),
    HookRequest("GET", FLAT_SMS, {}, b""),
]


@pytest.mark.parametrize("request_", GOOD)
def test_an_incoming_message_is_read(request_: HookRequest) -> None:
    acme: Carrier = carrier()[0]
    parsed = acme.parse(request_)
    assert list(parsed.messages) == [SMS]
    assert parsed.reply == HookReply(200, "ok", "text/plain")
    assert acme.secret == "h00k"


NESTED = {
    "data": {
        "event": "message.received",
        "payload": {"from": {"number": 15551234567}, "to": [{"number": "4165550000"}], "body": "x", "id": 42},
    }
}


def test_nested_json_is_read() -> None:
    paths = {
        "from": "data.payload.from.number",
        "to": "data.payload.to.0.number",
        "text": "data.payload.body",
        "id": "data.payload.id",
    }
    reply_ = {"status": 204, "body": "", "content_type": "text/xml"}
    acme, _ = carrier(inbound={"secret": "s", "fields": paths, "reply": reply_})
    parsed = acme.parse(hook(json.dumps(NESTED).encode(), JSON))
    assert list(parsed.messages) == [InboundSms("15551234567", "4165550000", "x", "42")]
    assert parsed.reply == HookReply(204, "", "text/xml")


def without(*names: str, **others: Any) -> bytes:
    return json.dumps({k: v for k, v in FLAT_SMS.items() if k not in names} | others).encode()


BAD: list[tuple[HookRequest, int, str]] = [
    (hook(without("text"), JSON), 400, "field 'text' (path text) is missing"),
    (hook(without("id"), JSON), 400, "field 'id' (path id) is missing"),
    (hook(without(text=5), JSON), 400, "field 'text' (path text) is not text"),
    (hook(without(text={"a": 1}), JSON), 400, "field 'text' (path text) is not text"),
    (hook(without(**{"from": True}), JSON), 400, "field 'from' (path from) is not text"),
    (hook(without(to=["1"]), JSON), 400, "field 'to' (path to) is not text"),
    (hook(without(to=" "), JSON), 400, "field 'to' (path to) is empty"),
    (hook(b"[]", JSON), 400, "field 'from' (path from) is missing"),
    (hook(b"{", JSON), 400, "body is not JSON"),
    (hook(b"\xff\xff", JSON), 400, "body is not JSON"),
    (hook(b"[" * 200_000, JSON), 400, "body is not JSON"),
    (hook(b'{"id": ' + b"9" * 5000 + b"}", JSON), 400, "body is not JSON"),
    (hook(b"from=1&to=2", FORM), 400, "field 'text' (path text) is missing"),
    (hook("é=1".encode(), FORM), 400, "body is not a form"),
    (hook(b"a=1&" * 300, FORM), 400, "body is not a form"),
    (HookRequest("GET", {"from": "1"}, {}, b""), 400, "field 'to' (path to) is missing"),
    (hook(b"x", {"content-type": "text/plain"}), 415,
     "expected application/json or application/x-www-form-urlencoded"),
    (hook(b" " * (256 * 1024 + 1), JSON), 413, "body is larger than 262144 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "reason"), BAD)
def test_an_unreadable_hook_is_refused(request_: HookRequest, status: int, reason: str) -> None:
    with pytest.raises(HookError) as caught:
        carrier()[0].parse(request_)
    assert (caught.value.status, caught.value.reason) == (status, reason)


REPLACED = {r"a\ud83d": "a\ufffd", r"\ud83d\ude00": "😀", r"a\u0000b": "a\ufffdb", r"é\u0000": "é\ufffd", "": ""}


@pytest.mark.parametrize(("sent", "kept"), REPLACED.items())
def test_characters_that_no_store_accepts_are_replaced(sent: str, kept: str) -> None:
    body = without().replace(json.dumps(FLAT_SMS["text"]).encode(), f'"{sent}"'.encode())
    assert carrier()[0].parse(hook(body, JSON)).messages[0].text == kept


def test_without_inbound_there_is_no_hook() -> None:
    acme, _ = carrier(inbound=None)
    assert acme.secret == ""
    with pytest.raises(HookError) as caught:
        acme.parse(GOOD[0])
    assert caught.value.status == 404


def test_a_message_without_id_is_accepted() -> None:
    acme, _ = carrier(inbound={"secret": "s"})
    assert acme.parse(GOOD[0]).messages[0].remote_id == ""


@given(st.binary(max_size=200), st.sampled_from([JSON, FORM, {}]))
def test_any_body_is_answered(body: bytes, headers: dict[str, str]) -> None:
    with suppress(HookError):
        assert len(carrier()[0].parse(hook(body, headers)).messages) == 1


PATHS = [("a", 1), ("b.0.c", 2), ("b.1", None), ("b.-1", None), ("b.x", None), ("a.b", None), ("", None), ("b.٠", None)]


@pytest.mark.parametrize(("path", "found"), PATHS)
def test_a_path_selects_a_value(path: str, found: object) -> None:
    assert at_path({"a": 1, "b": [{"c": 2}]}, path) == found


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"text=caf%E9", "application/x-www-form-urlencoded; charset=ISO-8859-1"),
        (b"text=caf%E9", "application/x-www-form-urlencoded"),
        (b"text=caf\xe9", "application/x-www-form-urlencoded"),
        (b"text=caf%C3%A9", "application/x-www-form-urlencoded; charset=rot13"),
        (b"text=caf%E9", "application/x-www-form-urlencoded; charset=utf-8"),
    ],
)
def test_a_form_in_any_charset_is_read(body: bytes, kind: str) -> None:
    """A carrier only repeats what is refused: windows-1252 where the octets are no UTF-8."""
    sent = b"from=2125550123&to=5550001111&id=1&" + body
    (sms,) = carrier()[0].parse(HookRequest("POST", {}, {"content-type": kind}, sent)).messages
    assert sms.text == "café"


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=ISO-8859-1", ""])
def test_json_in_any_charset_is_read(kind: str) -> None:
    text = '{"from": "2125550123", "to": "5550001111", "text": "café", "id": "1"}'
    bodies = [text.encode("latin-1")]
    if "charset" not in kind:
        bodies += [text.encode(), b"\xef\xbb\xbf" + text.encode()]
    for body in bodies:
        (sms,) = carrier()[0].parse(HookRequest("POST", {}, {"content-type": kind}, body)).messages
        assert sms.text == "café"
