"""The reader of API requests: fields of each kind of body, within limits."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from sipsms.accounts.auth import DenialCode, Denied
from sipsms.web import request as module
from sipsms.web.request import BadRequest, Room, basic_of, bearer_of, body_of, fields_of, first, query_of, route, text

FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data; boundary=x"


def made(body: bytes = b"", kind: str = "", query: str = "", method: str = "POST", **headers: str) -> Request:
    """A request whose body comes in pieces of 1,000 bytes."""
    sent = {"content-type": kind, "content-length": str(len(body)), **headers}
    scope = {
        "type": "http", "method": method, "path": "/", "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in sent.items() if value],
    }  # fmt: skip
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]
    messages = _messages(pieces)

    async def receive() -> Any:
        return next(messages)

    return Request(scope, receive)


def _messages(pieces: list[bytes]) -> Iterator[dict[str, Any]]:
    for number, piece in enumerate(pieces, 1):
        yield {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
    yield {"type": "http.disconnect"}


def part(name: str, value: bytes, file: str = "") -> bytes:
    named = f'; filename="{file}"' if file else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        (b"a=1&a=2&b=%C3%A9+x&c=", FORM, {"a": ["1", "2"], "b": ["é x"], "c": [""]}),
        ("b=é".encode(), FORM, {"b": ["é"]}),
        (part("a", b"1") + part("a", b"2") + b"--x--", PARTS, {"a": ["1", "2"]}),
        (part("a", b"\xff\x00", "f.jpg") + b"--x--\r\n\r\n", PARTS, {"a": [b"\xff\x00"]}),
        (b'{"a": 1, "b": ["x", "y"], "c": null}', "application/json", {"a": [1], "b": ["x", "y"], "c": [None]}),
        (b'{"a": 1}', "application/vnd.x+json; charset=utf-8", {"a": [1]}),
        (b' {"a": 1}', "", {"a": [1]}),
        (b"a=1", "text/plain", {}),
        (b"a=caf%E9", f"{FORM}; charset=ISO-8859-1", {"a": ["café"]}),
        (b"a=caf%E9", f'{FORM};charset="windows-1252"', {"a": ["café"]}),
        (b"a=caf%E9", FORM, {"a": ["caf\udce9"]}),  # no text: refused by whoever sends it
        (b"a=caf%C3%A9", f"{FORM}; charset=rot13", {"a": ["café"]}),
        (b"_charset_=latin1&a=%E9", FORM, {"_charset_": ["latin1"], "a": ["é"]}),
        (part("a", b"caf\xe9") + b"--x--", f"{PARTS}; charset=latin1", {"a": ["café"]}),
        (part("a", b"caf\xe9") + b"--x--", PARTS, {"a": ["caf\udce9"]}),
        (part("a", "café".encode()) + b"--x--", PARTS, {"a": ["café"]}),
        (part("_charset_", b"latin1") + part("a", b"\xe9") + b"--x--", PARTS, {"_charset_": ["latin1"], "a": ["é"]}),
        (
            part("a", b"\xe9").replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n\r\n")
            + part("b", "é".encode()) + b"--x--", PARTS, {"a": ["é"], "b": ["é"]},
        ),
        (b'{"a": "caf\xe9"}', "application/json; charset=ISO-8859-1", {"a": ["café"]}),
        (b'\xef\xbb\xbf{"a": 1}', "application/json", {"a": [1]}),
        (b'\xef\xbb\xbf{"a": 1}', "", {"a": [1]}),
    ],
)  # fmt: skip
async def test_the_fields_of_each_kind_of_body_are_read(body: bytes, kind: str, found: dict[str, Any]) -> None:
    assert await fields_of(made(body, kind)) == found


async def test_body_and_query_are_read_together() -> None:
    request = made(b"a=body", FORM, "a=query&b=2&b=3&a=more")
    found = await fields_of(request)
    assert (first(found, "a"), found["b"][0]) == ("body", "2")
    assert await fields_of(made(query="a=1&a=2", method="GET")) == {"a": ["1", "2"]}
    assert query_of(request) == {"a": ["query", "more"], "b": ["2", "3"]}


@pytest.mark.req("A-38")
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"&" * 200, FORM),
        (b"a=1&" * 101, FORM),
        (b"".join(part(f"f{n}", b"1") for n in range(101)) + b"--x--", PARTS),
        (json.dumps({f"f{n}": 1 for n in range(101)}).encode(), "application/json"),
        (b'{"a":[' + b"1," * module.MAX_VALUES + b"1]}", "application/json"),
        (b'{"a":' * 30_000, "application/json"),
        (b"[]", "application/json"),
        (b"\xff", "application/json"),
        (b"x", "multipart/form-data"),
        (b"x", PARTS),
        (part("a", b"x" * (module.MAX_PART + 1)) + b"--x--", PARTS),
    ],
)
async def test_an_unreadable_body_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(BadRequest):
        await fields_of(made(body, kind))


@pytest.mark.req("A-38")
async def test_a_body_with_too_many_separators_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten megabytes of separators took seconds in which nobody else was served."""
    monkeypatch.setattr(module.json, "loads", lambda body: pytest.fail("taken apart"))
    with pytest.raises(BadRequest):
        await fields_of(made(b'{"a":[' + b"[]," * 10_000 + b"1]}", "application/json"))


