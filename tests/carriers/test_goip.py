"""GSM gateways that speak HTTP: answers in plain text, and messages that name no destination, by the example of GoIP.

The answers are those that programs for the device know; the device is a stub on a real socket.
"""

from __future__ import annotations

import asyncio
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from pydantic import ValidationError

from sipsms.app import settings
from sipsms.carriers.http_api import HttpCarrier
from sipsms.carriers.settings import HttpCarrierConfig, Inbound
from sipsms.core.message import Accepted, Deferred, Outcome, Rejected, Scope, Unknown
from sipsms.core.yaml_file import ConfigError
from sipsms.messaging.carrier import HookRequest, InboundSms
from sipsms.web.client import AiohttpClient
from tests.carriers.kit import FORM, ScriptedClient, delivery, hook, refusal, reply, tools
from tests.support.node.server import Node
from tests.support.node.stub_carrier import HANG_UP, Answer, StubCarrier

FILE = Path(__file__).parents[2] / "etc" / "carriers" / "goip.yaml"

SENDING = b"\nSending,L1 Send SMS to:5551234567; ID:0000006d\n"
LOGIN = b"<!DOCTYPE html>\n<html><head><title>Login</title></head><body>hunter2</body></html>"


@pytest.fixture
def stub() -> Iterator[StubCarrier]:
    with StubCarrier() as running:
        running.default = Answer(200, SENDING, {"Content-Type": "text/html"})
        yield running


@pytest.fixture
async def client() -> AsyncIterator[AiohttpClient]:
    opened = AiohttpClient()
    yield opened
    await opened.close()


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HttpCarrierConfig:
    for name, value in {"GOIP_USER": "sms", "GOIP_PASSWORD": "hunter2", "GOIP_HOOK": "s3cret"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "sipsms.yaml").write_text(f"domain: sip.example.net\n{FILE.read_text('utf-8')}")
    found = settings.load(tmp_path / "sipsms.yaml").carriers["goip"]
    assert isinstance(found, HttpCarrierConfig)
    return found


def device(options: HttpCarrierConfig, client: Any, url: str = "") -> HttpCarrier:
    return HttpCarrier("goip", options.model_copy(update={"url": url}) if url else options, tools(client))


def carrier(answer: Any = None, **options: Any) -> HttpCarrier:
    given: dict[str, Any] = {"type": "http", "url": "http://192.0.2.30/x", **options}
    return HttpCarrier("gsm", HttpCarrierConfig.model_validate(given), tools(ScriptedClient(answer or reply({}))))


# --- out --------------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-135")
async def test_a_message_is_sent_in_a_query(
    shipped: HttpCarrierConfig, stub: StubCarrier, client: AiohttpClient
) -> None:
    assert await device(shipped, client, stub.url).send(delivery("a&b é {to}")) == Accepted("0000006d")
    (taken,) = stub.taken
    assert taken.method == "GET"
    assert taken.fields == {"u": "sms", "p": "hunter2", "l": "1", "n": "5551234567", "m": "a&b é {to}"}
    assert "hunter2" not in repr(shipped)


DOWN = {"scope": Scope.COURIER}
OTHER = "answered 200 with a text that is not in ok.text"
ANSWERS: list[tuple[Answer | str, Outcome]] = [
    (Answer(200, b"Sending,L1 Send SMS to:5551234567"), Accepted("")),
    (Answer(200, b"\xef\xbb\xbf\r\n SENDING,L1 Send SMS to:5551234567; ID: 7 x"), Accepted("7")),
    (Answer(200, b"ERROR,L1 busy"), Deferred("answered ERROR")),
    (Answer(200, b"error,l1 gsm LOGOUT\n"), Deferred("answered ERROR,L1 GSM logout", **DOWN)),
    (Answer(200, b"ERROR,user or password error"), Deferred("answered ERROR,user", **DOWN)),
    (Answer(200, LOGIN), Unknown(OTHER)),
    (Answer(200, b"They said: Sending; ID:7"), Unknown(OTHER)),
    (Answer(200, b"\xff\xfe\0"), Unknown(OTHER)),
    (Answer(200, b""), Unknown(OTHER)),
    (Answer(401, LOGIN), Deferred("answered 401: the carrier refuses our credentials", **DOWN)),
    (Answer(202, SENDING), Unknown("answered 202, which is not in ok.status")),
    (Answer(500, SENDING), Deferred("answered 500")),
    (HANG_UP, Unknown("no answer: connection closed before an answer came")),
]


