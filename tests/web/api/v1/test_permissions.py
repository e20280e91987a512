"""Permissions of /v1: every route with the wrong token, and another customer's resources (W-07, A-37)."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from sipsms.store import blocks, tokens
from sipsms.store.sqlite import sqlite3
from sipsms.web.api.v1 import dids
from tests.support.http.v1 import HANDSET, ApiNode, Reply
from tests.support.sip.wire import Phone

pytestmark = [pytest.mark.e2e, pytest.mark.req("W-07", "A-37")]

SECRET_TEXT = "for bert's eyes only"
PNG = b"\x89PNG\r\n\x1a\n" + b"picture of bert"


class Bert:
    """Everything a customer can have, to be found by others."""

    def __init__(self, node: ApiNode) -> None:
        sent = node.send(SECRET_TEXT, "bert")
        assert sent.status == 202, sent
        self.message = sent.json["id"]
        picture = {"data": "iVBORw0KGgpwaWN0dXJlIG9mIGJlcnQ=", "name": "bert.png"}
        self.mms = node.send("look", "bert", media=[picture]).json["id"]
        later = node.send("not yet", "bert", send_at="2027-01-01T00:00:00Z")
        self.held = later.json["id"]
        assert node.call("PUT", "/groups/bert-team", {"members": ["bert", "bert-desk"]}, "bert").status == 200
        assert node.post("/blocks", {"owner": "bert", "number": "4445550000"}, "bert").status == 201
        change = {
            "webhook": "http://127.0.0.1:8099/hook",
            "bearer": "bearer-of-bert",
            "webhook_secret": "whsec_YmVydA==",
        }
        assert node.patch("/dids/5550002222", change, "bert").status == 200
        node.made("bert-did", "bert", "did", "5550002222")
        with Phone(node.address, "bert-desk", "secret-of-bert-desk") as phone:
            assert phone.register().status == 200
        self.device = node.get("/devices", "bert").json["items"][0]["device"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiNode]:
    with ApiNode(tmp_path_factory.mktemp("scopes")) as node:
        yield node


@pytest.fixture(scope="module")
def bert(node: ApiNode) -> Bert:
    return Bert(node)


def operations(node: ApiNode) -> list[tuple[str, str, dict[str, Any]]]:
    paths = node.call("GET", "/openapi.json", who=None).json["paths"]
    return [(method.upper(), path, one) for path, methods in paths.items() for method, one in methods.items()]


def of_bert(bert: Bert) -> dict[str, list[str]]:
    """What of his stands where in a path."""
    return {
        "message": [str(bert.message), str(bert.mms), str(bert.held)], "index": ["0"], "number": ["5550002222"],
        "delivery": ["1", "2", "3"], "device": [str(bert.device)],
    }  # fmt: skip


_NAMES = {
    "accounts": ["bert", "bert-desk"],
    "groups": ["bert-team"],
    "tokens": ["bert", "bert-did"],
    "carriers": ["sim"],
}
_BODIES: dict[tuple[str, str], list[Any]] = {
    ("POST", "/messages"): [{"from": "5550002222", "to": HANDSET, "text": "x"},
                            {"account": "bert", "to": HANDSET, "text": "x"},
                            {"account": "bert-desk", "from": "5550001111", "to": HANDSET, "text": "x"}],
    ("POST", "/incoming"): [{"from": HANDSET, "to": "5550002222", "text": "x"}],
    ("POST", "/accounts"): [{"name": "anna-new", "password": "p", "parent": "bert"}, {"name": "new", "password": "p"}],
    ("PATCH", "/accounts/{name}"): [{"enabled": False}, {"caller_id": "5550001111"}, {}],
    ("PUT", "/accounts/{name}/password"): [{"password": "stolen"}],
    ("POST", "/accounts/{name}/provision"): [{}],
    ("POST", "/dids"): [{"number": "5550009999", "account": "anna"}],
    ("PATCH", "/dids/{number}"): [{"emails": ["anna@example.com"]}, {"account": "anna"}, {}],
    ("PUT", "/groups/{name}"): [{"members": ["anna"]}, {"members": ["bert"]}],
    ("POST", "/blocks"): [{"owner": "bert", "number": HANDSET}, {"owner": "5550002222", "number": HANDSET},
                          {"owner": "*", "number": HANDSET}],
    ("POST", "/tokens"): [{"name": "t1", "account": "bert"}, {"name": "t2", "scope": "operator"},
                          {"name": "t3", "scope": "reseller"}, {"name": "t4", "scope": "did", "did": "5550002222"}],
}  # fmt: skip
_QUERIES: dict[tuple[str, str], list[str]] = {
    ("GET", "/messages"): ["did=5550002222"], ("GET", "/conversations"): ["did=5550002222"],
    ("GET", "/accounts"): ["customer=bert"], ("GET", "/dids"): ["account=bert"],
    ("GET", "/usage"): ["account=bert"], ("GET", "/devices"): ["account=bert", "account=bert-desk"],
    ("GET", "/registrations"): ["account=bert"], ("GET", "/blocks"): ["owner=bert", "owner=5550002222", "owner=*"],
    ("DELETE", "/blocks"): ["owner=bert&number=4445550000", "owner=5550002222&number=4445550000"],
    ("GET", "/route"): ["from=5550002222&to=4445556666"],
}  # fmt: skip
_OWN = {"/me", "/events"}  # nothing to name in them


def crawl(node: ApiNode, bert: Bert) -> Iterator[tuple[str, str, Any]]:
    for method, template, operation in operations(node):
        if template in _OWN:
            continue
        names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        known = {**of_bert(bert), "name": _NAMES.get(template.split("/")[1], [])}
        bodies = _BODIES.get((method, template), [None])
        assert "requestBody" not in operation or bodies != [None], f"{method} {template}: say here what to send"
        for values in itertools.product(*(known[name] for name in names)):
            path = template.format(**dict(zip(names, values, strict=True)))
            for query in ["", *_QUERIES.get((method, template), [])]:
                for body in bodies:
                    yield method, f"{path}?{query}" if query else path, body


def everything(node: ApiNode) -> str:
    """What the store has of customers and their things: as one text."""
    with sqlite3.connect(node.store) as db:
        found = [
            db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
            for name in ("accounts", "dids", "did_targets", "groups", "group_members", "tokens", "blocks",
                         "provisions")
        ]  # fmt: skip
        found += [db.execute("SELECT count(*) FROM messages").fetchall()]
        found += [db.execute("SELECT name FROM carriers WHERE paused").fetchall()]
        found += [
            db.execute("SELECT state FROM deliveries WHERE message_id = (SELECT max(id) FROM messages)").fetchall()
        ]
    db.close()
    return repr([[row[:18] for row in rows] for rows in found])


def test_no_route_gives_anna_access_to_resources_of_bert(node: ApiNode, bert: Bert) -> None:
    """Every route of the document, with everything of his that can be named, by two tokens."""
    waiting = [node.get(f"/messages/{one}").json["state"] for one in (bert.message, bert.mms, bert.held)]
    before, tried, lists = everything(node), 0, 0
    for who in ("anna", "did"):
        for method, path, body in crawl(node, bert):
            reply = node.call(method, path, body, who)
            tried += 1
            what = f"{who} {method} {path} {body}: {reply.status} {reply.body[:200]!r}"
            if reply.status == 200:
                lists += 1
                assert (method, "?" in path) == ("GET", False), what
            else:
                assert reply.status in (403, 404, 422), what
                assert reply.problem, what
            text = reply.body.decode("latin-1")
            secrets = [SECRET_TEXT, "bearer-of-bert", *(('"bert', "5550002222") if reply.status == 200 else ())]
            assert not [one for one in secrets if one in text], what
    assert everything(node) == before
    assert tried > 100
    assert lists > 10, "her own lists are hers to see"
    assert [node.get(f"/messages/{one}").json["state"] for one in (bert.message, bert.mms, bert.held)][2:] == waiting[
        2:
    ]


def test_bert_has_access_to_his_resources(node: ApiNode, bert: Bert) -> None:
    """Else the test before would say nothing."""
    found = node.get(f"/messages/{bert.message}", "bert").json
    assert found["text"] == SECRET_TEXT
    assert {row["id"] for row in node.get("/messages", "bert").json["items"]} >= {bert.message, bert.mms}
    picture = node.get(f"/messages/{bert.mms}/media/0", "bert")
    assert (picture.status, picture.body) == (200, PNG)
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert picture.headers["content-disposition"].startswith("attachment")
    assert node.get("/groups/bert-team", "bert").json["members"] == ["bert", "bert-desk"]
    assert [one["name"] for one in node.get("/tokens", "bert").json["items"]] == ["bert", "bert-did"]
    assert node.get("/blocks?owner=bert", "bert").json["items"][0]["number"] == "4445550000"


def test_secrets_are_not_shown_again(node: ApiNode, bert: Bert) -> None:
    for who in ("bert", "op"):
        shown = node.get("/dids/5550002222", who)
        assert shown.json["webhook_bearer"]
        assert shown.json["webhook_signed"]
        assert b"bearer-of-bert" not in shown.body
        assert b"whsec" not in shown.body


def same(one: Reply, other: Reply) -> bool:
    dated = {"date"}
    headers = [{k: v for k, v in reply.headers.items() if k not in dated} for reply in (one, other)]
    return (one.status, one.body) == (other.status, other.body) and headers[0] == headers[1]


@pytest.mark.parametrize(
    ("method", "his", "nobodys", "body"),
    [
        ("GET", "/messages/{id}", "/messages/4611686018427387903", None),
        ("POST", "/messages/{id}/cancel", "/messages/4611686018427387903/cancel", {}),
        ("GET", "/messages/{id}/media/0", "/messages/4611686018427387903/media/0", None),
        ("GET", "/accounts/bert", "/accounts/nobody", None),
        ("GET", "/dids/5550002222", "/dids/5559998888", None),
        ("PATCH", "/dids/5550002222", "/dids/5559998888", {"sms": False}),
        ("GET", "/groups/bert-team", "/groups/nobody", None),
        ("DELETE", "/tokens/bert", "/tokens/nobody", None),
        ("GET", "/messages?did=5550002222", "/messages?did=5559998888", None),
        ("POST", "/dead-letters/1/retry", "/dead-letters/4611686018427387903/retry", {}),
    ],
)
def test_the_answer_for_the_resource_of_another_and_for_none_is_the_same(
    node: ApiNode, bert: Bert, method: str, his: str, nobodys: str, body: Any
) -> None:
    for who in ("anna", "did", "reseller"):
        if who == "reseller":  # rita manages bert: so here it is hers
            continue
        one, other = (node.call(method, path.format(id=bert.mms), body, who) for path in (his, nobodys))
        assert same(one, other), (one, other)


def test_hits_and_misses_of_guessed_ids_take_the_same_time(node: ApiNode, bert: Bert) -> None:
    """Over one connection, as who looks for what is not his would; hits and misses take the same time."""
    import http.client

    chance = random.Random(7)
    wire = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=20)
    headers = {"Authorization": f"Bearer {node.tokens['anna']}"}

    def ask(message: int) -> float:
        began = time.perf_counter()
        wire.request("GET", f"/v1/messages/{message}", headers=headers)
        reply = wire.getresponse()
        text = reply.read()
        assert reply.status == 404
        assert SECRET_TEXT.encode() not in text
        return time.perf_counter() - began

    hits, misses = [], []
    for turn in range(5000):
        hits.append(ask((bert.message, bert.mms, bert.held)[turn % 3]))
        misses.append(ask(chance.randrange(1000, 2**61)))
    wire.close()
    one, other = sorted(hits)[2500], sorted(misses)[2500]
    assert abs(one - other) < 0.2 * max(one, other), f"his: {one * 1e3:.3f} ms, nobody's: {other * 1e3:.3f} ms"


# --- scopes ----------------------------------------------------------------------------------------------------------


def test_no_route_answers_without_a_token(node: ApiNode) -> None:
    """Each route; fewer than what closes the door for a minute."""
    for method, template, _ in operations(node):
        path = template.format(message=1, index=0, number="5550001111", name="anna", delivery=1, device=1)
        reply = node.call(method, path, {} if method in ("POST", "PATCH", "PUT") else None, None)
        assert reply.status == 401, f"{method} {path}: {reply}"
        assert reply.headers["www-authenticate"].startswith("Bearer")
        assert reply.problem["title"] == "Unauthorized"


def test_a_did_token_opens_only_its_did(node: ApiNode) -> None:
    allowed = {"/messages", "/me", "/events", "/conversations", "/messages/{message}", "/messages/{message}/cancel",
               "/messages/{message}/media/{index}"}  # fmt: skip
    for method, template, _ in operations(node):
        if template in allowed:
            continue
        path = template.format(message=1, index=0, number="5550001111", name="anna", delivery=1, device=1)
        body = _BODIES.get((method, template), [{}])[0] if method in ("POST", "PATCH", "PUT") else None
        query = "?" + _QUERIES.get((method, template), [""])[0]
        reply = node.call(method, path + query.rstrip("?"), body, "did")
        assert reply.status == 403, f"{method} {path}: {reply}"
        assert "scope customer" in reply.problem["detail"] or "operator" in reply.problem["detail"]
    sent = node.send("by the number's own token", "did")
    assert sent.json["from"] == "5550001111"
    assert node.get(f"/messages/{sent.json['id']}", "did").status == 200
    assert node.send("no", "did", **{"from": "5550002222"}).fields == ["from"]


def test_a_customer_token_cannot_do_what_the_operator_does(node: ApiNode) -> None:
    for setting in ({"bulk": True}, {"shorteners": True}, {"legacy_digest": True}, {"reseller": "rita"},
                    {"api_daily_limit": 0}, {"enabled": False}):  # fmt: skip
        reply = node.patch("/accounts/anna", setting, "anna")
        assert (reply.status, reply.fields) == (403, list(setting))
    for setting in ({"enabled": False}, {"api_allow_ip": ""}):
        assert node.patch("/accounts/anna-desk", setting, "anna").fields == list(setting)
    for setting in ({"sms": False}, {"mms": False}):
        assert node.patch("/dids/5550001111", setting, "anna").fields == list(setting)
    assert node.call("DELETE", "/accounts/anna", None, "anna").status == 403
    node.patch("/accounts/bert", {"email": "b@example.com"})
    taken = node.patch("/accounts/anna", {"email": "B@example.com"}, "anna")
    assert taken.fields == ["email"]
    assert b"bert" not in taken.body
    assert node.patch("/dids/5550001111", {"account": "bert"}, "anna").fields == ["account"]
    assert node.patch("/dids/5550001111", {"sip_account": "bert-desk"}, "anna").fields == ["sip_account"]
    assert node.patch("/dids/5550001111", {"group": "bert-team"}, "anna").fields == ["group"]


def test_a_reseller_token_manages_its_customers(node: ApiNode, bert: Bert) -> None:
    assert [one["name"] for one in node.get("/accounts", "reseller").json["items"]] == [
        "bert", "bert-desk", "rita", "rita-desk"
    ]  # fmt: skip
    assert node.get(f"/messages/{bert.message}", "reseller").status == 200
    made = node.post("/accounts", {"name": "carl", "password": "pw-of-carl"}, "reseller")
    assert made.json["reseller"] == "rita"
    assert node.patch("/accounts/carl", {"api_daily_limit": 5}, "reseller").json["api_daily_limit"] == 5
    assert node.patch("/accounts/rita", {"api_daily_limit": 5}, "reseller").status == 403
    assert node.patch("/accounts/carl", {"api_allow_ip": "192.0.2.1"}, "reseller").status == 200
    assert node.patch("/accounts/rita", {"api_allow_ip": ""}, "reseller").status == 403
    node.patch("/accounts/rita", {"api_daily_limit": 50})
    assert node.patch("/accounts/carl", {"api_daily_limit": 50}, "reseller").status == 200
    for more in (51, 0, -1):  # 0, and the usual here: any number
        assert node.patch("/accounts/carl", {"api_daily_limit": more}, "reseller").fields == ["api_daily_limit"]
    node.patch("/accounts/rita", {"api_daily_limit": -1})
    node.patch("/accounts/carl", {"enabled": False})
    assert node.patch("/accounts/carl", {"enabled": True}, "reseller").fields == ["enabled"]
    node.patch("/accounts/carl", {"enabled": True})
    moved = node.patch("/dids/5550003333", {"account": "carl"}, "reseller")
    assert (moved.json["account"], moved.json["sip_account"]) == ("carl", "")
    assert node.patch("/dids/5550003333", {"account": "anna"}, "reseller").fields == ["account"]
    assert node.patch("/dids/5550003333", {"account": "rita"}, "reseller").json["account"] == "rita"
    assert node.call("DELETE", "/accounts/carl", None, "reseller").status == 204
    for method, path, body in (
        ("POST", "/dids", {"number": "5550007777", "account": "rita"}), ("DELETE", "/dids/5550003333", None),
        ("GET", "/carriers", None), ("GET", "/queue", None),
        ("POST", "/blocks", {"owner": "*", "number": HANDSET}),
        ("POST", "/tokens", {"name": "more", "scope": "operator"}),
    ):  # fmt: skip
        assert node.call(method, path, body, "reseller").status == 403, path
    assert node.get("/accounts/anna", "reseller").status == 404


def test_messages_stay_with_the_customer_when_a_did_moves(node: ApiNode) -> None:
    """What anna wrote from it before is none of the new customer's business."""
    assert node.post("/dids", {"number": "5550004444", "account": "anna"}).status == 201
    sent = node.send("of anna, before", "anna", **{"from": "5550004444"})
    assert node.patch("/dids/5550004444", {"account": "bert"}).status == 200
    assert node.get(f"/messages/{sent.json['id']}", "bert").status == 404
    assert node.get("/messages?did=5550004444", "bert").json["items"] == []
    assert node.get("/conversations?did=5550004444", "bert").json["items"] == []
    assert node.call("DELETE", "/dids/5550004444").status == 204
    assert node.get(f"/messages/{sent.json['id']}", "anna").status == 200