async def test_a_body_above_the_limit_is_refused() -> None:
    assert await body_of(made(b"x" * 2000), 2000) == b"x" * 2000
    for wrong in (made(b"x" * 2001), made(b"x" * 2001, **{"content-length": "5"})):
        with pytest.raises(BadRequest) as caught:
            await body_of(wrong, 2000)
        assert caught.value.status == 413
    gone = made(b"x" * 5)
    await body_of(gone)
    with pytest.raises((BadRequest, RuntimeError)):
        await body_of(gone)


async def test_large_bodies_share_memory_and_small_bodies_are_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By what is beyond the first bytes of a body, which every request may have: small ones are always taken."""
    monkeypatch.setattr(module, "FREE", 0)
    room = Room(5000)
    with room.held() as held:
        await body_of(made(b"x" * 3000), 9000, held)
        assert held.taken == 3000
        with pytest.raises(BadRequest) as caught:
            await body_of(made(b"x" * 3000), 9000, held)
    assert caught.value.status == 503
    with room.held() as held:
        await body_of(made(b"x" * 5000), 9000, held)
        monkeypatch.setattr(module, "FREE", 1000)
        await body_of(made(b"x" * 1000), 9000, held)
        with pytest.raises(BadRequest):
            await body_of(made(b"x" * 1001), 9000, held)


def test_credentials_are_read_from_the_authorization_header() -> None:
    def basic(value: str) -> tuple[str, str]:
        return basic_of(made(authorization=value))

    coded = base64.b64encode(b"desk:a:b").decode()
    assert basic(f"Basic {coded}") == basic(f"basic  {coded}") == ("desk", "a:b")
    for wrong in ("", "Basic", "Basic !!!", "Bearer x", "Basic " + base64.b64encode(b"\xff\xff").decode()):
        assert basic(wrong) == ("", "")
    assert bearer_of(made(authorization="Bearer  abc ")) == "abc"
    assert bearer_of(made(authorization=f"Basic {coded}")) == ""


def test_values_become_text() -> None:
    fields = {"a": ["", None, "x"], "b": [5], "c": [True], "d": [{}], "e": [b"\xffz"], "f": [0]}
    assert [text(fields, name) for name in "abcdefg"] == ["x", "5", "", "", "\ufffdz", "0", ""]
    assert text(fields, "g", "a") == "x"


def test_a_head_request_does_not_call_the_handler() -> None:
    async def page(request: Request) -> Response:
        raise AssertionError("called")

    assert route("/x", page).methods == {"GET", "POST"}


@pytest.mark.req("A-35")
@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({}, True), ({"origin": "https://sms.example.net"}, True), ({"origin": "http://SMS.example.net"}, True),
        ({"sec-fetch-site": "same-origin"}, True), ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "cross-site"}, False), ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "Cross-Site", "origin": "https://sms.example.net"}, False),
        ({"origin": "https://evil.example"}, False), ({"origin": "null"}, False), ({"origin": ""}, False),
        ({"origin": "https://sms.example.net.evil.example"}, False),
        ({"origin": "https://sms.example.net:8443"}, False),
        ({"origin": "https://public.example", "x-forwarded-host": "public.example"}, True),
    ],
)  # fmt: skip
def test_basic_credentials_are_not_taken_from_pages_of_other_sites(headers: dict[str, str], is_taken: bool) -> None:
    """A page of another site can make a browser send them, because it adds them by itself."""
    request = made(host="sms.example.net", authorization="Basic " + base64.b64encode(b"a:b").decode())
    request.scope["headers"] += [(name.encode(), value.encode()) for name, value in headers.items()]
    if is_taken:
        assert basic_of(request) == ("a", "b")
        return
    with pytest.raises(Denied) as denied:
        basic_of(request)
    assert denied.value.code is DenialCode.PAGE
