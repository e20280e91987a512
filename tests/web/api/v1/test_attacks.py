"""Hostile requests to /v1: control characters, broken HTTP, large bodies, leaked secrets (A-31, A-36, A-38, A-48)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from sipsms.store.sqlite import sqlite3
from tests.support.http.v1 import HANDSET, ApiNode

pytestmark = pytest.mark.e2e

WORDS = ["'", '"', "`", "\\", ";", "--", "/*", "*/", "%", "_", "%%", "' OR '1'='1", '" OR "1"="1', "') OR ('1'='1",
         "1; DROP TABLE messages", "'; DROP TABLE accounts; --", "' UNION SELECT * FROM tokens --", "admin'--",
         "1' AND sleep(5)--", "' || (SELECT hash FROM tokens) || '", "1 OR 1=1", "NULL", "0x31", "char(49)", "{{7*7}}",
         "${7*7}", "%s%s%s%n", "../../etc/passwd", "<script>", "|cat", "$(id)", "`id`", "*", "a* NEAR b",
         "text:x", "^",
         "NOT", "(((((", "x' GLOB '*", "LIKE '%'", "ESCAPE '\\'", "\u02bc OR 1=1", "\uff07 OR 1=1"]  # fmt: skip
PAYLOADS = [f"{before}{word}{after}" for word in WORDS for before, after in
            (("", ""), ("anna", ""), ("5550001111", ""), ("", " -- "), ("1) ", ""))]  # fmt: skip
CONTROLS = ["a\r\nX-Evil: 1", "a\nb", "a\0b", "a\u2028b", "a\u2029b", "a\x1bb", "a\x7fb", "\u202eevil", "\ufeff"]

# field -> a request that has it in its body
BODIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "from": ("POST", "/messages", {"to": HANDSET, "text": "x"}),
    "to": ("POST", "/messages", {"text": "x"}),
    "text": ("POST", "/messages", {"to": HANDSET}),
    "account": ("POST", "/messages", {"to": HANDSET, "text": "x"}),
    "send_at": ("POST", "/messages", {"to": HANDSET, "text": "x"}),
    "name": ("POST", "/accounts", {"password": "p", "parent": "anna"}),
    "parent": ("POST", "/accounts", {"name": "x1", "password": "p"}),
    "caller_id": ("PATCH", "/accounts/anna-desk", {}),
    "email": ("PATCH", "/accounts/anna-desk", {}),
    "api_allow_ip": ("PATCH", "/accounts/anna-desk", {}),
    "reseller": ("PATCH", "/accounts/anna-desk", {}),
    "sip_account": ("PATCH", "/dids/5550001111", {}),
    "dialing_mode": ("PATCH", "/dids/5550001111", {}),
    "group": ("PATCH", "/dids/5550001111", {}),
    "forward": ("PATCH", "/dids/5550001111", {}),
    "callback": ("PATCH", "/dids/5550001111", {}),
    "webhook": ("PATCH", "/dids/5550001111", {}),
    "bearer": ("PATCH", "/dids/5550001111", {"webhook": "https://h.example.com/"}),
    "webhook_secret": ("PATCH", "/dids/5550001111", {"webhook": "https://h.example.com/"}),
    "number": ("POST", "/dids", {"account": "anna"}),
    "owner": ("POST", "/blocks", {"number": HANDSET}),
    "blocked": ("POST", "/blocks", {"owner": "anna"}),
    "scope": ("POST", "/tokens", {"name": "t", "account": "anna"}),
    "token": ("POST", "/tokens", {"account": "anna"}),
    "did": ("POST", "/tokens", {"name": "t", "scope": "did"}),
    "expires_at": ("POST", "/tokens", {"name": "t"}),
    "heard": ("POST", "/incoming", {"to": "5550001111", "text": "x"}),
    "password": ("PUT", "/accounts/anna-desk/password", {}),
}
RENAMED = {"blocked": "number", "token": "name", "heard": "from"}
LISTS = {"emails": ("PATCH", "/dids/5550001111"), "members": ("PUT", "/groups/g")}
QUERIES = ["/messages?did=", "/messages?contact=", "/messages?since=", "/messages?cursor=", "/conversations?did=",
           "/accounts?customer=", "/dids?account=", "/usage?account=", "/blocks?owner=", "/devices?account=",
           "/registrations?account=", "/registrations?cursor=", "/queue?cursor=", "/route?to=4445556666&from=",
           "/route?from=5550001111&to=", "/route?from=5550001111&to=4445556666&text=", "/tokens?cursor=",
           "/events?last_event_id=x&nothing="]  # fmt: skip
PATHS = ["/accounts/{}", "/dids/{}", "/groups/{}", "/messages/{}", "/accounts/{}/password"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiNode]:
    with ApiNode(tmp_path_factory.mktemp("attacks"), policy={"same_text": 0, "destinations": 0}) as node:
        yield node
        assert not [one for one in node.events() if one["event"] in ("api_failed", "task_failed", "crash")]


def tables(node: ApiNode) -> tuple[Any, ...]:
    """What no request here may change."""
    with sqlite3.connect(node.store) as db:
        found = tuple(
            db.execute(query).fetchall()
            for query in ("SELECT name, ha1_md5 FROM accounts WHERE name IN ('anna', 'bert', 'rita') ORDER BY 1",
                          "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1",
                          "SELECT number, account FROM dids ORDER BY 1", "SELECT hash FROM tokens ORDER BY 1")
        )  # fmt: skip
    db.close()
    return found


def body_with(field: str, value: Any) -> tuple[str, str, dict[str, Any]]:
    method, path, body = BODIES[field]
    return method, path, {**body, RENAMED.get(field, field): value}


@pytest.mark.req("A-36")
def test_no_hostile_value_in_any_field_gets_a_5xx(node: ApiNode) -> None:
    """Parameters stay parameters: no 5xx, nothing changed, and each is answered."""
    assert len(PAYLOADS) >= 200
    before, asked = tables(node), 0
    targets: list[Any] = [*BODIES, *QUERIES, *PATHS, *LISTS]
    for number, payload in enumerate(PAYLOADS):
        for target in targets[number % 5 :: 5] if number >= len(WORDS) else targets:
            if target in BODIES:
                method, path, body = body_with(target, payload)
            elif target in LISTS:
                (method, path), body = LISTS[target], {target: [payload]}
            elif "{}" in target:
                method, path, body = "GET", target.format(quote(payload, safe="")), None
            elif target.startswith("/events"):
                continue  # a stream has no end
            else:
                method, path, body = "GET", target + quote(payload, safe=""), None
            if (target, payload) == ("scope", "operator"):
                continue
            reply = node.call(method, path, body)
            asked += 1
            assert reply.status < 500, f"{method} {path} {body}: {reply}"
            if reply.status >= 400:
                assert reply.problem, f"{method} {path}"
    assert asked > 2000
    after = tables(node)
    assert after[:3] == before[:3]
    assert set(before[3]) <= set(after[3])


@pytest.mark.req("A-31")
@pytest.mark.parametrize("field", BODIES)
def test_control_characters_are_refused_with_the_name_of_the_field(node: ApiNode, field: str) -> None:
    """Refused with the field's name; a text may have line feeds, but no NUL."""
    for value in CONTROLS:
        method, path, body = body_with(field, value)
        reply = node.call(method, path, body, "op")
        what = f"{field} {value!r}: {reply}"
        if (field == "text" and "\0" not in value) or (field == "password" and value in CONTROLS[-2:]):
            continue
        if field == "owner":  # it names a resource
            assert reply.status in (404, 422), what
        else:
            assert reply.status == 422, what
            assert reply.problem["errors"], what
        assert "x-evil" not in reply.headers, what


