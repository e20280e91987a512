"""Refusals: a value with a code and a reason for a message that is not accepted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RefusalCode(StrEnum):
    """Codes of refusals."""

    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    NOT_DIGITS = "not_digits"
    LEADING_ONE = "leading_one"
    SERVICE = "service"
    PREMIUM = "premium"
    REGION = "region"
    INVALID = "invalid"
    NO_ROUTE = "no_route"  # the number is valid, but no route leads to it
    BLOCKED = "blocked"  # the recipient wants no messages from this sender, or the reverse
    POLICY = "policy"  # forbidden content of the text
    BULK = "bulk"  # similar texts to many numbers
    NO_MMS = "no_mms"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal with its reason."""

    code: RefusalCode
    reason: str  # an ASCII sentence for the person who wrote the number; fits a quoted string of SIP