@pytest.mark.req("S-135", "D6", "F-12")
@pytest.mark.parametrize(("answer", "outcome"), ANSWERS)
async def test_each_answer_gives_its_outcome(
    answer: Answer | str, outcome: Outcome, shipped: HttpCarrierConfig, stub: StubCarrier, client: AiohttpClient
) -> None:
    stub.default = answer
    assert await device(shipped, client, stub.url).send(delivery()) == outcome
    assert len(stub.taken) == 1


async def test_a_configured_login_page_defers_the_courier(
    shipped: HttpCarrierConfig, stub: StubCarrier, client: AiohttpClient
) -> None:
    known = {"Sending": "taken", "<!doctype html>": "down"}
    options = shipped.model_copy(update={"ok": shipped.ok.model_validate({"text": known})})
    stub.default = Answer(200, LOGIN)
    assert await device(options, client, stub.url).send(delivery()) == Deferred("answered <!doctype html>", **DOWN)


async def test_an_answer_with_lf_line_ends_is_read(shipped: HttpCarrierConfig, client: AiohttpClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\nContent-Type: text/html\nConnection: close\n\n" + SENDING)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/default/en_US/send.html"
    async with server:
        assert await device(shipped, client, url).send(delivery()) == Accepted("0000006d")


MEANT: list[tuple[str, str, Outcome]] = [
    ("taken", "unknown", Accepted("")),
    ("refused", "unknown", Rejected("answered no", "no")),
    ("opt_out", "unknown", Rejected("answered no", "no", opt_out=True)),
    ("unknown", "taken", Unknown("answered no")),
]


@pytest.mark.parametrize(("meaning", "other", "outcome"), MEANT)
async def test_configured_words_give_their_outcome(meaning: str, other: str, outcome: Outcome) -> None:
    gsm = carrier(reply(b"No way, 5551234567"), ok={"text": {"no": meaning}, "other": other})
    assert await gsm.send(delivery()) == outcome


async def test_the_first_matching_word_decides_and_other_is_the_rest() -> None:
    ok = {"text": {"no money": "down", "no": "refused"}, "other": "later"}
    for text, outcome in (
        (b"no money left", Deferred("answered no money", **DOWN)),
        (b"no", Rejected("answered no", "no")),
        (b"yes", Deferred(OTHER)),
    ):
        assert await carrier(reply(text), ok=ok).send(delivery()) == outcome


IDS = [
    ({"after": "ID:"}, "OK ID:a-1;x y", "a-1;x"),
    ({"after": "ID:"}, "OK ID:\n a-1", "a-1"),
    ({"after": "ID:", "before": ";"}, "OK ID: a 1 ; ID:2;", "a 1"),
    ({"after": "ID:", "before": ";"}, "OK ID:a-1", "a-1"),
    ({"after": "ID:"}, "OK ID:", ""),
    ({"after": "ID:"}, "OK id:a-1", ""),
    ({"after": "ID:"}, "OK ID:a\0" + "9" * 999, "a\ufffd" + "9" * 253),
]


@pytest.mark.parametrize(("where", "text", "remote_id"), IDS)
async def test_the_id_is_read_from_the_text(where: dict[str, str], text: str, remote_id: str) -> None:
    gsm = carrier(reply(text.encode()), ok={"text": {"OK": "taken"}, "text_id": where})
    assert await gsm.send(delivery()) == Accepted(remote_id)


# --- in ---------------------------------------------------------------------------------------------------------------

CAME = {"name": "goip1", "number": "15551234567", "content": "hé"}
SMS = InboundSms("15551234567", "4165550000", "hé")


@pytest.mark.req("S-135")
@pytest.mark.parametrize(
    "request_",
    [
        HookRequest("GET", CAME, {}, b""),
        hook(urlencode(CAME).encode(), FORM),
        hook({"goip_line": "goip1", "from_number": "15551234567", "content": "hé", "recv_time": "x"}),
        HookRequest("GET", {**CAME, "to": "9999999999"}, {}, b""),
    ],
)
def test_incoming_messages_are_for_the_number_of_the_line(request_: HookRequest, shipped: HttpCarrierConfig) -> None:
    assert device(shipped, None).parse(request_).messages == (SMS,)


def test_a_line_without_number_reads_it_from_the_message() -> None:
    gsm = carrier(inbound={"secret": "s", "fields": {"from": "number", "text": "content"}})
    assert refusal(gsm, HookRequest("GET", CAME, {}, b"")) == 400
    assert gsm.parse(HookRequest("GET", {**CAME, "to": "4165550000"}, {}, b"")).messages == (SMS,)


# --- what the configuration says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ['"4165550000"', "4165550000", "+14165550000", '"1 (416) 555-0000"'])
def test_the_number_of_a_line_is_normalised_at_load(written: str) -> None:
    inbound = Inbound.model_validate({"secret": "s", "to": yaml.safe_load(written)})
    assert inbound.to == "4165550000"


PAGE = """\
domain: sip.example.net
carriers:
  gsm:
    type: http
    url: http://192.0.2.30/
    inbound:
      secret: s
      fields: {{from: number}}
      to: {}
"""
EXPECTED = ":9: carriers.gsm.inbound.to: expected a telephone number like 4165550000, got "

FORMS = [
    (PAGE.format("SHOP"), f"{EXPECTED}'SHOP'"),
    (PAGE.format("true"), f"{EXPECTED}True"),
    (PAGE.format("[4165550000]"), f"{EXPECTED}[4165550000]"),
    (PAGE.format('"0165550000"'), f"{EXPECTED}'0165550000'"),
    (PAGE.format("4165550000").replace("from:", "to: to, from:"),
     ":6: carriers.gsm.inbound: `to` and `fields.to`: all messages are for one number, or each names its own"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error"), FORMS)
def test_errors_name_file_line_and_key(text: str, error: str, tmp_path: Path) -> None:
    file = tmp_path / "sipsms.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        settings.load(file)
    assert caught.value.errors == (f"{file}{error}",)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"text_id": {"after": "ID:"}}, "`text_id` needs `text`"),
    ({"text": {"OK": "taken"}, "id": "a"}, "without `id` and `word`"),
    ({"text": {"OK": "taken"}, "word": "a"}, "without `id` and `word`"),
    ({"text": {"": "taken"}}, "how an answer begins"),
    ({"text": {" OK": "taken"}}, "how an answer begins"),
    ({"text": {"O\nK": "taken"}}, "how an answer begins"),
    ({"text": {"OK": "maybe"}}, "'taken', 'later'"),
    ({"text": {"error": "later", "ERROR,user": "down"}}, re.escape("'ERROR,user' is never looked at")),
    ({"text": {"OK": "taken"}, "text_id": {"after": ""}}, "at least 1"),
]


