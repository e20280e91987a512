"""SIP messages in datagrams: the full reader, the quick reader, and what the serialiser makes of a message."""

from __future__ import annotations

from pathlib import Path

from sipsms.sip import usual
from sipsms.sip.message import BadMessage, Message, Request, Response, parse_datagram
from sipsms.sip.uri import ParseError, Uri

_RFC_4475 = Path(__file__).resolve().parents[2] / "tests/testdata/rfc4475"
_HEAD = (
    b" sip:5551234567@sip.example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKa\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:acme@sip.example.net>;tag=1\r\nTo: <sip:5551234567@sip.example.net>\r\n"
    b"Call-ID: c@192.0.2.1\r\nCSeq: 1 "
)


def seeds() -> list[bytes]:
    message = b"MESSAGE" + _HEAD + b"MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
    register = (
        b"REGISTER" + _HEAD + b"REGISTER\r\nContact: <sip:acme@192.0.2.1>;expires=60\r\nContent-Length: 0\r\n\r\n"
    )
    response = (
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:c@d>;tag=2\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
    )
    return [message, register, response, *(one.read_bytes() for one in sorted(_RFC_4475.glob("*.dat")))]


def check(data: bytes) -> None:
    try:
        message = parse_datagram(data)
    except BadMessage as bad:
        assert 400 <= bad.status <= 699
        assert bad.why
        assert usual.read(data) is None, "the quick reader takes what the full reader refuses"
        return
    quick = usual.read(data)
    if message is None:
        assert quick is None
        return
    assert quick is None or _seen(quick) == _seen(message)
    _use(message)
    again = parse_datagram(message.to_bytes())
    assert again is not None
    assert again.to_bytes() == message.to_bytes()


def _seen(message: Message) -> object:
    if isinstance(message, Request):
        return (message.method, message.uri, message.target, message.vias, message.via, message.to, message.from_,
                message.call_id, message.cseq, message.headers, message.body)  # fmt: skip
    assert isinstance(message, Response)
    return (
        message.status,
        message.reason,
        message.branch,
        message.via_count,
        message.cseq,
        message.method,
        message.headers,
    )


def _use(message: Message) -> None:
    """Read what the server reads later."""
    for name in ("contact", "path", "route", "record-route", "accept", "supported", "require"):
        try:
            message.listed(name)
        except ParseError:
            continue
    for address in (message.from_, message.to) if isinstance(message, Request) else ():
        try:
            uri: Uri | None = address.parsed() if address is not None else None
        except ParseError:
            continue
        if uri is not None:
            assert uri == type(address).parsed(address)  # type: ignore[arg-type]
            _ = (str(uri), uri.username)
