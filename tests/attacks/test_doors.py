"""Programs that mean harm at the HTTP APIs: A-31, A-36, A-37, A-38, A-48, W-07; by raw bytes where it matters."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import select
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Account
from .fort import HANDSET, Fort

PAYLOADS = [
    "' OR 1=1--", '" OR ""="', "%' OR '%'='", "_%_", "1; DROP TABLE messages",
    "') UNION SELECT ha1_md5 FROM accounts--", "\x00",
    "a\r\nBcc: x@y", "a\u2028b", "\ud800", "\ufeff", "\u202e", "{7*7}", "${7*7}", "../../etc/passwd",
    "[" * 3000,
    "9" * 5000, "-1", "1e999", "NaN", "true", "null", "x" * 60_000, "%0d%0a", "\N{ARABIC-INDIC DIGIT FIVE}" * 10,
]  # fmt: skip
DOORS = ["/v2/messages", "/api/v1/originate/sms", "/cgi-bin/sendsms", "/acrobits/send", "/acrobits/fetch",
         "/acrobits/push", "/acrobits/balance", "/api/v1/rest.php"]  # fmt: skip
FIELDS = [
    "from", "to", "text", "media_urls", "message", "number", "postpone", "media", "charset", "coding", "deferred",
    "validity", "dlr-mask", "dlr-url", "sms_to", "sms_body", "content_type", "last_id", "last_sent_id", "selector",
    "token_msgs", "appid_msgs", "format", "method", "did", "dst", "username", "password",
    "api_username", "api_password",
]  # fmt: skip


STOLEN = "good but stolen"
_turns = itertools.count()
PART = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """One of its own, whose log tells everything, and where nobody is counted."""
    settings = {"api": {"daily_sends": 0, "per_minute": 0}, "log": {"level": "debug", "format": "json"}}
    with Fort(tmp_path_factory.mktemp("doors"), 150, **settings) as fort:
        yield fort


class Caller:
    """Somebody with all credentials of one account."""

    def __init__(self, lab: Fort, account: Account) -> None:
        self.lab = lab
        self.account = account
        self.key = lab.cli("account", "api-password", account.name).stdout.strip()
        self.token = lab.cli("token", "add", f"t-{account.name}", "--account", account.name).stdout.strip()
        lab.wait(lambda: self.ask("/v2/messages", b"{}")[0] != 401)

    def headers(self, door: str) -> dict[str, str]:
        if door.startswith("/v"):
            return {"Authorization": f"Bearer {self.token}"}
        login = f"{self.account.name}:{self.account.password}".encode()
        return {"Authorization": "Basic " + base64.b64encode(login).decode()}

    @property
    def named(self) -> dict[str, str]:
        return {
            "username": self.account.name, "password": self.account.password, "api_username": self.account.name,
            "api_password": self.key,
        }  # fmt: skip

    def ask(self, door: str, body: bytes | None, **headers: str) -> tuple[int, bytes]:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        turn = next(_turns)  # an address that has not failed too often
        address = {"X-Forwarded-For": f"198.51.{turn // 250 % 250}.{turn % 250}"}
        return ask(self.lab, door, body, {**self.headers(door), **address, **headers})


def ask(lab: Fort, door: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    request = urllib.request.Request(lab.url + door, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def caller(lab: Fort) -> Caller:
    return Caller(lab, lab.account())


def shapes(fields: dict[str, Any]) -> Iterator[tuple[str, bytes | None, str]]:
    """One request in all the forms that a client may write it: (query, body, content type)."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    form = urllib.parse.urlencode(texts, errors="surrogatepass")
    yield "?" + form[:50_000], None, ""
    yield "", form.encode(), "application/x-www-form-urlencoded"
    yield "", json.dumps(fields).encode(), "application/json"
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in texts.items()
    )
    yield "", (parts + "--b--\r\n").encode("utf-8", "surrogatepass"), "multipart/form-data; boundary=b"


# --- every field ------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-31", "A-36")
@pytest.mark.parametrize("door", DOORS)
def test_no_hostile_value_in_any_field_of_an_api_gets_a_5xx(lab: Fort, caller: Caller, door: str) -> None:
    """Each payload in each field, in the four forms of a request by turns: never 5xx, always an answer."""
    usual = {
        **caller.named, "from": caller.account.did, "to": "12", "number": "12", "sms_to": "12", "text": "x",
        "message": "x", "method": "sendSMS", "did": caller.account.did, "dst": "12",
    }  # fmt: skip
    turn = 0
    for field in FIELDS:
        for payload in [*PAYLOADS, ["a", 5, None], {"a": {}}, 10**30, True]:
            if isinstance(payload, str) and payload == "\ud800":
                payload = "a\ud800"
            forms = list(shapes({**usual, field: payload}))
            query, body, kind = forms[turn % len(forms)]
            turn += 1
            status, said = caller.ask(door + query, body, **({"Content_Type": kind} if kind else {}))
            assert status < 500, (door, field, str(payload)[:60], status, said[:200])
            assert b"Traceback" not in said
    assert lab.events("crashed") == []


