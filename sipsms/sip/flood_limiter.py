"""Who asks too much without a password is no longer answered. Pure and bounded: the time comes in, counts stay small.

Only requests by UDP that were answered without right credentials are counted: challenges, refusals, OPTIONS. Above
`limit` of them in `window` seconds an address is muted. A right password from an address, then or at any time within
`trust` seconds before, exempts it: many phones behind one NAT are never hurt, and neither are those whose address
somebody else put on forged packets. A muted address still gets a few answers a second, for ports that had none yet: a
phone that comes new to the flooder's NAT gets its challenge, and what it says with credentials is always looked at.
Known scanners are told by what they call themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any

# The beginnings of User-Agent: svmap and its children, sipp-like dialers of old botnets, sippts.
SCANNERS = (
    "friendly-scanner", "friendly-request", "sipvicious", "sipcli", "sip-scan", "sipscan", "sundayddr",
    "vaxsipuseragent", "pplsip", "sivus", "iwar", "smap",
)  # fmt: skip
_MOST = 10_000  # addresses counted at once
_MOST_TRUSTED = 100_000
_SPARED_PORTS = 64
_SPARED = 3  # answers a port of a muted address gets
_SPARE_EVERY = 0.2  # seconds between them, for the whole address; a second's worth may come at once


def is_scanner(user_agent: str) -> bool:
    return user_agent.lower().startswith(SCANNERS)


@dataclass(slots=True)
class _Mute:
    until: float
    next: float = 0.0
    answered: dict[int, int] = field(default_factory=dict)  # by port

    def spares(self, port: int, now: float) -> bool:
        return self.next - now <= 1.0 and self.answered.get(port, 0) < _SPARED

    def spare(self, port: int, now: float) -> None:
        self.next = max(self.next, now) + _SPARE_EVERY
        self.answered[port] = self.answered.get(port, 0) + 1
        _bound(self.answered, _SPARED_PORTS)


class Flood:
    def __init__(self, limit: int, window: float = 2.0, mute: float = 300.0, trust: float = 7200.0) -> None:
        """`limit` 0: nobody is ever muted."""
        self.limit = limit
        self._window = window
        self._mute = mute
        self._trust = trust
        self._counted: dict[str, tuple[int, float]] = {}  # network -> requests, since when
        self._muted: dict[str, _Mute] = {}
        self._trusted: dict[str, float] = {}  # address -> until when

    def is_muted(self, address: str, port: int, now: float) -> bool:
        """Would a request without credentials be answered with nothing?"""
        mute = self._mute_of(address, now) if self._muted else None
        return mute is not None and not mute.spares(port, now)

    def _mute_of(self, address: str, now: float) -> _Mute | None:
        mute = self._muted.get(network_of(address))
        if mute is None or now >= mute.until or self.limit == 0 or self._trusted.get(address, 0.0) > now:
            return None
        return mute

    def allows(self, address: str, port: int, now: float) -> bool:
        """Count a request without right credentials: may it be answered?"""
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

    def knows_password(self, address: str, now: float) -> None:
        """The right password came from here."""
        self._trusted.pop(address, None)
        self._trusted[address] = now + self._trust
        _bound(self._trusted, _MOST_TRUSTED)
        if self._muted:
            self._muted.pop(network_of(address), None)


def network_of(address: str) -> str:
    """An IPv6 host has a /64 to itself and can take a new address for each packet."""
    if ":" not in address:
        return address
    return str(int(IPv6Address(address.partition("%")[0])) >> 64)


def _bound(table: dict[Any, Any], most: int) -> None:
    if len(table) > most:
        del table[next(iter(table))]
