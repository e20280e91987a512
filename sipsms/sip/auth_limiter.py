"""Limiter of password guesses: few guesses are checked for a guesser, and the right password always gets in.

Pure and bounded. Wrong passwords are counted for each (network, user) pair, and for each network over all users. Above
a limit, a port that has sent a wrong password gets one checked guess in `_INTERVAL` seconds, and its other guesses are
answered as wrong and not checked. An account must never be locked:

- a (network, user, port) that has sent the right password is never slowed, whatever its neighbours behind a NAT do;
- a port without a wrong password is checked with a nonce of its own: nobody else's guesses can use up that nonce. A
  nonce that came with a wrong password is spent, so one challenge does not serve guesses from many ports.

Failures count only with a nonce that was issued to the network they come from (`digest`), so nobody can spend the
guesses of a network whose address he only writes on his packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sipsms.core.network import network_of, networks_of

PER_USER: Final = 10  # wrong passwords for one user from one network, in a window
PER_NETWORK: Final = (60, 600)  # wrong passwords for all users from an address or IPv6 /64, and from an IPv6 /48
_INTERVAL: Final = 2.0  # seconds between two checked guesses: of ports with wrong passwords, and of spent nonces
_AHEAD: Final = 2  # burst of the latter: a request with a used nonce counts as a guess
_PORTS: Final = 64
_REMEMBERED: Final = 100_000  # (network, user, port) with the right password

_Key = tuple[str, str | None]  # network and user; None: all users of the network


@dataclass(slots=True)
class _Tally:
    """Wrong passwords of a pair or network."""

    since: float
    failures: int = 0
    next_known: float = 0.0
    next_fresh: float = 0.0
    wrong: dict[int, None] = field(default_factory=dict)  # ports, oldest first


class AuthLimiter:
    def __init__(self, free: int = PER_USER, window: float = 300.0, capacity: int = 10_000) -> None:
        """`free`: wrong passwords for one user from one network in `window` seconds before guesses are slowed."""
        self._free = free
        self._window = window
        self._capacity = capacity
        self._tallies: dict[_Key, _Tally] = {}
        self._spent: dict[str, None] = {}  # nonces that came with a wrong password
        self._right: dict[tuple[str, str, int], None] = {}

    def allows(self, address: str, user: str, now: float, port: int = 0, nonce: str = "") -> bool:
        """Return True if a password may be checked now."""
        if not self._tallies or (network_of(address), user, port) in self._right:
            return True
        over = list(self._over(address, user, now))
        if any(port in tally.wrong for tally in over):
            return _take(over, "next_known", now, 0.0)
        if not over or (nonce and nonce not in self._spent):
            return True
        return _take(over, "next_fresh", now, _AHEAD * _INTERVAL)

    def _over(self, address: str, user: str, now: float) -> Iterator[_Tally]:
        """Yield the tallies that are above their limit."""
        for key, free in self._limits(address, user):
            tally = self._tallies.get(key)
            if tally is not None and tally.failures >= free and now - tally.since <= self._window:
                yield tally

    def _limits(self, address: str, user: str) -> Iterator[tuple[_Key, int]]:
        networks = networks_of(address)
        yield (networks[0], user), self._free
        for network, most in zip(networks, PER_NETWORK, strict=False):
            yield (network, None), most

    def failed(self, address: str, user: str, now: float, port: int = 0, nonce: str = "") -> bool:
        """Count a wrong password; return True if it was above a limit."""
        is_over = any(True for _ in self._over(address, user, now))
        for key, _ in self._limits(address, user):
            tally = self._tallies.pop(key, None)
            if tally is None or now - tally.since > self._window:
                tally = _Tally(now)
            tally.failures += 1
            _note(tally.wrong, port, _PORTS)
            _note(self._tallies, key, self._capacity, tally)
        if nonce:
            _note(self._spent, nonce, self._capacity)
        return is_over

    def succeeded(self, address: str, user: str, port: int = 0) -> None:
        """Remember a port that has sent the right password."""
        _note(self._right, (network_of(address), user, port), _REMEMBERED)


def _take(tallies: list[_Tally], slot: str, now: float, ahead: float) -> bool:
    """Take the next guess of all tallies; False if one of them has none left."""
    if any(now < getattr(tally, slot) - ahead for tally in tallies):
        return False
    for tally in tallies:
        setattr(tally, slot, max(now, getattr(tally, slot)) + _INTERVAL)
    return True


def _note(table: dict[Any, Any], key: Any, most: int, value: Any = None) -> None:
    """Put a key at the end of a bounded table."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]
