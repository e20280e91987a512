"""URLs of SMPP servers."""

from __future__ import annotations

import pytest

from sipsms.core.smpp_url import SmppUrl, smpp_url, without_password

GOOD = {
    "smpp://smsc.example.net": SmppUrl(False, "smsc.example.net", 2775),
    "SSMPP://SMSC.example.net": SmppUrl(True, "smsc.example.net", 3550),
    "smpp://192.0.2.1:16000": SmppUrl(False, "192.0.2.1", 16000),
    "ssmpp://[2001:DB8::1]": SmppUrl(True, "2001:db8::1", 3550),
    "ssmpp://me:secret@h.example:1": SmppUrl(True, "h.example", 1, "me", "secret"),
    "smpp://me@h.example": SmppUrl(False, "h.example", 2775, "me"),
    "smpp://m%3Ae:p%40%2f%25@h.example": SmppUrl(False, "h.example", 2775, "m:e", "p@/%"),
    "smpp://me:a:b@h.example": SmppUrl(False, "h.example", 2775, "me", "a:b"),
    "smpp://:p@h.example": SmppUrl(False, "h.example", 2775, "", "p"),
}


@pytest.mark.req("S-073", "S-074", "S-075")
@pytest.mark.parametrize("text", GOOD)
def test_a_valid_smpp_url_is_parsed(text: str) -> None:
    assert smpp_url(text) == GOOD[text]


BAD = {
    "": "smpp://", "h.example": "smpp://", "http://h.example": "smpp://", "smpp:h.example": "smpp://",
    "smpp://": "host", "smpp://h.example:": "host", "smpp://h.example:x": "host", "smpp://h.example:0": "port",
    "smpp://h.example:65536": "port", "smpp://h.example/": "path", "smpp://h.example?x=1": "path",
    "smpp://h.example#x": "path", "smpp://hunter2/x@h.example": "path",
    "smpp://a:hunter2@b@h.example": "host", "smpp://me:hunter2%zz@h.example": "%40",
    "smpp://me:hunter2%00@h.example": "%40",
    "smpp://me:hunter2%20x@h.example": "%40", "smpp://me:hunter2%C3%A9@h.example": "%40", "smpp://h .example": "space",
    "smpp://hé.example": "ASCII", "smpp://h.example\n": "control", "smpp://h\x00.example": "control",
    "smpp://" + "hunter2" * 10 + "@h.example": "64", "smpp://" + "h" * 600: "longer",
}  # fmt: skip


@pytest.mark.req("S-073", "A-31")
@pytest.mark.parametrize("text", BAD)
def test_an_invalid_smpp_url_is_refused_with_the_reason_and_without_the_password(text: str) -> None:
    """It says what is wrong, and never the password."""
    with pytest.raises(ValueError, match=BAD[text]) as caught:
        smpp_url(text)
    assert "hunter2" not in str(caught.value)


def test_a_shown_smpp_url_masks_the_password() -> None:
    url = "ssmpp://me:hunter2@h.example"
    assert "hunter2" not in f"{smpp_url(url)!r} {smpp_url(url)} {smpp_url(url).text}"
    assert smpp_url("smpp://m%3Ae@[2001:db8::1]").text == "smpp://m%3Ae@[2001:db8::1]:2775"
    assert without_password(url) == "ssmpp://me:***@h.example"
    assert without_password("smpp://me@h.example:1") == "smpp://me@h.example:1"
    assert without_password("smpp://:p%40@h.example") == "smpp://:***@h.example"
    assert without_password("") == ""
    assert without_password("me:hunter2@h") == ""
