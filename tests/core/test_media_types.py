"""What kinds of files are taken, by their first bytes, and what they are called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.media_types import EXTENSIONS, MAX_FILE, MAX_FILES, MAX_TEXT, safe_name, type_of
from tests.support.messaging.media import SAMPLES


@pytest.mark.req("S-021")
@pytest.mark.parametrize("kind", SAMPLES)
def test_each_of_the_nine_types_is_recognised_by_its_first_bytes(kind: str) -> None:
    """JPG and JPEG are one of them."""
    assert type_of(SAMPLES[kind]) == kind


def test_every_type_has_a_sample() -> None:
    assert set(SAMPLES) == set(EXTENSIONS)


@pytest.mark.req("S-022", "S-023", "S-024")
def test_the_limits_of_an_mms_are_those_of_voipms() -> None:
    assert (MAX_FILE, MAX_FILES, MAX_TEXT) == (1_331_200, 3, 2048)


@pytest.mark.req("S-021")
@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", b"<html><script>", b"<svg xmlns=", b"%PDF-1.7", b"PK\x03\x04", b"MZ\x90", b"\x7fELF", b"BM6",
        b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"RIFF\x00\x00\x00\x00AVI LIST", b"\x00\x00\x00\x18ftypheic", b"OggS",
        b"\x00\x00\x00\x14ftypqt  ", b"\x00\x00\x00\x20ftypavif", b"#!AMR\n", b"\xff\xf1\x50\x80", b"\xff\xfb\xf0\x00",
        b"\xff\xfb\x0c\x00", b" GIF89a", b"\xff\xfe\x00\x00", b"\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_other_files_have_no_type(data: bytes) -> None:
    assert type_of(data) == ""


def test_an_mp3_without_id3_is_recognised() -> None:
    assert type_of(b"\xff\xfb\x90\x64" + bytes(400)) == "audio/mpeg"


@given(st.binary(max_size=64))
def test_any_bytes_give_a_type_of_the_list_or_none(data: bytes) -> None:
    assert type_of(data) in {"", *EXTENSIONS}


NAMES = [
    ("photo.jpg", "image/jpeg", "photo.jpg"),
    ("photo.html", "image/jpeg", "photo.jpg"),
    ("my photo (1).JPEG", "image/jpeg", "my_photo_1.jpg"),
    ("../../etc/passwd", "image/png", "passwd.png"),
    ("C:\\x\\a.b.gif", "image/gif", "a_b.gif"),
    (".htaccess", "image/gif", "htaccess.gif"),
    ("", "video/mp4", "file.mp4"),
    ("...", "video/mp4", "file.mp4"),
    ("ü\r\nX: y.png", "image/png", "X_y.png"),
    ("a" * 500 + ".png", "image/png", "a" * 56 + ".png"),
    ("noend", "text/html", "noend.bin"),
]


@pytest.mark.parametrize(("name", "kind", "expected"), NAMES)
def test_a_file_name_becomes_safe_and_gets_the_extension_of_its_type(name: str, kind: str, expected: str) -> None:
    assert safe_name(name, kind) == expected


@given(st.text(), st.sampled_from(sorted(EXTENSIONS)))
def test_any_name_is_made_safe(name: str, kind: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}\.[a-z0-9]{3}", safe_name(name, kind))
