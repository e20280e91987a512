"""What becomes of each kind of body."""

from __future__ import annotations

import zlib

import pytest

from sipsms.sip.body_reader import MAX_INFLATED, Notice, Refused, Text, read
from sipsms.sip.message import Request


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
