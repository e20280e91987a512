"""STOP, START and HELP: what a text means, if it means one of them (S-131, G12).

Only a text that is nothing but the keyword counts, whatever punctuation, quotes, emoji or case it comes in, and with a
word of politeness around it at most: who writes "please stop by the shop" wants no end of messages. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Final

MAX_LENGTH: Final = 80  # characters; a longer text is a letter, not a keyword


class Keyword(StrEnum):
    STOP = "STOP"
    START = "START"
    HELP = "HELP"


_KEYWORDS: Final = {
    # The words of the FCC (47 CFR 64.1200(a)(10)), and those of the CRTC for French.
    **dict.fromkeys(
        ("stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "opt out", "arret",
         "arreter", "desabonner"),
        Keyword.STOP,
    ),
    # Not YES: it is the answer to every other question too.
    **dict.fromkeys(("start", "unstop", "optin", "opt in"), Keyword.START),
    **dict.fromkeys(("help", "info", "aide"), Keyword.HELP),
}  # fmt: skip

_PLEASE: Final = "please|pls|plz|svp|s il vous plait"
_BEFORE: Final = re.compile(rf"(?:{_PLEASE}) ")
_AFTER: Final = re.compile(
    rf" (?:{_PLEASE}|now|thanks|thanks a lot|thank you|thank you very much|thankyou|thx|ty|merci)\Z"
)
_SIGNS: Final = re.compile("[^a-z0-9]+")
_FIRST: Final = re.compile("[A-Za-z0-9]+")
_FIRST_WORDS: Final = frozenset(words.split()[0] for words in (*_KEYWORDS, *_PLEASE.split("|"), "stop"))
_MAX_TAILS: Final = 3  # "stop now please, thanks"
_TEXTING: Final = re.compile(r"stop (?:texting|messaging|texts|messages)(?: me)?")


def classify(text: str) -> Keyword | None:
    """Return the keyword that a text is; None: it is a text like any other."""
    if not text or len(text) > MAX_LENGTH:
        return None
    if text.isascii() and ((first := _FIRST.search(text)) is None or first[0].lower() not in _FIRST_WORDS):
        return None  # nearly every text: spare it the rest
    words = _plain(text)
    if before := _BEFORE.match(words):
        words = words[before.end() :]
    for _ in range(_MAX_TAILS):
        if (found := _keyword(words)) is not None or (after := _AFTER.search(words)) is None:
            return found
        words = words[: after.start()]
    return _keyword(words)


def _keyword(words: str) -> Keyword | None:
    return Keyword.STOP if _TEXTING.fullmatch(words) else _KEYWORDS.get(words)


def _plain(text: str) -> str:
    """Small letters and digits, words with one space between: no accents, and nothing that hides in a word."""
    if text.isascii():  # nothing can hide
        return " ".join(_SIGNS.sub(" ", text.lower()).split())
    letters = unicodedata.normalize("NFKD", text).casefold()
    return " ".join("".join(_letter(c) for c in letters).split())


def _letter(char: str) -> str:
    """Marks and invisible characters (zero-width, soft hyphen, direction) vanish; other signs part words."""
    if char.isalnum():
        return char
    return "" if unicodedata.category(char) in ("Mn", "Me", "Cf") else " "
