"""Bound ESME: its session, which remembers the submits that its program may send again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sipsms.accounts.directory import Directory
from sipsms.core.account import Did
from sipsms.smpp.connection import Connection
from sipsms.smpp.pdu import Pdu
from sipsms.smpp.peer_session import PeerSession
from sipsms.smpp.session import Mode

_GONE = 5.0  # seconds without an answer to an enquire_link, after which a new session may replace this one


class Asked(NamedTuple):
    """Request of ours to an ESME; `late` gets a response that comes after it was given up."""

    answer: asyncio.Future[Pdu]
    late: Callable[[Pdu], None]


class Esme(PeerSession):
    def __init__(
        self, connection: Connection, username: str, password: str, customer: str, mode: Mode, window: int
    ) -> None:
        """`window`: unanswered requests to this ESME at once."""
        super().__init__()
        self.connection = connection
        self.username = username
        self.password = password
        self.customer = customer
        self.mode = mode
        self.since = connection.opened_at
        self.to_do = 0  # our requests that are unanswered or wait for the window
        self._room = asyncio.Semaphore(window)

    @property
    def hears(self) -> bool:
        """True if the ESME receives messages."""
        return self.mode is not Mode.TRANSMITTER

    def dids(self, directory: Directory) -> list[Did]:
        """Return the DIDs that the ESME may send from and receive for now."""
        return [
            did for did in directory.smpp_dids(self.username)
            if did.account == self.customer and did.smpp is not None and did.smpp.password == self.password
        ]  # fmt: skip

    async def ask(
        self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes], late: Callable[[Pdu], None]
    ) -> Pdu:
        """Send a request when the window allows, and return its response.

        Raises NotBound if nothing was sent, or ConnectionError if no response came in time."""
        self.to_do += 1
        try:
            async with self._room:
                answer: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
                self.connection.ask(command, dict(fields), Asked(answer, late), dict(tlvs))
                return await answer
        finally:
            self.to_do -= 1

    def look(self, now: float) -> None:
        """Check whether the ESME's system has acknowledged our octets. Call it regularly."""
        if len(self.trail):
            self.trail.looked(now, all_heard=self.connection.is_heard)

    def is_mute(self, now: float) -> bool:
        """Return True if the session may be broken and there are submits that the ESME may send again."""
        return bool(len(self.trail) or self.under_way) and self.connection.is_mute(now)

    def may_be_gone(self, now: float) -> bool:
        """Return True if a new session of the user may replace this session."""
        return self.is_mute(now) or self.connection.session.unanswered(now) >= _GONE
