"""The carriers inside a running server: hooks, signatures, receipts, polling and looking up, over real sockets."""

from __future__ import annotations

import hmac
import json
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.carriers.test_telnyx import PRIVATE, PUBLIC, event
from tests.support.node.server import Node
from tests.support.node.stub_carrier import Answer, StubCarrier
from tools.carrier_sim import CarrierSim

pytestmark = pytest.mark.e2e

DID, PHONE = "4165550000", "5552345678"
PUBLIC_URL = "https://sms.example.net"
CALLBACK = "?to={TO}&from={FROM}&message={MESSAGE}&id={ID}&date={TIMESTAMP}&files={MEDIA}"


@pytest.fixture(scope="module")
def stub() -> Iterator[StubCarrier]:
    with StubCarrier() as running:
        running.default = Answer(201, {"sid": "SM77", "status": "queued"})
        yield running


@pytest.fixture(scope="module")
def sim() -> Iterator[CarrierSim]:
    with CarrierSim(dids=[DID]) as running:
        yield running


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, sim: CarrierSim, stub: StubCarrier) -> Iterator[Node]:
    hook = {"inbound": {"secret": "s3cret"}}
    voipms = {"type": "voipms", "username": "sim@example.net", "password": "simulated", "url": sim.url, "poll": "1s"}
    twilio = {
        "type": "twilio",
        "account_sid": "AC00000000",
        "auth_token": "tok",
        "url": f"http://127.0.0.1:{stub.port}",
    }
    telnyx = {"type": "telnyx", "api_key": "k", "public_key": PUBLIC}
    carriers = {"voipms": voipms | hook, "twilio": twilio | hook, "telnyx": telnyx | hook}
    started = Node(tmp_path_factory.mktemp("node"), carriers=carriers, web={"url": PUBLIC_URL})
    with started:
        started.import_accounts({"name": "acme", "password": "x", "dids": [{"number": DID}]})
        yield started


def post(node: Node, carrier: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    request = urllib.request.Request(f"{node.url}/hooks/{carrier}/s3cret", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def texts(rows: list[dict[str, Any]], **wanted: str) -> list[str]:
    return [row["text"] for row in rows if all(row[name] == value for name, value in wanted.items())]


@pytest.mark.req("S-040", "S-041", "S-044", "S-045", "S-110")
def test_callback_webhook_and_poll_deliver_a_message_once(node: Node, sim: CarrierSim) -> None:
    url = f"{node.url}/hooks/voipms/s3cret"
    sim.did(DID).set_callback(url + CALLBACK)
    sim.did(DID).set_webhook(url)
    sim.inject(PHONE, DID, "told twice, é 😀")
    sim.wait(lambda: len(sim.calls) == 2 and all(call.done for call in sim.calls))
    sim.inject(PHONE, DID, "never told", quiet=True)
    rows = node.wait_for_messages(lambda rows: "never told" in texts(rows))
    assert sorted(texts(rows, carrier="voipms", direction="in")) == ["never told", "told twice, é 😀"]
    assert {call.answer for call in sim.calls} == {"ok"}


@pytest.mark.req("D6", "F-13")
def test_a_lost_answer_is_found_in_the_records_of_the_carrier(node: Node, sim: CarrierSim) -> None:
    sim.fault("hang_up", count=1, method="sendSMS")
    node.cli("send", "--from", DID, "--to", PHONE, "lost")
    node.wait_for_messages(lambda rows: texts(rows, text="lost", state="accepted"), 30.0)
    assert [record.message for record in sim.sent] == ["lost"]


def signed(fields: dict[str, str], key: str = "tok") -> tuple[bytes, dict[str, str]]:
    text = f"{PUBLIC_URL}/hooks/twilio/s3cret" + "".join(name + value for name, value in sorted(fields.items()))
    signature = b64encode(hmac.new(key.encode(), text.encode(), "sha1").digest()).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": signature}
    return urlencode(fields).encode(), headers


@pytest.mark.req("A-41", "A-42", "W-05")
def test_signatures_are_checked_with_the_public_url(node: Node) -> None:
    fields = {"MessageSid": "SM1", "From": f"+1{PHONE}", "To": f"+1{DID}", "Body": "signed", "NumMedia": "0"}
    assert post(node, "twilio", *signed(fields, "other"))[0] == 401
    assert post(node, "twilio", signed(fields)[0], {"Content-Type": "application/x-www-form-urlencoded"})[0] == 401
    assert post(node, "twilio", *signed(fields)) == (200, "<Response/>")
    assert post(node, "twilio", *signed(fields)) == (200, "<Response/>")  # again: no effect
    assert texts(node.listed("messages"), carrier="twilio", direction="in") == ["signed"]


@pytest.mark.req("W-05", "A-41", "A-42", "A-49")
def test_the_timestamp_of_a_signature_is_checked_by_the_clock(node: Node) -> None:
    body = json.dumps(event(media=[], text="in time", to=[{"phone_number": f"+1{DID}"}])).encode()
    for off, status in ((0, 200), (0, 200), (-301, 401), (301, 401), (86400, 401)):
        stamp = str(int(time.time()) + off)
        signature = b64encode(PRIVATE.sign(f"{stamp}|".encode() + body)).decode()
        headers = {"telnyx-timestamp": stamp, "telnyx-signature-ed25519": signature}
        assert post(node, "telnyx", body, {"Content-Type": "application/json", **headers})[0] == status
    assert texts(node.listed("messages"), carrier="telnyx") == ["in time"]


@pytest.mark.req("A-42")
def test_a_forged_receipt_changes_nothing(node: Node) -> None:
    """One for a message that is not theirs is answered, so that it does not come again and again."""
    receipt = {"MessageSid": "SM77", "MessageStatus": "failed", "ErrorCode": "30005"}
    before = node.listed("messages")
    assert post(node, "twilio", *signed(receipt, "other"))[0] == 401
    assert post(node, "twilio", *signed(receipt)) == (200, "<Response/>")
    assert node.listed("messages") == before
