"""The simulator keeps the habits of the real API, as its clients have met them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.support.node.stub_carrier import Answer, StubCarrier
from tools.carrier_sim import CarrierSim
from tools.carrier_sim.api import wall

DID, PHONE = "4165550000", "5551234567"
NOW = 1_790_965_471.0  # 2026-10-02 14:24:31 in New York


@pytest.fixture
def sim() -> Iterator[CarrierSim]:
    with CarrierSim(dids=[DID], clock=lambda: NOW) as running:
        yield running


def fetch(url: str, body: bytes | None = None, kind: str = "application/x-www-form-urlencoded") -> tuple[int, Any]:
    request = urllib.request.Request(url, body, {"Content-Type": kind} if body is not None else {})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(answer.read())


def call(sim: CarrierSim, method: str, **fields: str) -> Any:
    given = {"api_username": "sim@example.net", "api_password": "simulated", "method": method, **fields}
    status, answer = fetch(f"{sim.url}?{urlencode(given)}")
    assert status == 200
    return answer


def control(sim: CarrierSim, name: str, **given: Any) -> Any:
    return fetch(f"{sim.base}/sim/{name}", json.dumps(given).encode(), "application/json")[1]


def test_the_simulator_reads_get_post_and_json(sim: CarrierSim) -> None:
    fields = {"api_username": "sim@example.net", "api_password": "simulated", "method": "getBalance"}
    expected = {"status": "success", "balance": {"current_balance": "112.192790"}}
    multipart = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    assert fetch(f"{sim.url}?{urlencode(fields)}") == (200, expected)
    assert fetch(sim.url, urlencode(fields).encode()) == (200, expected)
    kind = "multipart/form-data; boundary=b"
    assert fetch(f"{sim.url}?content_type=json", f"{multipart}--b--\r\n".encode(), kind) == (200, expected)


WORDS: list[tuple[str, dict[str, str], str]] = [
    ("getBalance", {"api_password": ""}, "missing_credentials"),
    ("getBalance", {"api_password": "x"}, "invalid_credentials"),
    ("", {}, "missing_method"),
    ("getRich", {}, "invalid_method"),
    ("sendSMS", {"dst": PHONE, "message": "hi"}, "missing_did"),
    ("sendSMS", {"did": "4165559999", "dst": PHONE, "message": "hi"}, "invalid_did"),
    ("sendSMS", {"did": DID, "dst": "+15551234567", "message": "hi"}, "invalid_dst"),
    ("sendSMS", {"did": DID, "dst": PHONE}, "missing_sms"),
    ("sendSMS", {"did": DID, "dst": PHONE, "message": "x" * 161}, "sms_toolong"),
    ("sendMMS", {"did": DID, "dst": PHONE, "message": "x" * 2049}, "sms_toolong"),
    ("getSMS", {}, "no_sms"),
    ("getMMS", {}, "no_sms"),
    ("getSMS", {"from": "soon"}, "invalid_date"),
    ("getSMS", {"from": "2026-06-01", "to": "2026-10-02"}, "invalid_daterange"),
    ("getMediaMMS", {}, "missing_id"),
    ("getMediaMMS", {"id": "1"}, "invalid_id"),
    ("setSMS", {"did": DID}, "missing_enable"),
    ("getDIDsInfo", {"did": "1"}, "no_did"),
]


@pytest.mark.parametrize(("method", "fields", "word"), WORDS)
def test_the_simulator_answers_with_the_status_words_of_voipms(
    sim: CarrierSim, method: str, fields: dict[str, str], word: str
) -> None:
    assert call(sim, method, **fields) == {"status": word}


def test_the_simulator_shows_message_rows(sim: CarrierSim) -> None:
    sms = call(sim, "sendSMS", did=DID, dst=PHONE, message="hi")["sms"]
    mms = call(sim, "sendMMS", did=DID, dst=PHONE, message="", media1="https://h/a.png")["mms"]
    assert (type(sms), mms) == (int, sms + 1)
    (row,) = call(sim, "getSMS", type="0", timezone="-5")["sms"]
    assert row == {
        "id": str(sms), "date": "2026-10-02 14:24:31", "type": "0", "did": DID, "contact": PHONE, "message": "hi",
    }  # fmt: skip
    (row,) = call(sim, "getMMS")["sms"]
    assert (row["message"], row["col_media1"], row["col_media2"], row["media"]) == (
        None, "https://h/a.png", "", ["https://h/a.png"],
    )  # fmt: skip
    assert [row["id"] for row in call(sim, "getMMS", all_messages="1")["sms"]] == [str(mms), str(sms)]
    assert call(sim, "getMMS", timezone="0")["sms"][0]["date"] == "2026-10-02 19:24:31"
    sim.api.hide_media = True
    assert call(sim, "getMMS")["sms"][0]["media"] == []
    assert call(sim, "getMediaMMS", id=str(mms))["media"] == {"1": "https://h/a.png"}
    assert call(sim, "getMediaMMS", id=str(mms), media_as_array="1")["media"] == ["https://h/a.png"]
    assert call(sim, "deleteSMS", id=str(sms)) == {"status": "success"}
    assert call(sim, "getSMS") == {"status": "no_sms"}


def test_the_simulator_lists_fifty_rows_by_default(sim: CarrierSim) -> None:
    for _ in range(60):
        sim.inject(PHONE, DID, "x", quiet=True)
    assert (len(call(sim, "getSMS")["sms"]), len(call(sim, "getSMS", limit="1000")["sms"])) == (50, 60)


def test_the_simulator_shows_the_account(sim: CarrierSim) -> None:
    url = "http://127.0.0.1:1/?m={MESSAGE}"
    given = {"url_callback_enable": "1", "url_callback": url, "webhook_enabled": "0", "dialmode": "2"}
    assert call(sim, "setSMS", did=DID, enable="1", **given) == {"status": "success"}
    (row,) = call(sim, "getDIDsInfo")["dids"]
    assert all(isinstance(value, str) for value in row.values())
    assert (row["sms_url_callback"], row["sms_url_callback_enabled"], row["dialmode"]) == (url, "1", "2")


@pytest.mark.req("S-040", "S-041", "S-042", "S-044", "S-045", "S-046")
def test_the_simulator_calls_callbacks_and_webhooks(sim: CarrierSim) -> None:
    with StubCarrier() as hook:
        hook.default = Answer(200, b"ok")
        sim.did(DID).set_callback(f"{hook.url}?f={{FROM}};t={{TO}};m={{MESSAGE}};i={{ID}};d={{TIMESTAMP}};x={{MEDIA}}")
        sim.did(DID).set_webhook(hook.url)
        number = control(sim, "inbound", **{"from": PHONE, "to": DID, "text": "a & b", "media": ["https://h/a.png"]})[
            "id"
        ]
        sim.wait(lambda: len(sim.calls) == 2 and all(one.done for one in sim.calls))
        callback = next(one for one in hook.taken if one.method == "GET")
        webhook = next(one for one in hook.taken if one.method == "POST").json["data"]
    assert urlsplit(callback.path).query == (
        f"f={PHONE};t={DID};m=a+%26+b;i={number};d=2026-10-02+14%3A24%3A31;x=https%3A%2F%2Fh%2Fa.png%2C%2C"
    )
    payload = webhook["payload"]
    assert (webhook["event_type"], payload["id"], payload["type"], payload["text"]) == (
        "message.received", number, "MMS", "a & b",
    )  # fmt: skip
    assert (payload["from"], payload["media"]) == ({"phone_number": PHONE}, [{"url": "https://h/a.png"}])
    assert [one["done"] for one in fetch(f"{sim.base}/sim/calls")[1]] == [True, True]


@pytest.mark.req("S-044")
def test_the_simulator_repeats_a_callback_until_the_answer_is_ok(sim: CarrierSim) -> None:
    with StubCarrier() as hook:
        hook.script(Answer(200, b"OK, thank you"), Answer(500, b"ok"))
        hook.default = Answer(200, b" ok\n")
        sim.did(DID).set_callback(hook.url + "?m={MESSAGE}")
        sim.inject(PHONE, DID, "hi")
        sim.wait(lambda: sim.calls[0].due)
        control(sim, "retry")
        assert (sim.calls[0].tries, sim.calls[0].done) == (2, True)
        sim.did(DID).set_callback(hook.url + "?m={MESSAGE}", retry=False)
        hook.script(Answer(200, b"never mind"))
        sim.inject(PHONE, DID, "hi")
        sim.wait(lambda: len(sim.calls) == 2 and sim.calls[1].done)
        assert {query["m"][0] for query in (parse_qs(urlsplit(one.path).query) for one in hook.taken)} == {"hi"}


def test_the_simulator_serves_media(sim: CarrierSim) -> None:
    sim.inject(PHONE, DID, "", [{"type": "image/png", "base64": "iVBORw=="}])
    (link,) = sim.api.records[0].media
    with urllib.request.urlopen(link, timeout=5) as answer:
        assert (answer.headers["Content-Type"], answer.read()) == ("image/png", b"\x89PNG")


def test_the_simulator_can_be_told_to_fail(sim: CarrierSim) -> None:
    fields = {"did": DID, "dst": PHONE, "message": "hi"}
    control(sim, "fault", fault="word", word="sms_failed", method="sendSMS", count=1)
    assert call(sim, "getSMS") == {"status": "no_sms"}
    assert call(sim, "sendSMS", **fields) == {"status": "sms_failed"}
    control(sim, "settings", daily_limit=1)
    assert [call(sim, "sendSMS", **fields)["status"] for _ in range(2)] == ["success", "limit_reached"]
    control(sim, "fault", fault="throttle")
    assert call(sim, "getIP") == {"status": "api_limit_exceeded"}
    control(sim, "fault")
    assert call(sim, "getIP")["status"] == "success"
    assert [one["message"] for one in fetch(f"{sim.base}/sim/sent")[1]] == ["hi"]
    sim.api.allowed = {"192.0.2.1"}
    assert call(sim, "getIP") == {"status": "ip_not_enabled"}


def test_the_simulator_uses_the_days_of_new_york() -> None:
    assert wall(NOW).isoformat() == "2026-10-02T14:24:31-04:00"


def test_the_simulator_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "tools.carrier_sim", "--port", "0", "--did", DID, "--callback", "http://h/?{ID}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        try:
            given = {"api_username": "sim@example.net", "api_password": "simulated", "method": "getDIDsInfo"}
            (row,) = fetch(f"{url}?{urlencode(given)}")[1]["dids"]
        finally:
            process.terminate()
    assert (row["did"], row["sms_url_callback"]) == (DID, "http://h/?{ID}")