def test_a_removed_token_is_denied(node: ApiNode) -> None:
    secret = node.made("brief", "anna")
    assert node.get("/me", secret).json["token"] == "brief"
    assert node.call("DELETE", "/tokens/brief", None, "anna").status == 204
    assert node.get("/me", secret).status == 401
    expired = node.post("/tokens", {"name": "old", "expires_at": "2020-01-01T00:00:00Z"}, "anna")
    assert expired.fields == ["expires_at"]


def test_a_customer_cannot_remove_a_block_of_the_operator(node: ApiNode) -> None:
    block = {"owner": "anna", "number": "4445551234", "direction": "out"}
    query = "?" + urlencode(block)
    assert node.post("/blocks", block, "anna").json == {"count": 1}
    assert node.call("DELETE", f"/blocks{query}", None, "anna").json == {"count": 1}
    assert node.post("/blocks", block, "anna").json == {"count": 1}
    assert node.post("/blocks", block).json == {"count": 0}, "and now it is the operator's"
    assert node.post("/blocks", block, "anna").json == {"count": 0}
    assert node.call("DELETE", f"/blocks{query}", None, "anna").status == 409
    (shown,) = node.get("/blocks?owner=anna", "anna").json["items"]
    assert shown["reason"] == "by hand"
    assert node.call("DELETE", f"/blocks{query}").json == {"count": 1}


