"""Limiter of password guesses for each (network, user) pair.

Pure; the number of remembered pairs is bounded. After `free` failures in `window` seconds a pair gets at most one
evaluated guess a second. The other guesses are answered as wrong and the password is not checked. An account must never
be locked: its owner on another network is another pair. Its owner behind the guesser's NAT sends from another port.
Ports with a wrong guess and ports without a wrong guess therefore get half of the guesses each, and a port that has
sent the right password is never slowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sipsms.core.network import network_of

_INTERVAL = 2.0  # seconds between two guesses, in each half
_AHEAD = 2  # burst for ports without failures: a request with a used nonce counts as a guess
_PORTS = 64


@dataclass(slots=True)
class _Pair:
    since: float
    failures: int = 0
    next_known: float = 0.0
    next_fresh: float = 0.0
    wrong: dict[int, None] = field(default_factory=dict)  # ports, oldest first
    right: dict[int, None] = field(default_factory=dict)


class AuthLimiter:
    def __init__(self, free: int = 10, window: float = 300.0, capacity: int = 10_000) -> None:
        self._free = free
        self._window = window
        self._capacity = capacity
        self._pairs: dict[tuple[str, str], _Pair] = {}

    def allows(self, address: str, user: str, now: float, port: int = 0) -> bool:
        """Return True if a guess of this pair may be checked now."""
        if not self._pairs:
            return True
        pair = self._pairs.get((network_of(address), user))
        if pair is None or pair.failures < self._free or now - pair.since > self._window or port in pair.right:
            return True
        if port not in pair.wrong:
            if now < pair.next_fresh - _AHEAD * _INTERVAL:
                return False
            pair.next_fresh = max(now, pair.next_fresh) + _INTERVAL
            return True
        if now < pair.next_known:
            return False
        pair.next_known = now + _INTERVAL
        return True

    def failed(self, address: str, user: str, now: float, port: int = 0) -> None:
        """Count a wrong password."""
        key = (network_of(address), user)
        pair = self._pairs.pop(key, None)
        if pair is None or now - pair.since > self._window:
            pair = _Pair(now)
        pair.failures += 1
        pair.right.pop(port, None)
        _note(pair.wrong, port)
        self._pairs[key] = pair
        if len(self._pairs) > self._capacity:
            del self._pairs[next(iter(self._pairs))]

    def succeeded(self, address: str, user: str, port: int = 0) -> None:
        """Exempt a port that has sent the right password."""
        if not self._pairs:
            return
        pair = self._pairs.get((network_of(address), user))
        if pair is not None:
            pair.wrong.pop(port, None)
            _note(pair.right, port)


def _note(ports: dict[int, None], port: int) -> None:
    ports.pop(port, None)
    ports[port] = None
    if len(ports) > _PORTS:
        del ports[next(iter(ports))]
