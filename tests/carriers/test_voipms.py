"""VoIP.ms: the tables, what is asked, and what hostile hooks bring."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.carriers import voipms_records
from sipsms.carriers.settings import VoipmsConfig
from sipsms.carriers.voipms import VoipmsCarrier
from sipsms.core.http_client import HttpReply, NoAnswer, NotSent
from sipsms.core.message import Accepted, Deferred, Media, Outcome, Rejected, Scope, Unknown
from sipsms.messaging.carrier import Carrier, HookRequest, InboundMedia, InboundSms
from tests.carriers.kit import (
    DID,
    FORM,
    JUNK,
    NOW,
    PHONE,
    PICTURE,
    ScriptedClient,
    delivery,
    hook,
    refusal,
    reply,
    tools,
)

SECRET = "p4ssw0rd"


def carrier(*answers: HttpReply | Exception, now: float = NOW, **changes: Any) -> tuple[VoipmsCarrier, ScriptedClient]:
    client = ScriptedClient(*(answers or (reply({"status": "success", "sms": 5}),)))
    given = {"type": "voipms", "username": "me@example.net", "password": SECRET, "inbound": {"secret": "s3cret"}}
    return VoipmsCarrier("voipms", VoipmsConfig.model_validate(given | changes), tools(client, now)), client


# --- out --------------------------------------------------------------------------------------------------------------

OUTCOMES: list[tuple[HttpReply | Exception, Outcome]] = [
    (reply({"status": "success", "sms": 23434}), Accepted("sms:23434")),
    (reply({"status": "success", "sms": "23434"}), Accepted("sms:23434")),
    (reply({"status": "success"}), Accepted("")),
    (reply({"status": "success", "sms": None}), Accepted("")),
    (reply({"status": "invalid_credentials"}), Deferred("answered invalid_credentials", scope=Scope.COURIER)),
    (reply({"status": "api_not_enabled"}), Deferred("answered api_not_enabled", scope=Scope.COURIER)),
    (reply({"status": "ip_not_enabled"}), Deferred("answered ip_not_enabled", scope=Scope.COURIER)),
    (reply({"status": "non_sufficient_funds"}), Deferred("answered non_sufficient_funds", scope=Scope.COURIER)),
    (reply({"status": "method_maintenance"}), Deferred("answered method_maintenance", 300.0, scope=Scope.COURIER)),
    (reply({"status": "limit_reached"}), Deferred("answered limit_reached", 900.0, scope=Scope.COURIER)),
    (reply({"status": "api_limit_exceeded"}), Deferred("answered api_limit_exceeded", 60.0, scope=Scope.COURIER)),
    (reply({"status": "sms_wait_message"}), Deferred("answered sms_wait_message", 60.0)),
    (reply({"status": "invalid_dst"}), Rejected("answered invalid_dst", "invalid_dst")),
    (reply({"status": "sms_failed"}), Rejected("answered sms_failed", "sms_failed")),
    (reply({"status": "a word nobody knows"}), Rejected("answered no plain word", "no plain word")),
    (reply({"status": ""}), Unknown("answered 200 with a body that is not understood")),
    (reply({"status": 1}), Unknown("answered 200 with a body that is not understood")),
    (reply({}), Unknown("answered 200 with a body that is not understood")),
    (reply([]), Unknown("answered 200 with a body that is not understood")),
    (reply(b'{"status":"succ'), Unknown("answered 200 with a body that is not understood")),
    (reply(b""), Unknown("answered 200 with a body that is not understood")),
    (reply(b"[" * 60000), Unknown("answered 200 with a body that is not understood")),
    (reply({"status": "success"}, 429, retry_after="7"), Deferred("answered 429", 7.0)),
    (reply({}, 503), Deferred("answered 503")),
    (reply({}, 404), Rejected("answered 404", "404")),
    (reply({}, 301), Deferred("answered 301: the carrier is elsewhere", scope=Scope.COURIER)),
    (NotSent("cannot connect"), Deferred("not sent: cannot connect", scope=Scope.COURIER)),
    (NoAnswer("no answer in time"), Unknown("no answer: no answer in time")),
]


@pytest.mark.req("D6", "F-12", "F-13", "S-006", "G24")
@pytest.mark.parametrize(("answer", "outcome"), OUTCOMES)
async def test_each_status_gives_its_outcome(answer: HttpReply | Exception, outcome: Outcome) -> None:
    acme, client = carrier(answer)
    assert await acme.send(delivery()) == outcome
    assert len(client.requests) == 1


@pytest.mark.req("A-48")
async def test_user_and_password_are_in_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    acme, client = carrier(reply({"status": f"{SECRET} hi"}))
    outcome = await acme.send(delivery())
    method, url, headers, body = client.requests[0]
    assert (method, url) == ("POST", "https://voip.ms/api/v1/rest.php")
    assert not urlsplit(url).query
    assert SECRET not in str(headers) + str(outcome)
    assert SECRET.encode() in body


def form(body: bytes) -> dict[str, str]:
    return dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n--', body.decode(), re.S))


async def test_a_message_is_sent_as_voipms_asks() -> None:
    acme, client = carrier()
    await acme.send(delivery("hi\r\nyou"))
    assert form(client.requests[0][3]) == {
        "api_username": "me@example.net", "api_password": SECRET, "method": "sendSMS", "content_type": "json",
        "did": DID, "dst": PHONE, "message": "hi\r\nyou",
    }  # fmt: skip
    await acme.send(delivery("", PICTURE, PICTURE))
    assert form(client.requests[1][3])["media2"] == PICTURE.url


@pytest.mark.req("S-023", "S-024")
async def test_a_message_that_voipms_would_refuse_makes_no_request() -> None:
    acme, client = carrier()
    assert await acme.send(delivery("x" * 2049)) == Rejected("the text is longer than 2048 characters", "sms_toolong")
    assert await acme.send(delivery("", *[PICTURE] * 4)) == Rejected("more than 3 files", "invalid_file")
    assert client.requests == []


async def test_media_that_are_gone_are_sent_as_links() -> None:
    """Too old, or never fetched: a link may still serve, and nothing waits for what does not come back."""
    acme, client = carrier(media="inline")
    gone, never = Media("image/png", "a.png", token="gone"), Media(url="https://c.example/b.png")
    assert isinstance(await acme.send(delivery("", gone, never)), Accepted)
    sent = form(client.requests[0][3])
    assert "base64" not in sent["media1"]
    assert sent["media2"] == "https://c.example/b.png"


async def test_unreadable_media_defer_the_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    acme, client = carrier(media="inline")

    async def fails(media: Media) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(acme._tools.media, "read", fails)
    outcome = await acme.send(delivery("", PICTURE._replace(token="t" * 32)))
    assert outcome == Deferred("a part of the message cannot be read", scope=Scope.MESSAGE)
    assert client.requests == []


async def test_half_a_surrogate_pair_is_sent_replaced() -> None:
    acme, client = carrier()
    assert await acme.send(delivery("a\ud83d")) == Accepted("sms:5")
    assert form(client.requests[0][3])["message"] == "a?"


DEFAULTS = [
    ({}, (160, "characters", "mms", True)),
    ({"mms": False}, (160, "characters", "split", False)),
    ({"long_texts": "split"}, (160, "characters", "split", True)),
]


@pytest.mark.parametrize(("changes", "expected"), DEFAULTS)
def test_the_defaults_are_those_of_voipms(changes: dict[str, Any], expected: tuple[Any, ...]) -> None:
    config = carrier(**changes)[0]._config
    assert (config.max_text, config.text_unit, config.long_texts, config.mms) == expected


def test_the_interval_of_polling_is_configured() -> None:
    assert (carrier()[0].poll_every, carrier(poll="1h")[0].poll_every, carrier(poll=None)[0].poll_every) == (
        21600.0,
        3600.0,
        0.0,
    )


# --- in ---------------------------------------------------------------------------------------------------------------

QUERY = {"from": PHONE, "to": DID, "message": "hi", "id": "12", "date": "2026-10-02 14:24:31", "files": ""}


def sms(text: str = "hi", *media: str, source: str = PHONE, to: str = DID) -> InboundSms:
    return InboundSms(source, to, text, "12", tuple(InboundMedia(url) for url in media), dedupe=f"12/{PHONE}/{DID}")


def called(**changes: str) -> HookRequest:
    return HookRequest("GET", QUERY | changes, {}, b"")


A, B = "https://media.example.net/a.png", "https://media.example.net/b.jpg"

CALLBACKS = [
    (called(), sms()),
    (called(files=",,"), sms()),
    (called(files=f"{A},,"), sms("hi", A)),
    (called(files=f",{A}, {B}"), sms("hi", A, B)),
    (called(files="javascript:alert(1),file:///etc/passwd"), sms()),
    (called(message=""), sms("")),
    (called(message="a\0b\ud83d"), sms("a\ufffdb\ufffd")),
    (called(**{"from": "+15551234567", "to": "+14165550000"}), sms(source="+15551234567", to="+14165550000")),
    (called(**{"from": " 15551234567"}), sms(source="15551234567")),  # a + that nobody encoded
    (hook(b"from=5551234567&to=4165550000&message=hi&id=12", FORM), sms()),
]


@pytest.mark.req("S-040", "S-041", "S-042", "S-043", "S-044", "S-046")
@pytest.mark.parametrize(("request_", "expected"), CALLBACKS)
def test_a_callback_is_read(request_: HookRequest, expected: InboundSms) -> None:
    acme: Carrier = carrier()[0]
    parsed = acme.parse(request_)
    assert list(parsed.messages) == [expected]
    assert (parsed.reply.status, parsed.reply.body) == (200, "ok")


def test_a_callback_with_other_field_names_is_read() -> None:
    names = {"from": "f", "to": "t", "message": "m", "id": "i", "date": "d", "files": "x"}
    acme, _ = carrier(inbound={"secret": "s", "fields": names})
    query = {names[name]: value for name, value in QUERY.items()}
    assert list(acme.parse(HookRequest("GET", query, {}, b"")).messages) == [sms()]


PAYLOAD: dict[str, Any] = {
    "id": 12, "record_type": "message", "direction": "inbound", "type": "MMS",
    "from": {"phone_number": "+15551234567"}, "to": [{"phone_number": "+14165550000", "status": "webhook_delivered"}],
    "text": "hi", "received_at": "2026-10-02T18:24:31Z", "media": [],
}  # fmt: skip


def event(kind: Any = "message.received", **changes: Any) -> dict[str, Any]:
    return {"data": {"id": 67945, "event_type": kind, "record_type": "event", "payload": PAYLOAD | changes}}


E164 = {"source": "+15551234567", "to": "+14165550000"}
SMIL = [{"url": "https://h/x.smil"}, {"url": "https://h/y", "content_type": "application/smil"}]
WEBHOOKS = [
    (event(), sms(**E164)),
    (event(id="12"), sms(**E164)),
    (event(**{"from": {"phone_number": PHONE}, "to": [{"phone_number": DID}]}), sms()),
    (event(**{"from": PHONE, "to": [DID]}), sms()),
    (event(media=[{"url": A}, *SMIL, {"url": B}]), sms("hi", A, B, **E164)),
    (event(text=None, media=[{"url": A}]), sms("", A, **E164)),
]


@pytest.mark.req("S-045", "S-046", "S-111")
@pytest.mark.parametrize(("body", "expected"), WEBHOOKS)
def test_a_webhook_is_read(body: Any, expected: InboundSms) -> None:
    parsed = carrier()[0].parse(hook(body))
    assert list(parsed.messages) == [expected]
    assert (parsed.reply.status, parsed.reply.body) == (200, "ok")


def test_the_id_of_the_envelope_is_not_that_of_the_message() -> None:
    again = event()
    again["data"]["id"] = 99999
    acme, _ = carrier()
    assert acme.parse(hook(event())).messages == acme.parse(hook(again)).messages


@pytest.mark.parametrize("kind", ["message.sent", "message.finalized", "call.initiated", None, 5])
def test_other_events_are_accepted_and_ignored(kind: Any) -> None:
    parsed = carrier()[0].parse(hook(event(kind)))
    assert (parsed.messages, parsed.receipts, parsed.reply.body) == ((), (), "ok")


BAD = [
    (HookRequest("GET", {}, {}, b""), 400),
    (called(id=""), 400),
    (called(to="  "), 400),
    (hook([]), 400),
    (hook({}), 400),
    (hook(b"{", {"content-type": "application/json"}), 400),
    (hook(b"[" * 100_000), 400),
    (hook(b"x", {"content-type": "text/plain"}), 415),
    (hook(b"x" * 262_145, FORM), 413),
    (hook(event(id=None)), 400),
    (hook(event(text=5)), 400),
    (hook(event(to=[])), 400),
]


@pytest.mark.parametrize(("request_", "status"), BAD)
def test_an_unreadable_hook_is_refused(request_: HookRequest, status: int) -> None:
    assert refusal(carrier()[0], request_) == status


@pytest.mark.parametrize("field", list(PAYLOAD))
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: str(junk)[:10])
def test_junk_in_a_webhook_is_refused(field: str, junk: Any) -> None:
    acme, _ = carrier()
    refusal(acme, hook(json.dumps(event(**{field: junk})).encode(), {"content-type": "application/json"}))
    refusal(acme, hook({"data": junk}))
    refusal(acme, hook({"data": {"event_type": "message.received", "payload": junk}}))


@given(st.binary(max_size=200), st.sampled_from([FORM, {"content-type": "application/json"}, {}]))
def test_any_body_is_answered(body: bytes, headers: dict[str, str]) -> None:
    refusal(carrier()[0], hook(body, headers))


@given(st.dictionaries(st.sampled_from(list(QUERY)), st.text(max_size=30)))
def test_any_query_is_answered(query: dict[str, str]) -> None:
    refusal(carrier()[0], HookRequest("GET", query, {}, b""))


def test_without_inbound_there_is_no_hook() -> None:
    acme, _ = carrier(inbound=None)
    assert (acme.secret, refusal(acme, called())) == ("", 404)


# --- the carrier's records --------------------------------------------------------------------------------------------

ROW = {"id": "5", "date": "2026-10-02 14:24:31", "type": "1", "did": DID, "contact": PHONE, "message": "hi"}
AT = 1_790_965_471.0  # 18:24:31 UTC


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: str(junk)[:10])
@pytest.mark.parametrize("field", [*ROW, "media", "col_media1"])
def test_a_broken_row_does_not_affect_the_others(field: str, junk: Any) -> None:
    good = voipms_records.rows({"sms": [ROW | {"id": "6"}, ROW | {field: junk}, junk, ROW | {"id": "7"}]})
    assert {"6", "7"} <= {row.id for row in good}


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: str(junk)[:10])
def test_junk_instead_of_rows_gives_no_row(junk: Any) -> None:
    assert voipms_records.rows({"sms": junk}) == []


KEYS = st.sampled_from(["sms", "mms", *ROW, "media", "col_media1"])
LISTS = st.recursive(
    st.none() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
)


@given(LISTS)
def test_any_list_of_rows_is_read_without_an_error(value: Any) -> None:
    for answer in ({"sms": value}, {"sms": [value]}, {"sms": [ROW | {"media": value, "date": value}]}):
        assert all(row.id for row in voipms_records.rows(answer))


DATES = [
    "",
    "x",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59",
    "2026-13-01 00:00:00",
    "2026-03-08 02:30:00",
    "2026-10-02",
]


@pytest.mark.parametrize("date", DATES)
def test_odd_dates_are_read_or_left_out(date: str) -> None:
    """Even the hour that does not exist: a row with it is read, or left out."""
    assert len(voipms_records.rows({"sms": [ROW | {"date": date}]})) <= 1


def test_times_are_those_of_new_york() -> None:
    assert voipms_records.moments("2026-10-02 14:24:31") == (AT, AT)
    assert voipms_records.days(AT, AT + 10 * 3600) == [("2026-10-02", "2026-10-03")]
    first, second = voipms_records.moments("2026-11-01 01:30:00")  # comes twice
    assert second - first == 3600.0


def test_a_row_of_the_repeated_hour_is_not_lost() -> None:
    first, second = voipms_records.moments("2026-11-01 01:30:00")
    (row,) = voipms_records.rows({"sms": [ROW | {"date": "2026-11-01 01:30:00"}]})
    assert row.is_after(second)
    assert (row.distance(first), row.distance(second)) == (0.0, 0.0)


def test_a_time_span_is_split_into_ranges_of_days() -> None:
    assert voipms_records.days(AT, AT) == [("2026-10-02", "2026-10-02")]
    assert voipms_records.days(AT - 100 * 86400, AT) == [("2026-06-24", "2026-09-23"), ("2026-09-24", "2026-10-02")]
    assert voipms_records.halves("2026-10-01", "2026-10-04") == [
        ("2026-10-01", "2026-10-02"),
        ("2026-10-03", "2026-10-04"),
    ]
    assert voipms_records.halves("2026-10-01", "2026-10-01") == []


async def test_a_list_that_is_too_large_is_requested_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsms.carriers.voipms.MAX_RECORDS", 400)
    row = reply({"status": "success", "sms": [ROW]})
    acme, client = carrier(reply(b"x" * 400), row, row, reply({"status": "no_sms"}), now=AT)
    (message,) = await acme.poll(AT - 86400)
    assert message.text == "hi"
    asked = [form(body) for _, _, _, body in client.requests]
    assert [(one["method"], one["from"], one["to"]) for one in asked] == [
        ("getSMS", "2026-10-01", "2026-10-02"),
        ("getSMS", "2026-10-02", "2026-10-02"),
        ("getSMS", "2026-10-01", "2026-10-01"),
        ("getMMS", "2026-10-01", "2026-10-02"),
    ]
    assert {(one["type"], one["timezone"]) for one in asked} == {("1", "-5")}


async def test_a_day_that_is_too_large_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsms.carriers.voipms.MAX_RECORDS", 10)
    acme, _ = carrier(reply(b"x" * 10), now=AT)
    with pytest.raises(NoAnswer):
        await acme.poll(AT)


EMPTY = [{"status": "no_sms"}, {"status": "no_mms"}, {"status": "no_messages"}, {"status": "success", "sms": []}]


@pytest.mark.parametrize("answer", EMPTY)
async def test_an_empty_list_gives_no_message(answer: Any) -> None:
    assert await carrier(reply(answer))[0].poll(NOW) == []


UNSURE = [
    (reply({"status": "invalid_credentials"}), NotSent),
    (reply({"status": "api_limit_exceeded"}), NotSent),
    (reply({}, 503), NoAnswer),
    (reply(b"<html>"), NoAnswer),
    (NotSent("cannot connect"), NotSent),
    (NoAnswer("x"), NoAnswer),
]


@pytest.mark.parametrize(("answer", "error"), UNSURE)
async def test_a_failed_poll_raises_an_error_without_the_password(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        await carrier(answer)[0].poll(NOW)
    assert SECRET not in str(caught.value)


async def test_a_rate_limit_during_the_media_request_loses_no_media() -> None:
    row = reply({"status": "success", "sms": [ROW]})
    limited = reply({"status": "api_limit_exceeded"})
    acme, _ = carrier(reply({"status": "no_sms"}), row, limited, now=AT)
    with pytest.raises(NotSent):
        await acme.poll(AT)
    unknown = reply({"status": "invalid_id"})
    acme, _ = carrier(reply({"status": "no_sms"}), row, unknown, now=AT)
    assert [one.text for one in await acme.poll(AT)] == ["hi"]


SENT = ROW | {"type": "0"}


@pytest.mark.parametrize(("seconds", "found"), [(0, True), (-59, True), (-61, False), (86400, True)])
async def test_only_records_of_the_time_of_the_attempt_match(seconds: float, found: bool) -> None:
    acme, _ = carrier(reply({"status": "success", "sms": [SENT]}), now=AT + 60)
    assert await acme.look_up(delivery("hi"), AT - seconds) == (Accepted("sms:5") if found else None)


async def test_the_nearest_of_several_records_matches() -> None:
    rows = [SENT | {"id": "1", "date": "2026-10-02 14:23:50"}, SENT, SENT | {"id": "9", "date": "2026-10-02 14:29:31"}]
    acme, _ = carrier(reply({"status": "success", "sms": rows}), now=AT + 600)
    assert [await acme.look_up(delivery("hi", id=n), AT) for n in (1, 2, 3)] == [
        Accepted("sms:5"),
        Accepted("sms:1"),
        Accepted("sms:9"),
    ]
