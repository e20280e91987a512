"""Numbers as people and carriers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core import e164

NORMALISE = {
    "5551234567": "5551234567",
    "15551234567": "5551234567",
    "+15551234567": "5551234567",
    "+1 (555) 123-4567": "5551234567",
    "(555) 123.4567": "5551234567",
    "1-555-123-4567": "5551234567",
    "%2B15551234567": "5551234567",
    "%2B1%20555%20123%204567": "5551234567",
    "555\u2011123\u20114567": "5551234567",
    " 5551234567 ": "5551234567",
    "+442079460000": "+442079460000",
    "+44 20 7946 0000": "+442079460000",
    "442079460000": "+442079460000",
    "611": "611",
    "62966": "62966",
    "12345678": "12345678",
    "VOIPSMS": "VOIPSMS",
    "My Bank": "My Bank",
    "ElevenChars": "ElevenChars",
    # not numbers
    "": None,
    "12": None,
    "123456789": None,
    "0551234567": None,
    "1551234567": None,
    "+1555123456": None,
    "+155512345678": None,
    "+1 055 123 4567": None,
    "011442079460000": None,
    "+0123456789": None,
    "+1234567890123456": None,
    "TwelveChars!": None,
    "٥٥٥١٢٣٤٥٦٧": None,
    "５５５１２３４５６７": None,
    "+١٥٥٥١٢٣٤٥٦٧": None,
    "²²²²²²²²²²": None,
    "a\r\nb": None,
    "--": None,
    "5" * 65: None,
    "%zz": None,
    "sip:5551234567@x": None,
}


@pytest.mark.parametrize(("raw", "expected"), NORMALISE.items())
def test_a_number_in_any_form_is_normalised(raw: str, expected: str | None) -> None:
    assert e164.normalise(raw) == expected


@given(st.text(max_size=80) | st.text(alphabet="+1 23456789()-%2B", max_size=20))
def test_a_normalised_number_is_ascii_and_stays_the_same(raw: str) -> None:
    once = e164.normalise(raw)
    if once is not None:
        assert once.isascii()
        assert e164.normalise(once) == once


@pytest.mark.req("S-088")
@pytest.mark.parametrize(
    ("number", "expected"),
    [("5551234567", True), ("15551234567", False), ("555123456", False), ("٥٥٥١٢٣٤٥٦٧", False), ("", False)],
)
def test_only_ten_digits_are_ten_digits(number: str, expected: bool) -> None:
    assert e164.is_ten_digits(number) is expected


FORMATS = [
    ("5551234567", "nanpa", "5551234567"),
    ("5551234567", "e164", "+15551234567"),
    ("5551234567", "e164-bare", "15551234567"),
    ("+442079460000", "nanpa", "+442079460000"),
    ("+442079460000", "e164", "+442079460000"),
    ("+442079460000", "e164-bare", "442079460000"),
    ("62966", "e164", "62966"),
    ("MyBank", "e164-bare", "MyBank"),
]


@pytest.mark.parametrize(("number", "style", "expected"), FORMATS)
def test_a_number_is_written_in_the_format_of_the_carrier(number: str, style: str, expected: str) -> None:
    assert e164.as_format(number, style) == expected


@given(st.from_regex(r"[2-9][0-9]{9}", fullmatch=True), st.sampled_from(["nanpa", "e164", "e164-bare"]))
def test_every_format_normalises_back(number: str, style: str) -> None:
    assert e164.normalise(e164.as_format(number, style)) == number


REGION = {
    "2125551234": "US",
    "9075551234": "US",  # Alaska
    "8085551234": "US",  # Hawaii
    "8005551234": "US",  # toll-free
    "4165551234": "CA",
    "8675551234": "CA",
    "7875551234": "PR",
    "9395551234": "PR",
    "6715551234": "GU",
    "3405551234": "VI",
    "2425551234": "BS",
    "8765551234": "JM",
    "8095551234": "DO",
    "5551234567": None,
}


@pytest.mark.parametrize(("number", "region"), REGION.items())
def test_each_area_code_has_its_region(number: str, region: str | None) -> None:
    assert e164.region_of_area(number[:3]) == region


def test_the_region_is_looked_up_once_per_area_code() -> None:
    e164.region_of_area.cache_clear()
    for _ in range(100):
        assert e164.region_of_area("416") == "CA"
    assert e164.region_of_area.cache_info().misses == 1


def test_every_region_has_a_name() -> None:
    found = {e164.region_of_area(str(area)) for area in range(200, 1000)}
    assert found - {None} == set(e164.REGIONS)


@pytest.mark.parametrize(
    ("value", "number"),
    [("(416) 555-1234", "4165551234"), (4165551234, "4165551234"), ("+447911123456", "+447911123456"),
     ("72345", None), ("MyBank", None), ("", None)],
)  # fmt: skip
def test_a_telephone_number_is_neither_a_short_code_nor_a_name(value: str | int, number: str | None) -> None:
    assert e164.telephone_number(value) == number


@pytest.mark.req("A-32")
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("4445556666", "4445556666"), ("+1 (444) 555-6666", "4445556666"), ("ACME", "ACME"), ("72345", "72345"),
        ("\uff14\uff14\uff14\uff15\uff15\uff15\uff16\uff16\uff16\uff16", "4445556666"),
        ("\u0664\u0664\u0664\u0665\u0665\u0665\u0666\u0666\u0666\u0666", "4445556666"),
        ("\uff0b\uff11 444 555 6666", "4445556666"), ("%EF%BC%94445556666", "4445556666"),
        ("4445556666;phone-context=example.com", "4445556666"), ("4445556666;phone-context=+1", "4445556666"),
        ("7911123456;isub=1;phone-context=+44", "+447911123456"), ("+447911123456;phone-context=+1", "+447911123456"),
        ("tel:+14445556666;ext=9", "4445556666"), ("sip:4445556666@carrier.example;user=phone", "4445556666"),
        ("911;phone-context=example.com", "911"), ("A long name of a bank", "A long name of a bank"),
        ("x\u202e\x00\x9by" * 3, "xyxyxy"), ("", ""), ("a" * 100, "a" * 64),
    ],
)  # fmt: skip
def test_the_sender_of_an_incoming_message_is_shown_in_stored_form(raw: str, expected: str) -> None:
    assert e164.sender(raw) == expected
