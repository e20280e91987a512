"""Messages and stream framing. However a stream is cut, the same messages come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipsms.sip.message import BadMessage, Broken, Framer, Ping, Request, Response, parse_datagram

TORTURE = Path(__file__).parent.parent / "testdata" / "rfc4475"
CASES: list[dict[str, Any]] = json.loads((TORTURE / "expected.json").read_text())["cases"]

GOOD = (
    b"MESSAGE sip:5551234567@example.com SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\n"
    b"f: <sip:a@example.com>;tag=1\r\n"
    b"t: <sip:5551234567@example.com>\r\ni: c1\r\nCSeq: 1 MESSAGE\r\nc: text/plain\r\nl:    5\r\n\r\nhello"
)


def _kind(data: bytes) -> str:
    try:
        message = parse_datagram(data)
    except BadMessage as error:
        return f"refused {error.status}"
    return "none" if message is None else type(message).__name__


@pytest.mark.req("C-022")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_torture_messages_parse_as_expected(case: dict[str, Any]) -> None:
    """What must be rejected is; what is well formed is not, but where the answer itself is 400 for what it says."""
    kind = _kind((TORTURE / case["file"]).read_bytes())
    if case["parse"] == "reject":
        assert kind.startswith("refused")
        status = int(kind.split()[1])
        assert not case["udp"] or status in [*case["udp"], *case.get("also_ok", [])]
    elif 400 not in case["udp"]:
        assert not kind.startswith("refused")


def test_a_message_is_parsed_and_serialised_unchanged() -> None:
    request = parse_datagram(GOOD)
    assert isinstance(request, Request)
    assert (request.method, request.call_id, request.cseq, request.body) == ("MESSAGE", "c1", 1, b"hello")
    assert request.from_ is not None
    assert request.from_.tag == "1"
    again = parse_datagram(request.to_bytes())
    assert isinstance(again, Request)
    assert again.headers == {**request.headers, "content-length": ["5"]}


def test_a_response_is_parsed() -> None:
    data = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nCSeq: 7 MESSAGE\r\nContent-Length: 0\r\n\r\n"
    response = parse_datagram(data)
    assert isinstance(response, Response)
    assert (response.status, response.branch, response.cseq, response.method) == (200, "z9hG4bK1", 7, "MESSAGE")


def test_bytes_that_are_not_utf8_are_kept() -> None:
    data = GOOD.replace(b"f: <", b'f: "J\xf6rg" <')
    request = parse_datagram(data)
    assert isinstance(request, Request)
    assert b'From: "J\xf6rg" <sip:a@example.com>;tag=1' in request.to_bytes()


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"CSeq: 1 MESSAGE", b"CSeq: 1 INVITE", 400),
        (b"SIP/2.0\r\nVia", b"SIP/7.0\r\nVia", 505),
        (b"\r\ni: c1", b"\ni: c1", 400),
        (b"i: c1", b"i: c1\r\nCall-ID: c2", 400),
        (b"i: c1", b"X", 400),
        (b"l:    5", b"l: 6", 400),
        (b"l:    5", b"l: 5 5", 400),
        (b"sip:5551234567@example.com SIP", b"sip:" + b"5" * 1100 + b"@example.com SIP", 414),
        (b"i: c1", b"i: c1" + b"\r\nX: y" * 200, 400),
        (b"i: c1", b"i: c1\r\nX: " + b"y" * 40000, 513),
    ],
)
def test_a_refused_request_keeps_what_a_response_needs(old: bytes, new: bytes, status: int) -> None:
    with pytest.raises(BadMessage) as caught:
        parse_datagram(GOOD.replace(old, new))
    assert caught.value.status == status
    assert isinstance(caught.value.message, Request)
    assert caught.value.message.vias


def _events(chunks: list[bytes]) -> list[object]:
    framer = Framer()
    out: list[object] = []
    for chunk in chunks:
        for event in framer.feed(chunk):
            out.append((event.method, event.body) if isinstance(event, Request) else type(event).__name__)
    return out


@pytest.mark.req("A-20", "C-002", "C-003")
@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=12))
def test_any_cut_of_a_stream_gives_the_same_messages(cuts: list[int]) -> None:
    stream = GOOD + b"\r\n\r\n" + GOOD + GOOD.replace(b"CSeq: 1 M", b"CSeq: 1 X") + b"\r\n\r\n\r\n\r\n" + GOOD
    places = sorted({min(cut, len(stream)) for cut in cuts})
    chunks = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    message = ("MESSAGE", b"hello")
    assert _events(chunks) == [message, "Ping", message, "BadMessage", "Ping", "Ping", message]
    assert _events([bytes([byte]) for byte in stream]) == _events([stream])


@pytest.mark.req("A-19", "C-008")
@pytest.mark.parametrize("length", ["-1", "4294967296", "1" + "0" * 30, "0x10", "5 5", ""])
def test_a_wrong_length_ends_the_stream(length: str) -> None:
    framer = Framer()
    bad = GOOD.replace(b"l:    5", f"l: {length}".encode())
    events = framer.feed(bad + GOOD)
    assert [type(event) for event in events] == [Broken]
    assert framer.feed(GOOD) == []


def test_a_keep_alive_ping_is_no_message() -> None:
    assert Framer().feed(b"\r\n\r\n") == [Ping()]
    assert Framer().feed(b"\r\n") == []


@pytest.mark.req("A-29")
@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(GOOD)), st.binary(max_size=12), st.integers(0, 20))
def test_any_input_raises_only_a_parse_error(place: int, noise: bytes, cut: int) -> None:
    data = GOOD[:place] + noise + GOOD[place + cut :]
    try:
        parse_datagram(data)
    except BadMessage as error:
        assert 400 <= error.status < 600
    Framer().feed(data)


@pytest.mark.parametrize("stray", [b"\n", b"\r", b"\n\n\n", b"\r\r\r", b"\n\r\n", b"\r\n\n", b"\r\r\n", b"\n\r\r\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_stray_line_ends_between_messages_are_dropped(stray: bytes, size: int) -> None:
    """jain-sip#195: a peer writes one more LF than its Content-Length says."""
    data = stray + GOOD + stray + GOOD + stray
    framer = Framer()
    events = [event for at in range(0, len(data), size) for event in framer.feed(data[at : at + size])]
    assert [type(event) for event in events] == [Request, Request]
    assert framer.feed(b"\n\r\n\r\n")[-1:] == [Ping()]


@pytest.mark.parametrize("stray", [b"\n", b"\r", b"\n\r\n", b"\r\n"])
def test_stray_line_ends_before_a_datagram_are_dropped(stray: bytes) -> None:
    assert isinstance(parse_datagram(stray + GOOD), Request)
    assert parse_datagram(stray) is None