@pytest.mark.req("A-31")
def test_a_text_with_line_ends_leaves_as_one_message(lab: Fort, caller: Caller) -> None:
    """Line ends in a text stay in the text."""
    text = "good\r\nBcc: x\nINVITE sip:x SIP/2.0\u2028end"
    body = {"from": caller.account.did, "to": HANDSET, "text": text}
    assert caller.ask("/v2/messages", json.dumps(body).encode())[0] == 200
    lab.wait(lambda: lab.carrier.taken)
    assert lab.carrier.taken[-1].json["text"] == text.replace("\r\n", "\n")


@pytest.mark.req("A-37", "W-07")
@pytest.mark.parametrize("door", ["/v2/messages", "/api/v1/originate/sms", "/cgi-bin/sendsms", "/acrobits/send"])
def test_no_customer_sends_from_the_did_of_another(lab: Fort, caller: Caller, door: str) -> None:
    other = lab.account()
    for name in ("from", "source", "did", "username", "account", "callerid"):
        fields = {
            **caller.named, "to": HANDSET, "number": HANDSET, "sms_to": HANDSET, "text": STOLEN, "message": STOLEN,
            "sms_body": STOLEN, name: other.did if name not in ("username", "account") else other.name,
        }  # fmt: skip
        for query, body, kind in shapes(fields):
            caller.ask(door + query, body, **({"Content_Type": kind} if kind else {}))
    stolen = [row for row in lab.rows(other.did) if row["direction"] == "out"]
    assert stolen == []


# --- strangers --------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-37")
def test_no_answer_tells_a_stranger_whether_an_account_exists(lab: Fort, caller: Caller) -> None:
    """Whether an account exists, by any door: same status, same words, for everything that he asks."""
    for door in DOORS:
        answers = set()
        for name in (caller.account.name, "nobody", lab.account().name):
            fields = {
                "username": name, "password": "wrong", "api_username": name, "api_password": "wrong",
                "method": "getDIDsInfo", "number": "1", "message": "x", "to": "1", "text": "x",
            }  # fmt: skip
            login = base64.b64encode(f"{name}:wrong".encode()).decode()
            auth = "Bearer wrong" if door.startswith("/v") else f"Basic {login}"
            body = urllib.parse.urlencode(fields).encode()
            answers.add(ask(lab, door, body, {"Authorization": auth, "X-Forwarded-For": f"192.0.2.{len(answers)}"}))
        assert len(answers) == 1, (door, answers)
        assert b"wrong" in next(iter(answers))[1] or next(iter(answers))[0] in (200, 401, 403)


@pytest.mark.req("A-48")
def test_no_secret_is_in_the_log(lab: Fort, caller: Caller) -> None:
    """At debug, of requests that were taken and of those that were not."""
    for door in DOORS:
        for fields in ({**caller.named}, {**caller.named, "password": "wr0ng-pw", "api_password": "wr0ng-key"}):
            for query, body, kind in shapes({**fields, "message": "s3cret-text", "text": "s3cret-text"}):
                caller.ask(door + query, body, **({"Content_Type": kind} if kind else {}))
    log = lab.log_path.read_text()
    for secret in (caller.key, caller.token, caller.account.password, "wr0ng-pw", "wr0ng-key", "s3cret-text"):
        assert secret not in log


# --- HTTP itself ------------------------------------------------------------------------------------------------------


def raw(lab: Fort, data: bytes, seconds: float = 10.0) -> bytes:
    """All that the server says until it closes, or falls silent after an answer."""
    with socket.create_connection(("127.0.0.1", lab.http_port), timeout=seconds) as sock:
        said = b""
        try:
            sock.sendall(data)
            with contextlib.suppress(OSError):  # closed already; its answer is still to be read
                sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                said += chunk
        except (TimeoutError, ConnectionError):
            pass
        return said