def test_a_token_cannot_create_a_token_that_outlives_it(node: ApiNode) -> None:
    body = {"name": "brief", "account": "anna", "scope": "customer", "expires_at": "2096-01-01T00:00:00Z"}
    node.tokens["brief"] = node.post("/tokens", body).json["secret"]
    for until in ("2096-01-01T00:00:01Z", None):
        assert node.post("/tokens", {**body, "name": "more", "expires_at": until}, "brief").fields == ["expires_at"]
    assert node.post("/tokens", {**body, "name": "more"}, "brief").status == 201
    assert node.call("DELETE", "/tokens/more", None, "brief").status == 204


def test_a_token_that_expires_cannot_set_a_password(node: ApiNode) -> None:
    """Who has stolen one would have a way in for ever."""
    body = {"name": "lent", "account": "anna", "scope": "customer", "expires_at": "2096-01-01T00:00:00Z"}
    node.tokens["lent"] = node.post("/tokens", body).json["secret"]
    before = everything(node)
    for method, path, given in (
        ("POST", "/accounts/anna/api-password", {}),
        ("PUT", "/accounts/anna-desk/password", {"password": "stolen-1"}),
        ("POST", "/accounts/anna-desk/provision", {}),
        ("POST", "/accounts", {"name": "anna-thief", "parent": "anna", "password": "stolen-1"}),
        ("PATCH", "/dids/5550001111", {"smpp": True, "smpp_password": "stolen"}),
    ):
        refused = node.call(method, path, given, "lent")
        assert (refused.status, refused.problem["type"]) == (403, "urn:sipsms:problem:token-ends"), path
    assert everything(node) == before
    assert node.patch("/accounts/anna-desk", {"presence": True}, "lent").status == 200, "all else it may do"
    assert node.call("DELETE", "/tokens/lent").status == 204


