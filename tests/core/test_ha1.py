"""HA1 of the examples in RFC 7616 section 3.9.1."""

from __future__ import annotations

import hashlib

from sipsms.core.ha1 import ha1


def test_md5_and_sha256_of_the_rfcs_user() -> None:
    text = b"Mufasa:http-auth@example.org:Circle of Life"
    assert ha1("Mufasa", "http-auth@example.org", "Circle of Life") == hashlib.md5(text).hexdigest()
    assert ha1("Mufasa", "http-auth@example.org", "Circle of Life", "SHA-256") == hashlib.sha256(text).hexdigest()
