"""Admission of connections: how many a network may have, over all listeners (SIP, SMPP and HTTP) together.

Pure and bounded. An address counts as one network, an IPv6 address as its /64 and its /48 (`core.network`). A
connection is busy while it has the right password or a whole request that is being answered; else it is idle. Idle
connections keep no other peer out: where the process is full, the one that has been idle longest is closed first, and a
newcomer is refused only if all are busy. Where a network has its number, only one that has been idle for `SETTLED`
seconds makes room, so that a burst of new connections does not close those before. So nobody can shut a listener by
connections that he only holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sipsms.core.network import networks_of

SETTLED: Final = 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`total`: connections of the process, for which it may open files. `message_timeout`: seconds from the first byte
    of a message, PDU or request head to its last.
    """

    per_address: int = 100  # connections of an IPv4 address or IPv6 /64
    per_site: int = 1000  # connections of an IPv6 /48
    total: int = 1_000_000
    message_timeout: float = 10.0


class Guest:
    """An admitted connection. It is idle until `busy` is called."""

    __slots__ = ("_admission", "close", "idle_since", "networks")

    def __init__(self, admission: Admission, networks: tuple[str, ...], close: Callable[[], None]) -> None:
        self._admission = admission
        self.idle_since = 0.0
        self.networks = networks
        self.close = close

    def busy(self) -> None:
        self._admission.busy(self)

    def idle(self) -> None:
        self._admission.idle(self)

    def leave(self) -> None:
        """Uncount the connection. It must be called when the connection is over, and may be called again."""
        self._admission.leave(self)


class Admission:
    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._clock = clock
        self._guests: set[Guest] = set()
        self._idle: dict[str, dict[Guest, None]] = {"": {}}  # by network, and all ("") of them; longest idle first
        self._counts: Counter[str] = Counter()

    def enter(self, address: str, close: Callable[[], None], *, is_proxy: bool = False) -> Guest | None:
        """Count a new connection; return None if it must be refused.

        `close`: called to close the connection while it is idle. `is_proxy`: only the limit of the process applies,
        because the connections of a trusted proxy are those of its many clients.
        """
        networks = () if is_proxy else networks_of(address)
        for network, most in zip(networks, (self.limits.per_address, self.limits.per_site), strict=False):
            if self._counts[network] >= most and not self._close_idle(network, SETTLED):
                return None
        if len(self._guests) >= self.limits.total and not self._close_idle("", 0.0):
            return None
        guest = Guest(self, networks, close)
        self._guests.add(guest)
        self._counts.update(networks)
        self.idle(guest)
        return guest

    @property
    def count(self) -> int:
        return len(self._guests)

    def _close_idle(self, network: str, seconds: float) -> bool:
        """Close the longest idle connection of a network; False if none has been idle for so long."""
        guest = next(iter(self._idle.get(network, ())), None)
        if guest is None or self._clock() - guest.idle_since < seconds:
            return False
        self.leave(guest)
        guest.close()
        return True

    def idle(self, guest: Guest) -> None:
        if guest not in self._guests:
            return
        guest.idle_since = self._clock()
        for network in ("", *guest.networks):
            self._idle.setdefault(network, {})[guest] = None

    def busy(self, guest: Guest) -> None:
        for network in ("", *guest.networks):
            of_network = self._idle.get(network, {})
            of_network.pop(guest, None)
            if network and not of_network:
                self._idle.pop(network, None)

    def leave(self, guest: Guest) -> None:
        if guest not in self._guests:
            return
        self.busy(guest)
        self._guests.remove(guest)
        for network in guest.networks:
            self._counts[network] -= 1
            if not self._counts[network]:
                del self._counts[network]
