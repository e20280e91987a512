"""Framing and parsing: C-001 to C-021 (reliability plan, section 2.1)."""

from __future__ import annotations

import re

import pytest

from tests.support.sip.wire import LENGTH, Draft, Phone, Tcp, Udp

from .conftest import MakePhone
from .lab import Account, Lab


@pytest.mark.req("C-001")
def test_c001_compact_forms_odd_case_and_folding(phone: Phone) -> None:
    plain = phone.ask(phone.register_draft(f"<{phone.contact}>"))
    odd = Draft("REGISTER", f"sip:{phone.domain}")
    odd.add("v", phone.via()).add("MAX-forwards", "70").add("F", f"<{phone.aor}>\r\n\t;tag=abc")
    odd.add("t", f"\r\n <{phone.aor}>").add("I", "odd-" + phone.name).add("cSEQ", "7\r\n   REGISTER")
    odd.add("m", f"<{phone.contact}>\r\n ;expires=60").add("l", LENGTH)
    phone.send(odd)
    compact = phone.wire.receive()
    assert compact.start == plain.start == "SIP/2.0 401 Unauthorized"
    assert compact.names == plain.names
    challenge, other = compact.challenges()[0], plain.challenges()[0]
    assert {**challenge, "nonce": ""} == {**other, "nonce": ""}


@pytest.mark.req("C-002")
def test_c002_crlf_before_the_start_line_is_ignored(tcp_phone: Phone) -> None:
    draft = tcp_phone.options()
    tcp_phone.send(b"\r\n" * 10 + draft.bytes())
    assert tcp_phone.response_to(draft).status == 200


@pytest.mark.req("C-002")
def test_c002_crlf_before_the_start_line_of_a_datagram(udp_phone: Phone) -> None:
    draft = udp_phone.options()
    udp_phone.send(b"\r\n" * 10 + draft.bytes())
    assert udp_phone.response_to(draft).status == 200


@pytest.mark.req("C-003")
def test_c003_double_crlf_is_answered_with_one_crlf(lab: Lab) -> None:
    wire = Tcp(lab.address)
    with Phone(lab.address, "anybody", "x", wire=wire) as phone:
        for _ in range(2):
            wire.send(b"\r\n\r\n")
            assert wire.receive_bytes(2, 1.0) == b"\r\n"
            wire.assert_silent(0.1)
            assert phone.ask(phone.options()).status == 200


@pytest.mark.req("C-004")
def test_c004_datagram_longer_than_content_length(lab: Lab, account: Account, udp_phone: Phone) -> None:
    draft = udp_phone.message_draft("5554443001", "hello and more").set("Content-Length", "5")
    assert udp_phone.authenticated(draft).status == 202
    assert lab.texts(account.did) == ["hello"]


@pytest.mark.req("C-005")
def test_c005_datagram_shorter_than_content_length(udp_phone: Phone) -> None:
    draft = udp_phone.message_draft("5554443001", "hello").set("Content-Length", "6")
    assert udp_phone.ask(draft).status == 400
    udp_phone.assert_silent(0.1)


@pytest.mark.req("C-005")
def test_c005_short_response_datagram_is_dropped(udp_phone: Phone) -> None:
    host, port = udp_phone.server
    udp_phone.send(
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 MESSAGE\r\nContent-Length: 100\r\n\r\nshort".encode()
    )
    udp_phone.assert_silent()


@pytest.mark.req("C-006")
def test_c006_datagram_without_content_length(lab: Lab, account: Account, udp_phone: Phone) -> None:
    draft = udp_phone.message_draft("5554443001", "all of the rest\r\n\r\nof it").drop("Content-Length")
    assert udp_phone.authenticated(draft).status == 202
    assert lab.texts(account.did) == ["all of the rest\n\nof it"]


@pytest.mark.req("C-007")
def test_c007_stream_without_content_length(tcp_phone: Phone) -> None:
    draft = tcp_phone.options().drop("Content-Length")
    assert tcp_phone.ask(draft).status == 400
    tcp_phone.wire.assert_closed()


BAD_LENGTHS = ["-1", "+5", "0x10", "5 5", "4294967296", "1" + "0" * 30, "", "5;5", "５"]


