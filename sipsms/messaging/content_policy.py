"""Content policy: refuses links that mobile carriers drop, and bulk patterns (S-016, S-018).

Texts and times in, a sentence out. What `Patterns` remembers is bounded: so many accounts, and of each no more
destinations than it takes to say no. Pure.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

# Public ones only, which anybody may use for anything; a company's own short domain is no trouble.
SHORTENERS: Final = frozenset(
    """
    adf.ly b.link bc.vc bit.do bit.ly bitly.com bitly.ws bl.ink buff.ly clck.ru cli.re cutt.ly dlvr.it dub.sh gg.gg
    goo.gl is.gd j.mp lnk.to mcaf.ee n9.cl oe.cd ow.ly po.st qr.ae qr.net rb.gy rebrand.ly s.coop s.id short.io
    shorte.st shorturl.at shorturl.gg snip.ly soo.gd su.pr surl.li t.co t.ly t2m.io tiny.cc tiny.one tiny.pl tinyurl.com
    tr.im trib.al u.to urlz.fr urlzs.com v.gd v.ht vk.cc x.co x.gd zpr.io
    """.split()
)

# A host in running text: labels with dots, not within a longer word, an address or another host.
_HOST: Final = re.compile(
    r"(?<![A-Za-z0-9._@-])((?:[A-Za-z0-9-]{1,63}\.){1,126}[A-Za-z]{2,24})(?![A-Za-z0-9-]|\.[A-Za-z0-9])"
)
_MAX_LABELS: Final = 3


def shortener_in(text: str, domains: Collection[str] | None = None) -> str:
    """The first of these domains that the text links to, as `bit.ly`, or empty. None: `SHORTENERS`.

    With or without http://, in any case, `www.` or another name before it; not within another word (habit.ly, bit.lyon)
    and not in an e-mail address.
    """
    if "." not in text:
        return ""
    known = SHORTENERS if domains is None else domains
    for match in _HOST.finditer(text):
        labels = match[1].lower().split(".")
        for count in range(2, min(len(labels), _MAX_LABELS) + 1):
            if (domain := ".".join(labels[-count:])) in known:
                return domain
    return ""


@dataclass(slots=True)
class _Account:
    """Times of an account's last message to each number and with each text, oldest first."""

    reached: OrderedDict[str, float] = field(default_factory=OrderedDict)
    texts: OrderedDict[int, OrderedDict[str, float]] = field(default_factory=OrderedDict)


_MAX_ACCOUNTS: Final = 10_000
_MAX_TEXTS: Final = 64  # of one account; who has more different ones in an hour is caught by their number
_COMPARED: Final = 400  # characters of a text
_SMALL: Final = 8  # a shorter text ("ok", "yes") is everybody's
_NOT_COMPARED: Final = re.compile(r"[\d\W_]+")


class Patterns:
    """Over a sliding window. After a restart it starts anew."""

    def __init__(self, same_text: int, destinations: int, window: float) -> None:
        """Count the different numbers that one customer writes to within `window` seconds.

        `same_text`: at most so many with the same text. `destinations`: at most so many at all. 0: no limit.
        """
        self._same_text = same_text
        self._destinations = destinations
        self._window = window
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def check(self, account: str, destination: str, text: str, now: float) -> str:
        """Return why this message must not go out; empty: it may, and counts. `now`: seconds, of a steady clock."""
        if not self._same_text and not self._destinations:
            return ""
        seen, since = self._account(account), now - self._window
        _forget(seen.reached, since)
        if _is_full(seen.reached, destination, self._destinations):
            return f"more than {self._destinations} numbers in {_span(self._window)}"
        same = self._same(seen, text)
        if same is not None:
            _forget(same, since)
            if _is_full(same, destination, self._same_text):
                return f"the same text to more than {self._same_text} numbers in {_span(self._window)}"
            _note(same, destination, now)
        if self._destinations:
            _note(seen.reached, destination, now)
        return ""

    def _account(self, name: str) -> _Account:
        seen = self._accounts.get(name)
        if seen is None:
            seen = self._accounts[name] = _Account()
            if len(self._accounts) > _MAX_ACCOUNTS:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(name)
        return seen

    def _same(self, seen: _Account, text: str) -> OrderedDict[str, float] | None:
        """The numbers that got a text like this: alike but for digits, signs and case."""
        plain = _NOT_COMPARED.sub("", text[:_COMPARED].casefold())
        if len(plain) < _SMALL or not self._same_text:
            return None
        key = hash(plain)
        numbers = seen.texts.setdefault(key, OrderedDict())
        seen.texts.move_to_end(key)
        if len(seen.texts) > _MAX_TEXTS:
            seen.texts.popitem(last=False)
        return numbers


def _forget(numbers: OrderedDict[str, float], since: float) -> None:
    while numbers and next(iter(numbers.values())) <= since:
        numbers.popitem(last=False)


def _is_full(numbers: OrderedDict[str, float], destination: str, limit: int) -> bool:
    return 0 < limit <= len(numbers) and destination not in numbers


def _note(numbers: OrderedDict[str, float], destination: str, now: float) -> None:
    numbers[destination] = now
    numbers.move_to_end(destination)


def _span(seconds: float) -> str:
    return "an hour" if seconds == 3600 else f"{seconds / 60:g} minutes"
