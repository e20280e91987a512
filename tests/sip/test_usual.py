"""The quick reader gives what the general parser gives, or nothing: torture messages, clients' spellings, mutations."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sipsms.sip import usual
from sipsms.sip.message import BadMessage, Request, Response, parse_datagram

TORTURE = sorted((Path(__file__).parents[1] / "testdata/rfc4475").rglob("*.dat"))
ZOIPER = """MESSAGE sip:2125550123@sip.example.net;transport=UDP SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7:45060;branch=z9hG4bK-524287-1---a1b2c3;rport
Max-Forwards: 70
Contact: <sip:alice@192.0.2.7:45060;transport=UDP>
To: <sip:2125550123@sip.example.net;transport=UDP>
From: "5550001111"<sip:alice@sip.example.net;transport=UDP>;tag=5e1f0a33
Call-ID: Xq3zR7_b0
CSeq: 2 MESSAGE
Content-Type: text/plain
User-Agent: Zoiper v2.10.20
Proxy-Authorization: Digest username="alice",realm="sip.example.net",nonce="00",uri="sip:x",response="11",qop=auth,nc=1
Allow-Events: presence, kpml, talk
Content-Length: 5

hello"""
LINPHONE = """MESSAGE sip:2125550123@sip.example.net SIP/2.0
Via: SIP/2.0/TLS [2001:db8::7]:5061;branch=z9hG4bK.5Ua6Kz~Hn;rport
From: <sip:alice@sip.example.net>;tag=Zq2XzY9~d
To: sip:2125550123@sip.example.net
CSeq: 20 MESSAGE
Call-ID: 4xfJ6Yb3Zk
Max-Forwards: 70
Supported: replaces, outbound, gruu, path
Date: Sat, 28 Nov 2026 12:00:00 GMT
Content-Type: text/plain
Content-Length: 6
User-Agent: Linphone Desktop/4.4.8 (Zoë)

héllo"""
PJSIP = """REGISTER sip:sip.example.net SIP/2.0
Via: SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bKPj7d6c
Max-Forwards: 70
From: "Front desk" <sip:alice@sip.example.net>;tag=77aa
To: Front desk <sip:alice@sip.example.net>
Call-ID: 88-aa@192.0.2.7
CSeq: 41235 REGISTER
User-Agent: Asterisk PBX 20.5.0
Contact: <sip:alice@192.0.2.7:5060;line=abc>;expires=300
Expires: 300
Content-Length: 0

"""
PHONE = """SIP/2.0 200 OK
Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK0123456789;rport=5060;received=127.0.0.1
From: <sip:2125550123@sip.example.net>;tag=abc
To: <sip:alice@sip.example.net>;tag=def
Call-ID: 1234@127.0.0.1
CSeq: 1 MESSAGE
Content-Length: 0

"""
CLIENTS = [text.replace("\n", "\r\n").encode() for text in (ZOIPER, LINPHONE, PJSIP, PHONE)]
SPLICES = [
    b" ", b"\t", b"\r\n ", b"\r", b"\n", b"\0", b"\x7f", b"\xff", b"\xc3\xa9", b",", b";", b":", b'"', b"\\", b"<",
    b">", b"%00", b"@", b"?a=b", b"=", b"+", b"-", b"\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nX: y", b"\r\nv: z",
    b"*", b"\r\nCSeq: 1 MESSAGE", b";tag=", b"sips:", b"tel:", b"z9hG4bK", b"256", b"65536", b"SIP/2.0",
    b"\xe2\x80\xa8", b"\x85",
]  # fmt: skip


def whole(message: Request | Response | None) -> object:
    """All that a message holds."""
    if message is None:
        return None
    names = [name for kind in type(message).__mro__ for name in getattr(kind, "__slots__", ())]
    return type(message), [(name, getattr(message, name)) for name in names], list(message.headers)


def general(data: bytes) -> object:
    try:
        return whole(parse_datagram(data))
    except BadMessage as error:
        return error.status, error.why


def test_usual_messages_of_clients_are_read() -> None:
    for data in (CLIENTS[0], CLIENTS[2], CLIENTS[3]):
        assert usual.read(data) is not None
        assert whole(usual.read(data)) == general(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Via:", b"v:"), (b"CSeq: 2 MESSAGE", b"CSeq: 2 REGISTER"), (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Max-Forwards: 70", b"Max-Forwards: 256"), (b"\r\nTo:", b"\r\nX-Unheard-Of: 1\r\nTo:"),
        (b"Content-Length: 5\r\n", b""), (b"\r\nTo:", b"\r\n folded\r\nTo:"),
        (b"z9hG4bK-524287-1---a1b2c3", b"z9hG4bK"), (b"MESSAGE sip:", b"MESSAGE tel:"),
        (b"CSeq: 2", b"CSeq: 2147483648"), (b"From:", b"From: a\r\nFrom:"), (b"hello", b"hell"), (b"/UDP", b"/SCTP"),
    ],
)  # fmt: skip
def test_other_messages_are_left_to_the_general_parser(old: bytes, new: bytes) -> None:
    assert old in CLIENTS[0]
    assert usual.read(CLIENTS[0].replace(old, new, 1)) is None


@pytest.mark.parametrize("path", TORTURE, ids=lambda path: path.stem)
def test_torture_messages_are_read_as_by_the_general_parser(path: Path) -> None:
    data = path.read_bytes()
    found = usual.read(data)
    assert found is None or whole(found) == general(data)


def test_mutated_messages_are_read_as_by_the_general_parser() -> None:
    dice, read = random.Random(4475), 0
    for data in CLIENTS * 3000:
        for _ in range(dice.choice((1, 1, 2))):
            at = dice.randrange(len(data))
            data = data[:at] + dice.choice(SPLICES) + data[at + dice.choice((0, 1, 2)) :]
        found = usual.read(data)
        if found is not None:
            read += 1
            assert whole(found) == general(data), data
    assert read > 2000  # else nothing was compared
