"""The /v1 API of accounts, DIDs, groups, tokens, blocks and operator's lists agrees with the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from sipsms.store.sqlite import sqlite3
from tests.support.http.v1 import HANDSET, ApiNode
from tests.support.sip.wire import Phone

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiNode]:
    with ApiNode(tmp_path_factory.mktemp("directory")) as node:
        yield node


def names(node: ApiNode, path: str, who: str = "op", key: str = "name") -> list[str]:
    return [one[key] for one in node.get(path, who).json["items"]]


def test_an_account_is_created_changed_and_removed(node: ApiNode) -> None:
    made = node.post("/accounts", {"name": "dora", "password": "pw", "caller_id": "(555) 000-7777"})
    assert (made.status, made.json["caller_id"]) == (201, "5550007777")
    assert node.post("/accounts", {"name": "dora", "password": "pw"}).status == 409
    assert node.post("/accounts", {"name": "dora-1", "password": "pw", "parent": "dora"}).json["customer"] == "dora"
    assert node.post("/accounts", {"name": "d2", "password": "pw", "parent": "dora-1"}).fields == ["parent"]
    assert names(node, "/accounts?customer=dora") == ["dora", "dora-1"]
    change = {"email": "dora@example.com", "copies": True, "api_daily_limit": 7, "api_allow_ip": "192.0.2.0/24"}
    changed = node.patch("/accounts/dora", change).json
    assert {name: changed[name] for name in change} == change
    assert node.patch("/accounts/dora", {"api_daily_limit": -1, "api_allow_ip": ""}).json["api_daily_limit"] is None
    assert node.patch("/accounts/dora", {"email": "nonsense"}).fields == ["email"]
    assert node.patch("/accounts/dora", {"api_allow_ip": "300.1.1.1"}).fields == ["api_allow_ip"]
    assert node.call("DELETE", "/accounts/dora").status == 409, "it has a subaccount"
    secret = node.post("/accounts/dora/api-password", {}).json["secret"]
    assert len(secret) >= 32
    assert node.get("/accounts/dora").json["api"] is True
    assert node.call("DELETE", "/accounts/dora/api-password").status == 204
    assert node.get("/accounts/dora").json["api"] is False
    for name in ("dora-1", "dora"):
        assert node.call("DELETE", f"/accounts/{name}").status == 204
        assert node.get(f"/accounts/{name}").status == 404


def test_pages_of_accounts_match_the_list_of_the_command(node: ApiNode) -> None:
    found, cursor = [], ""
    while cursor is not None:
        page = node.get(f"/accounts?limit=2&cursor={cursor}").json
        assert len(page["items"]) <= 2
        found += [one["name"] for one in page["items"]]
        cursor = page["next"]
    assert found == [row["name"] for row in node.listed("account", "list")]
    assert names(node, "/accounts", "anna") == ["anna", "anna-desk"]


def test_a_new_password_removes_the_registrations(node: ApiNode) -> None:
    with Phone(node.address, "anna-desk", "secret-of-anna-desk") as phone:
        assert phone.register().status == 200
        (row,) = node.get("/registrations", "anna").json["items"]
        assert (row["account"], row["contact"]) == ("anna-desk", node.listed("registrations")[0]["contact"])
        (device,) = node.get("/devices?account=anna-desk", "anna").json["items"]
        assert device["registered"] is True
        assert node.get("/registrations", "bert").json["items"] == []
        assert node.get("/devices", "bert").json["items"] == []
        assert node.call("PUT", "/accounts/anna-desk/password", {"password": "another"}, "anna").status == 204
        assert node.get("/registrations", "anna").json["items"] == []
        with pytest.raises(AssertionError, match="403"):
            phone.register()
    assert node.call("PUT", "/accounts/anna-desk/password", {"password": "secret-of-anna-desk"}, "anna").status == 204


def test_a_message_counts_the_devices_that_have_it(node: ApiNode) -> None:
    node.post("/dids", {"number": "5550007777", "account": "anna", "sip_account": "anna-desk"})
    secret = "secret-of-anna-desk"
    with Phone(node.address, "anna-desk", secret) as here, Phone(node.address, "anna-desk", secret) as away:
        assert (away.register().status, here.register().status) == (200, 200)
        node.cli("receive", "--from", HANDSET, "--to", "5550007777", "for two")
        assert here.take().body == b"for two"

        def shown() -> dict[str, Any]:
            return dict(node.get("/messages?did=5550007777", "anna").json["items"][0])

        node.wait_for_messages(lambda rows: any(row["text"] == "for two" and row["delivered_count"] for row in rows))
        assert (shown()["state"], shown()["delivered_count"], shown()["delivery_count"]) == ("delivered", 1, 2)
        assert "delivered (1 of 2)" in node.cli("messages", "--did", "5550007777").stdout
        assert "delivered (1 of 2)" in node.cli("message", str(shown()["id"])).stdout
        assert away.take().body == b"for two"
        node.wait_for_messages(
            lambda rows: any(row["text"] == "for two" and row["delivered_count"] == 2 for row in rows)
        )
        assert "delivered (" not in node.cli("messages", "--did", "5550007777").stdout
    node.call("DELETE", "/dids/5550007777")


def test_a_device_is_removed_by_its_customer_only(node: ApiNode) -> None:
    """By the API, and by the command beside the server and without one."""
    with Phone(node.address, "anna-desk", "secret-of-anna-desk") as phone:
        assert phone.register().status == 200
        device = node.get("/devices?account=anna-desk", "anna").json["items"][-1]["device"]
        assert node.call("DELETE", f"/devices/{device}", None, "bert").status == 404
        assert node.call("DELETE", f"/devices/{device}", None, "anna").status == 204
        assert node.call("DELETE", f"/devices/{device}", None, "anna").status == 404
        registered = [one["device"] for one in node.get("/registrations", "anna").json["items"]]
        assert device not in registered
        assert device not in [row["device"] for row in node.listed("devices")]
        assert phone.register().status == 200
        again = node.listed("devices")[-1]["device"]
        assert again > device
        assert f"device {again} removed" in node.cli("devices", "remove", str(again)).stdout
        assert again not in [row["device"] for row in node.listed("devices")]
        assert "no device" in node.cli("devices", "remove", str(again), check=False).stderr


def test_a_did_and_its_destinations_are_created_changed_and_removed(node: ApiNode) -> None:
    made = node.post("/dids", {"number": "+1 555 000 8888", "account": "anna"})
    assert (made.status, made.json["number"], made.json["sip_account"]) == (201, "5550008888", "anna")
    assert node.post("/dids", {"number": "5550008888", "account": "anna"}).status == 409
    assert node.post("/dids", {"number": "911", "account": "anna"}).fields == ["number"]
    assert node.post("/dids", {"number": "5550008889", "account": "anna", "sip_account": "bert"}).fields == [
        "sip_account"
    ]
    change: dict[str, Any] = {
        "sip_account": "anna-desk", "emails": ["a@example.com", "b@example.com"], "forward": "4445550001",
        "callback": "https://h.example.com/?m={MESSAGE}", "callback_retry": False, "webhook": "https://h.example.com/w",
        "dialing_mode": "e164", "mms": False,
    }  # fmt: skip
    assert node.patch("/dids/5550008888", {"mms": change["mms"]}).status == 200, "the operator's"
    changed = node.patch("/dids/5550008888", change, "anna").json
    assert {name: changed[name] for name in change} == change
    assert node.patch("/dids/5550008888", {}, "anna").json == changed, "nothing said, nothing changed"
    listed = next(row for row in node.listed("did", "list") if row["number"] == "5550008888")
    assert {name: listed[name] for name in change} == change
    hooks = node.get("/webhooks", "anna").json["items"]
    assert [(one["did"], one["kind"], one["on"]) for one in hooks] == [
        ("5550008888", "callback", True), ("5550008888", "webhook", True)
    ]  # fmt: skip
    off = node.patch("/dids/5550008888", {"emails": [], "forward": "", "callback": "", "webhook": ""}, "anna").json
    assert (off["emails"], off["forward"], off["callback"], off["webhook"]) == ([], "", "", "")
    for field, value in (("forward", "x"), ("forward", "5550008888"), ("callback", "ftp://x"), ("emails", ["x"]),
                         ("callback", "https://h.example.com/{SECRET}"), ("bearer", "a b\u00e9")):  # fmt: skip
        assert node.patch("/dids/5550008888", {field: value}, "anna").fields == [field]
    assert node.call("DELETE", "/dids/5550008888", None, "anna").status == 403
    assert node.call("DELETE", "/dids/5550008888").status == 204
    assert "5550008888" not in names(node, "/dids", "anna", "number")


@pytest.mark.req("S-071", "S-072", "S-076", "A-37")
def test_smpp_settings_of_a_did_never_show_a_password(node: ApiNode) -> None:
    """Passwords go in and never come out; what is shown can be given back."""
    number, url = "/dids/5550001111", "ssmpp://me:hunter2@smsc.example.com"
    assert node.patch(number, {"smpp": True}, "anna").fields == ["smpp_password"]
    given = {"smpp": True, "smpp_username": "anna-esme", "smpp_password": "hunter2", "smpp_url": url}
    shown = node.patch(number, given, "anna").json
    found = {name: shown[name] for name in ("smpp", "smpp_username", "smpp_has_password", "smpp_url")}
    assert found == {
        "smpp": True, "smpp_username": "anna-esme", "smpp_has_password": True,
        "smpp_url": "ssmpp://me:***@smsc.example.com",
    }  # fmt: skip
    assert "hunter2" not in str(shown)
    again = {name: shown[name] for name in ("smpp", "smpp_username", "smpp_url")}
    assert node.patch(number, again, "anna").json == shown
    for field, value in (("smpp_url", "http://x.example"), ("smpp_url", "smpp://169.254.1.1"),
                         ("smpp_username", "bert"), ("smpp_username", "a b"), ("smpp_password", "x" * 65),
                         ("smpp", "yes")):  # fmt: skip
        assert node.patch(number, {field: value}, "anna").fields == [field]
    assert node.patch(number, {"smpp_password": "x"}, "bert").status == 404
    assert node.patch(number, {"smpp": False}, "anna").json["smpp"] is False
    off = node.patch(number, {"smpp_username": "", "smpp_password": "", "smpp_url": ""}, "anna").json
    assert (off["smpp_username"], off["smpp_has_password"], off["smpp_url"]) == ("", False, "")


def test_the_operator_reads_the_smpp_sessions(node: ApiNode) -> None:
    assert node.patch("/accounts/anna", {"smpp_rate": 20}).json["smpp_rate"] == 20
    assert node.patch("/accounts/anna", {"smpp_rate": 30}, "anna").status == 403
    assert node.patch("/accounts/anna", {"smpp_rate": -1}).json["smpp_rate"] is None
    assert node.get("/binds").json == {"items": [], "next": None}
    assert node.get("/binds", "anna").status == 403


def test_groups_are_created_changed_and_removed(node: ApiNode) -> None:
    assert node.call("PUT", "/groups/sales", {"members": ["anna", "anna-desk"]}, "anna").json["account"] == "anna"
    assert node.patch("/dids/5550001111", {"group": "sales"}, "anna").json["group"] == "sales"
    assert node.call("DELETE", "/groups/sales", None, "anna").status == 409
    assert names(node, "/groups", "anna") == ["sales"]
    assert names(node, "/groups", "bert") == []
    mixed = node.call("PUT", "/groups/mixed", {"members": ["anna", "bert"]})
    assert mixed.fields == ["members"]
    assert node.call("PUT", "/groups/sales", {"members": ["bert"]}).fields == ["members"]
    node.patch("/dids/5550001111", {"group": ""}, "anna")
    assert node.call("DELETE", "/groups/sales", None, "anna").status == 204
    assert node.get("/groups/sales", "anna").status == 404


def test_blocks_are_created_listed_and_removed(node: ApiNode) -> None:
    assert node.post("/blocks", {"owner": "5550001111", "number": HANDSET, "direction": "out"}, "anna").json == {
        "count": 1
    }
    assert node.post("/blocks", {"owner": "5550001111", "number": HANDSET}, "anna").json == {"count": 1}, (
        "only `in` is new"
    )
    assert node.send("not wanted", "anna").problem["type"] == "urn:sipsms:problem:blocked"
    assert [one["direction"] for one in node.get("/blocks?owner=5550001111", "anna").json["items"]] == ["in", "out"]
    assert len(node.listed("block", "list", "--owner", "5550001111")) == 2
    assert node.call("DELETE", f"/blocks?owner=5550001111&number={HANDSET}", None, "anna").json == {"count": 2}
    assert node.call("DELETE", f"/blocks?owner=5550001111&number={HANDSET}", None, "anna").status == 404
    assert node.send("wanted again", "anna").status == 202


def test_tokens_are_created_listed_and_removed(node: ApiNode) -> None:
    until = "2030-01-01T00:00:00Z"
    secret = node.post(
        "/tokens", {"name": "anna-did", "scope": "did", "did": "5550001111", "expires_at": until}, "anna"
    )
    assert secret.status == 201
    (row,) = [one for one in node.get("/tokens", "anna").json["items"] if one["name"] == "anna-did"]
    assert (row["scope"], row["did"], row["expires_at"]) == ("did", "5550001111", "2030-01-01T00:00:00.000Z")
    assert node.get("/me", secret.json["secret"]).json == {
        "token": "anna-did", "scope": "did", "account": "anna", "did": "5550001111"
    }  # fmt: skip
    assert node.post("/tokens", {"name": "anna-did"}, "anna").status == 409
    assert node.post("/tokens", {"name": "x", "scope": "did"}, "anna").fields == ["did"]
    assert node.call("DELETE", "/tokens/anna-did", None, "anna").status == 204


def test_carriers_are_listed_paused_and_resumed(node: ApiNode) -> None:
    assert names(node, "/carriers") == ["sim"]
    assert node.post("/carriers/sim/pause", {}).status == 204
    message = node.send("waits", "anna").json["id"]
    (row,) = node.get("/queue").json["items"]
    assert (row["message"], row["state"], row["courier"]) == (message, "queued", "carrier:sim")
    (carrier,) = node.get("/carriers").json["items"]
    assert (carrier["state"], carrier["waiting"]) == ("paused", 1)
    assert node.post(f"/messages/{message}/cancel", {}, "anna").json == {"count": 1}
    assert node.post("/carriers/sim/resume", {}).status == 204
    assert node.post("/carriers/nobody/pause", {}).status == 404


def test_dead_letters_and_unknown_deliveries_are_listed_and_retried(node: ApiNode) -> None:
    """Made by hand in the store: what they look like does not come about quickly."""
    message = node.send("doubtful", "anna").json["id"]
    with sqlite3.connect(node.store, timeout=20) as db:
        columns = "id, message_id, courier, destination, source, lane, state, expires_at, created_at, updated_at"
        values = "(?, ?, ?, 'x', '5550001111', ?, ?, 9e9, 1, 1)"
        db.execute(
            f"INSERT INTO deliveries ({columns}) VALUES {values}", (900001, message, "carrier:sim", "a", "unknown")
        )
        db.execute(f"INSERT INTO deliveries ({columns}) VALUES {values}", (900002, message, "mail", "b", "failed"))
    db.close()
    assert [one["delivery"] for one in node.get("/queue?unknown=true").json["items"]] == [900001]
    assert node.post("/deliveries/900001/resend", {}).status == 409, "it has to be said that it may be sent twice"
    assert node.post("/deliveries/900009/resend?may_be_sent_twice=true", {}).status == 404
    assert node.post("/deliveries/900001/resend?may_be_sent_twice=true", {}).json == {"count": 1}
    assert node.post("/deliveries/900001/resend?may_be_sent_twice=true", {}).status == 409
    assert any(one["event"] == "audit" for one in node.events())
    (letter,) = node.get("/dead-letters", "anna").json["items"]
    assert (letter["delivery"], letter["courier"], letter["from"]) == (900002, "mail", "5550001111")
    assert node.get("/dead-letters", "bert").json["items"] == []
    assert node.post("/dead-letters/900002/retry", {}, "bert").status == 404
    assert node.post("/dead-letters/900002/retry", {}, "anna").json == {"count": 1}
    assert node.post("/dead-letters/retry", {}).json == {"count": 0}
    assert node.post("/dead-letters/900002/retry", {}, "anna").status == 404


def test_provisioning_as_the_command_line_has_it(node: ApiNode) -> None:
    given = {"server": "pbx.example.net:5070", "url": "https://phones.example.net/", "cloud_id": "ACME"}
    made = node.post("/accounts/bert-desk/provision", given, "bert").json
    assert made["server"] == "pbx.example.net:5070"
    assert made["linphone"].startswith("https://phones.example.net/provision/")
    assert made["code"].endswith("@ACME")
    for name, value in (("server", "a b"), ("url", "ftp://x"), ("url", "https://a\nb"), ("cloud_id", "")):
        assert node.post("/accounts/bert-desk/provision", {name: value}, "bert").fields == [name]


def test_a_provisioning_link_is_created(node: ApiNode) -> None:
    made = node.post("/accounts/bert-desk/provision", {"fetches": 1}, "bert")
    assert made.status == 201, made
    assert made.json["linphone"].endswith("/linphone.xml")
    assert made.json["password"]
    wrong = node.post("/accounts/bert-desk/provision", {"password": "not this"}, "bert")
    assert wrong.status == 409


def test_errors_have_one_shape(node: ApiNode) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/", 404), ("PUT", "/messages", 405),
                                 ("DELETE", "/me", 405), ("GET", "/accounts?limit=0", 422)):  # fmt: skip
        reply = node.call(method, path)
        assert reply.status == status
        assert set(reply.problem) - {"errors"} == {"type", "title", "status", "detail"}
    assert node.call("PUT", "/messages").headers["allow"] == "GET, POST"


def test_requests_have_a_limit_of_a_minute(tmp_path: Any) -> None:
    with ApiNode(tmp_path, api={"per_minute": 20, "daily_sends": 0}) as other:
        replies = [other.get("/me", "anna") for _ in range(25)]
        refused = [one for one in replies if one.status == 429]
        assert refused
        assert 0 < int(refused[0].headers["retry-after"]) <= 60
        assert refused[0].problem["title"] == "Too Many Requests"


def test_the_documentation_page_loads_nothing_from_other_servers(node: ApiNode) -> None:
    import re
    import urllib.request

    def get(path: str) -> tuple[Any, str]:
        with urllib.request.urlopen(node.url + path, timeout=10) as answer:
            return answer.headers, answer.read().decode("utf-8", "replace")

    headers, page = get("/docs")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(linked) == 4
    for path in linked:
        assert path.startswith("/docs/")
        headers, body = get(path)
        assert headers["x-content-type-options"] == "nosniff"
        assert body
    assert "<script>" not in page
    assert '"5.' in get("/docs/swagger-ui-bundle.js")[1], "older ones do not know OpenAPI 3.1"
    assert "/v1/openapi.json" in get("/docs/start.js")[1]


@pytest.mark.parametrize("by", ["API", "command"])
@pytest.mark.parametrize("known", [True, False], ids=["a phone is there", "no phone yet"])
def test_waiting_messages_go_to_the_phones_when_the_app_is_switched_off(node: ApiNode, by: str, known: bool) -> None:
    name, number = f"app-{by}-{known}", f"55500077{'AC'.index(by[0].upper())}{int(known)}"
    node.post("/accounts", {"name": name, "password": "pw-of-app", "parent": "anna"})
    node.post("/dids", {"number": number, "account": "anna", "sip_account": name})
    assert node.patch(f"/accounts/{name}", {"app_messages": True}).status == 200
    with Phone(node.address, name, "pw-of-app") as phone:
        if known:
            assert phone.register().status == 200
        ids = [node.post("/incoming", {"from": HANDSET, "to": number, "text": f"no {n}"}).json["id"] for n in range(3)]
        while not all(node.get(f"/messages/{one}").json["deliveries"][0]["last_error"] for one in ids):
            time.sleep(0.02)
        if by == "API":
            assert node.patch(f"/accounts/{name}", {"app_messages": False}).status == 200
        else:
            node.cli("account", "set", name, "--no-app-messages")
        if not known:
            time.sleep(0.3)
            assert phone.register().status == 200
        assert [phone.take(8.0).text for _ in range(3)] == ["no 0", "no 1", "no 2"]
    for one in ids:
        deadline = time.time() + 5
        while node.get(f"/messages/{one}").json["state"] != "delivered" and time.time() < deadline:
            time.sleep(0.02)
        assert node.get(f"/messages/{one}").json["state"] == "delivered"
    node.call("DELETE", f"/dids/{number}")
