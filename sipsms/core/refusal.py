"""Refusals: a value with a code and a reason for a message that is not accepted.

There is one list of codes for all ways to send. Each listener has a table from these codes to its protocol's own: SIP
status, SMPP status, word of rest.php, problem type.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class RefusalCode(StrEnum):
    NO_SOURCE = "no_source"
    SOURCE = "source"  # the sender's number is none of the account's SMS-enabled DIDs
    NO_DESTINATION = "no_destination"
    DESTINATION = "destination"  # no telephone number
    TOO_FEW_DIGITS = "too_few_digits"
    TOO_MANY_DIGITS = "too_many_digits"
    NOT_DIGITS = "not_digits"
    LEADING_ONE = "leading_one"
    SERVICE = "service"
    PREMIUM = "premium"
    REGION = "region"
    INVALID = "invalid"
    NO_ROUTE = "no_route"  # the number is valid, but no route leads to it
    BLOCKED = "blocked"  # the recipient wants no messages from this sender, or the reverse
    EMPTY = "empty"
    TEXT = "text"  # characters that cannot be sent: NUL, half a surrogate pair
    TOO_LONG = "too_long"  # the text
    POLICY = "policy"  # forbidden content of the text
    BULK = "bulk"  # similar texts to many numbers
    LIMIT = "limit"  # of messages a day
    NO_MMS = "no_mms"
    MEDIA = "media"  # a file that cannot be fetched, or whose type an MMS cannot carry
    MEDIA_SIZE = "media_size"
    MEDIA_COUNT = "media_count"
    CONFLICT = "conflict"  # this idempotency key was used for another request


OF_NUMBERS: Final = frozenset({
    RefusalCode.TOO_FEW_DIGITS, RefusalCode.TOO_MANY_DIGITS, RefusalCode.NOT_DIGITS, RefusalCode.LEADING_ONE,
    RefusalCode.SERVICE, RefusalCode.PREMIUM, RefusalCode.REGION, RefusalCode.INVALID,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    code: RefusalCode
    reason: str  # an ASCII sentence for the person who wrote the message; fits a quoted string of SIP

    @property
    def in_short(self) -> RefusalCode:
        """The code, with one code for all that can be wrong with a number: HTTP APIs tell no more."""
        return RefusalCode.DESTINATION if self.code in OF_NUMBERS else self.code
