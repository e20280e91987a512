"""The pure parsers and writers of the Wildix, Kannel and Acrobits APIs, and of delivery reports."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree
from zlib import crc32
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.account import Did, Webhook
from sipsms.core.message import Direction, Media, Message, MessageKind, Rejected
from sipsms.core.report_request import SmppRequest, UrlRequest, WebhookRequest
from sipsms.messaging.delivery_reports import Stage, fill, report_of
from sipsms.messaging.order import Sent
from sipsms.web.api.acrobits import format as acrobits
from sipsms.web.api.kannel import format as kannel
from sipsms.web.api.wildix import format as originate
from tests.support.messaging.core import ScriptedCourier, core

ROME = ZoneInfo("Europe/Rome")
NOW = datetime(2026, 7, 14, 12, 0, tzinfo=ROME).timestamp()


def message(**changes: object) -> Message:
    values: dict[str, object] = {
        "direction": Direction.OUT, "source": "5550001111", "destination": "5551234567", "text": "hi", "origin": "t",
        "received_at": NOW, "account": "acme", "did": "5550001111", "id": 7, **changes,
    }  # fmt: skip
    return Message(**values)  # type: ignore[arg-type]


# --- Wildix -----------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-161")
def test_a_wildix_time_is_read_in_the_time_zone_of_the_pbx() -> None:
    at = originate.moment("14/07/2026 15:35", ROME, NOW)
    assert at == datetime(2026, 7, 14, 15, 35, tzinfo=ROME).timestamp()
    assert originate.moment(" 1/9/2026 7:05 ", ROME, NOW) == datetime(2026, 9, 1, 7, 5, tzinfo=ROME).timestamp()
    assert originate.moment("", ROME, NOW) is None
    assert originate.moment("14/07/2026 12:00", ROME, NOW + 59) is None, "this minute is now"
    for wrong in ("14/07/2026 11:58", "31/02/2027 10:00", "14-07-2026 15:35", "14/07/26 15:35", "14/07/2026",
                  "14/07/2026 25:00", "\u0661\u0664/07/2026 15:35", "14/07/2028 15:35", "x" * 10_000):  # fmt: skip
        with pytest.raises(ValueError, match="Postpone"):
            originate.moment(wrong, ROME, NOW)


@pytest.mark.req("S-160")
def test_wildix_destinations_are_split_and_read_once_each() -> None:
    assert originate.numbers_in(["+391234567890, 5551234567 ,,", "5551234567"]) == ["+391234567890", "5551234567"]
    assert originate.numbers_in([" 391234567890"]) == ["+391234567890"], "a + that was not encoded"
    assert originate.numbers_in([" 5551234567", ""]) == ["5551234567"]


@pytest.mark.req("S-165")
def test_a_text_is_read_as_curl_sends_it() -> None:
    text = 'it\'s "a" \\ b/c'
    assert originate.as_curl_sends_it(text, "asterisk-libcurl-agent/1.0") == "it s  a    b c"
    assert originate.as_curl_sends_it(text, "curl/7.88.1") == "it s  a    b c"
    assert originate.as_curl_sends_it(text, "n8n") == text


# --- Kannel -----------------------------------------------------------------------------------------------------------


def asked(query: str, body: str = "") -> kannel.Request:
    return kannel.read(kannel.parameters(query, body))


def test_a_kannel_request_is_read_with_its_coding_and_charset() -> None:
    one = asked(
        "to=5551234567+5552345678+5551234567&text=gr%C3%BC%C3%9Fe&from=%2B15550001111&dlr-mask=3&dlr-url=http://x"
    )
    assert one == kannel.Request(("5551234567", "5552345678"), "+15550001111", "grüße", 3, "http://x")
    assert asked("to=1&coding=2&text=%4F%60%59%7D").text == "你好"
    assert asked("to=1&coding=2&charset=utf-8&text=%E4%BD%A0").text == "你"
    assert asked("to=1&charset=ISO-8859-1&text=caf%E9").text == "café"
    assert asked("to=1&coding=2&charset=UTF-16&text=%FF%FE%4f%60").text == "\ufeff恏"  # the sender drops the mark
    assert asked("to=1&coding=2&charset=UTF-16&text=%60%4f").text == asked("to=1&coding=2&text=%60%4f").text == "恏"
    assert asked("to=1&text=x&deferred=5&validity=60").deferred == 5
    assert asked("", "to=1&text=a+b").text == "a b"
    assert asked("to=+15551234567&text=x").numbers == ("+15551234567",)
    assert asked("to=1&text=x&dlr-mask=31").mask == 0, "reports to nowhere"
    assert kannel.with_text("to=1&from=2", "a&b=%41 \xff", "latin1") == {
        "to": "1", "from": "2", "text": "a&b=%41 \xff", "charset": "latin1",
    }  # fmt: skip
    assert kannel.with_text("to=1&charset=gbk", "x", "utf-8")["charset"] == "gbk"
    assert kannel.with_text("to=1&text=y", "text=x")["text"] == "y"
    assert kannel.with_text("", "to=1&text=x") == {"to": "1", "text": "x"}, "a form by another name"
    assert kannel.credentials(kannel.parameters("user=j%C3%BCrg&pass=p%26w")) == ("jürg", "p&w")


@pytest.mark.parametrize(
    "query",
    ["text=x", "to=+&text=x", "to=1&text=%FF", "to=1&text=x&charset=rot13", "to=1&text=x&charset=zip", "to=1&udh=%05",
     "to=1&coding=1&text=x", "to=1&coding=2&text=%41", "to=1&text=x&deferred=-1", "to=1&text=x&deferred=999999999",
     "to=1&text=x&dlr-mask=x", "to=" + "+".join(map(str, range(101))) + "&text=x"],
)  # fmt: skip
def test_a_kannel_request_with_invalid_fields_is_refused(query: str) -> None:
    with pytest.raises(kannel.Rejected, match=r"rejected$"):
        asked(query)


@given(st.text(alphabet=st.characters(max_codepoint=255)), st.text(alphabet=st.characters(max_codepoint=255)))
def test_any_query_is_read_or_rejected(query: str, text: str) -> None:
    for one in (query, f"to=1&text={text}", f"to=1&text=x&charset={text}", f"to={text}&text=x"):
        try:
            found = kannel.parameters(one)
        except ValueError:  # too many fields
            continue
        kannel.credentials(found)
        try:
            kannel.read(found)
        except kannel.Rejected as rejected:
            assert str(rejected)


# --- reports ----------------------------------------------------------------------------------------------------------

DID = Did("5550001111", "acme", webhook=Webhook("http://x"))


def test_a_webhook_report_names_the_message_and_its_status() -> None:
    sent = message(report=WebhookRequest())
    reports = [report_of(sent, stage, DID, NOW) for stage in Stage]
    assert all(one is not None and one.kind is MessageKind.STATUS and one.did == DID.number for one in reports)
    keys = [one.dedupe_key for one in reports if one is not None]
    assert len(set(keys)) == 2, "one end, whatever it was"
    assert report_of(sent, Stage.SENT, Did("5550001111", "acme"), NOW) is None, "it has no webhook"
    assert report_of(message(), Stage.SENT, DID, NOW) is None, "nobody asked"


def test_a_report_url_is_filled_in_for_the_stages_of_its_mask() -> None:
    sent = message(report=UrlRequest(1 | 16, "http://x/?t=%d&to=%p&from=%P&at=%T"))
    told = {stage: report_of(sent, stage, DID, NOW) for stage in Stage}
    assert (told[Stage.SENT], told[Stage.FAILED]) == (None, None)
    delivered, rejected = told[Stage.DELIVERED], told[Stage.REJECTED]
    assert delivered is not None
    assert rejected is not None
    assert (delivered.kind, rejected.kind) == (MessageKind.DLR, MessageKind.DLR)
    assert delivered.text == f"http://x/?t=1&to=5551234567&from=5550001111&at={int(NOW)}"
    assert "t=16&" in rejected.text


@pytest.mark.req("P-11", "G09")
@pytest.mark.parametrize(
    ("mask", "stages"),
    [(0, ""), (1, "delivered failed rejected expired"), (2, "failed rejected expired"), (3, "delivered"),
     (0x10, "sent"), (0x11, "sent delivered failed rejected expired"), (0x12, "sent failed rejected expired"),
     (4, "")],
)  # fmt: skip
def test_an_smpp_receipt_has_the_fields_of_the_submit(mask: int, stages: str) -> None:
    sent = message(report=SmppRequest.of(mask, "15550001111", "+1 555\t123", 1, 1, 2, 9), id=7)
    told = {stage: report_of(sent, stage, DID, NOW) for stage in Stage}
    assert {str(stage) for stage, one in told.items() if one is not None} == set(stages.split())
    for stage, one in told.items():
        if one is not None:
            assert (one.kind, one.did, one.source) == (MessageKind.SMPP, DID.number, sent.destination)
            assert json.loads(one.text) == {
                "id": "7", "parts": [], "stage": str(stage), "submitted": sent.received_at, "done": NOW,
                "source": "15550001111", "source_ton": 1, "source_npi": 1, "destination": "+1 555?123", "dest_ton": 2,
                "dest_npi": 9, "text": sent.text[:20],
            }  # fmt: skip


def test_a_receipt_by_smpp_names_the_parts_that_want_it() -> None:
    sent = message(report=SmppRequest.of(1, "a", "b", 0, 0, 0, 0, 3, "tok"))
    parts = report_of(sent, Stage.DELIVERED, DID, NOW)
    assert parts is not None
    assert (json.loads(parts.text)["id"], json.loads(parts.text)["parts"]) == ("tok", [3])


def test_escape_codes_of_a_report_url_are_replaced_by_encoded_values() -> None:
    sent = message(account="a b&c")
    assert fill("http://x/%n?a=%41%zz&b=%d%d&c=100%%", sent, Stage.DELIVERED, NOW) == (
        "http://x/a+b%26c?a=%41%zz&b=11&c=100%25"
    )
    assert fill("http://x/%", sent, Stage.DELIVERED, NOW) == "http://x/%25"


# --- Acrobits ---------------------------------------------------------------------------------------------------------


def test_a_message_becomes_an_acrobits_row() -> None:
    came = message(direction=Direction.IN, source="5551234567", destination="5550001111")
    row = acrobits.row(acrobits.received_id(4), came, str)
    assert row == {
        "sms_id": "8", "sending_date": "2026-07-14T10:00:00Z", "sender": "5551234567", "sms_text": "hi",
        "content_type": "text/plain", "stream_id": "5551234567",
    }  # fmt: skip
    assert acrobits.row(acrobits.sent_id(4), message(), str)["recipient"] == "5551234567"
    picture = message(media=(Media("image/png", "a.png", 9, "t"),))
    row = acrobits.row(1, picture, lambda media: f"https://x/{media.token}")
    assert json.loads(row["sms_text"]) == {
        "body": "hi",
        "attachments": [
            {"content-type": "image/png", "content-url": "https://x/t", "filename": "a.png", "content-size": 9}
        ],
    }


def test_acrobits_ids_grow_and_differ_by_direction() -> None:
    ids = [acrobits.received_id(n) for n in range(1, 50)], [acrobits.sent_id(n) for n in range(1, 50)]
    assert not set(ids[0]) & set(ids[1])
    assert all(one // 2 == n for n, one in enumerate(ids[0], 1))
    assert all(one // 2 == n for n, one in enumerate(ids[1], 1))


@given(st.text())
def test_any_text_is_xml(text: str) -> None:
    answer = {"date": text, "received_smss": [{"sms_text": text}], "sent_smss": []}
    root = ElementTree.fromstring(acrobits.as_xml(answer))
    assert root.find("received_smss/item/sms_text") is not None


def test_acrobits_recipients_are_normalised_and_limited() -> None:
    assert acrobits.recipients(["sip:5551234567@x.net", "+1 555 234-5678;5551234567"]) == ["5551234567", "5552345678"]
    with pytest.raises(acrobits.Malformed):
        acrobits.recipients([",".join(f"555123{n:04}" for n in range(21))])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"attachments": 5}', '{"attachments": [5]}', '{"attachments": []}', "[" * 100_000,
     '{"attachments": [{"content-url": ""}]}', '{"attachments": {"a": 1}}'],
)  # fmt: skip
def test_invalid_file_transfers_are_refused(text: str) -> None:
    with pytest.raises(acrobits.Malformed):
        acrobits.attachments(text)


def test_an_attachment_with_a_wrong_hash_or_key_is_refused() -> None:
    good = acrobits.Attachment("u", hash=str(crc32(b"data")))
    assert acrobits.decrypted(b"data", good) == b"data"
    for wrong in (acrobits.Attachment("u", hash="1"), acrobits.Attachment("u", key="zz"),
                  acrobits.Attachment("u", key="00")):  # fmt: skip
        with pytest.raises(acrobits.Malformed):
            acrobits.decrypted(b"data", wrong)


@pytest.mark.req("S-045")
async def test_a_report_that_was_lost_in_a_crash_is_sent_after_the_restart_once(tmp_path: Path) -> None:
    """The message failed, and the server was killed before its program was told. Once."""
    courier, told = ScriptedCourier(Rejected("no")), ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": courier, "webhook": told}) as here:
        here.directory.update(2, False, [], [Did("5550001111", "demo", webhook=Webhook("http://x"))], frozenset())
        demo = here.directory.account("demo")
        assert demo is not None
        sent = await here.send(demo, "5550001111", "5551234567", "hi", "v2", report=WebhookRequest())
        assert isinstance(sent, Sent)
        await here.until("SELECT state FROM deliveries", [("failed",)])
        await here.messaging.reporter.tell_ended()
        await told.wait(1)
        await here.messaging.reporter.tell_ended()
        await here.until("SELECT count(*) FROM messages WHERE notify <> ''", [(0,)])
        assert [json.loads(text)["status"] for text in told.texts] == ["sending_failed"]
