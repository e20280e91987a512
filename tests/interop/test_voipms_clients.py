"""Programs written for VoIP.ms, at /api/v1/rest.php of a real server: two Python packages as they are but for the URL,
and the others' requests as they send them, each checked for what that program reads of the answer."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import aiohttp
import pytest
import voipms
import voipms_api
from e2e.site import HANDSET, Account, Site

from tests.support.messaging.media import JPEG, PNG
from tests.support.node.stub_carrier import Answer, StubCarrier

pytestmark = [pytest.mark.req("S-103", "S-104", "S-105"), pytest.mark.e2e]
NEW_YORK = ZoneInfo("America/New_York")
BIG = JPEG + bytes(1300 * 1024 - len(JPEG))  # 1.7 MB in base64
PLAIN = "+ and %41 and é\nsecond line"


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Customers' servers are on loopback here; links to files are, too."""
    folder = tmp_path_factory.mktemp("site")
    quick = {"allow_private": True, "retry_every": "1s"}
    site = Site(folder, callbacks=quick, api={"daily_sends": 0, "per_minute": 0})
    site.write_config(**{**site.settings, "web": {"url": site.url}})
    with site:
        yield site


@dataclass
class Customer:
    site: Site
    account: Account
    password: str

    @property
    def url(self) -> str:
        return f"{self.site.url}/api/v1/rest.php"

    @property
    def name(self) -> str:
        return self.account.name

    @property
    def email(self) -> str:
        return f"{self.account.name}@example.net"

    @property
    def did(self) -> str:
        return self.account.did

    @property
    def fields(self) -> dict[str, str]:
        return {"api_username": self.email, "api_password": self.password}

    def get(self, method: str, **fields: Any) -> dict[str, Any]:
        """As programs that use GET: all in the URL."""
        return self.open(urllib.request.Request(f"{self.url}?{urlencode({**self.fields, 'method': method, **fields})}"))

    def open(self, request: urllib.request.Request) -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "application/json"
            found: dict[str, Any] = json.load(answer)
            return found

    def post(self, body: bytes, kind: str, query: str = "") -> dict[str, Any]:
        return self.open(urllib.request.Request(self.url + query, body, {"Content-Type": kind}))

    def subaccount(self, name: str = "desk") -> str:
        login = f"{self.name}_{name}"
        self.site.cli("subaccount", "add", login, "--account", self.name, "--password", "x")
        return login

    def sent(self) -> list[dict[str, Any]]:
        return [row for row in self.site.rows(self.did) if row["direction"] == "out"]


@pytest.fixture
def customer(site: Site, account: Account) -> Customer:
    password = site.cli("account", "api-password", account.name).stdout.strip()
    site.cli("account", "set", account.name, "--email", f"{account.name}@example.net")
    return Customer(site, account, password)


@pytest.fixture
def stub() -> Iterator[StubCarrier]:
    with StubCarrier() as found:
        found.default = Answer(body="ok")
        yield found


def multipart(fields: dict[str, str], boundary: str, part_type: str = "") -> bytes:
    """Parts without file names; okhttp and aiohttp give them a type, PHP does not."""
    parts = []
    for name, value in fields.items():
        kind = f"Content-Type: {part_type}\r\n" if part_type else ""
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n{kind}\r\n{value}\r\n')
    return ("".join(parts) + f"--{boundary}--\r\n").encode()


# --- packages --------------------------------------------------------------------------------------------------------


