"""HEP3 packets, taken apart by a decoder of the test's own."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest

from sipsms.sip.hep import Seen, encode, without_hashes

MESSAGE = (
    b"MESSAGE sip:2125550123@sip.example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bKx\r\n"
    b"Call-ID: abc@192.0.2.7\r\nCSeq: 1 MESSAGE\r\nContent-Length: 5\r\n\r\nHello"
)


def decode(packet: bytes) -> dict[int, bytes]:
    """Chunk type -> value; every length has to fit."""
    assert packet[:4] == b"HEP3"
    assert struct.unpack("!H", packet[4:6])[0] == len(packet)
    chunks, at = {}, 6
    while at < len(packet):
        vendor, kind, length = struct.unpack("!HHH", packet[at : at + 6])
        assert vendor == 0
        assert kind not in chunks
        assert length >= 6
        chunks[kind] = packet[at + 6 : at + length]
        at += length
    assert at == len(packet)
    return chunks


def number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def seen(**changes: Any) -> Seen:
    plain = Seen("udp", ("192.0.2.7", 5062), ("198.51.100.1", 5060), 1_700_000_000.25, MESSAGE)
    return plain._replace(**changes)


def test_a_hep_packet_has_every_mandatory_chunk() -> None:
    chunks = decode(encode(seen(), 2001, "s3cret"))
    assert {kind: number(value) for kind, value in chunks.items() if kind in (1, 2, 7, 8, 9, 10, 11, 12)} == {
        1: 2, 2: 17, 7: 5062, 8: 5060, 9: 1_700_000_000, 10: 250_000, 11: 1, 12: 2001,
    }  # fmt: skip
    assert [len(chunks[kind]) for kind in (1, 2, 7, 8, 9, 10, 11, 12)] == [1, 1, 2, 2, 4, 4, 1, 4]
    assert ipaddress.ip_address(chunks[3]) == ipaddress.ip_address("192.0.2.7")
    assert ipaddress.ip_address(chunks[4]) == ipaddress.ip_address("198.51.100.1")
    assert (chunks[0x0E], chunks[0x0F], chunks[0x11]) == (b"s3cret", MESSAGE, b"abc@192.0.2.7")


def test_streams_and_ipv6_are_captured_without_the_password() -> None:
    for transport in ("tcp", "tls", "ws", "wss"):
        chunks = decode(encode(seen(transport=transport, source=("2001:db8::7", 1), destination=("[::1]", 2)), 1))
        assert (number(chunks[1]), number(chunks[2])) == (10, 6)
        assert ipaddress.ip_address(chunks[5]) == ipaddress.ip_address("2001:db8::7")
        assert ipaddress.ip_address(chunks[6]) == ipaddress.ip_address("::1")
        assert {0x0E, 3, 4}.isdisjoint(chunks)
    mixed = decode(encode(seen(source=("fe80::1%eth0", 1)), 1))
    assert ipaddress.IPv6Address(mixed[6]).ipv4_mapped == ipaddress.ip_address("198.51.100.1")


def test_odd_messages_are_captured() -> None:
    """A message without Call-ID, a name instead of an address, the last microsecond, more than a datagram holds."""
    assert 0x11 not in decode(encode(seen(data=b"NONSENSE\r\n\r\n\r\nCall-ID: body"), 1))
    assert decode(encode(seen(data=b"X\r\ni : short\r\n\r\n"), 1))[0x11] == b"short"
    assert number(decode(encode(seen(source=("localhost", 1)), 1))[3]) == 0
    late = decode(encode(seen(at=1.9999999), 1))
    assert (number(late[9]), number(late[10])) == (2, 0)
    assert len(encode(seen(data=MESSAGE + b"x" * 70_000), 1, "p" * 64)) < 65_507


@pytest.mark.req("A-48")
@pytest.mark.parametrize(
    "header",
    [
        'Authorization: Digest username="a", response="%s", nonce="n"',
        'Proxy-Authorization: Digest response="%s"',
        "AUTHORIZATION : Digest username=a,response=%s",
        'authorization: Digest username="a",\r\n response =\r\n\t"%s"',
        'Authorization: Digest username="a, response=\\"x", response="%s"',
        'Authorization: Digest username="a"\r\nAuthorization: Digest response="%s"',
        'Authorization: Digest username="\r", response="%s"',
        'Authorization: Digest username="a",\n\tresponse="%s',
    ],
)
def test_digest_responses_are_removed_from_captures(header: str) -> None:
    head = f"REGISTER sip:h SIP/2.0\r\nCall-ID: 1\r\n{header % 'f00dcafe'}\r\n\r\n".encode()
    payload = decode(encode(seen(data=head + b'response="kept"'), 1))[0x0F]
    assert b"f00dcafe" not in payload
    assert payload.startswith(b"REGISTER sip:h SIP/2.0\r\nCall-ID: 1\r\n")
    assert payload.endswith(b'\r\n\r\nresponse="kept"')


def test_other_headers_are_captured_unchanged() -> None:
    head = b'REGISTER sip:h SIP/2.0\r\nAuthorization: Digest nonce="n", response="x", nc=1\r\nX: response="y"\r\n\r\n'
    assert without_hashes(head) == head.replace(b'response="x"', b'response=""')
    assert without_hashes(MESSAGE) is MESSAGE
