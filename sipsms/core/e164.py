"""Telephone numbers: conversion between written forms and the stored form. Pure.

Lenient APIs (carrier hooks, web, e-mail) call `normalise`. SIP is strict: it refuses a malformed number instead of
repairing it, and asks the dialplan. A stored number is ten digits (NANPA), `+` and digits (other countries), a short
code or an alphanumeric sender. Only ASCII digits are digits: `str.isdigit` alone would accept Arabic and full-width
digits. Every input is bounded before it is examined, and no pattern can backtrack.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

import phonenumbers

MAX_INPUT: Final = 64
MAX_E164_DIGITS: Final = 15  # E.164 section 6

# Separators between the digits of a number. U+00A0, U+202F and the hyphens come from word processors.
_SEPARATORS: Final = str.maketrans("", "", " ()-./\t\u00a0\u202f\u2010\u2011\u2012\u2013")
_CONTEXT: Final = re.compile(r";\s*phone-context\s*=\s*(\+[0-9]{1,15})(?=;|\Z)", re.IGNORECASE)
_SENDER: Final = re.compile(r"[A-Za-z0-9 &._+!#'*/-]{1,11}")  # GSM 03.40: at most eleven septets

# The countries and territories of country code 1, named for error texts.
REGIONS: Final = MappingProxyType(
    {
        "AG": "Antigua and Barbuda",
        "AI": "Anguilla",
        "AS": "American Samoa",
        "BB": "Barbados",
        "BM": "Bermuda",
        "BS": "the Bahamas",
        "CA": "Canada",
        "DM": "Dominica",
        "DO": "the Dominican Republic",
        "GD": "Grenada",
        "GU": "Guam",
        "JM": "Jamaica",
        "KN": "Saint Kitts and Nevis",
        "KY": "the Cayman Islands",
        "LC": "Saint Lucia",
        "MP": "the Northern Mariana Islands",
        "MS": "Montserrat",
        "PR": "Puerto Rico",
        "SX": "Sint Maarten",
        "TC": "the Turks and Caicos Islands",
        "TT": "Trinidad and Tobago",
        "US": "the United States",
        "VC": "Saint Vincent and the Grenadines",
        "VG": "the British Virgin Islands",
        "VI": "the U.S. Virgin Islands",
    }
)


def is_digits(s: str) -> bool:
    return s.isascii() and s.isdigit()


def is_ten_digits(s: str) -> bool:
    return len(s) == 10 and s.isascii() and s.isdigit()


def normalise(raw: str) -> str | None:
    """Return the number in stored form; None if the text is neither a number nor a sender name."""
    if is_ten_digits(raw):  # the fast path for nearly every number
        return raw if raw[0] >= "2" else None
    if not raw or len(raw) > MAX_INPUT:
        return None
    text = (unquote(raw) if "%" in raw else raw).strip()
    bare = text.translate(_SEPARATORS)
    if bare.startswith("+"):
        return _international(bare[1:])
    if is_digits(bare):
        return _national(bare)
    return text if _SENDER.fullmatch(text) and any(c.isalpha() for c in text) else None


def sender(raw: str) -> str:
    """Return the sender of an incoming message in stored form, or as much of its text as may be shown.

    Digits of all scripts are digits here, because a phone would show them as such. A URI loses its scheme and its
    parameters; a global phone-context is the number's beginning (RFC 3966 section 5.1.5).
    """
    if (number := normalise(raw)) is not None:
        return number
    text = unicodedata.normalize("NFKC", unquote(raw[:MAX_INPUT])).strip()
    text = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
    scheme, colon, rest = text.partition(":")
    text = rest.partition("@")[0] if colon and scheme.lower() in ("tel", "sip", "sips", "sms") else text
    text, _, parameters = text.partition(";")
    context = _CONTEXT.search(";" + parameters)
    if context is not None and not text.startswith("+") and (number := normalise(context[1] + text)) is not None:
        return number
    return normalise(text) or "".join(char for char in text if char.isprintable())


def telephone_number(value: str | int) -> str | None:
    """Return ten digits, or + and digits, as a DID or caller ID; None if the value is neither."""
    number = normalise(str(value))
    return number if number and number.lstrip("+").isdigit() and len(number) >= 10 else None


def _international(digits: str) -> str | None:
    if not is_digits(digits) or not 7 <= len(digits) <= MAX_E164_DIGITS or digits[0] == "0":
        return None
    if digits[0] != "1":
        return "+" + digits
    return digits[1:] if len(digits) == 11 and digits[1] >= "2" else None


def _national(digits: str) -> str | None:
    """Return the number for digits without `+`: a short code, NANPA with or without 1, or E.164 (4479...).

    A leading 0 is not accepted: as a prefix it depends on the writer's country."""
    length = len(digits)
    if 3 <= length <= 8:
        return digits
    if length == 10:
        return digits if digits[0] >= "2" else None
    if length >= 11:
        return _international(digits)
    return None


# --- carriers' formats ------------------------------------------------------------------------------------------------

_FORMATS: Final = {"nanpa": "", "e164": "+1", "e164-bare": "1"}  # in front of ten digits


def as_format(number: str, style: str) -> str:
    """Return a stored number in a carrier's format; other than NANPA it only loses `+` where there is none."""
    if is_ten_digits(number):
        return _FORMATS[style] + number
    return number[1:] if style == "e164-bare" and number.startswith("+") else number


# --- regions ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def region_of_area(area: str) -> str | None:
    """Return the ISO code of the country of an area code; None if it has none (555)."""
    # The library knows only patterns of whole numbers, so a few numbers of the area are tried.
    for rest in ("2345678", "5552345", "4232345", "9772345"):
        number = phonenumbers.PhoneNumber(country_code=1, national_number=int(area + rest))
        region: str | None = phonenumbers.region_code_for_number(number)
        if region is not None:
            return region
    return None
