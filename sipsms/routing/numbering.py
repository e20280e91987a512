"""The numbering policy: permitted destinations, and the form in which they must be written. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

from sipsms.core.e164 import MAX_INPUT, REGIONS, is_digits, is_ten_digits, region_of_area
from sipsms.core.refusal import Refusal, RefusalCode

HOME: Final = frozenset({"US", "CA", "PR"})  # decision C-9; an area code without a region (555) is permitted

Mode = Literal["nanpa", "e164", "any"]

SERVICE_CODES: Final = ("N11", "911", "988")


@dataclass(frozen=True, slots=True)
class Numbering:
    """The policy of numbering.yaml."""

    mode: Mode = "nanpa"
    service: frozenset[str] = frozenset()
    premium_areas: frozenset[str] = frozenset({"900"})
    premium_exchanges: frozenset[str] = frozenset({"976"})
    regions: frozenset[str] = HOME

    def check(self, raw: str) -> str | Refusal:
        """Return the ten digits of a destination as a phone dialled it, or a refusal (C-100, C-103)."""
        digits = _NATIONAL[self.mode](raw)
        return self._shape(raw, digits) or self.policy(digits) or digits

    def sender(self, raw: str) -> str:
        """Return the ten digits of a sender's number as a phone or PBX writes it; empty if it is none."""
        if not raw or is_ten_digits(raw):
            return raw
        digits = _NATIONAL[self.mode](raw)
        return digits if is_ten_digits(digits) else ""

    def _shape(self, raw: str, digits: str) -> Refusal | None:
        if self.mode == "any" and digits[:1] == "+" and is_digits(digits[1:]):
            return None  # another country's number, which the policy refuses
        if not is_digits(digits):
            return Refusal(RefusalCode.NOT_DIGITS, self._must(_not_digits(raw)))
        if digits in self.service:
            return Refusal(RefusalCode.SERVICE, f"{digits} is an emergency or service number: call it, a text cannot")
        if self.mode == "e164" and digits is raw:
            return Refusal(RefusalCode.INVALID, self._must(f"{shown(raw)} has no +1 in front"))
        if len(digits) > 10 and digits[0] == "1":
            return Refusal(RefusalCode.LEADING_ONE, self._must(f"{shown(raw)} starts with 1: leave it out"))
        if len(digits) == 10:
            return None
        code = RefusalCode.TOO_FEW_DIGITS if len(digits) < 10 else RefusalCode.TOO_MANY_DIGITS
        return Refusal(code, self._must(f"{shown(raw)} has {len(digits)}"))

    def _must(self, why: str) -> str:
        return f"destination must be {_WANTED[self.mode]}; {why}"

    def policy(self, number: str) -> Refusal | None:
        """Return a refusal if ten digits may not be written to, else None."""
        if not is_ten_digits(number):
            return Refusal(RefusalCode.INVALID, f"{shown(number)} is not a number of the United States or Canada")
        area = number[:3]
        if area[0] < "2":
            return Refusal(RefusalCode.INVALID, f"{number} is not a number: no area code starts with {area[0]}")
        if area in self.service:
            return Refusal(RefusalCode.SERVICE, f"{number} starts with the service number {area}, which takes no texts")
        if area in self.premium_areas or number[3:6] in self.premium_exchanges:
            return Refusal(RefusalCode.PREMIUM, f"{number} is a premium-rate number, which takes no texts from here")
        return self._region(area)

    def _region(self, area: str) -> Refusal | None:
        region = region_of_area(area)
        if region is None or region in self.regions:
            return None
        return Refusal(
            RefusalCode.REGION,
            f"area code {area} is in {REGIONS.get(region, region)}; texts go to the United States and Canada"
            f" unless the operator allows {region}",
        )


_SEPARATORS: Final = str.maketrans("", "", "-.() ")  # RFC 3966 section 3 ("visual separator"), and spaces


def _any_form(raw: str) -> str:
    """Return the digits behind 1 or +1, without the separators with which address books write numbers."""
    bare = raw.translate(_SEPARATORS) if len(raw) <= MAX_INPUT else raw
    if bare.startswith("+1"):
        return bare[2:]
    return bare[1:] if len(bare) == 11 and bare[0] == "1" else bare


# How each mode makes ten digits of what a phone has dialled, and how it names what it wants.
_NATIONAL: Final[Mapping[Mode, Callable[[str], str]]] = {
    "nanpa": lambda raw: raw,
    "e164": lambda raw: raw.removeprefix("+1"),
    "any": _any_form,
}
_WANTED: Final[Mapping[Mode, str]] = {
    "nanpa": "exactly 10 digits",
    "e164": "+1 and 10 digits",
    "any": "10 digits, with or without 1 or +1 in front",
}


def shown(raw: str) -> str:
    """Return a stranger's text for a header: short ASCII without quotes and control characters."""
    safe = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in raw[:24])
    return safe + "..." if len(raw) > 24 else safe


def _not_digits(raw: str) -> str:
    if not raw:
        return "it is empty"
    return f"{shown(raw)} has other characters than the digits 0-9"


def expand(pattern: str) -> Iterator[str]:
    """Yield the codes of a numbering plan's pattern (N: 2-9, X: 0-9): `N11` -> 211 ... 911."""
    return map("".join, product(*({"N": "23456789", "X": "0123456789"}.get(c, c) for c in pattern)))