@pytest.mark.req("A-38")
@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 99999999999999999999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx",
        b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 100_000 + b"\r\nabcde\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\nabc",
        b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"".join(b"X-%d: a\r\n" % n for n in range(50_000)) + b"\r\n",
        b"Content-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Type: multipart/form-data; boundary=" + b"x" * 5000 + b"\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Type: application/x-www-form-urlencoded; charset=rot13\r\nContent-Length: 3\r\n\r\na=b",
    ],
)  # fmt: skip
def test_malformed_requests_get_no_5xx_and_no_second_answer(lab: Fort, caller: Caller, head: bytes) -> None:
    """No 5xx, no second answer out of a smuggled request, and no memory."""
    before = lab.memory()
    login = base64.b64encode(f"{caller.account.name}:{caller.account.password}".encode())
    for door in (b"/api/v1/originate/sms", b"/cgi-bin/sendsms", b"/v2/messages", b"/api/v1/rest.php"):
        start = b"POST " + door + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + login + b"\r\n"
        said = raw(lab, start + head)
        assert not said.startswith(b"HTTP/1.1 5"), said[:200]
        assert b"sipsms_" not in said
        assert b"sipsms_accepted" not in said, "the smuggled request was answered"
    assert lab.memory() - before < 30


@pytest.mark.req("A-38")
@pytest.mark.parametrize("door", ["/api/v1/originate/sms", "/acrobits/send", "/cgi-bin/sendsms", "/api/v1/rest.php"])
def test_a_body_with_a_million_fields_is_refused(lab: Fort, caller: Caller, door: str) -> None:
    before, began = lab.memory(), time.monotonic()
    for body, kind in (
        (b"&".join(b"a%d=1" % n for n in range(1_000_000)), "application/x-www-form-urlencoded"),
        (b"a=1&" * 50_000, "application/x-www-form-urlencoded"),
        (json.dumps({f"a{n}": 1 for n in range(200_000)}).encode(), "application/json"),
        (b"[" * 500_000, "application/json"),
        (PART * 20_000 + b"--b--", "multipart/form-data; boundary=b"),
    ):  # fmt: skip
        try:
            status, _ = caller.ask(door, body, Content_Type=kind)
        except (urllib.error.URLError, ConnectionError):
            continue  # it does not read on, and hangs up
        assert status < 500
    assert time.monotonic() - began < 60
    assert lab.memory() - before < 60


@pytest.mark.req("A-38")
def test_an_endless_field_is_cut_at_the_limit(lab: Fort, caller: Caller) -> None:
    """A gigabyte that never ends: cut off at the limit."""
    before = lab.memory()
    login = base64.b64encode(f"{caller.account.name}:{caller.account.password}".encode())
    for door in (b"/acrobits/send", b"/api/v1/originate/sms", b"/v2/messages", b"/api/v1/rest.php"):
        with socket.create_connection(("127.0.0.1", lab.http_port), timeout=10) as sock:
            sock.sendall(
                b"POST " + door + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + login + b"\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            sent = 0
            try:
                for _ in range(1024):
                    sock.sendall(b"100000\r\n" + b"a" * 0x100000 + b"\r\n")
                    sent += 1
            except (ConnectionError, TimeoutError):
                pass
            assert sent < 100, "megabytes that it took"
    assert lab.memory() - before < 80


@pytest.mark.req("A-38")
def test_slow_bodies_do_not_delay_other_clients(lab: Fort, caller: Caller) -> None:
    """Two hundred clients that send a body byte by byte; a good one is answered meanwhile."""
    slow = []
    for _ in range(200):
        sock = socket.create_connection(("127.0.0.1", lab.http_port), timeout=5)
        sock.sendall(
            b"POST /api/v1/rest.php HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        slow.append(sock)
    body = {"from": caller.account.did, "to": HANDSET, "text": "good one"}
    assert caller.ask("/v2/messages", json.dumps(body).encode())[0] == 200
    for sock in slow:
        assert not select.select([sock], [], [], 0)[0], "nobody was turned away for it"
    for sock in slow:
        sock.close()


@pytest.mark.req("A-35")
@pytest.mark.parametrize("door", ["/api/v1/originate/sms", "/api/v1/orginate/sms", "/acrobits/send"])
@pytest.mark.parametrize("headers", [{"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_a_page_of_another_site_sends_no_sms(lab: Fort, caller: Caller, door: str, headers: dict[str, str]) -> None:
    """The browser adds the Basic credentials that the user has given before."""
    login = base64.b64encode(f"{caller.account.name}:{caller.account.password}".encode()).decode()
    fields = {"number": HANDSET, "message": STOLEN, "to": HANDSET, "sms_to": HANDSET, "sms_body": STOLEN}
    body = urllib.parse.urlencode(fields)
    for query, data in (("?" + body, None), ("", body.encode())):
        status, _ = caller.ask(door + query, data, Authorization=f"Basic {login}", **headers)
        assert status == 403
    assert lab.rows(caller.account.did) == []