def test_voipms_api(customer: Customer) -> None:
    """voipms-api 1.2: GET, and multipart by POST."""

    def client(kind: Any) -> Any:
        made = kind(customer.email, customer.password)
        made.voipms_url = customer.url
        return made

    general, sms, accounts, dids = (
        client(one) for one in (voipms_api.General, voipms_api.SMS, voipms_api.Accounts, voipms_api.DIDs)
    )
    assert general.test_connection() == general.get_ip() == {"status": "success", "ip": "127.0.0.1"}
    assert general.get_balance()["balance"] == {"current_balance": "0.000000"}
    assert general.get_balance(advanced=True)["balance"]["calls_today"] == "0"
    assert general.get_servers()["servers"][0]["server_pop"] == "1"
    assert {row["did"] for row in dids.get_dids_info()["dids"]} == {customer.did, customer.account.voice_did}
    assert dids.get_dids_info(did=customer.did)["dids"][0]["sms_enabled"] == "1"
    first = sms.send_sms(customer.did, HANDSET, PLAIN)
    assert (first["status"], type(first["sms"])) == ("success", int)
    (row,) = sms.get_sms(id=first["sms"])["sms"]
    assert (row["id"], row["type"], row["did"], row["contact"]) == (str(first["sms"]), "0", customer.did, HANDSET)
    assert row["message"] == PLAIN
    assert sms.get_sms(type=1)["status"] == "no_sms"
    assert len(sms.get_sms(type=0, did=customer.did, contact=HANDSET, limit=20, timezone=-5)["sms"]) == 1
    media = base64.b64encode(BIG).decode()
    fields = {"did": customer.did, "dst": HANDSET, "message": "large", "media1": f"data:image/jpeg;base64,{media}"}
    assert client(voipms_api.VoipMsClient).post("sendMMS", fields)["status"] == "success"
    assert len(customer.sent()) == 2
    made = accounts.create_subaccount("desk", password="Str0ng-Enough", callerid_number=customer.did)
    assert (made["status"], made["account"]) == ("success", f"{customer.name}_desk")
    assert accounts.get_subaccounts(made["account"])["accounts"][0]["id"] == made["id"]
    assert accounts.get_subaccounts(made["id"])["status"] == "no_subaccount"
    assert accounts.update_subaccount(made["account"], auth_type=1, password="An0ther-0ne")["status"] == "success"
    assert accounts.delete_subaccount(made["id"])["status"] == "success"
    assert accounts.get_subaccounts()["status"] == "no_account"
    wrong = voipms_api.SMS(customer.email, "wrong")
    wrong.voipms_url = customer.url
    assert wrong.send_sms(customer.did, HANDSET, "x")["status"] == "invalid_credentials"


def test_voipms(customer: Customer, stub: StubCarrier) -> None:
    """voipms 0.2.6: GET with a password that it does not encode; newlines and `!` become spaces on the way."""
    client = voipms.VoipMs(customer.email, customer.password)
    client.base_url = client.base_url.replace("https://voip.ms/api/v1/rest.php", customer.url)
    client.post_url = customer.url
    number, other = int(customer.did), int(HANDSET)
    assert client.general.get.balance(advanced=True)["balance"]["current_balance"] == "0.000000"
    assert client.general.get.ip()["ip"] == "127.0.0.1"
    assert client.general.get.servers_info()["servers"][0]["server_hostname"] == "sip.example.net"
    sent = client.dids.send.sms(number, other, "Hello & +1%\nyou!")
    assert sent["status"] == "success"
    (row,) = client.dids.get.sms(sms=sent["sms"])["sms"]
    assert row["message"] == "Hello & +1% you "
    stub.default = Answer(body=PNG)
    link = f"http://127.0.0.1:{stub.port}/cat.png"
    coded = base64.b64encode(JPEG)
    mms = client.dids.send.mms(number, other, "look", media2=coded)
    assert mms["status"] == "success"
    today = datetime.now(NEW_YORK).date().isoformat()
    (row,) = client.dids.get.mms(date_from=today, date_to=today, mms_type=False, did=number)["sms"]
    assert (row["id"], len(row["media"])) == (str(mms["mms"]), 1)
    assert urllib.request.urlopen(row["col_media1"], timeout=5).read() == JPEG
    assert client._get("sendMMS", {"did": number, "dst": other, "message": "x", "media1": link})["status"] == "success"
    done = client.dids.set.sms(number, True, email_enabled=True, email_address="a@example.com")
    assert done["status"] == "success"
    (did,) = client.dids.get.dids_info(did=number)["dids"]
    assert (did["sms_email"], did["sms_email_enabled"]) == ("a@example.com", "1")
    made = client.accounts.create.sub_account(
        "VoIP", "Str0ng-Enough", 1, 1, 2, 1, 1, "default", "ulaw;g729", "auto", "yes"
    )
    assert made["status"] == "success"
    assert client.accounts.get.sub_accounts(made["account"])["accounts"][0]["username"] == "VoIP"
    assert client.accounts.get.registration_status(made["account"])["registered"] == "no"
    assert client.accounts.delete.sub_account(int(made["id"]))["status"] == "success"
    posted = client._post("sendSMS", {"did": number, "dst": other, "message": "by POST"})
    assert posted["status"] == "success"
    client.base_url = client.base_url.replace(customer.password, "wrong")
    with pytest.raises(TypeError):  # as it says "Username or Password is incorrect"
        client.general.get.balance()


