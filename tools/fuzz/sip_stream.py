"""SIP on streams: however the octets are cut, the messages are the same."""

from __future__ import annotations

from sipsms.sip.message import MAX_HEAD, MAX_STREAM_MESSAGE, BadMessage, Broken, Framer, Message, Ping
from tools.fuzz import sip_datagram


def seeds() -> list[bytes]:
    """The first octet says how the others are cut."""
    whole = sip_datagram.seeds()
    return [b"\x07" + one for one in whole] + [b"\x01\r\n\r\n" + whole[0] + b"\r\n" + whole[1] + whole[2]]


def check(data: bytes) -> None:
    size, stream = (data[0] or 1, data[1:]) if data else (1, b"")
    framer, pieces = Framer(), Framer()
    at_once = framer.feed(stream)
    cut = [event for start in range(0, len(stream), size) for event in pieces.feed(stream[start : start + size])]
    assert [_seen(one) for one in cut] == [_seen(one) for one in at_once]
    broken = bool(at_once) and isinstance(at_once[-1], Broken)
    assert not any(isinstance(one, Broken) for one in at_once[:-1])
    assert not (broken and framer.feed(b"\r\n\r\n"))
    assert len(framer._buffer) <= MAX_HEAD + MAX_STREAM_MESSAGE + 4


def _seen(event: object) -> object:
    match event:
        case Broken(error):
            return "broken", error.status
        case BadMessage():
            return "bad", event.status, event.why
        case Message():
            return event.to_bytes()
        case _:
            assert isinstance(event, Ping)
            return "ping"