@pytest.mark.req("C-008")
@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_c008_malformed_content_length_on_a_stream(tcp_phone: Phone, length: str) -> None:
    draft = tcp_phone.options().set("Content-Length", length)
    tcp_phone.send(draft.bytes() + tcp_phone.options().bytes())
    assert tcp_phone.response_to(draft).status == 400
    tcp_phone.wire.assert_closed()


@pytest.mark.req("C-008")
@pytest.mark.parametrize("lengths", [("5", "0"), ("0", "500")])
def test_c008_two_content_lengths_on_a_stream(tcp_phone: Phone, lengths: tuple[str, str]) -> None:
    draft = tcp_phone.options().drop("Content-Length").add("Content-Length", lengths[0]).add("l", lengths[1])
    tcp_phone.send(draft.bytes() + tcp_phone.options().bytes())
    assert tcp_phone.response_to(draft).status == 400
    tcp_phone.wire.assert_closed()


@pytest.mark.req("C-008")
@pytest.mark.parametrize("length", BAD_LENGTHS)
def test_c008_malformed_content_length_in_a_datagram(udp_phone: Phone, length: str) -> None:
    draft = udp_phone.options().set("Content-Length", length)
    udp_phone.send(draft.bytes() + udp_phone.options().bytes())
    assert udp_phone.response_to(draft).status == 400
    udp_phone.assert_silent(0.1)


@pytest.mark.req("C-009")
def test_c009_datagram_of_60_kilobytes(udp_phone: Phone) -> None:
    draft = udp_phone.draft("OPTIONS", body=b"x" * 60_000)
    assert udp_phone.ask(draft).status in (200, 513)


@pytest.mark.req("C-010")
def test_c010_stream_message_of_65537_bytes(lab: Lab, tcp_phone: Phone, make_phone: MakePhone) -> None:
    other = make_phone("anybody", "tcp")
    assert other.ask(other.options()).status == 200
    draft = tcp_phone.draft("OPTIONS", body=b"x" * 64_000)
    draft.body += b"x" * (65_537 - len(draft.bytes()))
    assert len(draft.bytes()) == 65_537
    tcp_phone.send(draft)
    assert tcp_phone.response_to(draft).status == 513
    tcp_phone.wire.assert_closed()
    assert other.ask(other.options()).status == 200


@pytest.mark.req("C-010")
def test_c010_stream_message_of_60_kilobytes_is_read(tcp_phone: Phone) -> None:
    assert tcp_phone.ask(tcp_phone.draft("OPTIONS", body=b"x" * 60_000)).status == 200


@pytest.mark.req("C-011")
@pytest.mark.parametrize(
    ("version", "status"), [("SIP/7.0", 505), ("sip/2.0", 200), ("Sip/2.0", 200), ("SIP/2.1", 505)]
)
def test_c011_version(phone: Phone, version: str, status: int) -> None:
    draft = phone.options()
    draft.version = version
    assert phone.ask(draft).status == status


@pytest.mark.req("C-012")
@pytest.mark.parametrize("name", ["To", "From", "Call-ID", "CSeq"])
def test_c012_missing_header(phone: Phone, name: str) -> None:
    phone.send(phone.options().drop(name))
    response = phone.wire.receive()
    assert response.status == 400
    assert not response.has(name)


@pytest.mark.req("C-012")
def test_c012_missing_via_is_dropped_and_counted(lab: Lab, phone: Phone) -> None:
    before = lab.metric("sipsms_sip_dropped_total", reason="unreadable")
    phone.send(phone.options().drop("Via"))
    phone.assert_silent(0.2)
    assert lab.metric("sipsms_sip_dropped_total", reason="unreadable") == before + 1


@pytest.mark.req("C-013")
def test_c013_no_max_forwards(phone: Phone) -> None:
    assert phone.authenticated(phone.message_draft("5554443001").drop("Max-Forwards")).status == 202


@pytest.mark.req("C-014")
@pytest.mark.parametrize("cseq", ["2147483648 OPTIONS", "-1 OPTIONS", "1 REGISTER", "1", "OPTIONS", "1 options"])
def test_c014_cseq(phone: Phone, cseq: str) -> None:
    phone.send(phone.options().set("CSeq", cseq))
    assert phone.wire.receive().status == 400


