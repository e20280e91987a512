"""The second step of a sign-in: codes of an authenticator app (TOTP, RFC 6238) and recovery codes."""

from __future__ import annotations

import secrets
from typing import Final

import pyotp

from sipsms.store.tokens import digest

STEP: Final = 30  # seconds (RFC 6238 section 4.1: X)
CODES: Final = 8  # recovery codes
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # without letters that look alike
_GROUPS, _LENGTH = 3, 4


def new_key() -> str:
    """Return a key of 160 bits in base32 (RFC 4226 section 4 R6)."""
    return pyotp.random_base32()


def uri(key: str, user: str, issuer: str) -> str:
    """Return the otpauth: URI that authenticator apps read as a QR code."""
    return pyotp.TOTP(key).provisioning_uri(name=user, issuer_name=issuer)


def step_of(key: str, code: str, now: float) -> int | None:
    """Return the time step whose code this is, of the present one and those beside it; None: the code is wrong.

    RFC 6238 section 5.2: one step of delay is accepted, and a code must be accepted only once. So the caller has to
    remember the step."""
    digits = "".join(code.split())
    here = int(now // STEP)
    totp = pyotp.TOTP(key, interval=STEP)
    for step in (here, here - 1, here + 1):
        if digits.isascii() and secrets.compare_digest(totp.at(step * STEP), digits):
            return step
    return None


def new_recovery_codes() -> list[str]:
    """Return codes of 59 random bits, in groups that people can copy."""
    return ["-".join(_group() for _ in range(_GROUPS)) for _ in range(CODES)]


def _group() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def recovery_hash(code: str) -> str:
    """Return the hash of a recovery code, however it was typed."""
    return digest("".join(char for char in code.casefold() if char.isalnum()))


def is_recovery(code: str) -> bool:
    """Return whether this is no code of an app, which has six digits."""
    return sum(char.isalnum() for char in code) == _GROUPS * _LENGTH
