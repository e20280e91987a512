"""Codes of authenticator apps (RFC 6238) and recovery codes."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, urlsplit

import pytest

from sipsms.accounts.second_factor import (
    CODES,
    is_recovery,
    new_key,
    new_recovery_codes,
    recovery_hash,
    step_of,
    uri,
)

KEY = base64.b32encode(b"12345678901234567890").decode()  # RFC 6238 appendix B
VECTORS = [
    (59, "287082"),
    (1111111109, "081804"),
    (1111111111, "050471"),
    (1234567890, "005924"),
    (2000000000, "279037"),
]


@pytest.mark.parametrize(("now", "code"), VECTORS)
def test_codes_of_the_rfc(now: int, code: str) -> None:
    """RFC 6238 appendix B, SHA-1; the last six of its eight digits."""
    assert step_of(KEY, code, now) == now // 30
    assert step_of(KEY, f" {code[:3]} {code[3:]} ", now) == now // 30, "apps show blanks"


def test_the_steps_beside_the_present_one_count() -> None:
    step = 1111111109 // 30
    assert [step_of(KEY, "081804", 1111111109 + away) for away in (-60, -30, 0, 30, 60)] == [
        None, step, step, step, None,
    ]  # fmt: skip


@pytest.mark.parametrize("code", ["", "28708", "2870820", "000000", "٢٨٧٠٨٢", "abcdef"])
def test_other_codes_are_wrong(code: str) -> None:
    assert step_of(KEY, code, 59) is None


def test_keys_have_160_bits_and_the_uri_names_the_server() -> None:
    key = new_key()
    assert len(base64.b32decode(key)) == 20
    assert key != new_key()
    url = urlsplit(uri(key, "ana", "sip.example.net"))
    assert (url.scheme, url.netloc) == ("otpauth", "totp")
    assert parse_qs(url.query)["secret"] == [key]
    assert parse_qs(url.query)["issuer"] == ["sip.example.net"]


def test_recovery_codes_are_known_however_they_are_typed() -> None:
    codes = new_recovery_codes()
    assert len(set(codes)) == CODES == 8
    for code in codes:
        assert is_recovery(code)
        assert recovery_hash(code) == recovery_hash(f" {code.upper().replace('-', ' ')} ")
    assert len({recovery_hash(code) for code in codes}) == CODES
    assert not is_recovery("287 082")