@pytest.mark.req("C-014")
@pytest.mark.parametrize("number", [0, 2**31 - 1])
def test_c014_lowest_and_highest_cseq(phone: Phone, number: int) -> None:
    assert phone.ask(phone.options().set("CSeq", f"{number} OPTIONS")).status == 200


@pytest.mark.req("C-015")
@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq", "Max-Forwards"])
def test_c015_second_single_valued_header(phone: Phone, name: str) -> None:
    draft = phone.options()
    assert phone.ask(draft.add(name, draft.get(name))).status == 400


@pytest.mark.req("C-016")
@pytest.mark.parametrize(
    ("name", "value"),
    [("X-Nobody-Knows", '?;:,,,"<>'), ("Date", "Fri, 33 Foo 2099 99:99:99 EST"), ("Subject", '\x08"<'), ("P-Q", "")],
)
def test_c016_unknown_and_malformed_optional_headers(
    lab: Lab, account: Account, phone: Phone, name: str, value: str
) -> None:
    assert phone.authenticated(phone.message_draft("5554443001", "fine").add(name, value)).status == 202
    assert lab.texts(account.did) == ["fine"]


@pytest.mark.req("C-017")
@pytest.mark.parametrize("line", ["Contact\x01: <sip:a@b>", "X-a\x00b: c", "X a: b", ": b"])
def test_c017_header_name_that_is_no_token(phone: Phone, line: str) -> None:
    draft = phone.options()
    phone.send(draft.bytes().replace(b"\r\nCSeq:", b"\r\n" + line.encode() + b"\r\nCSeq:"))
    assert phone.response_to(draft).status == 400


@pytest.mark.req("C-017")
def test_c017_one_bare_line_feed(phone: Phone) -> None:
    draft = phone.options()
    phone.send(draft.bytes().replace(b"\r\nMax-Forwards", b"\nMax-Forwards"))
    assert phone.response_to(draft).status == 400


@pytest.mark.req("C-017")
def test_c017_bare_line_feeds_only(udp_phone: Phone) -> None:
    draft = udp_phone.options()
    udp_phone.send(draft.bytes().replace(b"\r\n", b"\n"))
    assert udp_phone.response_to(draft).status == 400


@pytest.mark.req("C-017")
def test_c017_space_before_the_start_line(phone: Phone) -> None:
    draft = phone.options()
    phone.send(b" " + draft.bytes())
    assert phone.response_to(draft).status == 400


@pytest.mark.req("C-017")
@pytest.mark.parametrize("space", [" ", "\t", " \t "])
def test_c017_space_before_the_colon_is_valid(phone: Phone, space: str) -> None:
    draft = phone.register_draft()
    draft.headers.append((f"Contact{space}", f"<{phone.contact}>"))
    draft.headers = [(name if name != "To" else f"To{space}", value) for name, value in draft.headers]
    response = phone.authenticated(draft)
    assert response.status == 200
    assert list(response.contacts()) == [phone.contact]


# --- URIs ------------------------------------------------------------------------------------------------------------

# The pairs printed in RFC 3261 section 19.1.4.
EQUIVALENT = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=off"),
]
DIFFERENT = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
]


@pytest.mark.req("C-018")
@pytest.mark.parametrize(("first", "second"), EQUIVALENT)
def test_c018_equivalent_contacts_are_one_binding(udp_phone: Phone, first: str, second: str) -> None:
    udp_phone.register(f"<{first}>")
    assert list(udp_phone.register(f"<{second}>").contacts()) == [second]


@pytest.mark.req("C-018")
@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_c018_different_contacts_are_two_bindings(udp_phone: Phone, first: str, second: str) -> None:
    udp_phone.register(f"<{first}>")
    assert set(udp_phone.register(f"<{second}>").contacts()) == {first, second}


@pytest.mark.req("C-019")
def test_c019_escaped_aor_is_the_same_aor(account: Account, phone: Phone) -> None:
    draft = phone.register_draft(f"<{phone.contact}>")
    escaped = f"%{ord(account.name[0]):02x}{account.name[1:]}"
    draft.set("To", f"<sip:{escaped}@{phone.domain.upper()};x=1>")
    assert phone.authenticated(draft).status == 200
    assert list(phone.bindings()) == [phone.contact]


