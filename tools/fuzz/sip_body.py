"""Bodies of MESSAGE requests: CPIM, multipart, deflate, charsets. The first line is Content-Type, Content-Encoding."""

from __future__ import annotations

import zlib

from sipsms.sip.body_reader import MAX_INFLATED, Notice, Refused, Text, authors, read
from sipsms.sip.message import Request

_CPIM = b"From: <im:acme@sip.example.net>\r\nimdn.Message-ID: 1\r\n\r\nContent-Type: text/plain\r\n\r\nhi"
_MIXED = (
    b"--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b\r\nContent-Type: message/cpim\r\n\r\n" + _CPIM + b"\r\n--b--\r\n"
)


def seeds() -> list[bytes]:
    return [
        b"text/plain;charset=utf-8|\nhi",
        b"text/plain;charset=utf-16|\nh\0i\0",
        b"message/cpim|\n" + _CPIM,
        b"multipart/mixed;boundary=b|\n" + _MIXED,
        b"text/plain|deflate\n" + zlib.compress(b"hi" * 100),
        b"message/cpim|deflate\n" + zlib.compress(_CPIM),
        b"text/plain|deflate\n" + zlib.compress(bytes(200_000)),
        b"application/im-iscomposing+xml|\n<isComposing/>",
        b"multipart/mixed;boundary=b|\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n--b--",
    ]


def check(data: bytes) -> None:
    first, _, body = data.partition(b"\n")
    kind, _, encoding = first.decode("utf-8", "surrogateescape").partition("|")
    headers = {"content-type": [kind]} | ({"content-encoding": [encoding]} if encoding else {})
    request = Request("MESSAGE", "sip:a@b", headers, body)
    found = read(request)
    if isinstance(found, Text):
        assert len(found.text) <= MAX_INFLATED
        found.text.encode("utf-8", "surrogatepass")
    else:
        assert isinstance(found, Notice | Refused)
        assert not isinstance(found, Refused) or (400 <= found.status <= 699 and found.why)
    said = authors(request)
    assert isinstance(said, Refused) or len(said) <= 64
    if isinstance(found, Text) and found.author and not isinstance(said, Refused):
        assert found.author in [uri.username for uri in said], "the reader sees an author that the check does not"
