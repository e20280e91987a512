"""What becomes of each kind of body."""

from __future__ import annotations

import gzip
import zlib

import pytest

from sipsms.sip.body_reader import MAX_INFLATED, Notice, Refused, Text, authors, read
from sipsms.sip.message import Request, parse_datagram


def _read(body: bytes, content_type: str = "text/plain", encoding: str = "") -> object:
    headers = {"content-type": [content_type], "content-encoding": [encoding]}
    return read(Request("MESSAGE", "sip:1@h", headers, body))


@pytest.mark.req("C-086")
def test_a_body_is_decoded_by_its_charset() -> None:
    text = "Grüße, naïve 😀"
    assert _read(text.encode(), "text/plain;charset=UTF-8") == Text(text)
    assert _read("Grüße".encode("latin-1"), "text/plain; charset=iso-8859-1") == Text("Grüße")
    assert _read("恏".encode("utf-16"), "text/plain;charset=UTF-16") == Text("\ufeff恏")
    assert _read(b"\xa4", "text/plain;charset=iso-8859-15") == Text("€")
    assert _read(b"plain", 'Text/Plain; charset="us-ascii"') == Text("plain")
    assert isinstance(_read(b"\xff\xfe"), Refused)


@pytest.mark.req("C-087")
@pytest.mark.parametrize(
    "kind", ["text/html", "application/pdf", "text/plain;charset=ebcdic", "multipart/mixed; boundary=x"]
)
def test_unsupported_bodies_are_refused(kind: str) -> None:
    found = _read(b"x", kind)
    assert isinstance(found, Refused)
    assert (found.status, found.header is not None and found.header[0]) == (415, "Accept")


@pytest.mark.req("C-088")
def test_a_deflated_body_is_inflated_within_limits() -> None:
    assert _read(zlib.compress(b"hello"), encoding="deflate") == Text("hello")
    raw = zlib.compressobj(wbits=-15)
    assert _read(raw.compress(b"hello") + raw.flush(), encoding="deflate") == Text("hello")
    bomb = _read(zlib.compress(b"x" * (MAX_INFLATED + 1)), encoding="deflate")
    assert isinstance(bomb, Refused)
    gzip = _read(b"x", encoding="gzip")
    assert isinstance(gzip, Refused)
    assert gzip.status == 415


@pytest.mark.req("C-089", "G06")
@pytest.mark.parametrize("kind", ["application/im-iscomposing+xml", "message/imdn+xml"])
def test_delivery_notices_are_accepted_without_a_message(kind: str) -> None:
    assert _read(b"<x/>", kind) == Notice(kind)


def test_the_text_of_cpim_and_multipart_bodies_is_read() -> None:
    cpim = b"From: <im:a@b>\r\nDateTime: 2026\r\n\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi \xc3\xa9"
    assert _read(cpim, "message/cpim") == Text("hi é", author="a")
    parts = b"--b1\r\nContent-Type: image/png\r\n\r\nPNG\r\n--b1\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b1--\r\n"
    assert _read(parts, 'multipart/mixed; boundary="b1"') == Text("hello")
    nested = parts
    for level in range(2, 7):
        inner = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level - 1) + nested
        nested = b"--b%d\r\n%s\r\n--b%d--\r\n" % (level, inner, level)
    assert isinstance(_read(nested, "multipart/mixed; boundary=b6"), Refused)


_CEO, _OWN = b"From: <im:ceo@h>\r\n", b"From: Alice <im:alice@h>\r\n"
_TEXT = b"Content-Type: text/plain\r\n\r\npay"


def _wrapped(head: bytes, content: bytes = _TEXT) -> bytes:
    return head + b"To: <im:bob@h>\r\n\r\n" + content


def _mixed(*parts: bytes, kind: str = "mixed") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


