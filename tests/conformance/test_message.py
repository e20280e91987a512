"""MESSAGE and the gateway's rules: C-083 to C-089, C-098 to C-104, C-107 (reliability plan, section 2.6)."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest

from sipsms.core.segmentation import segments
from tests.support.sip.wire import Draft, Phone

from .conftest import MakePhone
from .lab import Account, Lab

TO = "5554443001"


@pytest.mark.req("C-083", "D1", "S-012", "S-079")
def test_c083_accepted_means_stored(lab: Lab, account: Account, phone: Phone) -> None:
    response = phone.message(TO, "good text")
    (row,) = lab.rows(account.did)  # read before anything else can have happened
    assert response.status == 202
    assert response.body == b""
    assert not response.has("contact")
    assert (row["direction"], row["from"], row["to"], row["text"]) == ("out", account.did, TO, "good text")
    assert row["account"] == account.name


@pytest.mark.req("C-084")
@pytest.mark.parametrize("contact", ["<sip:x@192.0.2.1>", "*", "<garbage", "tel:911"])
def test_c084_contact_is_ignored(lab: Lab, account: Account, phone: Phone, contact: str) -> None:
    assert phone.authenticated(phone.message_draft(TO).add("Contact", contact)).status == 202
    assert lab.bindings(account.name) == {}


@pytest.mark.req("C-085")
def test_c085_in_dialog(lab: Lab, account: Account, phone: Phone) -> None:
    draft = phone.message_draft(TO).set("To", f"<sip:{TO}@{phone.domain}>;tag=dialog")
    assert phone.authenticated(draft).status == 481
    assert lab.rows(account.did) == []


TEXT = "Gr\u00fc\u00dfe"


@pytest.mark.req("C-086")
@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain", TEXT.encode(), TEXT),
        ("text/plain;charset=utf-8", TEXT.encode(), TEXT),
        ("text/plain; charset=UTF-8", "\U0001f600".encode(), "\U0001f600"),
        ('Text/Plain ; charset="utf-8"; format=flowed', TEXT.encode(), TEXT),
        ("text/plain;charset=us-ascii", b"ascii", "ascii"),
        ("text/plain;charset=iso-8859-1", TEXT.encode("latin-1"), TEXT),
        ("text/plain;charset=ISO-8859-1", b"\xe9", "\u00e9"),
        ("text/plain", f"\ufeff{TEXT}".encode(), TEXT),  # a byte order mark is no part of the text
        ("text/plain;charset=utf-16", TEXT.encode("utf-16"), TEXT),
        ("text/plain;charset=utf-16", TEXT.encode("utf-16-be"), TEXT),
        ("text/plain;charset=windows-1252", b"\x93q\x94", "\u201cq\u201d"),
    ],
)
def test_c086_charsets(lab: Lab, account: Account, phone: Phone, content_type: str, body: bytes, text: str) -> None:
    assert phone.message(TO, body, content_type).status == 202
    assert lab.texts(account.did) == [text]


@pytest.mark.req("C-087")
@pytest.mark.parametrize(
    "content_type", ["text/html", "application/pdf", "application/sdp", "multipart/alternative;boundary=x", "image/png"]
)
def test_c087_types_that_are_no_sms(lab: Lab, account: Account, phone: Phone, content_type: str) -> None:
    response = phone.message(TO, b"<b>x</b>", content_type)
    assert response.status == 415
    accepted = re.split(r"\s*,\s*", response.get("accept"))
    assert accepted == [
        "text/plain", "message/cpim", "multipart/mixed", "application/im-iscomposing+xml", "message/imdn+xml"
    ]  # fmt: skip
    assert lab.rows(account.did) == []


@pytest.mark.req("C-087")
def test_c087_text_in_cpim_and_multipart(lab: Lab, account: Account, phone: Phone) -> None:
    own = f"From: <sip:{account.name}@y>\r\n".encode()
    cpim = own + b"To: <sip:z@y>\r\n\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nwrapped"
    parts = (
        b"--b\r\nContent-Type: text/html\r\n\r\n<i>\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain part\r\n--b--\r\n"
    )
    assert phone.message(TO, cpim, "message/cpim").status == 202
    assert phone.message(TO, parts, 'multipart/mixed; boundary="b"').status == 202
    assert lab.texts(account.did) == ["wrapped", "plain part"]


@pytest.mark.req("C-087", "A-10")
@pytest.mark.parametrize("boundary", ['"\udcff"', '""', "", "x y", '"' + "b" * 5000 + '"', "b;boundary=c"])
def test_c087_odd_boundaries(lab: Lab, account: Account, phone: Phone, boundary: str) -> None:
    parts = b"--b\r\nContent-Type: text/plain\r\n\r\nplain part\r\n--b--\r\n"
    response = phone.message(TO, parts, f"multipart/mixed;boundary={boundary}")
    assert response.status in (400, 415)
    assert lab.rows(account.did) == []


def _deflated(phone: Phone, body: bytes, raw: bool = False) -> Draft:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
    return phone.message_draft(TO, packer.compress(body) + packer.flush()).add("Content-Encoding", "deflate")


@pytest.mark.req("C-088")
@pytest.mark.parametrize("raw", [False, True])
def test_c088_deflate(lab: Lab, account: Account, phone: Phone, raw: bool) -> None:
    response = phone.authenticated(_deflated(phone, b"packed text", raw))
    if response.status == 415:
        assert response.get("accept-encoding") == "identity"
    else:
        assert response.status == 202
        assert lab.texts(account.did) == ["packed text"]


@pytest.mark.req("C-088")
def test_c088_deflate_bomb(lab: Lab, account: Account, phone: Phone) -> None:
    assert phone.authenticated(_deflated(phone, b"x" * 30_000_000)).status in (400, 413, 415)
    assert lab.rows(account.did) == []
    lab.assert_answers(0.5)


@pytest.mark.req("C-088")
@pytest.mark.parametrize(
    "body",
    [b"no deflate", b"\x78\x9c", b"\x78\x9c\x4b", zlib.compress(b"cut off text")[:-6]],
    ids=["garbage", "head only", "one byte", "cut off"],
)
def test_c088_broken_deflate(lab: Lab, account: Account, phone: Phone, body: bytes) -> None:
    draft = phone.message_draft(TO, body).add("Content-Encoding", "deflate")
    assert phone.authenticated(draft).status in (400, 415)
    assert lab.rows(account.did) == []


@pytest.mark.req("C-088")
@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, deflate", "\udcff"])
def test_c088_other_encodings(phone: Phone, encoding: str) -> None:
    response = phone.authenticated(phone.message_draft(TO, b"x").add("Content-Encoding", encoding))
    assert response.status == 415
    assert response.has("accept-encoding")


COMPOSING = (
    '<?xml version="1.0" encoding="UTF-8"?><isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing">'
    "<state>active</state></isComposing>"
)


@pytest.mark.req("C-089", "G06")
@pytest.mark.parametrize(
    "content_type", ["application/im-iscomposing+xml", "Application/IM-isComposing+XML;charset=utf-8"]
)
def test_c089_typing_notice_is_no_sms(lab: Lab, account: Account, phone: Phone, content_type: str) -> None:
    assert phone.message(TO, COMPOSING, content_type).status == 200
    assert lab.rows(account.did) == []


@pytest.mark.req("C-098", "S-001", "S-089", "C-1")
def test_c098_length_in_ascii(lab: Lab, account: Account, phone: Phone) -> None:
    assert phone.message(TO, "a" * 160).status == 202
    assert phone.message(TO, "a" * 161).status == 413
    assert lab.texts(account.did) == ["a" * 160]


@pytest.mark.req("C-099", "C-7")
@pytest.mark.parametrize(
    ("text", "parts"), [("\u20ac" * 160, 3), ("\U0001f600" * 160, 5), ("[" * 80, 1), ("\u0416" * 70, 1)]
)
def test_c099_length_in_characters(lab: Lab, account: Account, phone: Phone, text: str, parts: int) -> None:
    assert phone.message(TO, text).status == 202
    assert phone.message(TO, text[0] * 161).status == 413
    assert lab.texts(account.did) == [text]
    assert segments(text) == parts


@pytest.mark.req("C-099", "C-7")
def test_c099_crlf_is_one_character(lab: Lab, account: Account, phone: Phone) -> None:
    assert phone.message(TO, "a" * 158 + "\r\n" + "b").status == 202
    assert lab.texts(account.did) == ["a" * 158 + "\nb"]


@pytest.mark.req("C-098", "D8")
@pytest.mark.parametrize("text", ["", " ", "\r\n\r\n", "nul\0"])
def test_c098_nothing_to_send(lab: Lab, account: Account, phone: Phone, text: str) -> None:
    draft = phone.message_draft(TO, text)
    assert phone.authenticated(draft if text else draft.add("Content-Type", "text/plain")).status == 400
    assert lab.rows(account.did) == []


DESTINATIONS = [
    ("5551234567", 202), ("15551234567", 404), ("+15551234567", 404), ("555123456", 484), ("55512345678", 404),
    ("555-123-4567", 404), ("abc", 404),
]  # fmt: skip


@pytest.mark.req("C-100", "S-010", "S-088", "D8")
@pytest.mark.parametrize(("to", "status"), DESTINATIONS)
def test_c100_destination(lab: Lab, account: Account, phone: Phone, to: str, status: int) -> None:
    response = phone.message(to)
    assert response.status == status
    assert [row["to"] for row in lab.rows(account.did)] == ([to] if status == 202 else [])
    if status != 202:
        assert re.match(r'399 sip\.example\.net "[^"]*10 digits', response.get("warning"))


@pytest.mark.req("C-100")
@pytest.mark.parametrize("to", ["5", "", "%35551234567", "\u0665551234567", "5551234567;x=1", "5551234567:pw"])
def test_c100_odd_spellings_of_the_destination(lab: Lab, account: Account, phone: Phone, to: str) -> None:
    """Either refused, or stored as the ten digits it stands for: never anything else."""
    response = phone.settled(phone.message_draft(to) if to else phone.draft("MESSAGE", f"sip:{phone.domain}", b"x"))
    assert response.status in (202, 400, 404, 484)
    assert [row["to"] for row in lab.rows(account.did)] == (["5551234567"] if response.status == 202 else [])


@pytest.mark.req("C-100", "D11")
@pytest.mark.parametrize("host", ["elsewhere.example.com", "192.0.2.1:5060"])
def test_c100_destination_at_a_foreign_host(lab: Lab, account: Account, phone: Phone, host: str) -> None:
    draft = phone.draft("MESSAGE", f"sip:{TO}@{host}", b"x")
    assert phone.authenticated(draft).status == 403
    assert lab.rows(account.did) == []


def _from(phone: Phone, value: str, to: str = TO) -> Draft:
    return phone.message_draft(to).set("From", f"{value};tag=1")


@pytest.mark.req("C-101", "S-080", "S-081")
def test_c101_owned_number(lab: Lab, account: Account, phone: Phone) -> None:
    assert phone.authenticated(_from(phone, f"<sip:{account.did}@sip.example.net>")).status == 202
    assert [row["from"] for row in lab.rows(account.did)] == [account.did]


@pytest.mark.req("C-101", "S-080", "S-081")
def test_c101_owned_number_without_sms(lab: Lab, account: Account, phone: Phone) -> None:
    assert phone.authenticated(_from(phone, f"<sip:{account.voice_did}@sip.example.net>")).status == 403
    assert lab.rows(account.did) == lab.rows(account.voice_did) == []


@pytest.mark.req("C-101", "S-081")
def test_c101_number_of_somebody_else(lab: Lab, account: Account, phone: Phone) -> None:
    other = lab.account()
    assert phone.authenticated(_from(phone, f"<sip:{other.did}@sip.example.net>")).status == 403
    assert phone.authenticated(_from(phone, "<sip:5559990001@sip.example.net>")).status == 403
    assert lab.rows(account.did) == lab.rows(other.did) == []


@pytest.mark.req("C-101", "S-081")
def test_c101_from_is_the_account(lab: Lab, account: Account, make_phone: MakePhone, transport: str) -> None:
    with_caller_id, without = make_phone(account, transport), make_phone(account.sub, transport)
    assert with_caller_id.message(TO).status == 202
    assert without.message(TO).status == 403
    assert [row["from"] for row in lab.rows(account.did)] == [account.did]


@pytest.mark.req("C-101", "S-081")
def test_c101_subaccount_sends_from_the_customers_number(
    lab: Lab, account: Account, make_phone: MakePhone, transport: str
) -> None:
    sub = make_phone(account.sub, transport)
    assert sub.authenticated(_from(sub, f"<sip:{account.did}@sip.example.net>")).status == 202
    assert [row["account"] for row in lab.rows(account.did)] == [account.sub]


@pytest.mark.req("C-102", "S-082")
@pytest.mark.parametrize("quoted", [True, False])
def test_c102_display_name_of_ten_digits(
    lab: Lab, account: Account, make_phone: MakePhone, transport: str, quoted: bool
) -> None:
    """The name overrides: an owned one is taken where From says nothing, a foreign one refused where From is good."""
    mark = '"' if quoted else ""
    sub, phone, other = make_phone(account.sub, transport), make_phone(account, transport), lab.account()
    name = f"{mark}{account.did}{mark} "
    assert sub.authenticated(_from(sub, f"{name}<sip:{account.sub}@sip.example.net>")).status == 202
    assert [row["from"] for row in lab.rows(account.did)] == [account.did]
    for number in (other.did, account.voice_did):
        foreign = f"{mark}{number}{mark} <sip:{account.did}@sip.example.net>"
        assert phone.authenticated(_from(phone, foreign)).status == 403
    assert len(lab.rows(account.did)) == 1


@pytest.mark.req("C-102", "S-082")
@pytest.mark.parametrize(
    "name", ["Bob", '"Bob"', '"15550001111"', '"555000111"', '"555 000 1111"', '""', '"\uff15550001111"']
)
def test_c102_other_display_names_are_discarded(lab: Lab, account: Account, phone: Phone, name: str) -> None:
    assert phone.authenticated(_from(phone, f"{name} <sip:{account.name}@sip.example.net>")).status == 202
    assert [row["from"] for row in lab.rows(account.did)] == [account.did]


@pytest.mark.req("C-103", "C-9", "D8")
@pytest.mark.parametrize("number", ["911", "988", "411", "211", "9005551234"])
def test_c103_service_numbers(lab: Lab, account: Account, phone: Phone, number: str) -> None:
    assert phone.message(number).status == 403
    assert lab.rows(account.did) == []
    found = [event for event in lab.events("audit") if event["account"] == account.name]
    assert [event["destination"] for event in found] == [number]


@pytest.mark.req("C-104", "G15")
@pytest.mark.parametrize("user", ["c0000", "nobody", "admin", "12345", "anonymous", "+15550000001"])
def test_c104_from_is_somebody_else(lab: Lab, account: Account, phone: Phone, user: str) -> None:
    assert phone.authenticated(_from(phone, f"<sip:{user}@sip.example.net>")).status == 403
    assert lab.rows(account.did) == []


@pytest.mark.req("C-104")
@pytest.mark.parametrize(
    "name", ["\0", "a\0b", '"a\0b"', '"a\x01b"', "a;b", "a <sip:x@y>", "a,b", "a\rb", "a\nb", '"a\rb"', '"a\nb"']
)
def test_c104_display_name_that_is_malformed(lab: Lab, account: Account, phone: Phone, name: str) -> None:
    response = phone.settled(_from(phone, f"{name} <sip:{account.name}@sip.example.net>"))
    assert response.status in (400, 403)
    assert lab.rows(account.did) == []


@pytest.mark.req("C-104", "S-082")
@pytest.mark.parametrize("name", [r'"a\"b"', '"a;b=c"', '"<sip:5559990001@x>"', '"5559990001 <sip:x>"', '"a,b"'])
def test_c104_odd_but_quoted_display_name_never_is_an_identity(
    lab: Lab, account: Account, phone: Phone, name: str
) -> None:
    response = phone.settled(_from(phone, f"{name} <sip:{account.name}@sip.example.net>"))
    assert response.status in (202, 400, 403)
    assert {row["from"] for row in lab.rows(account.did)} <= {account.did}
    assert lab.rows("5559990001") == []


@pytest.mark.req("C-104")
@pytest.mark.parametrize(
    "name", ["P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID", "X-Caller-ID", "Reply-To"]
)
def test_c104_identity_is_never_taken_from_other_headers(lab: Lab, account: Account, phone: Phone, name: str) -> None:
    other = lab.account()
    assert phone.authenticated(phone.message_draft(TO).add(name, f"<sip:{other.did}@sip.example.net>")).status == 202
    assert [row["from"] for row in lab.rows(account.did)] == [account.did]
    assert lab.rows(other.did) == []


@pytest.mark.req("C-104")
def test_c104_identity_is_never_taken_from_cpim(lab: Lab, account: Account, phone: Phone) -> None:
    other = lab.account()
    cpim = f"From: <sip:{other.did}@sip.example.net>\r\nTo: <sip:z@y>\r\n\r\nContent-Type: text/plain\r\n\r\nwho am I"
    assert phone.message(TO, cpim, "message/cpim").status in (202, 403)
    assert {row["from"] for row in lab.rows(account.did)} <= {account.did}
    assert lab.rows(other.did) == []


@pytest.mark.req("C-107", "D3")
@pytest.mark.parametrize(
    "uri", ["sip:sip.example.net", "sip:127.0.0.1", "sip:c0000@sip.example.net", "sip:nobody@sip.example.net"]
)
def test_c107_options(phone: Phone, uri: str) -> None:
    response = phone.ask(phone.draft("OPTIONS", uri))
    assert response.status == 200
    assert {"MESSAGE", "REGISTER", "OPTIONS"} <= set(re.split(r"\s*,\s*", response.get("allow")))
    assert "text/plain" in re.split(r"\s*,\s*", response.get("accept"))
    for name in ("accept-encoding", "accept-language", "supported"):
        assert response.has(name)


@pytest.mark.req("C-107", "D3")
def test_c107_options_does_not_tell_who_exists(phone: Phone) -> None:
    shapes = []
    for user in (phone.name, "nobody-of-that-name"):
        response = phone.ask(phone.draft("OPTIONS", f"sip:{user}@{phone.domain}"))
        shapes.append(
            (response.start, [pair for pair in response.headers if pair[0] not in ("Via", "From", "To", "Call-ID")])
        )
    assert shapes[0] == shapes[1]


@pytest.mark.req("D2")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"uri": "tel:911", "Max-Forwards": "0", "Require": "x"}, 416),
        ({"Max-Forwards": "0", "Require": "x"}, 483),
        ({"Proxy-Require": "x"}, 420),
        ({"Content-Type": "text/html"}, 407),
    ],
)
def test_order_of_the_checks_before_credentials(phone: Phone, change: dict[str, str], status: int) -> None:
    draft = phone.message_draft("123")
    for name, value in change.items():
        if name == "uri":
            draft.uri = value
        else:
            draft.set(name, value)
    assert phone.ask(draft).status == status


@pytest.mark.req("D2")
def test_order_of_the_checks_after_credentials(phone: Phone) -> None:
    """Ownership, then destination, then content."""
    owner = _from(phone, "<sip:nobody@sip.example.net>", "123").set("Content-Type", "text/html")
    destination = phone.message_draft("123", "x" * 200).set("Content-Type", "text/html")
    assert phone.authenticated(owner).status == 403
    assert phone.authenticated(destination).status == 484
    assert phone.authenticated(phone.message_draft(TO, "x" * 200).set("Content-Type", "text/html")).status == 415


def test_a_dialplan_that_takes_any_form_makes_ten_digits_of_it(tmp_path: Path) -> None:
    """Of the destination and of the caller ID, also in a CPIM wrapper; `sipsms route` says the same."""
    (tmp_path / "dialplan").mkdir()
    (tmp_path / "dialplan" / "numbering.yaml").write_text("mode: any\n")
    with Lab(tmp_path, 3, dialplan="dialplan") as lab:
        account = lab.account()
        with lab.phone(account) as phone:
            for written in (TO, f"1{TO}", f"+1{TO}", "+1-555-444-3001"):
                assert phone.message(written, written).status == 202
            draft = phone.message_draft(f"+1{TO}", "from a PBX")
            for_pbx = draft.set("From", f"<sip:+1{account.did}@{phone.domain}>;tag=pbx")
            assert phone.authenticated(for_pbx).status == 202
            foreign = phone.message_draft(TO).set("From", f"<sip:+1{lab.account().did}@{phone.domain}>;tag=pbx")
            assert phone.authenticated(foreign).status == 403
            assert phone.message("+442079460000", "abroad").status == 404
        assert [(row["from"], row["to"]) for row in lab.rows(account.did)] == [(account.did, TO)] * 5
        shown = lab.cli("route", "--from", account.did, "--to", f"+1{TO}").stdout
        assert f"-> {TO}" in shown
