"""HA1, the stored hash of a digest password (RFC 7616 section 3.4.2)."""

from __future__ import annotations

import hashlib

HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def ha1(username: str, realm: str, password: str, algorithm: str = "MD5") -> str:
    """Return H(username:realm:password) in hex (RFC 7616 section 3.4.2)."""
    return HASHES[algorithm](f"{username}:{realm}:{password}".encode("utf-8", "surrogateescape")).hexdigest()
