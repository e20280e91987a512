"""Octets and texts: alphabets, user data headers."""

from __future__ import annotations

import pytest
import smpplib.gsm
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.segmentation import BASIC, EXTENSION
from sipsms.smpp.data_coding import (
    CodingError,
    Concat,
    charset_of,
    choose,
    concat_header,
    decode,
    encode,
    is_receipt,
    read_user_data,
)


@pytest.mark.req("P-15")
@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"\x05 \x1be", "gsm", "é €"),
        (b"\x05 \x1be", "ia5", "é €"),  # as node-smpp sends it, under data_coding 1
        (b"a@b_c$", "ia5", "a@b_c$"),
        (b"\x00\x11\x02", "ia5", "@_$"),
        (b"\x00\x11\x02", "gsm", "@_$"),
        (b"gr\x7e\xdf", "gsm", "gr~ß"),  # an octet that GSM has not: Latin-1
        (b"\x7b\x7c\x7e", "gsm", "äöü"),
        (b"\x1b<1\x1b>", "gsm", "[1]"),
        (b"a\x1bb", "gsm", "ab"),  # no such extension: the letter itself
        (b"end\x1b", "gsm", "end"),
        (b"caf\xe9", "latin1", "café"),
        ("日本".encode("utf-16-be"), "ucs2", "日本"),
        ("😀".encode("utf-16-be"), "ucs2", "😀"),
        ("naïve".encode(), "utf8", "naïve"),
    ],
)
def test_octets_are_decoded_by_their_data_coding(octets: bytes, charset: str, text: str) -> None:
    assert decode(octets, charset) == text


@given(st.text(st.sampled_from(BASIC + EXTENSION), max_size=160))
def test_gsm_text_is_encoded_and_decoded(text: str) -> None:
    octets = encode(text, "gsm")
    assert octets is not None
    assert decode(octets, "gsm") == text


def test_gsm_encoding_agrees_with_smpplib() -> None:
    common = "".join(char for char in BASIC + EXTENSION if char not in "§\f")  # its table has not these two
    assert encode(common, "gsm") == smpplib.gsm.gsm_encode(common)


def test_the_text_decides_its_data_coding() -> None:
    assert choose("naïve {é}") == (8, "naïve {é}".encode("utf-16-be"))  # ï is no letter of GSM's
    assert choose("é{}") == (0, b"\x05\x1b(\x1b)")
    assert choose("naïve", {0: "latin1", 8: "ucs2"}) == (0, b"na\xefve")
    assert choose("日", {0: "latin1", 24: "ucs2"}) == (24, b"\x65\xe5")
    assert encode("é", "ia5") is None
    assert encode("日", "latin1") is None


@pytest.mark.req("P-06")
def test_half_a_surrogate_pair_of_ucs2_is_decoded() -> None:
    with pytest.raises(CodingError):
        decode(b"\x00a\x00", "ucs2")
    first, second = "😀".encode("utf-16-be")[:2], "😀".encode("utf-16-be")[2:]
    assert (decode(first, "ucs2"), decode(second, "ucs2")) == (
        "\ud83d",
        "\ude00",
    )  # they meet when the parts are joined


@pytest.mark.req("P-15")
@pytest.mark.parametrize(
    ("coding", "charset"),
    [(0, "gsm"), (1, "ia5"), (3, "latin1"), (8, "ucs2"), (2, None), (4, None), (9, None), (0xF0, "gsm"), (0xF5, None),
     (0xE0, "ucs2"), (0xC8, "gsm"), (0xF1, "gsm"), (0x7F, None)],
)  # fmt: skip
def test_each_data_coding_has_its_charset(coding: int, charset: str | None) -> None:
    assert charset_of(coding) == charset


@pytest.mark.req("P-13")
def test_user_data_headers_of_parts_are_read() -> None:
    assert read_user_data(concat_header(0x1FF, 3, 2) + b"hi") == (b"hi", Concat(0xFF, 3, 2), False)
    assert read_user_data(b"\x06\x08\x04\x01\x02\x03\x01text") == (b"text", Concat(0x102, 3, 1, True), False)
    assert read_user_data(b"\x05\x00\x03\x01\x02\x03x").concat is None  # part 3 of 2
    assert read_user_data(b"\x05\x00\x03\x01\x00\x00x").concat is None
    assert read_user_data(b"\x06\x05\x04\x0b\x84\x23\xf0wap").others
    assert not read_user_data(b"\x03\x24\x01\x01turkish").others


@pytest.mark.req("P-06", "A-43")
@pytest.mark.parametrize("octets", [b"", b"\x05", b"\x05\x00\x03\x01", b"\x02\x00\x03abc", b"\x01\x00x", b"\xff" * 20])
def test_broken_user_data_headers_are_refused(octets: bytes) -> None:
    with pytest.raises(CodingError):
        read_user_data(octets)


@given(st.binary(max_size=140))
def test_any_header_is_read_or_refused(octets: bytes) -> None:
    try:
        found = read_user_data(octets)
    except CodingError:
        return
    assert len(found.octets) < len(octets)


def test_the_esm_class_gives_the_kind_of_message() -> None:
    assert is_receipt(0x04)
    assert is_receipt(0x20)
    assert is_receipt(0x44)
    assert not is_receipt(0x00)
    assert not is_receipt(0x40)
    assert not is_receipt(0x03)