def _asked(kind: str, body: bytes, *more: str) -> Request:
    head = [f"Content-Type: {kind}", *more, f"Content-Length: {len(body)}"]
    lines = [
        "MESSAGE sip:bob@h SIP/2.0", "Via: SIP/2.0/UDP h;branch=z9hG4bKa", "From: <sip:alice@h>;tag=a",
        "To: <sip:bob@h>", "Call-ID: c", "CSeq: 1 MESSAGE", *head,
    ]  # fmt: skip
    found = parse_datagram("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    assert isinstance(found, Request)
    return found


_CPIM = b"Content-Type: message/cpim\r\n"
_MIXED = "multipart/mixed;boundary=b"


@pytest.mark.req("A-03", "C-105")
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("message/cpim", _wrapped(_CEO)), ("Message/CPIM", _wrapped(b"from : <im:ceo@h>\r\n")),
        ("message/cpim", _wrapped(b"From:\r\n <im:ceo@h>\r\n")),
        (_MIXED, _mixed(_TEXT, _CPIM + b"\r\n" + _wrapped(_CEO))),
        ("multipart/alternative;boundary=b", _mixed(_TEXT, _CPIM + b"\r\n" + _wrapped(_CEO))),
        (_MIXED, _mixed(_CPIM + b"\r\n" + _wrapped(_OWN), _CPIM + b"\r\n" + _wrapped(_CEO))),
        ("message/cpim", _wrapped(_OWN, _CPIM + b"\r\n" + _wrapped(_CEO))),
        ("message/cpim", _wrapped(_OWN, b"Content-Type: " + _MIXED.encode() + b"\r\n\r\n"
                                  + _mixed(_CPIM + b"\r\n" + _wrapped(_CEO)))),
    ],
)  # fmt: skip
def test_the_author_in_every_wrapper_is_found(kind: str, body: bytes) -> None:
    found = authors(_asked(kind, body))
    assert isinstance(found, list)
    assert "ceo" in {one.username for one in found}


@pytest.mark.req("A-03", "C-105")
@pytest.mark.parametrize(
    ("kind", "body", "status", "more"),
    [
        ("message/cpim", _wrapped(_CEO + _OWN), 400, ()),
        ("message/cpim", _wrapped(_OWN + b"From : <im:ceo@h>\r\n"), 400, ()),
        ("message/cpim", _wrapped(b"Subject: a\nFrom: <im:ceo@h>\r\n"), 400, ()),
        ("message/cpim", _wrapped(b"From: <im:alice@h>, <im:ceo@h>\r\n"), 400, ()),
        ("text/plain", gzip.compress(b"hi", mtime=0), 415, ("Content-Encoding: gzip",)),
        ("message/cpim", gzip.compress(_wrapped(_CEO), mtime=0), 415, ("e: x-gzip",)),
        ("message/cpim", b"", 415, ("Content-Encoding: deflate", "Content-Encoding: gzip")),
        ("message/sip", b"x", 415, ()), ("message/external-body", b"x", 415, ()),
        ("multipart/encrypted;boundary=b", _mixed(_TEXT), 415, ()), ("application/pkcs7-mime", b"x", 415, ()),
        (_MIXED, _mixed(_TEXT, _CPIM + b"Content-Transfer-Encoding: base64\r\n\r\n" + _wrapped(_CEO)), 400, ()),
        (_MIXED, _mixed(*[_TEXT] * 9), 400, ()), ("multipart/mixed", _mixed(_TEXT), 400, ()),
        (_MIXED, _mixed(_TEXT) + _mixed(_CPIM + b"\r\n" + _wrapped(_CEO)), 400, ()),
        (_MIXED, b"--b\r\n" + _TEXT + b"\n--b\n" + _CPIM, 400, ()),
        (_MIXED, _mixed(_CPIM + b"Content-Type: text/plain\r\n\r\n" + _wrapped(_CEO)), 400, ()),
    ],
)  # fmt: skip
def test_a_body_whose_authors_cannot_be_known_is_refused(kind: str, body: bytes, status: int, more: tuple[str]) -> None:
    found = authors(_asked(kind, body, *more))
    assert isinstance(found, Refused)
    assert found.status == status


@pytest.mark.req("A-03")
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b"From: <im:ceo@h>"), ("application/x-acro-filetransfer+json", b"{}"), ("image/png", b"\x89"),
        ("message/imdn+xml", b"<imdn/>"), (_MIXED, _mixed(_TEXT, b"Content-Type: text/html\r\n\r\n<p>")),
        ("application/im-iscomposing+xml", b"<x/>"), (_MIXED, _mixed(b"\r\nno header fields")),
    ],
)  # fmt: skip
def test_other_contents_name_no_author(kind: str, body: bytes) -> None:
    assert authors(_asked(kind, body)) == []


@pytest.mark.req("C-105")
def test_two_authors_are_refused_for_an_sms_too() -> None:
    found = read(_asked("message/cpim", _wrapped(_CEO + _OWN)))
    assert isinstance(found, Refused)
    assert found.status == 400
