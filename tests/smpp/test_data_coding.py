"""Octets and texts: alphabets, user data headers."""

from __future__ import annotations

import pytest
import smpplib.gsm
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.segmentation import BASIC, EXTENSION, join_parts
from sipsms.smpp.data_coding import (
    CodingError,
    Concat,
    charset_of,
    choose,
    concat_header,
    decode,
    decode_segment,
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
        (b"[Acme] code {1} ~ \\ | ^ @$_\t`", "ia5", "[Acme] code {1} ~ \\ | ^ @$_\t`"),
        ("Привет".encode("iso-8859-5"), "iso-8859-5", "Привет"),
        ("שלום".encode("iso-8859-8"), "iso-8859-8", "שלום"),
        *((("日本語 abc").encode(codec), "jis", "日本語 abc") for codec in ("iso2022_jp", "euc_jp", "shift_jis")),
        (b"plain", "jis", "plain"),
        ("안녕".encode("euc-kr"), "euc-kr", "안녕"),
        (b"\xfe\xff\0h\0i", "ucs2", "hi"),  # a byte order mark is no part of the text
        (b"\xff\xfeh\0i\0", "ucs2", "hi"),
        (b"\xff\xfe\xff\xfeh\0", "ucs2", "\ufeffh"),
        (b"\xef\xbb\xbfhi", "utf8", "hi"),
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
     (0xE0, "ucs2"), (0xC8, "gsm"), (0xF1, "gsm"), (0x7F, None), (5, "jis"), (6, "iso-8859-5"), (7, "iso-8859-8"),
     (10, "jis"), (11, None), (12, None), (13, "jis"), (14, "euc-kr"), (15, None), (0x10, "gsm"), (0x11, "gsm"),
     (0x13, "gsm"), (0x14, None), (0x17, None), (0x18, "ucs2"), (0x1B, "ucs2"), (0x1C, None), (0x20, None),
     (0x38, None), (0x40, "gsm"), (0x48, "ucs2"), (0x51, "gsm"), (0x55, None), (0x59, "ucs2"), (0x60, None),
     (0x80, None), (0xBF, None), (0xD0, "gsm"), (0xEF, "ucs2")],
)  # fmt: skip
def test_each_data_coding_has_its_charset(coding: int, charset: str | None) -> None:
    assert charset_of(coding) == charset


def test_the_default_alphabet_of_a_message_class_is_that_of_the_bind() -> None:
    own = {0: "latin1", 8: "ucs2", 0x11: "utf8"}
    assert [charset_of(coding, own) for coding in (0x10, 0x11, 0x18, 0xC0, 0xF1)] == [
        "latin1", "utf8", "ucs2", "latin1", "latin1",
    ]  # fmt: skip


@pytest.mark.req("P-13")
def test_user_data_headers_of_parts_are_read() -> None:
    assert read_user_data(concat_header(0x1FF, 3, 2) + b"hi") == (b"hi", Concat(0xFF, 3, 2), False)
    assert read_user_data(b"\x06\x08\x04\x01\x02\x03\x01text") == (b"text", Concat(0x102, 3, 1, True), False)
    assert read_user_data(b"\x05\x00\x03\x01\x02\x03x").concat is None  # part 3 of 2
    assert read_user_data(b"\x05\x00\x03\x01\x00\x00x").concat is None
    assert read_user_data(b"\x06\x05\x04\x0b\x84\x23\xf0wap").others
    assert not read_user_data(b"\x03\x24\x01\x01turkish").others


@pytest.mark.req("P-13")
def test_only_elements_for_a_port_make_a_message_binary() -> None:
    """3GPP TS 23.040 section 9.2.3.24: an element that is not understood is skipped."""
    for kind in (*range(0x01, 0x04), 0x06, 0x07, *range(0x09, 0x21), 0x22, 0x70, 0xA0, 0xFF):
        assert read_user_data(bytes((3, kind, 1, 0)) + b"text") == (b"text", None, False)
    both = b"\x0a\x0a\x03\x00\x04\x10\x00\x03\x07\x02\x01text"
    assert read_user_data(both) == (b"text", Concat(7, 2, 1), False)
    assert read_user_data(b"\x04\x04\x02\x23\xf0wap").others


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


@pytest.mark.req("P-13")
@pytest.mark.parametrize(
    ("first", "second", "text"),
    [(b"price 5\x1b", b"e.", "price 5€."), (b"\x1b", b"(x)", "{x)"), (b"a\x1b", b"\x14", "a^"),
     (b"a\x1b", b"\x40", "a|"), (b"a\x1b", b"b", "ab"),
     (b"a", b"e", "ae"), (b"a\x1b", b"\x0ab", "a\fb"), (b"a", b"b\x1b", "ab")],
)  # fmt: skip
@pytest.mark.parametrize("charset", ["gsm", "ia5"])
def test_an_escape_at_the_end_of_a_segment_waits_for_its_letter(
    first: bytes, second: bytes, text: str, charset: str
) -> None:
    parts = {1: decode_segment(first, charset), 2: decode_segment(second, charset)}
    assert join_parts(parts, 2) == text
