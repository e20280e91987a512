"""Programs send by the doors they know already: 3CX and Telnyx, Wildix, Kannel, Acrobits; each over real HTTP."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree
from zlib import crc32
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from tests.support.messaging.media import PNG
from tests.support.node.stub_carrier import Answer, StubCarrier

from .conftest import MakePhone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def settings(customer: StubCarrier) -> dict[str, Any]:
    return {
        "callbacks": {"allow_private": True, "retry_every": "1s"},
        "api": {"daily_sends": 5, "per_minute": 0, "acrobits_push": f"http://127.0.0.1:{customer.port}/push"},
    }


@pytest.fixture(autouse=True)
def fresh(customer: StubCarrier) -> None:
    customer.taken.clear()


class Reply:
    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def call(site: Site, path: str, body: Any = None, user: tuple[str, str] | None = None, **headers: str) -> Reply:
    """GET, or POST of a form (dict), JSON (list of one dict) or bytes."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, dict):
        body = urllib.parse.urlencode(body).encode()
    elif isinstance(body, list):
        body, headers["Content-Type"] = json.dumps(body[0]).encode(), "application/json"
    if user is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
    request = urllib.request.Request(site.url + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Reply(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.headers, error.read())


def token(site: Site, account: Account, *more: str) -> dict[str, str]:
    made = site.cli("token", "add", f"t-{account.name}{len(more)}", "--account", account.name, *more).stdout.strip()
    site.wait(lambda: call(site, "/v2/messages", [{}], Authorization=f"Bearer {made}").status != 401)
    return {"Authorization": f"Bearer {made}"}


# --- 3CX and Telnyx ---------------------------------------------------------------------------------------------------


@pytest.mark.req("S-099", "S-101", "S-045")
def test_3cx_sends_and_hears_what_became_of_it(site: Site, account: Account, customer: StubCarrier) -> None:
    site.cli("did", "set", account.did, "--webhook", f"http://127.0.0.1:{customer.port}/3cx")
    key = token(site, account)
    body = {"from": f"+1{account.did}", "to": f"+1{HANDSET}", "text": "Grüße from 3CX"}
    reply = call(site, "/v2/messages", [body], **key)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    data = reply.json["data"]
    assert data["id"] == data["payload"]["id"]
    assert data["to"] == [{"phone_number": f"+1{HANDSET}", "status": "queued"}]
    site.settled(account.did, "Grüße from 3CX", "delivered")
    site.wait(lambda: len(customer.taken) >= 1)
    events = [one.json["data"] for one in customer.taken]
    last = events[-1]
    assert last["event_type"] == "message.finalized"
    assert last["payload"]["id"] == data["id"]
    assert last["payload"]["to"] == [{"phone_number": f"+1{HANDSET}", "status": "delivered"}]
    assert last["payload"]["from"] == {"phone_number": f"+1{account.did}"}
    assert [row["text"] for row in site.rows(account.did)] == ["Grüße from 3CX"], "reports are no messages of the user"


def test_a_message_is_retrieved_with_its_status_by_its_owner(site: Site, account: Account) -> None:
    """As `messages.retrieve` of Telnyx's SDK does; what is not the caller's is answered like what does not exist."""
    key, others = token(site, account), token(site, site.account())
    sent = call(site, "/v2/messages", [{"from": account.did, "to": HANDSET, "text": "how is it"}], **key).json["data"]
    site.settled(account.did, "how is it", "delivered")
    found = call(site, f"/v2/messages/{sent['id']}", **key)
    to = [{"phone_number": f"+1{HANDSET}", "status": "delivered"}]
    assert (found.status, {**found.json["data"], "received_at": ""}) == (200, {**sent, "to": to, "received_at": ""})
    site.sms(account.did, "an answer")
    received = next(row for row in site.rows(account.did) if row["text"] == "an answer")
    data = call(site, f"/v2/messages/{received['id']}", **key).json["data"]
    assert (data["direction"], data["to"][0]["status"]) == ("inbound", "webhook_delivered")
    for path, headers in (
        (sent["id"], others), ("999999999", key), ("9" * 30, key), ("x", key), ("%EF%BC%91", key), ("-1", key),
    ):  # fmt: skip
        reply = call(site, f"/v2/messages/{path}", **headers)
        assert (reply.status, reply.json["errors"][0]["code"]) == (404, "10005"), path
    assert call(site, f"/v2/messages/{sent['id']}", Authorization="Bearer wrong").status == 401


@pytest.mark.req("S-100", "A-37", "W-07")
def test_a_token_has_access_only_to_its_dids(site: Site, account: Account) -> None:
    other = site.account()
    key = token(site, account)
    narrow = token(site, account, "--scope", "did", "--did", account.did)

    def send(headers: dict[str, str], source: str, to: str = HANDSET, text: str = "hi") -> Reply:
        return call(site, "/v2/messages", [{"from": source, "to": to, "text": text}], **headers)

    nobodys = send(key, "+15559990000")
    for number in (other.did, account.voice_did):
        reply = send(key, number)
        assert reply.status == nobodys.status == 422
        assert reply.json["errors"][0]["source"] == {"pointer": "/from"}
        assert reply.text.replace(number, "X") == nobodys.text.replace("+15559990000", "X")
    assert send(narrow, account.voice_did).status == 422
    assert send(narrow, account.did).status == 200
    assert send(key, account.did, "911").json["errors"][0]["source"] == {"pointer": "/to"}
    assert send(key, account.did, text=" ").json["errors"][0]["code"] == "40316"
    assert send({"Authorization": "Bearer sipsms_no"}, account.did).status == 401
    assert call(site, "/v2/messages", [{"from": account.did, "to": HANDSET, "text": "x"}]).status == 401
    site.cli("token", "remove", f"t-{account.name}0")
    assert send(key, account.did).status == 401
    assert len(site.rows(account.did)) == 1
    assert site.rows(other.did) == []


def test_a_profile_in_place_of_a_sender(site: Site, account: Account) -> None:
    """As Telnyx picks one of the profile's numbers; without either it is refused."""
    key = token(site, account)
    narrow = token(site, account, "--scope", "did", "--did", account.did)
    body = {"messaging_profile_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "to": HANDSET, "text": "hi"}
    for headers in (key, narrow):
        said = call(site, "/v2/messages", [{**body, "text": f"by {len(site.rows(account.did))}"}], **headers)
        assert (said.status, said.json["data"]["from"]) == (200, {"phone_number": f"+1{account.did}"})
    assert call(site, "/v2/messages", [{**body, "messaging_profile_id": ""}], **key).status == 422


def test_a_file_is_sent_as_mms(site: Site, account: Account, customer: StubCarrier) -> None:
    customer.script(Answer(200, PNG, {"Content-Type": "image/png"}))
    body = {
        "from": account.did, "to": HANDSET, "text": "look", "media_urls": [f"http://127.0.0.1:{customer.port}/a.png"],
    }  # fmt: skip
    assert call(site, "/v2/messages", [body], **token(site, account)).status == 200
    (media,) = site.settled(account.did, "look", "delivered")["media"]
    assert (media["content_type"], media["name"], media["size"]) == ("image/png", "a.png", len(PNG))


@pytest.mark.req("S-006")
def test_the_daily_limit_counts_messages_of_programs_only(site: Site, account: Account) -> None:
    """Five a day here; what phones send is not counted, another customer's neither; it outlives a restart."""
    key = token(site, account)

    def send(text: str) -> int:
        return call(site, "/v2/messages", [{"from": account.did, "to": HANDSET, "text": text}], **key).status

    assert [send(f"n {n}") for n in range(6)] == [200] * 5 + [429]
    site.cli("account", "set", account.name, "--api-daily-limit", "7")
    assert [send(f"m {n}") for n in range(3)] == [200, 200, 429]
    assert site.stop() == 0
    site.start()
    assert send("after the restart") == 429
    site.cli("account", "set", account.name, "--api-daily-limit", "0")
    assert send("no limit") == 200


def test_requests_are_accepted_only_from_allowed_networks(site: Site, account: Account) -> None:
    key = token(site, account)
    body = [{"from": account.did, "to": HANDSET, "text": "from where?"}]
    site.cli("account", "set", account.name, "--api-allow-ip", "192.0.2.0/24,2001:db8::/32")
    assert call(site, "/v2/messages", body, **key).status == 403
    assert call(site, "/v2/messages", body, **key, X_Forwarded_For="192.0.2.77").status == 200


# --- Wildix -----------------------------------------------------------------------------------------------------------

ORIGINATE = "/api/v1/originate/sms"


@pytest.fixture
def desk(site: Site, account: Account) -> tuple[str, str]:
    """A subaccount with a caller ID, and its password."""
    name = f"{account.name}-desk"
    site.cli(
        "subaccount", "add", name, "--account", account.name, "--password", "sms101api", "--caller-id", account.did
    )
    return name, "sms101api"


@pytest.mark.req("S-159", "S-160", "S-162")
def test_the_three_replies_are_those_of_wildix(site: Site, account: Account, desk: tuple[str, str]) -> None:
    good = call(site, ORIGINATE, {"message": "one", "number": f"+1{HANDSET}"}, desk)
    assert (good.status, good.text) == (200, '{"type":"result","result":"Success"}')
    some = call(site, ORIGINATE, {"message": "two", "number": f"+1{HANDSET},111"}, desk)
    assert some.text == '{"type":"warning","reason":"Unable to add a SMS to the queue","result":["111"]}'
    none = call(site, ORIGINATE, {"message": "three", "number": ""}, desk)
    assert none.text == '{"type":"error","reason":"Number should not be empty","result":null}'
    assert call(site, "/api/v1/orginate/sms", {"message": "old", "number": HANDSET}, desk).json["result"] == "Success"
    query = urllib.parse.urlencode({"message": "get", "number": f"+1{HANDSET}", "gsm": "00:11"})
    assert call(site, f"{ORIGINATE}?{query}", user=desk).json["result"] == "Success"
    assert call(site, ORIGINATE, [{"message": "json", "number": [HANDSET]}], desk).json["result"] == "Success"
    for text in ("one", "two", "old", "get", "json"):
        assert site.settled(account.did, text, "delivered")["to"] == HANDSET
    assert len(site.rows(account.did)) == 5
    assert call(site, ORIGINATE, {"message": "x" * 301, "number": HANDSET}, desk).json["type"] == "error"
    site.cli("account", "set", account.name, "--api-daily-limit", "0")
    assert call(site, ORIGINATE, {"message": "x" * 300, "number": HANDSET}, desk).json["type"] == "result"


@pytest.mark.req("S-159")
def test_originate_accepts_only_valid_credentials(site: Site, account: Account, desk: tuple[str, str]) -> None:
    wrong = [call(site, ORIGINATE, {"message": "x", "number": HANDSET}, who) for who in ((desk[0], "no"), ("no", "x"))]
    wrong.append(call(site, ORIGINATE, {"message": "x", "number": HANDSET}))
    assert {(one.status, one.body) for one in wrong} == {(401, wrong[0].body)}
    assert wrong[0].headers["WWW-Authenticate"].startswith("Basic")
    api = site.cli("account", "api-password", desk[0]).stdout.strip()
    site.wait(lambda: call(site, ORIGINATE, {"message": "", "number": "1"}, (desk[0], api)).status == 200)
    assert site.rows(account.did) == []


def test_a_preview_of_a_link_sends_nothing(site: Site, account: Account, desk: tuple[str, str]) -> None:
    query = urllib.parse.urlencode({
        "username": desk[0], "password": desk[1], "to": HANDSET, "text": "x", "number": HANDSET, "message": "x",
        "sms_to": HANDSET, "sms_body": "x",
    })  # fmt: skip
    login = "Basic " + base64.b64encode(":".join(desk).encode()).decode()
    for path in ("/cgi-bin/sendsms", ORIGINATE, "/acrobits/send", "/api/v1/rest.php"):
        request = urllib.request.Request(f"{site.url}{path}?{query}", headers={"Authorization": login}, method="HEAD")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 405, path
    assert site.rows(account.did) == []


@pytest.mark.req("S-165", "S-164")
def test_signs_that_curl_spoils_are_replaced(site: Site, account: Account, desk: tuple[str, str]) -> None:
    text = 'it\'s "a" \\ b/c'
    call(site, ORIGINATE, {"message": text, "number": HANDSET}, desk, User_Agent="asterisk-libcurl-agent/1.0")
    call(site, ORIGINATE, {"message": text, "number": HANDSET}, desk)
    site.settled(account.did, "it s  a    b c", "delivered")
    site.settled(account.did, text, "delivered")


@pytest.mark.req("S-161", "G21")
def test_a_postponed_message_is_held_through_a_kill(site: Site, account: Account, desk: tuple[str, str]) -> None:
    """It is held through a kill, leaves at its time, once; what is written meanwhile does not wait for it."""
    zone = ZoneInfo("America/New_York")
    later = (datetime.now(zone) + timedelta(days=2)).strftime("%d/%m/%Y %H:%M")
    fields = {"message": "in two days", "number": HANDSET, "postpone": later}
    assert call(site, ORIGINATE, fields, desk).json["result"] == "Success"
    assert call(site, ORIGINATE, {"message": "now", "number": HANDSET}, desk).json["result"] == "Success"
    site.settled(account.did, "now", "delivered")
    site.settled(account.did, "in two days", "queued")
    site.kill()
    site.age(2 * 86400)
    site.start()
    site.settled(account.did, "in two days", "delivered", seconds=10)
    assert [row["deliveries"][0]["attempts"] for row in site.rows(account.did)] == [1, 1]
    for wrong in ("14/07/2014 15:35", "2027-07-14 15:35", "31/02/2027 10:00", "14/07/2099 15:35"):
        assert call(site, ORIGINATE, {**fields, "postpone": wrong}, desk).json["type"] == "error", wrong
    assert len(site.rows(account.did)) == 2


@pytest.mark.req("S-161", "A-37")
def test_what_is_held_is_judged_again_when_it_leaves(
    site: Site, account: Account, desk: tuple[str, str], make_phone: MakePhone
) -> None:
    """Its customer is switched off meanwhile, and with it all its phones; another's number has changed hands."""
    later = (datetime.now(ZoneInfo("America/New_York")) + timedelta(days=2)).strftime("%d/%m/%Y %H:%M")
    other, heir = site.account(), site.account()
    call(site, ORIGINATE, {"message": "of one that is off", "number": HANDSET, "postpone": later}, desk)
    who = (other.name, other.password)
    site.cli("account", "set", other.name, "--caller-id", other.did)
    call(site, ORIGINATE, {"message": "from a lost number", "number": HANDSET, "postpone": later}, who)
    site.settled(account.did, "of one that is off", "queued")
    site.settled(other.did, "from a lost number", "queued")
    site.cli("account", "set", account.name, "--disabled")
    assert call(site, ORIGINATE, {"message": "x", "number": HANDSET}, desk).status == 401
    phone = make_phone(Account(desk[0], desk[1], account.did, ""))
    assert phone.register().status == 403
    site.cli("did", "set", other.did, "--account", heir.name)
    assert site.stop() == 0
    site.age(2 * 86400)
    site.start()
    for did, text, why in (
        (account.did, "of one that is off", "off or removed"), (other.did, "from a lost number", "another customer's"),
    ):  # fmt: skip
        (delivery,) = site.settled(did, text, "failed", seconds=10)["deliveries"]
        assert why in delivery["last_error"]


# --- Kannel -----------------------------------------------------------------------------------------------------------


def sendsms(site: Site, who: tuple[str, str], more: str) -> Reply:
    return call(site, f"/cgi-bin/sendsms?username={who[0]}&password={who[1]}&{more}")


def test_sendsms_sends_a_message(site: Site, account: Account, desk: tuple[str, str], customer: StubCarrier) -> None:
    report = urllib.parse.quote(f"http://127.0.0.1:{customer.port}/dlr?type=%d&to=%p&from=%P&id=%I&my=a%20b")
    reply = sendsms(site, desk, f"to={HANDSET}&text=gr%C3%BC%C3%9Fe&dlr-mask=31&dlr-url={report}")
    assert (reply.status, reply.text) == (202, "0: Accepted for delivery")
    row = site.settled(account.did, "grüße", "delivered")
    site.wait(lambda: customer.taken)
    told = dict(parse_qsl(urlsplit(customer.taken[-1].path).query))
    assert told == {"type": "1", "to": HANDSET, "from": account.did, "id": str(row["id"]), "my": "a b"}
    wide = "".join(f"%{byte:02X}" for byte in "你好".encode("utf-16-be"))
    assert sendsms(site, desk, f"to={HANDSET}&coding=2&text={wide}").status == 202
    assert sendsms(site, desk, f"to={HANDSET}&charset=ISO-8859-1&text=caf%E9").status == 202
    site.settled(account.did, "你好", "delivered")
    site.settled(account.did, "café", "delivered")
    some = sendsms(site, desk, f"to={HANDSET}+12&text=some&from={account.did}")
    assert (some.status, some.text) == (202, "0: Accepted for delivery\nDenied receivers are: 12")
    later = sendsms(site, desk, f"to={HANDSET}&text=later&deferred=5")
    assert (later.status, later.text) == (202, "3: Queued for later delivery")
    for wrong in (f"to={HANDSET}&text=", "text=x", f"to={HANDSET}&text=x&from={account.voice_did}",
                  f"to={HANDSET}&text=%FF", f"to={HANDSET}&text=x&udh=%05", f"to={HANDSET}&text=x&charset=rot13",
                  f"to={HANDSET}&text=x&dlr-mask=1&dlr-url=http://169.254.169.254/"):  # fmt: skip
        assert sendsms(site, desk, wrong).status == 400, wrong
    assert sendsms(site, (desk[0], "no"), f"to={HANDSET}&text=x").text == "Authorization failed for sendsms"
    assert len(site.rows(account.did)) == 5


def test_a_text_is_read_in_the_charset_that_it_is_sent_in(site: Site, account: Account, desk: tuple[str, str]) -> None:
    """playsms#457, sms-smpp#93: what cannot be read is refused with the door's word; a byte order mark is no text."""
    form = "application/x-www-form-urlencoded"
    key = site.cli("account", "api-password", account.name).stdout.strip()
    fields = f"api_username={account.name}&api_password={key}&method=sendSMS&did={account.did}&dst={HANDSET}"

    def rest(text: str, kind: str = form) -> str:
        return str(
            call(site, "/api/v1/rest.php", f"{fields}&message={text}".encode(), Content_Type=kind).json["status"]
        )

    site.wait(lambda: rest("") == "message_empty")
    assert rest("caf%E9+1", f"{form}; charset=ISO-8859-1") == "success"
    assert rest("caf%E9+2") == "invalid_sms"
    assert call(site, f"/api/v1/rest.php?{fields}&message=caf%E9+3").json["status"] == "invalid_sms"
    json_text = json.dumps(dict(parse_qsl(fields)) | {"message": "\ufeffcafé 4"})
    reply = call(site, "/api/v1/rest.php", b"\xef\xbb\xbf" + json_text.encode(), Content_Type="application/json")
    assert reply.json["status"] == "success"
    wide = f"to={HANDSET}&coding=2&charset=UTF-16&text="
    assert sendsms(site, desk, wide + "%FF%FE5%006%00").status == sendsms(site, desk, wide + "%FE%FF%007").status == 202
    body = f"username={desk[0]}&password={desk[1]}&to={HANDSET}&body="
    assert call(site, "/acrobits/send", f"{body}caf%E9+8".encode(), Content_Type=form).status == 400
    site.wait(lambda: len(site.rows(account.did)) == 4)
    assert {row["text"] for row in site.rows(account.did)} == {"café 1", "café 4", "56", "7"}


def test_xml_answers_of_acrobits_name_the_error(site: Site, account: Account, desk: tuple[str, str]) -> None:
    query = urllib.parse.urlencode({"username": desk[0], "password": desk[1], "format": "xml"})
    balance = ElementTree.fromstring(call(site, f"/acrobits/balance?{query}").body)
    assert (balance[0].tag, balance.findtext("error")) == ("error", "0")
    sent = ElementTree.fromstring(call(site, f"/acrobits/send?{query}&to={HANDSET}&body=xml").body)
    assert (sent.findtext("error"), bool(sent.findtext("sms_id"))) == ("0", True)
    wrong = ElementTree.fromstring(call(site, f"/acrobits/send?{query}&to=1&body=xml").body)
    assert wrong.findtext("error") not in (None, "", "0")


def test_sendsms_whose_body_is_the_text(site: Site, account: Account, desk: tuple[str, str]) -> None:
    path = f"/cgi-bin/sendsms?username={desk[0]}&password={desk[1]}&to={HANDSET}"
    by_body = urllib.request.Request(site.url + path, "naïve & all=1".encode(), {"Content-Type": "text/plain"})
    with urllib.request.urlopen(by_body) as answer:
        assert answer.status == 202
    site.settled(account.did, "naïve & all=1", "delivered")


# --- Acrobits ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def app(site: Site, account: Account) -> dict[str, str]:
    """The credentials in the fields of an account whose app fetches."""
    site.cli("account", "set", account.name, "--app-messages")
    return {"username": account.name, "password": account.password}


def test_an_app_sends_and_fetches(site: Site, account: Account, app: dict[str, str], customer: StubCarrier) -> None:
    push = {**app, "selector": "S1", "token_msgs": "tok+/=", "appid_msgs": "com.example.app"}
    assert call(site, "/acrobits/push", push).status == 200
    site.sms(account.did, "first")
    site.sms(account.did, "second")
    site.wait(lambda: len(customer.taken) == 2)
    assert customer.taken[0].json == {
        "verb": "NotifyTextMessage", "AppId": "com.example.app", "DeviceToken": "tok+/=", "Selector": "S1",
    }  # fmt: skip
    site.settled(account.did, "first", "queued")
    sent = call(site, "/acrobits/send", {**app, "sms_to": f"sip:{HANDSET}@x", "sms_body": "mine"}).json
    answer = call(site, "/acrobits/fetch", {**app, "last_id": "", "last_sent_id": ""}).json
    assert [(one["sender"], one["sms_text"], one["stream_id"]) for one in answer["received_smss"]] == [
        (HANDSET, "first", HANDSET), (HANDSET, "second", HANDSET),
    ]  # fmt: skip
    assert [(one["sms_id"], one["recipient"]) for one in answer["sent_smss"]] == [(sent["sms_id"], HANDSET)]
    for text in ("first", "second"):
        site.settled(account.did, text, "delivered")
    last, last_sent = answer["received_smss"][-1]["sms_id"], answer["sent_smss"][-1]["sms_id"]
    again = call(site, "/acrobits/fetch", {**app, "last_id": last, "last_sent_id": last_sent}).json
    assert (again["received_smss"], again["sent_smss"]) == ([], [])
    site.sms(account.did, "third")
    site.settled(account.did, "third", "queued")
    third = call(site, "/acrobits/fetch", {**app, "last_id": last, "last_sent_id": last_sent}).json
    assert [one["sms_text"] for one in third["received_smss"]] == ["third"]


def test_fetched_and_not_by_sip_too(site: Site, account: Account, app: dict[str, str], make_phone: MakePhone) -> None:
    phone = make_phone(account)
    phone.register()
    site.sms(account.did, "for the app alone")
    found = call(site, "/acrobits/fetch", {**app, "format": "xml"})
    root = ElementTree.fromstring(found.body)
    assert root.findtext("received_smss/item/sms_text") == "for the app alone"
    assert len(site.settled(account.did, "for the app alone", "delivered")["deliveries"]) == 1
    site.cli("account", "set", account.name, "--no-app-messages")
    site.sms(account.did, "for the phone")
    assert phone.wait_message("for the phone").text == "for the phone"
    assert call(site, "/acrobits/fetch", app).status == 403


def test_an_encrypted_picture(site: Site, account: Account, app: dict[str, str], customer: StubCarrier) -> None:
    key = bytes(range(32))
    secret = Cipher(AES(key), CTR(bytes(16))).encryptor().update(PNG)
    customer.script(Answer(200, secret, {"Content-Type": "application/octet-stream"}))
    file = {
        "content-url": f"http://127.0.0.1:{customer.port}/f", "encryption-key": key.hex(), "hash": str(crc32(PNG)),
        "filename": "cat.png",
    }  # fmt: skip
    fields = {
        **app, "sms_to": HANDSET, "content_type": "application/x-acro-filetransfer+json",
        "sms_body": json.dumps({"body": "a cat", "attachments": [file]}),
    }  # fmt: skip
    assert call(site, "/acrobits/send", fields).status == 200
    (media,) = site.settled(account.did, "a cat", "delivered")["media"]
    assert (media["content_type"], media["size"]) == ("image/png", len(PNG))
    row = call(site, "/acrobits/fetch", app).json["sent_smss"][-1]
    (shown,) = json.loads(row["sms_text"])["attachments"]
    with urllib.request.urlopen(shown["content-url"].replace("http://sip.example.net:", "http://127.0.0.1:")) as got:
        assert got.read() == PNG


def test_an_app_gets_a_reason_for_each_mistake(site: Site, account: Account, app: dict[str, str]) -> None:
    wrong = call(site, "/acrobits/send", {**app, "password": "no", "sms_to": HANDSET, "sms_body": "x"})
    unknown = call(site, "/acrobits/send", {"username": "no", "password": "x", "sms_to": HANDSET, "sms_body": "x"})
    assert (wrong.status, wrong.body) == (unknown.status, unknown.body)
    assert wrong.status == 401
    for fields in ({"sms_to": "911", "sms_body": "x"}, {"sms_to": HANDSET}, {"sms_body": "x"}):
        reply = call(site, "/acrobits/send", {**app, **fields})
        assert (reply.status, bool(reply.json["message"])) == (400, True), fields
    assert call(site, "/acrobits/balance", app).json["balanceString"]
    assert site.rows(account.did) == []