def test_a_customer_can_switch_on_what_the_customer_switched_off(node: ApiNode) -> None:
    """By rest.php; what is written back by a token of its own changes nothing of that."""
    key = node.post("/accounts/bert/api-password", None, "bert").json["secret"]

    def set_sms(enable: int) -> str:
        fields = {"api_username": "bert", "api_password": key, "method": "setSMS", "did": "5550002222"}
        with urlopen(
            f"http://127.0.0.1:{node.http_port}/api/v1/rest.php?{urlencode({**fields, 'enable': enable})}"
        ) as said:
            return str(json.load(said)["status"])

    assert set_sms(0) == "success"
    for who in ("bert", "reseller"):
        assert node.patch("/dids/5550002222", {"sms": False}, who).status == 200
        assert node.patch("/dids/5550002222", {"sms": True}, who).status == 403
    assert (set_sms(1), set_sms(0)) == ("success", "success")
    assert node.patch("/dids/5550002222", {"sms": False}).status == 200
    assert set_sms(1) == "sms_apply_regulations"
    assert node.patch("/dids/5550002222", {"sms": True}).status == 200


def test_a_did_token_cancels_only_messages_that_the_did_sends(node: ApiNode) -> None:
    """What has come waits for phones of the account."""
    came = node.post("/incoming", {"from": HANDSET, "to": "5550001111", "text": "it waits"}).json["id"]
    refused = node.post(f"/messages/{came}/cancel", {}, "did")
    assert (refused.status, refused.problem["type"]) == (403, "urn:sipsms:problem:scope")
    assert node.get(f"/messages/{came}").json["state"] == "queued"
    held = node.send("it is held", "did", send_at="2027-01-01T00:00:00Z").json["id"]
    assert node.post(f"/messages/{held}/cancel", {}, "did").json == {"count": 1}
    assert node.post(f"/messages/{came}/cancel", {}, "anna").json == {"count": 1}