@pytest.mark.parametrize(("ok", "why"), WRONG)
def test_an_invalid_configuration_is_refused(ok: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        carrier(ok=ok)


# --- inside a running server ------------------------------------------------------------------------------------------

LINES = {"goip": "4165550000", "goip2": "4165550001"}


@pytest.fixture
def node(tmp_path: Path, stub: StubCarrier) -> Iterator[Node]:
    """Two lines of one device, which share its URL."""
    file = yaml.safe_load(FILE.read_text("utf-8"))["carriers"]["goip"]
    file |= {"url": stub.url, "auth": {"query": {"u": "sms", "p": "hunter2"}}}
    lines = {
        name: {**file, "fields": {**file["fields"], "l": str(i)}, "inbound": {**file["inbound"], "secret": "s3cret"}}
        for i, name in enumerate(LINES, 1)
    }
    for name, number in LINES.items():
        lines[name]["inbound"]["to"] = number
    with Node(tmp_path, carriers=lines) as started:
        started.import_accounts({"name": "acme", "password": "x", "dids": [{"number": n} for n in LINES.values()]})
        yield started


def called(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.e2e
@pytest.mark.req("S-135")
def test_two_lines_run_in_one_server(node: Node, stub: StubCarrier) -> None:
    for name in LINES:
        query = urlencode({"name": name, "number": "5552345678", "content": f"by {name}"})
        assert called(f"{node.url}/hooks/{name}/s3cret?{query}") == 200
    assert called(f"{node.url}/hooks/goip/wrong?number=5552345678&content=x") == 404
    rows = node.wait_for_messages(lambda rows: len(rows) >= len(LINES))
    assert {row["text"]: row["to"] for row in rows} == {f"by {name}": number for name, number in LINES.items()}
    stub.script(Answer(200, b"ERROR,L1 GSM logout"))
    node.cli("send", "--from", LINES["goip"], "--to", "5551234567", "out")
    node.wait_for_messages(lambda rows: any((r["text"], r["state"]) == ("out", "accepted") for r in rows))
    assert [taken.fields["l"] for taken in stub.wait(2)] == ["1", "2"]
    log = node.log_tail(10_000)
    assert "goip" in log
    assert "hunter2" not in log
