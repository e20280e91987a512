"""One line's worth of a message, also of a broken one."""

from __future__ import annotations

import pytest

from sipsms.sip.trace_summary import summarise

REGISTER = (
    b'REGISTER sip:sip.example.net SIP/2.0\r\nFrom: "A" <sip:alice@h>;tag=1\r\nt: <sip:alice@h>\r\ni: c1\r\n'
    b'CSeq: 2 REGISTER\r\nUser-Agent: Phone/1\r\nAuthorization: Digest username="auth",\r\n nonce="n"\r\n\r\n'
)


def test_requests_and_responses_are_summarised() -> None:
    summary = summarise(REGISTER)
    assert (summary.method, summary.status, summary.call_id, summary.user_agent) == ("REGISTER", 0, "c1", "Phone/1")
    assert (summary.source, summary.destination, summary.target, summary.username) == ("alice", "alice", "", "auth")
    assert summary.names("alice")
    assert summary.names("auth")
    assert not summary.names("bob")
    answer = summarise(b"SIP/2.0 403 Not for you\r\nCSeq: 2 MESSAGE\r\nTo: sip:%2B1555@h;x\r\nServer: s\r\n\r\n")
    assert (answer.method, answer.status, answer.reason) == ("MESSAGE", 403, "Not for you")
    assert (answer.destination, answer.user_agent) == ("+1555", "s")


def test_texts_are_counted_and_not_kept() -> None:
    head = b"MESSAGE sip:bob@h SIP/2.0\r\nX-SMS-To: 5550001111\r\nc: text/plain;charset=%s\r\n\r\n"
    summary = summarise(head % b"UTF-8" + "Grüße 😀".encode())
    assert (summary.target, summary.sms_to, summary.content_type, summary.length) == (
        "bob",
        "5550001111",
        "text/plain",
        7,
    )
    assert summarise(head % b"latin-1" + b"\xfc\xdf").length == 2
    assert summarise(head % b"UTF-8" + b"\xfc\xdf\xff").length == 3
    assert summarise(head % b"klingon" + b"abc").length == 3
    assert summarise(b"MESSAGE sip:bob@h SIP/2.0\r\nc: image/png\r\n\r\n\xff\xff").length == 2
    assert "Gr" not in repr(summary)


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\xff\xfe\x00", b"GET", b"SIP/2.0 2", b"A b\r\n: x\r\nno colon"])
def test_unparseable_bytes_are_summarised(data: bytes) -> None:
    assert summarise(data).status == 0
