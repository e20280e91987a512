"""Limiter of unauthenticated requests: a flooding address is no longer answered.

Pure and bounded. By UDP, answers without right credentials are counted: challenges, refusals, OPTIONS. By a connection
that has not sent the right password, everything is counted, keep-alives and unreadable messages too, since it costs us
more than the sender. Above `limit` in `window` seconds an address is muted, and its connections are closed.

A right password from an address, then or within the last `trust` seconds, exempts the address. Many phones behind one
NAT are therefore never hurt, and neither are phones whose address somebody puts on forged packets. A connection from
there has a limit of its own, so that a neighbour of a phone cannot flood us. A muted address
still gets a few answers a second, for ports that have had few answers: a new phone behind the flooder's NAT gets its
challenge, and requests with credentials are always read. Known scanners are recognized by their User-Agent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sipsms.core.network import network_of

# Prefixes of User-Agent: svmap and its variants, sipp-like dialers of old botnets, sippts.
SCANNERS = (
    "friendly-scanner", "friendly-request", "sipvicious", "sipcli", "sip-scan", "sipscan", "sundayddr",
    "vaxsipuseragent", "pplsip", "sivus", "iwar", "smap",
)  # fmt: skip
_MOST = 10_000  # addresses counted at once
_MOST_TRUSTED = 100_000
_OF_TRUSTED = 10  # times the limit, for a connection from a trusted address
_GIFT = 2048.0  # bytes that an address may get beyond `_FACTOR` times its own, in `_GIFT_EVERY` seconds
_GIFT_EVERY = 60.0
_FACTOR = 1.5
_SPARED_PORTS = 64
_SPARED = 3  # answers a port of a muted address gets
_SPARE_EVERY = 0.2  # seconds between these answers, for the whole address; a burst of one second's answers is allowed


def is_scanner(user_agent: str) -> bool:
    return user_agent.lower().startswith(SCANNERS)


@dataclass(slots=True)
class _Mute:
    """State of a muted address.

    `next`: time up to which the spared answers are used.
    """

    until: float
    next: float = 0.0
    answered: dict[int, int] = field(default_factory=dict)  # port -> answers

    def spares(self, port: int, now: float) -> bool:
        return self.next - now <= 1.0 and self.answered.get(port, 0) < _SPARED

    def spare(self, port: int, now: float) -> None:
        self.next = max(self.next, now) + _SPARE_EVERY
        self.answered[port] = self.answered.get(port, 0) + 1
        _bound(self.answered, _SPARED_PORTS)


@dataclass(slots=True)
class Visit:
    """Messages and keep-alives of one connection without the right password."""

    count: int = 0
    since: float = 0.0


class FloodLimiter:
    def __init__(self, limit: int, window: float = 2.0, mute: float = 300.0, trust: float = 7200.0) -> None:
        """`limit` 0: no address is ever muted. `window`, `mute` and `trust` are seconds."""
        self.limit = limit
        self._window = window
        self._mute = mute
        self._trust = trust
        self._counted: dict[str, tuple[int, float]] = {}  # network -> (requests, start of the window)
        self._muted: dict[str, _Mute] = {}
        self._balance: dict[str, tuple[float, float]] = {}  # network -> (bytes that we may send, time of the gift)
        self._trusted: dict[str, float] = {}  # address -> end of the trust

    def is_muted(self, address: str, port: int, now: float) -> bool:
        """Return True if a request without credentials would get no answer."""
        mute = self._mute_of(address, now) if self._muted else None
        return mute is not None and not mute.spares(port, now)

    def _mute_of(self, address: str, now: float) -> _Mute | None:
        mute = self._muted.get(network_of(address))
        if mute is None or now >= mute.until or self.limit == 0 or self._trusted.get(address, 0.0) > now:
            return None
        return mute

    def allows(self, address: str, port: int, now: float) -> bool:
        """Count a request without right credentials; return True if it may be answered."""
        if self.limit == 0 or self._trusted.get(address, 0.0) > now:
            return True
        mute = self._mute_of(address, now) if self._muted else None
        if mute is not None:
            spared = mute.spares(port, now)
            if spared:
                mute.spare(port, now)
            return spared
        network = network_of(address)
        count, since = self._counted.pop(network, (0, now))
        if not 0 <= now - since < self._window:
            count, since = 0, now
        if count < self.limit:
            self._counted[network] = (count + 1, since)
            _bound(self._counted, _MOST)
            return True
        self._muted.pop(network, None)
        self._muted[network] = _Mute(now + self._mute, answered={port: _SPARED})
        _bound(self._muted, _MOST)
        return False

    def affords(self, address: str, now: float, received: int, sent: int) -> bool:
        """Return True if an answer of `sent` bytes to `received` bytes does not make us an amplifier (A-17).

        The source of a datagram may be forged. In sum, an address without the right password gets at most 1.5 times
        what it has sent, beyond the first few answers of each minute.
        """
        if self.limit == 0 or self._trusted.get(address, 0.0) > now:
            return True
        network = network_of(address)
        balance, since = self._balance.pop(network, (_GIFT, now))
        if not 0 <= now - since < _GIFT_EVERY:
            balance, since = _GIFT, now
        left = min(_GIFT, balance + _FACTOR * received - sent)
        is_paid = left >= 0
        self._balance[network] = (left if is_paid else balance, since)
        _bound(self._balance, _MOST)
        return is_paid

    def tolerates(self, address: str, port: int, now: float, visit: Visit) -> bool:
        """Count what a connection without the right password sends; False if it must be closed."""
        if self.limit == 0:
            return True
        if not 0 <= now - visit.since < self._window:
            visit.count, visit.since = 0, now
        visit.count += 1
        if self._trusted.get(address, 0.0) > now:
            return visit.count <= _OF_TRUSTED * self.limit
        return self.allows(address, port, now)

    def knows_password(self, address: str, now: float) -> None:
        """Trust an address that has sent a right password."""
        self._trusted.pop(address, None)
        self._trusted[address] = now + self._trust
        _bound(self._trusted, _MOST_TRUSTED)
        if self._muted:
            self._muted.pop(network_of(address), None)


def _bound(table: dict[Any, Any], most: int) -> None:
    if len(table) > most:
        del table[next(iter(table))]