@pytest.mark.req("A-31")
@pytest.mark.parametrize("field", BODIES)
def test_half_surrogate_pairs_are_refused(node: ApiNode, field: str) -> None:
    method, path, body = body_with(field, "@@@")
    raw = json.dumps(body).replace("@@@", "a\\ud800b").encode()
    reply = node.call(method, path, raw)
    assert (reply.status, reply.problem["title"]) == (422, "Unprocessable Entity"), reply


@pytest.mark.req("A-31")
@pytest.mark.parametrize("path", ["/accounts/%00", "/accounts/a%0d%0ab", "/dids/%ed%a0%80", "/groups/%ff",
                                  "/messages/%0a", "/%0d%0aX:%20y", "/accounts/a%2Fb", "/messages/" + "9" * 400,
                                  "/messages/-1", "/messages/1e3", "/messages/0",
                                  "/accounts/" + "a" * 2000])  # fmt: skip
def test_odd_paths_get_404_or_422(node: ApiNode, path: str) -> None:
    reply = node.get(path)
    assert reply.status in (404, 422)
    assert reply.problem


# --- HTTP ------------------------------------------------------------------------------------------------------------


def head(node: ApiNode, *lines: str, path: str = "/v1/messages", method: str = "POST") -> bytes:
    fixed = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {node.tokens['anna']}"]
    return "\r\n".join([*fixed, "Content-Type: application/json", *lines, "", ""]).encode()


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0


GOOD = b'{"to": "4445556666", "text": "smuggled"}'


@pytest.mark.req("A-38")
@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\nGET /v1/me HTTP/1.1\r\n\r\n"),
        (["Content-Length: 5", "Content-Length: 40"], GOOD),
        (["Content-Length: -1"], GOOD),
        (["Content-Length: 4_0"], GOOD),
        (["Content-Length: 0x28"], GOOD),
        (["Transfer-Encoding: chunked"], b"zz\r\n" + GOOD + b"\r\n0\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"28\n" + GOOD + b"\n0\n\n"),
        (["Transfer-Encoding: chunked"], b"ffffffffffffffffff\r\n" + GOOD),
        (["Transfer-Encoding: chunked"], b"28" + b";x" * 60_000 + b"\r\n" + GOOD + b"\r\n0\r\n\r\n"),
        (["Transfer-Encoding: identity, chunked, x"], b"28\r\n" + GOOD + b"\r\n0\r\n\r\n"),
        (["X-Long: " + "a" * 100_000], GOOD),
        ([f"X-{n}: a" for n in range(20_000)], GOOD),
        (["Bad Header: x"], GOOD),
    ],
)
def test_bytes_that_are_no_http_are_refused(node: ApiNode, lines: list[str], body: bytes) -> None:
    """400 or 413, or hung up on; never two readings of one request. A chunk with a very long extension is HTTP, and its
    message may be taken, once, though its sender has closed its side before the answer."""
    is_http = body.startswith(b"28;x")
    before = len(node.get("/messages?contact=4445556666&limit=200", "anna").json["items"])
    reply = node.raw(head(node, *lines) + body)
    assert status(reply) in (0, 400, 408, 411, 413, 422, 431, 501), reply[:300]
    assert len(re.findall(rb"HTTP/1\.1 [23]\d\d", reply)) == 0
    after = len(node.get("/messages?contact=4445556666&limit=200", "anna").json["items"])
    assert after == before or (is_http and after == before + 1)
    assert node.get("/me").status == 200


