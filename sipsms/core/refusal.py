"""Refusals: why a message is not taken, as a value with a code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RefusalCode(StrEnum):
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    NOT_DIGITS = "not_digits"
    LEADING_ONE = "leading_one"
    SERVICE = "service"
    PREMIUM = "premium"
    REGION = "region"
    INVALID = "invalid"
    NO_ROUTE = "no_route"  # the number is good, but nothing carries it
    BLOCKED = "blocked"  # the recipient wants nothing of this sender, or the other way round
    POLICY = "policy"  # what is in the text
    BULK = "bulk"  # alike to many numbers
    NO_MMS = "no_mms"


@dataclass(frozen=True, slots=True)
class Refusal:
    code: RefusalCode
    reason: str  # an ASCII sentence for the person who wrote the number; fits a quoted string of SIP
