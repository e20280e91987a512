"""The transport of the VoIP.ms-compatible API: forms of requests, credentials, and answers with HTTP 200 and JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipsms.core.errors import Unavailable
from sipsms.web import request
from sipsms.web.api.voipms import routes
from sipsms.web.api.voipms.accounts import NOTHING
from sipsms.web.request import MAX_PART, BadRequest, Room
from tests.support.http.voipms_api import DID, PHONE, Rest, rest, until

pytestmark = pytest.mark.req("S-103")
TEXT = {"method": "sendSMS", "did": DID, "dst": PHONE}
COUNT = "SELECT count(*) FROM messages"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Rest]:
    async with rest(tmp_path) as found:
        yield found


def multipart(fields: dict[str, Any]) -> aiohttp.MultipartWriter:
    """Parts without a file name."""
    writer = aiohttp.MultipartWriter("form-data")
    for name, value in fields.items():
        writer.append(str(value)).set_content_disposition("form-data", name=name)
    return writer


# --- how a request may come ---


async def test_a_request_is_read_in_every_form(site: Rest) -> None:
    fields = {**site.credentials(), **TEXT}
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "", {"params": {**fields, "message": "a"}}),
        ("POST", "", {"params": {**fields, "message": "b"}}),
        ("POST", "", {"data": {**fields, "message": "c"}}),
        ("POST", "?content_type=json", {"data": multipart({**fields, "message": "d"})}),
        ("POST", "", {"json": {**fields, "message": "e"}}),
        ("POST", "", {"data": json.dumps({**fields, "did": int(DID), "message": "f"}).encode()}),
        ("POST", f"?{urlencode(fields)}", {"data": multipart({"message": "g"})}),
        ("PUT", "/", {"data": {**fields, "message": "h"}}),
    ]
    for verb, path, options in ways:
        found = await site.ask(verb, path, **options)
        assert found["status"] == "success", (verb, path, options, found)
        assert isinstance(found["sms"], int)
    rows = await site.core.rows("SELECT text, origin FROM messages ORDER BY id")
    assert rows == [(letter, "rest") for letter in "abcdefgh"]


async def test_a_head_request_does_nothing(site: Rest) -> None:
    for path in ("", "/"):
        fields = {**site.credentials(), **TEXT, "message": "a"}
        async with site.session.head(site.url + path, params=fields) as answer:
            assert (answer.status, "HEAD" in answer.headers["allow"]) == (405, False)
    assert await site.core.rows(COUNT) == [(0,)]


async def test_the_body_takes_precedence_over_the_query(site: Rest) -> None:
    found = await site.ask("POST", "?method=getIP", data={**site.credentials(), "method": "getBalance"})
    assert "balance" in found


async def test_the_first_of_repeated_values_counts(site: Rest) -> None:
    pairs = [*site.credentials().items(), ("method", ""), ("method", "getIP"), ("method", "sendSMS")]
    assert await site.ask("GET", params=pairs) == {"status": "success", "ip": "127.0.0.1"}


@pytest.mark.req("A-38")
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xfe\x00\x00", "application/x-www-form-urlencoded; charset=utf-7"),
        (b"\xff\xfe\x00\x00", "text/plain"),
    ],
)
async def test_an_empty_body_is_read_as_no_values(site: Rest, body: bytes, kind: str) -> None:
    headers = {"Content-Type": kind}
    assert (await site.ask("POST", data=body, headers=headers))["status"] == "missing_credentials"
    path = f"?{urlencode(site.credentials())}"
    assert (await site.ask("POST", path, data=body, headers=headers))["status"] == "missing_method"


@pytest.mark.req("A-38")
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"a":' * 5000, "application/json"),
        (b"1" * 10_000, "application/json"),
        (b"no parts", "multipart/form-data"),
        (b"no parts", "multipart/form-data; boundary=x"),
        (b"--x\r\nbroken\r\n\r\n--x--", "multipart/form-data; boundary=x"),
        (b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", "multipart/form-data; boundary=x"),
        (b"&".join(b"a%d=1" % n for n in range(2000)), "application/x-www-form-urlencoded"),
    ],
)
async def test_an_unreadable_body_is_refused(site: Rest, body: bytes, kind: str) -> None:
    """The password may stand in it: what is wrong is said, but not to who has a wrong one."""
    headers = {"Content-Type": kind}
    found = await site.ask("POST", data=body, headers=headers)
    path = f"?{urlencode(site.credentials())}"
    assert await site.ask("POST", path, data=body, headers=headers) == found
    assert (found["status"], bool(found["message"])) == ("missing_params", True)
    path = f"?{urlencode({**site.credentials(), 'api_password': 'x'})}"
    assert (await site.ask("POST", path, data=body, headers=headers))["status"] == "invalid_credentials"


@pytest.mark.req("A-38")
async def test_a_body_above_the_limit_is_not_read(site: Rest) -> None:
    """The answer does not wait for the rest of it."""
    path = f"{routes.PATH}?{urlencode({**site.credentials(), 'method': 'sendMMS'})}"
    _, found = await raw(site, f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\nx".encode())
    assert found["status"] == "exceeds_file_size"
    _, found = await raw(site, f"POST {routes.PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\nx".encode())
    assert found["status"] == "exceeds_file_size", "as it is when the password stands in the body"
    path = f"?{urlencode({**site.credentials(), 'method': 'sendMMS'})}"
    large = multipart({**site.credentials(), "method": "sendMMS", "media1": "A" * (MAX_PART + 1)})
    for query in (path, ""):
        assert (await site.ask("POST", query, data=large))["status"] == "exceeds_file_size"
    many = multipart({f"f{n}": "x" for n in range(200)})
    assert (await site.ask("POST", path, data=many))["status"] == "missing_params"


@pytest.mark.req("A-38")
async def test_the_memory_of_bodies_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one request holds is another's to have when that is over."""
    room = Room(100)
    with room.held() as first:
        first.take(60)
        with room.held() as second:
            second.take(40)
            with pytest.raises(BadRequest):
                second.take(1)
        first.take(40)
    with room.held() as third:
        third.take(100)
    monkeypatch.setattr(request, "FREE", 1000)
    monkeypatch.setattr(routes, "MEMORY", 10_000)
    monkeypatch.setattr(routes.RestPhp.__init__, "__kwdefaults__", {"memory": 10_000})
    async with rest(tmp_path) as site:
        path = f"?{urlencode({**site.credentials(), **TEXT})}"
        large = {"message": "x" * 11_500}
        assert (await site.ask("POST", path, data=large))["status"] == "method_maintenance"
        assert (await site.ask("POST", data={**site.credentials(), **large}))["status"] == "method_maintenance"
        assert (await site.ask("POST", path, data={"message": "x"}))["status"] == "success"


