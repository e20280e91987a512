"""Pauses after wrong passwords and codes at sign-in, for names and for networks. Pure.

Five tries are free, then each wrong try is followed by a pause of 1, 2, 4, 8, 15, 15 ... minutes. Tries are counted for
a name, for a network, and for a name at a network. A network from which a user has signed in before is known: there
only the tries of this network at this name count, so that the guesses of strangers lock nobody out. A try during a
pause is refused without a look at the password, and does not make the pause longer.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sipsms.core.network import networks_of

FREE: Final = 5  # tries at one name
FREE_OF_NETWORK: Final = 20  # tries of one address or IPv6 /64 at any names: people behind one NAT share it
_OF_SITE: Final = 10  # times as many of an IPv6 /48
PAUSES: Final = (60.0, 120.0, 240.0, 480.0, 900.0)  # seconds
MEMORY: Final = 1800.0  # seconds after the end of a pause until the tries are forgotten
_MOST: Final = 20_000  # counters

_Key = tuple[str, str]  # (name, network); one of both may be empty


@dataclass(slots=True)
class _Counter:
    tries: int = 0
    until: float = 0.0  # end of the pause
    forgotten_at: float = 0.0


class SignInBackoff:
    def __init__(self) -> None:
        self._counters: OrderedDict[_Key, _Counter] = OrderedDict()

    def pause(self, name: str, address: str, now: float, *, known: bool) -> float:
        """Return the seconds that this address has to wait before a try at this name; 0: none."""
        found = (self._counters.get(key) for key, _ in _keys(name, address, known))
        return max((0.0, *(counter.until - now for counter in found if counter is not None)))

    def tries_left(self, name: str, address: str, now: float, *, known: bool) -> int:
        """Return how many tries are left until the next pause."""
        left = [free - self._tries(key, now) for key, free in _keys(name, address, known)]
        return max(min(left), 0)

    def tried(self, name: str, address: str, now: float, *, known: bool) -> None:
        """Count a try as wrong before its password is looked at, so that tries at the same time count, too."""
        for key, free in _counted(name, address, known):
            counter = self._counters.setdefault(key, _Counter())
            self._counters.move_to_end(key)
            counter.tries = self._tries(key, now) + 1
            if counter.tries >= free:
                counter.until = now + PAUSES[min(counter.tries - free, len(PAUSES) - 1)]
            counter.forgotten_at = max(counter.until, now) + MEMORY
        while len(self._counters) > _MOST:
            self._counters.popitem(last=False)

    def was_right(self, name: str, address: str, *, known: bool) -> None:
        """Take back the count of a try that was right."""
        for key, free in _counted(name, address, known):
            counter = self._counters.get(key)
            if counter is not None:
                counter.tries = max(counter.tries - 1, 0)
                counter.until = counter.until if counter.tries >= free else 0.0

    def signed_in(self, name: str, address: str) -> None:
        """Forget the wrong tries of this network at this name; those of others stay."""
        self._counters.pop((name, networks_of(address)[0]), None)

    def _tries(self, key: _Key, now: float) -> int:
        counter = self._counters.get(key)
        return counter.tries if counter is not None and now < counter.forgotten_at else 0


def _keys(name: str, address: str, known: bool) -> list[tuple[_Key, int]]:
    """Return the counters of a try, and how many tries each has free."""
    networks = networks_of(address)
    if known:
        return [((name, networks[0]), FREE)]
    limits = (FREE_OF_NETWORK, FREE_OF_NETWORK * _OF_SITE)
    return [((name, ""), FREE), *((("", network), most) for network, most in zip(networks, limits, strict=False))]


def _counted(name: str, address: str, known: bool) -> list[tuple[_Key, int]]:
    """Return the counters that a try adds to: also that of the name at the network, which may become known."""
    return list(dict([*_keys(name, address, known), *_keys(name, address, True)]).items())