@pytest.mark.req("C-020")
def test_c020_contact_list_and_contact_lines_are_the_same(lab: Lab, make_phone: MakePhone, transport: str) -> None:
    values = ['"Doe, John" <sip:a,b@192.0.2.1;x=1,2>', "<sip:c@192.0.2.2>;expires=700", '<sip:d@192.0.2.3>;n="e, <f>"']
    results = []
    for contacts in ([", ".join(values)], values):
        phone = make_phone(lab.account(), transport)
        phone.register(*contacts)
        results.append(phone.bindings())
    assert results[0] == results[1]
    assert set(results[0]) == {"sip:a,b@192.0.2.1;x=1,2", "sip:c@192.0.2.2", "sip:d@192.0.2.3"}


@pytest.mark.req("C-021")
def test_c021_utf8_display_name_is_echoed_byte_by_byte(phone: Phone) -> None:
    name = b'"\xe3\x81\x82\xf0\x9f\x98\x80 \xd0\x96 \xff\xfe"'
    draft = phone.options()
    draft.set("From", f"{name.decode('utf-8', 'surrogateescape')} <{phone.aor}>;tag=1")
    response = phone.ask(draft)
    assert response.status == 200
    assert re.search(rb"\r\nFrom: " + re.escape(name) + rb" <sip:", response.raw)


@pytest.mark.req("C-021")
@pytest.mark.parametrize("reason", ["\u3042\u308a\u304c\u3068\u3046", "\udcff\udcc3("], ids=["utf-8", "no-utf-8"])
def test_c021_reason_phrase_of_a_phone(lab: Lab, account: Account, phone: Phone, reason: str) -> None:
    phone.register()
    lab.sms(account.did, "reason")
    phone.answer(phone.request(), 200, reason)
    assert lab.delivery(account.did, state="delivered")


@pytest.mark.req("C-021")
@pytest.mark.parametrize("body", [b"\xff\xfe", b"ok \xc3(", b"\xed\xa0\x80"])
def test_c021_text_that_is_no_utf8(lab: Lab, account: Account, phone: Phone, body: bytes) -> None:
    assert phone.authenticated(phone.message_draft("5554443001", body)).status == 400
    assert lab.rows(account.did) == []


@pytest.mark.req("C-021")
@pytest.mark.parametrize("name", ["User-Agent", "Accept", "Contact", "Path", "Call-ID", "From", "To", "Supported"])
def test_c021_register_with_headers_that_are_no_utf8(phone: Phone, name: str) -> None:
    """Kept as they are, or refused; never a server error."""
    draft = phone.register_draft(f"<{phone.contact}>").set("Supported", "path")
    values = {"Contact": "<sip:\udcff@192.0.2.1>", "Path": "<sip:\udcfe@192.0.2.1;lr>", "Supported": "path, \udcff"}
    values |= {header: f'"\udcff" {draft.get(header)}' for header in ("From", "To")}
    draft.set(name, values.get(name, f"\udcff\udcc3{phone.name}"))
    assert phone.authenticated(draft).status in (200, 400)


@pytest.mark.req("C-006", "C-004")
def test_udp_keep_alives_are_not_answered(lab: Lab) -> None:
    wire = Udp(lab.address)
    for data in (b"\r\n", b"\r\n\r\n", b"\0", b"\0\0\0\0"):
        wire.send(data)
    wire.assert_silent(0.2)
    wire.close()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_stray_line_end_behind_a_body_does_not_spoil_the_next_message(
    make_phone: MakePhone, account: Account, transport: str
) -> None:
    """jain-sip#195."""
    phone = make_phone(account, transport)
    assert phone.register().status == 200
    first = phone.signed(phone.message_draft("2125550123", "jain 0"))
    second = phone.signed(phone.message_draft("2125550123", "jain 1"))
    phone.send(first.bytes() + b"\n\r\n" + second.bytes() + b"\r\r\n")
    assert [phone.response_to(one).status for one in (first, second)] == [202, 202]