async def test_a_body_that_never_arrives_ends_with_a_timeout(site: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "PATIENCE", 0.05)
    path = f"{routes.PATH}?{urlencode({**site.credentials(), **TEXT})}"
    _, body = await raw(site, f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nmessage=".encode())
    assert body["status"] == "missing_params"


async def raw(site: Rest, request: bytes) -> tuple[int, dict[str, Any]]:
    """One request as bytes."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        writer.close()
    return int(head.split(" ", 2)[1]), body


# --- who may ask ---


@pytest.mark.req("S-105", "A-37")
async def test_every_failed_login_gets_the_same_answer(site: Rest) -> None:
    """The same bytes for an unknown name, a wrong password, an account that is off, and any method."""
    await site.service.set_account("other", enabled=False)
    right = site.passwords
    tried = [("nobody", right["acme"]), ("acme", "wrong"), ("acme", right["other"]), ("other", right["other"])]
    tried += [("acme", "s3cret"), ("acme_desk", "s3cret")]  # the password that a phone registers with
    for name, password in tried:
        for method in ("getIP", "", "nonsense", "sendSMS"):
            found = await site.ask(params={"api_username": name, "api_password": password, "method": method})
            assert found == {"status": "invalid_credentials"}
    for missing in ({}, {"api_username": "acme"}, {"api_password": "x"}):
        assert await site.ask(params={**missing, "method": "getIP"}) == {"status": "missing_credentials"}


@pytest.mark.req("S-105")
async def test_the_credentials_are_api_username_and_password(site: Rest) -> None:
    assert (await site.call("getIP"))["status"] == "success"
    await site.service.set_account("acme", email="me@example.net")
    fields = {"api_username": "Me@Example.net", "api_password": site.passwords["acme"], "method": "getIP"}
    assert (await site.ask(params=fields))["status"] == "success"
    new = await site.service.make_api_password("acme")
    assert (await site.ask(params=fields))["status"] == "invalid_credentials"
    assert (await site.ask(params={**fields, "api_password": new}))["status"] == "success"
    desk = await site.service.make_api_password("acme_desk")
    fields = {"api_username": "acme_desk", "method": "getIP"}
    assert (await site.ask(params={**fields, "api_password": desk}))["status"] == "api_not_enabled"
    assert (await site.ask(params={**fields, "api_password": "x"}))["status"] == "invalid_credentials"


async def test_allowed_networks_and_rate_limits_are_enforced(tmp_path: Path) -> None:
    async with rest(tmp_path, per_minute=3) as site:
        assert (await site.call("getIP"))["status"] == "success"
        await site.service.set_account("acme", api_allow_ip="192.0.2.0/24")
        assert (await site.call("getIP"))["status"] == "ip_not_enabled"
        await site.service.set_account("acme", api_allow_ip="127.0.0.0/8")
        said = [(await site.call("getIP"))["status"] for _ in range(3)]
        assert said == ["success", "success", "api_limit_exceeded"]
        assert (await site.call("getIP", "other"))["status"] == "success"
        site.core.clock.now += 60
        assert (await site.call("getIP"))["status"] == "success"


async def test_unknown_methods_are_refused_and_known_ones_answered(site: Rest) -> None:
    assert (await site.ask(params=site.credentials()))["status"] == "missing_method"
    for name in ("nonsense", "sendsms", "__init__", "x" * 5000):
        assert (await site.call(name))["status"] == "invalid_method"
    for name, word in NOTHING.items():
        assert await site.call(name) == {"status": word}
        assert word.startswith("no_")


# --- when something is wrong here ---


async def test_an_unavailable_store_gets_a_status_and_no_500(site: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(*_: Any, **__: Any) -> Any:
        raise Unavailable("disk is full")

    monkeypatch.setattr(site.core.store, "accept", unavailable)
    monkeypatch.setattr(routes.log, "crash", lambda *_, **__: pytest.fail("this is no bug"))
    found = await site.call(**TEXT, message="hello")
    assert found["status"] == "method_maintenance"
    assert "disk" not in found["message"]
    monkeypatch.undo()
    assert (await site.call(**TEXT, message="hello"))["status"] == "success"
    assert await site.core.rows(COUNT) == [(1,)]


async def test_an_unexpected_error_gets_a_status_and_no_500(site: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bug(*_: Any, **__: Any) -> Any:
        raise KeyError("secret detail")

    monkeypatch.setattr(site.outbound, "send", bug)
    found = await site.call(**TEXT, message="hello")
    assert (found["status"], "secret" in str(found)) == ("method_maintenance", False)


# --- a client that sends again ---


async def test_a_retry_without_reading_the_answer_is_one_message(site: Rest) -> None:
    """The client gave up before the answer was ready; the same again is the same message, and then it is answered."""
    path = f"{routes.PATH}?{urlencode({**site.credentials(), **TEXT, 'message': 'only once'})}"
    with site.blocked():
        _, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        await until(lambda: site.outbound._retries._repeats)
        writer.close()
        await until(lambda: not site.sessions())
    await site.core.until(COUNT, [(1,)])
    await until(lambda: all(one.result.done() for one in site.outbound._retries._repeats.values()))
    again = await site.call(**TEXT, message="only once")
    assert again == {"status": "success", "sms": 1}
    assert await site.core.rows(COUNT) == [(1,)]
    meant = await site.call(**TEXT, message="only once")
    assert meant == {"status": "success", "sms": 2}, "it had its answer: this is a message of its own"


async def test_three_simultaneous_retries_are_one_message(site: Rest) -> None:
    """As the Android application does it: each try gives up while the store is held."""
    path = f"{routes.PATH}?{urlencode({**site.credentials(), **TEXT, 'message': 'thrice'})}"
    with site.blocked():
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            await until(lambda: site.outbound._retries._repeats)
            writer.close()
        await until(lambda: not site.sessions())
    await site.core.until(COUNT, [(1,)])
    assert (await site.call(**TEXT, message="thrice"))["sms"] == 1


# --- anything at all ---

_NAMES = (
    "did dst message media1 media2 media3 from to type contact limit timezone all_messages sms mms id media_as_array "
    "client enable email_enabled email_address sms_forward_enable sms_forward url_callback_enable url_callback "
    "url_callback_retry webhook webhook_enabled dialmode sms_sipaccount sms_sipaccount_enabled smpp_enabled smpp_url "
    "account username password protocol auth_type max_expiry callerid_number advanced server_pop content_type"
).split()
_METHODS = (
    "sendSMS sendMMS getSMS getMMS getMediaMMS deleteSMS deleteMMS setSMS setDIDInfo getDIDsInfo getSubAccounts "
    "createSubAccount setSubAccount delSubAccount getRegistrationStatus getBalance getServersInfo getIP"
).split()
_TEXTS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", DID, PHONE, "+15550001111", "2026-10-02", "9" * 400, "\0", "\ud800", "%00"]),
    st.sampled_from(
        ["' OR 1=1 --", "a\r\nb: c", "data:,", "data:;base64,x", "http://[::1", "=", "\u2028", "acme_desk"]
    ),
    st.text(max_size=40),
)
_VALUES = st.one_of(
    _TEXTS, st.integers(), st.floats(), st.booleans(), st.none(),
    st.lists(_TEXTS, max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@pytest.mark.req("A-31", "A-36")
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(_METHODS), fields=st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=8))
async def test_any_values_get_an_answer_without_a_traceback(site: Rest, method: str, fields: dict[str, Any]) -> None:
    """Always an answer, never a trace of an exception; and nothing of another customer's is touched."""
    crashes: list[str] = []
    crash, routes.log.crash = routes.log.crash, lambda event, error, **_: crashes.append(repr(error))  # type: ignore
    try:
        body = json.dumps({**site.credentials(), **fields, "method": method})
        found = await site.ask("POST", data=body.encode(), headers={"Content-Type": "application/json"})
    finally:
        routes.log.crash = crash
    assert not crashes, (crashes, method, fields)
    assert found["status"], (method, fields)
    directory = site.core.directory
    theirs = directory.did("5550009999")
    assert theirs is not None
    assert (theirs.account, theirs.sms, theirs.emails, theirs.callback, theirs.sip_account) == (
        "other",
        True,
        (),
        None,
        "",
    )
    assert directory.account("other_desk") is not None


@pytest.mark.req("A-36")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.binary(max_size=300), body=st.binary(max_size=300), kind=st.sampled_from(range(4)))
async def test_any_bytes_get_an_answer(site: Rest, query: bytes, body: bytes, kind: int) -> None:
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain")
    path = f"?{urlencode(site.credentials())}&{query.hex()}&" + "".join(f"%{one:02x}" for one in query)
    body = b"--x\r\n" + body if kind == 2 else body
    found = await site.ask("POST", path, data=body, headers={"Content-Type": kinds[kind]})
    assert found["status"] in ("missing_method", "missing_params", "invalid_method")


@pytest.mark.req("A-38")
async def test_a_long_query_is_read(site: Rest) -> None:
    path = f"{routes.PATH}?{urlencode({**site.credentials(), **TEXT})}&message="
    status, body = await raw(site, f"GET {path}{'x' * 50_000} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert (status, body["status"]) == (200, "sms_toolong")
    fields = "&a" * 20_000
    status, body = await raw(site, f"GET {path}hi{fields} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert (status, body["status"]) == (200, "success")