@pytest.mark.req("A-38")
def test_large_requests_are_refused_and_memory_stays_flat(node: ApiNode) -> None:
    """Said beforehand, or found on the way; in a message, in other bodies, in forms; ten times."""
    form = "&".join(f"f{n}=x" for n in range(1_000_000)).encode()
    large = b'{"to": "' + b"4" * 20_000_000 + b'"}'
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    node.raw(head(node, f"Content-Length: {len(large)}") + large)
    before = node.resident()
    for _ in range(10):
        reply = node.raw(head(node, "Content-Length: 1000000000") + b"{" * 1000)
        assert status(reply) == 413
        reply = node.raw(head(node, f"Content-Length: {len(large)}") + large)
        assert status(reply) in (0, 413), reply[:200]
        reply = node.raw(head(node, "Transfer-Encoding: chunked") + chunk * 8 + b"0\r\n\r\n")
        assert status(reply) in (0, 413), reply[:200]
        reply = node.raw(head(node, "Transfer-Encoding: chunked", path="/v1/blocks") + chunk + b"0\r\n\r\n")
        assert status(reply) in (0, 413), reply[:200]
        reply = node.raw(head(node, f"Content-Length: {len(form)}", path="/v1/tokens") + form)
        assert status(reply) in (0, 413), reply[:200]
    assert node.resident() - before < 30 * 2**20
    assert node.get("/me").status == 200


@pytest.mark.req("A-38")
def test_deep_and_odd_json_is_refused(node: ApiNode) -> None:
    for body in (b"[" * 100_000, b'{"to":' * 20_000, b'{"to": 1e400}', b"NaN", b'{"to": ' + b"9" * 100_000 + b"}",
                 b"\xef\xbb\xbf{}", b"", b"null", b'{"to": "1", "to": "2"}', b"\xff\xfe"):  # fmt: skip
        for path in ("/messages", "/blocks", "/tokens"):
            reply = node.call("POST", path, body)
            assert 400 <= reply.status < 500, f"{path} {body[:40]!r}: {reply}"
            assert reply.problem
    other = node.call("POST", "/blocks", b"owner=anna&number=1", headers={"Content-Type": "text/plain"})
    assert other.status in (415, 422)


@pytest.mark.req("A-38")
def test_without_a_token_the_body_is_not_read(node: ApiNode) -> None:
    """Without a token the body is not waited for."""
    lines = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    assert status(node.raw(lines)) == 401


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-48")
def test_no_secret_is_in_the_log_or_the_metrics(node: ApiNode) -> None:
    """At debug: not what was given, not what was made, not what was wrong; nor the text of a message."""
    import urllib.request

    password, text = "pa55word-of-the-desk", "a text that nobody else reads"
    bearer, signing = "bearer-3c9d", "whsec_c2VjcmV0"
    made = [node.post("/accounts/anna/api-password", {}).json["secret"]]
    made += [node.post("/tokens", {"name": "kept", "account": "anna"}).json["secret"]]
    assert node.call("PUT", "/accounts/anna-desk/password", {"password": password}).status == 204
    given = {"webhook": "https://h.example.com/", "bearer": bearer, "webhook_secret": signing}
    assert node.patch("/dids/5550001111", given).status == 200
    assert node.send(text, "anna", to="7775550123").status == 202
    wrong = "sipsms_wrong-token-of-a-stranger"
    assert node.get("/me", wrong).status == 401
    shown = node.post("/accounts/anna-desk/provision", {"password": password})
    assert (shown.status, shown.json["password"]) == (201, None)
    for path in ("/accounts", "/tokens", "/dids", "/webhooks", "/accounts/anna-desk"):
        body = node.get(path).body.decode()
        assert not [one for one in (password, bearer, signing, *made) if one in body], path
    errors = node.call("PUT", "/accounts/anna-desk/password", {"password": password + "\n"})
    assert password not in errors.body.decode()
    metrics = urllib.request.urlopen(f"{node.url}/metrics", timeout=10).read().decode()
    log = node.log_path.read_text()
    assert '"level": "debug"' in log or "auth_failure" in log
    for secret in (password, text, bearer, signing, wrong, *made, *node.tokens.values()):
        assert secret not in log
        assert secret not in metrics
