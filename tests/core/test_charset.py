"""Octets of a declared charset, and texts that can be stored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.charset import (
    callback_form,
    decode,
    decode_anyhow,
    decode_or_mark,
    for_json,
    form,
    is_known,
    storable,
)


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"caf\xe9", "ISO-8859-1", "café"), (b"caf\xc3\xa9", "UTF_8", "café"), (b'\x93q\x94', '"windows-1252"', "“q”"),
        (b"\xa4", "ISO-8859-15", "€"), ("日本".encode("shift_jis"), "Shift_JIS", "日本"), (b"`O", "UTF-16", "恏"),
        (b"\xfe\xff`O", "utf-16", "\ufeff恏"), (b"\xff\xfeO`", "UTF-16", "\ufeff恏"),
        (b"\xff\xfeO`", "utf-16be", "\ufeff恏"), (b"O`", "UTF-16LE", "恏"), (b"\xff\xfeO`", "ucs-2", "\ufeff恏"),
        ("Привет".encode("koi8-r"), "KOI8-R", "Привет"),
    ],
)  # fmt: skip
def test_octets_are_decoded_in_their_charset(octets: bytes, charset: str, text: str) -> None:
    assert decode(octets, charset) == decode_or_mark(octets, charset) == decode_anyhow(octets, charset) == text


def test_only_charsets_are_known() -> None:
    assert not any(map(is_known, ("", "zip", "rot13", "idna", "utf-7", "unicode-escape", "x" * 10_000, "\0", "é")))
    with pytest.raises(UnicodeDecodeError):
        decode(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        decode(b"abc", "utf-16")


def test_octets_that_are_no_text_are_marked_for_clients_and_read_for_carriers() -> None:
    assert decode_or_mark(b"caf\xe9") == "caf\udce9"
    assert decode_or_mark(b"caf\xe9", "rot13") == "caf\udce9"
    assert decode_anyhow(b"caf\xe9 \x93q\x94") == "café “q”"
    assert decode_anyhow(b"caf\xc3\xa9", "us-ascii") == "café"
    assert decode_anyhow(b"\x81") == "\ufffd"


def test_a_form_is_read_in_its_charset() -> None:
    assert form(b"a=caf%E9+1&b=&a=2", "latin1") == [("a", "café 1"), ("b", ""), ("a", "2")]
    assert form(b"a=caf\xe9", "latin1") == form("a=café".encode()) == form(b"a=caf%C3%A9") == [("a", "café")]
    assert form(b"_charset_=windows-1252&a=%93") == [("_charset_", "windows-1252"), ("a", "“")]
    assert form(b"\xef\xbb\xbfa=1") == [("a", "1")]
    assert form(b"a=x;b=y") == [("a", "x;b=y")]
    with pytest.raises(ValueError, match="fields"):
        form(b"a&" * 20, most=10)


def test_fields_of_a_callback_may_be_separated_by_semicolons() -> None:
    found = [("to", "1"), ("from", "2"), ("message", "a; b"), ("id", "3")]
    assert callback_form(b"to=1;from=2;message=a%3B+b;id=3") == found
    assert callback_form(b"to=1;from=2&message=a;+b&id=3") == found
    assert callback_form(b"message=caf%E9+%93q%94") == [("message", "café “q”")]


def test_json_may_have_another_charset() -> None:
    assert for_json(b'"caf\xe9"', "iso-8859-1") == '"café"'
    for charset in ("", "utf-8", "utf-16", "rot13"):
        assert for_json(b"\xff", charset) == b"\xff"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"), ("\ufeffhello", "hello"), ("\ufeff\ufeffx", "\ufeffx"), ("a\ufeffb", "a\ufeffb"),
        ("\0", "\ufffd"), ("é\0", "é\ufffd"), ("\ud83d\ude00", "😀"), ("a\ud83d", "a\ufffd"), ("\udce9é", "\ufffdé"),
        ("\U000f083d", "\U000f083d"), ("", ""),
    ],
)  # fmt: skip
def test_a_stored_text_has_no_mark_no_nul_and_no_half_letters(text: str, stored: str) -> None:
    assert storable(text) == stored


@given(st.text(st.characters(), max_size=20))
def test_any_text_becomes_storable(text: str) -> None:
    found = storable(text)
    assert found.encode().decode() == found
    assert "\0" not in found


@given(st.binary(max_size=60), st.sampled_from(["", "utf-16", "gbk", "iso-2022-jp", "euc-jp", "zip"]))
def test_any_octets_of_a_callback_are_read(octets: bytes, charset: str) -> None:
    assert isinstance(callback_form(octets, charset), list)
    assert isinstance(decode_or_mark(octets, charset), str)