# --- programs --------------------------------------------------------------------------------------------------------


def test_android_voipms_sms_client(customer: Customer) -> None:
    """Multipart with a type for each part; all messages of 90 days at a time; three tries of what had no answer."""

    def ask(method: str, **fields: str) -> dict[str, Any]:
        whole = {**customer.fields, "method": method, **fields}
        boundary = "0b2e8b1c-8c6e-4a7f-9d0e-3b5a1f2c4d6e"
        return customer.post(multipart(whole, boundary, "text/plain; charset=utf-8"),
                             f"multipart/form-data; boundary={boundary}")  # fmt: skip

    dids = ask("getDIDsInfo")["dids"]
    usable = [row["did"] for row in dids if row["sms_enabled"] == "1"]
    assert usable == [customer.did]
    customer.site.sms(customer.did, PLAIN)
    customer.site.sms(customer.did, "from a bank", source="MyBank")
    sent = ask("sendSMS", did=customer.did, dst=HANDSET, message="reply")
    assert (sent["status"], type(sent["sms"])) == ("success", int)
    customer.site.settled(customer.did, "reply", "delivered")
    today = datetime.now(NEW_YORK)
    fields = {
        "did": customer.did, "limit": "1000000", "from": f"{today - timedelta(days=90):%Y-%m-%d}",
        "to": f"{today:%Y-%m-%d}", "timezone": "-5", "all_messages": "1",
    }  # fmt: skip
    rows = ask("getMMS", **fields)["sms"]
    for row in rows:
        assert re.fullmatch(r"(\+1|\+)?[0-9]+", row["contact"]), "one that is not, and the whole list is lost"
        at = datetime.strptime(row["date"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=NEW_YORK)
        assert abs(at.timestamp() - time.time()) < 60
        assert row["type"] in ("0", "1")
        int(row["id"])
        assert row["message"] or row["media"]
    assert [(row["type"], row["message"]) for row in rows if row["type"] == "1"] == [("1", PLAIN)]
    assert str(sent["sms"]) in [row["id"] for row in rows]
    old = {**fields, "from": f"{today - timedelta(days=181):%Y-%m-%d}", "to": f"{today - timedelta(days=91):%Y-%m-%d}"}
    assert ask("getMMS", **old)["status"] == "no_sms"
    push = "https://us-central1-voipmssms-9ee9b.cloudfunctions.net/notify?did={TO}"
    pushed = ask("setSMS", did=customer.did, enable="1", url_callback_enable="1", url_callback=push,
                 url_callback_retry="0")  # fmt: skip
    assert pushed["status"] == "success"
    shown = {"invalid_dst", "invalid_sms", "limit_reached", "message_empty", "missing_sms", "sms_failed", "sms_toolong"}
    assert ask("sendSMS", did=customer.did, dst=HANDSET, message="x" * 161)["status"] in shown
    assert ask("sendSMS", did=customer.did, dst="911", message="x")["status"] in shown
    assert ask("sendSMS", did=customer.did, dst=HANDSET, message="")["status"] in shown


def test_android_sends_three_times_and_it_is_one_message(customer: Customer) -> None:
    """Its connection broke before the answer, each time; then the server is killed and started, and it tries again."""
    query = urlencode({**customer.fields, "method": "sendSMS", "did": customer.did, "dst": HANDSET, "message": "once"})
    site = customer.site
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", site.http_port), 5) as connection:
            connection.sendall(f"GET /api/v1/rest.php?{query} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    (row,) = site.wait(customer.sent)
    site.kill()
    site.start()
    again = customer.get("sendSMS", did=customer.did, dst=HANDSET, message="once")
    assert again == {"status": "success", "sms": row["id"]}
    assert len(customer.sent()) == 1
    other = customer.get("sendSMS", did=customer.did, dst=HANDSET, message="once more")
    assert other["sms"] > row["id"]


def test_freepbx_smsconnector(customer: Customer) -> None:
    """A body put together by hand, media as bare base64; it looks at the HTTP status only."""

    def send(**fields: str) -> dict[str, Any]:
        boundary = "----9e107d9d372bb6826bd81d3542a419d6"
        whole = {**customer.fields, "did": customer.did, "dst": HANDSET, **fields}
        return customer.post(multipart(whole, boundary) + b"\r\n", f"multipart/form-data; boundary={boundary}")

    assert send(method="sendSMS", message="short")["status"] == "success"
    assert send(method="sendMMS", message="long " * 100)["status"] == "success"
    assert send(method="sendMMS", media1=base64.b64encode(JPEG).decode())["status"] == "success"
    two = {"media1": base64.b64encode(BIG).decode(), "media2": base64.b64encode(PNG).decode()}
    assert send(method="sendMMS", message="two", **two)["status"] == "success"
    assert [len(row["media"]) for row in customer.sent()] == [0, 0, 1, 2]
    url = "https://pbx.example.com/smsconn/provider.php?provider=voipms;to={TO};from={FROM};message={MESSAGE};id={ID}"
    assert customer.get("setSMS", did=customer.did, enable=1, url_callback_enable=1, url_callback=url) == {
        "status": "success"
    }
    assert customer.get("getDIDsInfo", did=customer.did)["dids"][0]["sms_url_callback"] == url


def test_fs_pbx(customer: Customer, stub: StubCarrier) -> None:
    """Multipart with links to files; an id must be there; what comes in, by JSON webhook."""
    stub.default = Answer(body=JPEG)
    links = {f"media{n}": f"http://127.0.0.1:{stub.port}/{n}.jpg" for n in (1, 2, 3)}
    boundary = "3f1a"
    fields = {**customer.fields, "content_type": "json", "did": customer.did, "dst": HANDSET}
    for method, more, key in (("sendSMS", {"message": "hi"}, "sms"), ("sendMMS", {"message": "hi", **links}, "mms")):
        body = multipart({**fields, "method": method, **more}, boundary)
        found = customer.post(body, f"multipart/form-data; boundary={boundary}")
        assert (found["status"], bool(found[key])) == ("success", True)
    assert [len(row["media"]) for row in customer.sent()] == [0, 3]
    taken = len(stub.taken)
    stub.default = Answer(body="ok")
    done = customer.get("setSMS", did=customer.did, enable=1, webhook_enable=1,
                        webhook=f"http://127.0.0.1:{stub.port}/webhook/voipms/sms")  # fmt: skip
    assert done["status"] == "success"
    customer.site.sms(customer.did, "incoming")
    event = stub.wait(taken + 1)[-1].json["data"]
    assert (event["event_type"], event["payload"]["type"], event["payload"]["text"]) == (
        "message.received", "SMS", "incoming",
    )  # fmt: skip
    assert event["payload"]["from"]["phone_number"].endswith(HANDSET)
    assert event["payload"]["to"][0]["phone_number"].endswith(customer.did)


@pytest.mark.parametrize("known", [True, False])
def test_home_assistant_ha_voipms(customer: Customer, stub: StubCarrier, known: bool) -> None:
    """Everything by GET with content_type=json; `subaccounts`; words for empty lists; a callback that must be full."""

    def ask(method: str, **fields: Any) -> dict[str, Any]:
        return customer.get(method, content_type="json", **fields)

    login = customer.subaccount() if known else ""
    assert float(ask("getBalance")["balance"]["current_balance"]) == 0
    if known:
        (row,) = ask("getSubAccounts")["subaccounts"]
        assert row["account"] == login
    else:
        assert ask("getSubAccounts")["status"] == "no_account"
    assert ask("getRegistrationStatus", account=login or customer.name)["registered"] == "no"
    day = datetime.now(NEW_YORK).date().isoformat()
    calls = ask("getCDR", date_from=day, date_to=day, timezone=-5, answered=1, noanswer=1, busy=1, failed=1)
    assert calls["status"] == "no_cdr"
    assert ask("getVoicemails")["status"] == "no_mailbox"
    assert ask("getVoicemailMessages", mailbox="101")["status"] == "no_messages"
    assert ask("sendSMS", did=customer.did, dst=HANDSET, message="lights on")["status"] == "success"
    page = f"http://127.0.0.1:{stub.port}/api/webhook/abc?to={{TO}}&from={{FROM}}&message={{MESSAGE}}"
    url = page + "&id={ID}&date={TIMESTAMP}&media={MEDIA}"
    assert ask("setSMS", did=customer.did, enable=1, url_callback_enable=1, url_callback=url)["status"] == "success"
    customer.site.sms(customer.did, "doorbell")
    seen = stub.wait(1)[0].fields
    assert all(seen[name] for name in ("from", "to", "message", "id", "date"))
    assert (seen["to"], seen["message"]) == (customer.did, "doorbell")


async def test_home_assistant_ha_voipms_sms(customer: Customer) -> None:
    """aiohttp's multipart by hand, a data: URI in it."""

    async def send(**fields: str) -> dict[str, Any]:
        with aiohttp.MultipartWriter("form-data") as writer:
            for name, value in fields.items():
                writer.append(value).set_content_disposition("form-data", name=name)
        async with aiohttp.ClientSession() as session, session.post(customer.url, data=writer) as answer:
            assert answer.status == 200
            found: dict[str, Any] = json.loads(await answer.text())
            return found

    uri = f"data:image/jpeg;base64,{base64.b64encode(BIG).decode()}"
    to = {**customer.fields, "did": customer.did, "dst": HANDSET, "message": "a picture"}
    assert (await send(**to, method="sendMMS", media1=uri))["status"] == "success"
    data = {**to, "method": "sendSMS"}
    async with aiohttp.ClientSession() as session, session.post(customer.url, data=data) as answer:
        assert (await answer.json())["status"] == "success"
    assert [len(row["media"]) for row in await asyncio.to_thread(customer.sent)] == [1, 0]


def test_terraform_provider(customer: Customer) -> None:
    """It writes back all that it has read, empty values too, and reads it again; `no_*` is an empty list."""

    def ask(method: str, **fields: Any) -> dict[str, Any]:
        """Values may be anything that can be written as a text."""
        return customer.get(method, **fields)

    def did() -> dict[str, str]:
        (row,) = [one for one in ask("getDIDsInfo")["dids"] if one["did"] == customer.did]
        return dict(row)

    def written_back(row: dict[str, str]) -> dict[str, str]:
        names = {
            "did": "did", "enable": "sms_enabled", "email_enabled": "sms_email_enabled", "email_address": "sms_email",
            "sms_forward_enable": "sms_forward_enabled", "sms_forward": "sms_forward",
            "url_callback_enable": "sms_url_callback_enabled", "url_callback": "sms_url_callback",
            "url_callback_retry": "sms_url_callback_retry", "sms_sipaccount": "sms_sipaccount",
            "sms_sipaccount_enabled": "sms_sipaccount_enabled", "webhook": "webhook",
            "webhook_enabled": "webhook_enabled",
        }  # fmt: skip
        return {name: row[shown] for name, shown in names.items()}

    assert ask("getBalance", advanced="true")["balance"].keys() >= {"spent_total", "calls_total", "time_total"}
    assert ask("getServersInfo")["servers"]
    for method in ("getForwardings", "getVoicemails", "getRingGroups", "getPhonebook", "getTimeConditions"):
        assert ask(method)["status"].startswith("no_")
    before = did()
    assert ask("setDIDInfo", **before)["status"] == "success"
    assert ask("setSMS", **written_back(before))["status"] == "success"
    assert did() == before
    on = {**written_back(before), "email_enabled": "1", "email_address": "ops@example.com"}
    on |= {"url_callback_enable": "1", "url_callback": "https://example.com/?m={MESSAGE}", "url_callback_retry": "1"}
    assert ask("setSMS", **on)["status"] == "success"
    after = did()
    assert written_back(after) == on
    assert ask("setSMS", **written_back(before))["status"] == "success"
    assert did() == {**before, "sms_url_callback": "https://example.com/?m={MESSAGE}"}, "off, but kept"
    new = {"password": "Str0ng-Enough", "auth_type": "1", "device_type": "2", "dtmf_mode": "auto", "nat": "yes"}
    assert ask("createSubAccount", **new, username="trunk")["status"] == "success"
    (row,) = ask("getSubAccounts")["accounts"]
    assert (row["account"], row["username"]) == (f"{customer.name}_trunk", "trunk")
    read = (
        "id description auth_type password ip device_type callerid_number canada_routing lock_international "
        "international_route music_on_hold language record_calls allowed_codecs dtmf_mode nat sip_traffic max_expiry "
        "rtp_timeout rtp_hold_timeout ip_restriction enable_ip_restriction pop_restriction enable_pop_restriction "
        "internal_extension internal_voicemail internal_dialtime allow225 enable_internal_cnam dialing_mode "
        "default_e911 call_pickup_behavior internal_extension_location parking_lot tfcarrier transcription_start_delay"
    )
    assert set(read.split()) <= set(row)
    assert ask("setSubAccount", **{**row, "callerid_number": customer.did})["status"] == "success"
    (changed,) = ask("getSubAccounts")["accounts"]
    assert changed == {**row, "callerid_number": customer.did}
    plan = {  # as voipms_subaccount writes it: over what it has read
        "description": "Trunk of the front service", "protocol": "1", "device_type": "1", "canada_routing": "2",
        "lock_international": "0", "international_route": "2", "music_on_hold": "jazz", "language": "fr",
        "allowed_codecs": "ulaw;g722", "dtmf_mode": "rfc2833", "nat": "route", "sip_traffic": "1", "max_expiry": "600",
        "rtp_timeout": "90", "rtp_hold_timeout": "900", "ip_restriction": "192.0.2.1", "enable_ip_restriction": "1",
        "pop_restriction": "1", "enable_pop_restriction": "1", "record_calls": "1", "allow225": "1",
        "internal_extension": "42", "internal_voicemail": "42", "internal_dialtime": "30", "enable_internal_cnam": "1",
        "dialing_mode": "2", "default_e911": customer.did, "call_pickup_behavior": "4",
    }  # fmt: skip
    assert not [name for name, value in plan.items() if row[name] == value and name != "protocol"], "none is as usual"
    assert ask("setSubAccount", **{**changed, **plan})["status"] == "success"
    assert ask("getSubAccounts")["accounts"] == [{**changed, **plan}], "else each plan would have changes"
    assert ask("delSubAccount", id=row["id"])["status"] == "success"
    assert ask("getSubAccounts")["status"].startswith("no_")


def test_mmsgate(customer: Customer, stub: StubCarrier) -> None:
    """Go: what it decodes as a string must be one; a list of all that came since a day, to compare ids."""
    did_fields = {"did", "description", "webhook", "webhook_enabled", "sms_enabled", "pop"}
    for row in customer.get("getDIDsInfo")["dids"]:
        assert all(type(row[name]) is str for name in did_fields)
    for row in customer.get("getServersInfo")["servers"]:
        names = {"server_pop", "server_name", "server_shortname", "server_hostname"}
        assert all(type(row[name]) is str for name in names)
    login = customer.subaccount()
    (row,) = customer.get("getSubAccounts")["accounts"]
    names = {"account", "password", "callerid_number", "internal_extension", "max_expiry", "internal_cnam",
             "description", "sip_traffic"}  # fmt: skip
    assert all(type(row[name]) is str for name in names)
    assert (row["account"], row["password"]) == (login, ""), "sipsms has hashes only: it is to be typed in there"
    stub.default = Answer(body=JPEG)
    link = f"http://127.0.0.1:{stub.port}/file?x={quote('a b')}"
    mms = customer.get("sendMMS", did=customer.did, dst=HANDSET, message="hello", media1=link)
    sms = customer.get("sendSMS", did=customer.did, dst=HANDSET, message="hello")
    assert type(mms["mms"]) is type(sms["sms"]) is int
    customer.site.sms(customer.did, "one")
    customer.site.sms(customer.did, "two")
    since = (date.today() - timedelta(days=7)).isoformat()
    query = {"type": "1", "from": since, "all_messages": "1", "did": ""}
    rows = customer.get("getMMS", **query)["sms"]
    assert [row["message"] for row in rows] == ["two", "one"]
    for row in rows:
        names = {"id", "date", "type", "did", "contact", "carrier_status", "message"}
        assert all(type(row[name]) is str for name in names)
        assert isinstance(row["media"], list)
    every = {row["id"] for row in customer.get("getMMS", **{**query, "type": ""})["sms"]}
    assert {str(mms["mms"]), str(sms["sms"])} < every
    stub.default = Answer(body="ok")
    taken = len(stub.taken)
    hook = f"http://127.0.0.1:{stub.port}/mmsgate"
    assert customer.get("setSMS", did=customer.did, enable=1, webhook_enabled=1, webhook=hook)["status"] == "success"
    customer.site.sms(customer.did, "three")
    event = stub.wait(taken + 1)[-1].json["data"]
    (row,) = [one for one in customer.get("getMMS", **query)["sms"] if one["message"] == "three"]
    assert str(event["id"]) == row["id"], "it is fetched a second time otherwise"
    assert event["payload"]["to"][0]["phone_number"] == row["did"] == customer.did, "looked for among the caller IDs"
    assert customer.get("getDIDsInfo", did=customer.did)["dids"][0]["dialmode"] == "1"


def test_groundwires_balance_checker(customer: Customer) -> None:
    found = customer.get("getBalance")
    assert isinstance(found["balance"]["current_balance"], str)
    assert re.fullmatch(r"[0-9]+\.[0-9]+", found["balance"]["current_balance"])


def test_a_file_is_there_for_who_has_its_link(customer: Customer, tmp_path: Path) -> None:
    """As web pages and bridges poll: the list, then the file without a password."""
    coded = base64.b64encode(PNG).decode()
    mms = customer.get("sendMMS", did=customer.did, dst=HANDSET, message="look", media1=coded)
    shown = customer.get("getMediaMMS", id=mms["mms"], media_as_array=1)
    (link,) = shown["media"]
    assert urllib.request.urlopen(link, timeout=5).read() == PNG
    assert customer.get("getMediaMMS", id=mms["mms"])["media"] == {"1": link}
