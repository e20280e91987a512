"""RFC 3261 sections 19.1.1 and 19.1.4: parsing and comparison, with the RFC's own examples."""

from __future__ import annotations

import pytest

from sipsms.sip.uri import ParseError, equal, parse_uri

EQUAL = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
]
UNEQUAL = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
]


@pytest.mark.req("C-018")
@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_equal_uris_are_equal(a: str, b: str) -> None:
    assert equal(parse_uri(a), parse_uri(b))
    assert equal(parse_uri(b), parse_uri(a))


@pytest.mark.req("C-018")
@pytest.mark.parametrize(("a", "b"), UNEQUAL)
def test_different_uris_are_unequal(a: str, b: str) -> None:
    assert not equal(parse_uri(a), parse_uri(b))


@pytest.mark.req("C-018")
def test_uri_equality_is_not_transitive() -> None:
    plain, on, off = (parse_uri(f"sip:carol@chicago.com{end}") for end in ("", ";security=on", ";security=off"))
    assert equal(plain, on)
    assert equal(plain, off)
    assert not equal(on, off)


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice-0x55d0c8@192.0.2.1:5062;transport=udp;ob",
        "sip:user;par=u%40example.net@example.com",
        "sips:[2001:db8::1]:5061;lr",
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1@example.com",
        "sip:alice:secret@example.com?Route=%3Csip:x%3E",
    ],
)
def test_a_uri_is_serialised_as_it_was_written(text: str) -> None:
    assert str(parse_uri(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "alice@example.com",
        "tel:+15551234567",
        "sip:",
        "sip:alice@",
        "sip:al ice@example.com",
        "sip:a%zz@example.com",
        "sip:a@example.com:99999",
        "sip:a@example.com;;x",
        "sip:a@<example.com>",
        "sip:" + "a" * 2000 + "@example.com",
    ],
)
def test_malformed_uris_are_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_uri(text)