def test_the_number_of_resources_of_a_customer_is_limited(node: ApiNode) -> None:
    made = 0
    while reply := node.post("/tokens", {"name": f"many{made}", "account": "anna", "scope": "customer"}, "anna"):
        if reply.status != 201:
            break
        made += 1
    assert (reply.status, made > 50, made < tokens.MOST) == (409, True, True)
    for n in range(made):
        node.call("DELETE", f"/tokens/many{n}", None, "anna")
    with sqlite3.connect(node.store) as db:
        db.executemany("INSERT INTO groups VALUES (?, 'anna')", [(f"many{n}",) for n in range(dids.GROUPS)])
        columns = "owner, number, direction, reason, created_at, version"
        row = f"INSERT INTO blocks ({columns}) VALUES ('5550001111', ?, 'in', ?, 1, 1)"
        db.executemany(row, [(f"555{n:07d}", blocks.BY_CUSTOMER) for n in range(blocks.MOST)])
    db.close()
    assert node.call("PUT", "/groups/anna-last", {"members": ["anna"]}, "anna").status == 409
    assert node.call("PUT", "/groups/many1", {"members": ["anna"]}, "anna").status == 200
    assert node.post("/blocks", {"owner": "anna", "number": "4445551235"}, "anna").status == 409
    assert node.post("/blocks", {"owner": "anna", "number": "4445551235"}).status == 201
    with sqlite3.connect(node.store) as db:
        db.execute("DELETE FROM groups WHERE name LIKE 'many%'")
        db.execute("DELETE FROM blocks WHERE owner = '5550001111'")
    db.close()


def test_changes_of_credentials_are_logged(node: ApiNode) -> None:
    secret = node.post("/tokens", {"name": "told", "account": "anna", "scope": "customer"}, "anna").json["secret"]
    password = node.post("/accounts/anna-desk/api-password", None, "anna").json["secret"]
    node.call("DELETE", "/accounts/anna-desk/api-password", None, "anna")
    node.call("DELETE", "/tokens/told", None, "anna")
    node.patch("/accounts/anna-desk", {"enabled": False})
    node.patch("/accounts/anna-desk", {"enabled": True})
    for _ in range(1000):  # lines of the log leave after the answer
        if (lines := node.events("changed_by_api"))[-1]["what"] == "enabled set to True":
            break
    log = node.log_path.read_text()
    assert [(line["by"], line["what"], line["of"]) for line in lines[-6:]] == [
        ("anna", "token made, scope customer", "anna"), ("anna", "API password made", "anna-desk"),
        ("anna", "API password dropped", "anna-desk"), ("anna", "token removed", "anna"),
        ("op", "enabled set to False", "anna-desk"), ("op", "enabled set to True", "anna-desk"),
    ]  # fmt: skip
    assert secret not in log
    assert password not in log


def test_a_recreated_account_sees_nothing_of_the_removed_account(node: ApiNode) -> None:
    """Who makes an account of a removed one's name finds nothing of it: not by the API, not by an app."""
    node.post("/accounts", {"name": "vera", "password": "pw-of-vera"})
    node.post("/accounts", {"name": "v101", "password": "pw-of-v101", "parent": "vera"})
    node.post("/dids", {"number": "5550009999", "account": "vera", "sip_account": "v101"})
    node.patch("/accounts/v101", {"app_messages": True, "caller_id": "5550009999"})
    came = node.post("/incoming", {"from": HANDSET, "to": "5550009999", "text": SECRET_TEXT}).json["id"]
    order = {"to": HANDSET, "text": SECRET_TEXT, "account": "v101", "from": "5550009999"}
    sent = node.post("/messages", order).json["id"]
    while not node.get(f"/messages/{came}").json["deliveries"][0]["last_error"]:
        time.sleep(0.02)  # nobody is to be woken
    before = "?since=2020-01-01T00:00:00Z"
    for path in ("/dids/5550009999", "/accounts/v101", "/accounts/vera"):
        assert node.call("DELETE", path).status == 204
    state = node.get(f"/messages/{came}").json
    assert (state["state"], state["deliveries"][0]["last_error"]) == ("failed", "the account was removed")
    for name in ("vera", "v101"):
        assert node.post("/accounts", {"name": name, "password": "evil", "parent": "anna"}, "anna").status == 201
    node.post("/dids", {"number": "5550009999", "account": "anna", "sip_account": "v101"})
    assert node.patch("/accounts/v101", {"app_messages": True}, "anna").status == 200
    for message in (came, sent):
        assert node.get(f"/messages/{message}", "anna").status == 404
    assert SECRET_TEXT.encode() not in node.get(f"/messages{before}&limit=200", "anna").body
    assert SECRET_TEXT.encode() not in node.get("/conversations?did=5550009999", "anna").body
    for last in ("", "2"):
        form = urlencode({"username": "v101", "password": "evil", "last_id": last, "last_sent_id": last})
        with urlopen(f"http://127.0.0.1:{node.http_port}/acrobits/fetch?{form}") as answer:
            found = json.loads(answer.read())
        assert (found["received_smss"], found["sent_smss"]) == ([], [])
