"""Bound ESME: its session, settings for all ESMEs, and the SMSC's interface to the store.

An ESME remembers the submits that its program may send again after a broken session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sipsms.accounts.directory import Directory
from sipsms.core.account import Did
from sipsms.core.message import Message, State
from sipsms.core.queue_rows import StoredPart
from sipsms.smpp.connection import Connection
from sipsms.smpp.data_coding import Charset
from sipsms.smpp.pdu import Pdu
from sipsms.smpp.resend_detection import Key, Started, Trail, oldest_of
from sipsms.smpp.session import Limits, Mode

_GONE = 5.0  # seconds without an answer to an enquire_link, after which a new session may replace this one

Taken = asyncio.Future[str]  # done with the id in the submit's response


def known(message_id: str) -> Taken:
    """Return the result of a submit that was answered before."""
    taken: Taken = asyncio.get_running_loop().create_future()
    taken.set_result(message_id)
    return taken


class Options(NamedTuple):
    """Settings from the configuration's `smpp`.

    Times are seconds. `rate`: messages a second of a customer, 0 means no limit. `deliver_window`: unanswered requests
    to one ESME.
    """

    system_id: str
    limits: Limits
    rate: float
    max_binds: int
    max_binds_per_address: int
    charsets: Mapping[int, Charset]
    deliver_window: int


class Asked(NamedTuple):
    """Request of ours to an ESME.

    `late`: called with a response that comes after the request was given up.
    """

    answer: asyncio.Future[Pdu]
    late: Callable[[Pdu], None]


class Looked(NamedTuple):
    """State of a message in the store, as query_sm needs it."""

    message: Message
    state: State
    updated_at: float


class Recent(Protocol):
    """Message received just before the start."""

    @property
    def account(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def destination(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def id(self) -> int: ...


class Recalled(NamedTuple):
    """Messages and segments to recall after a start."""

    messages: Sequence[Recent]
    parts: Sequence[StoredPart]  # segments that wait for others, and segments received just before the start


class Records(Protocol):
    """Interface to the store, besides the gateway. All methods raise Unavailable."""

    async def look(self, message: int) -> Looked | None: ...

    async def cancel(self, message: int) -> bool:
        """Cancel a message; False if a delivery of it was already sent."""

    async def replace_text(self, message: int, text: str) -> bool:
        """Replace the text of a message; False if it is not held or not complete."""

    async def recall(self) -> Recalled:
        """Return the messages and segments received just before the start."""

    async def errors(self, message: int) -> Sequence[str]:
        """Return the carriers' reasons of a message's failure."""


class Esme:
    """Bound session of an ESME."""

    def __init__(
        self, connection: Connection, username: str, password: str, customer: str, mode: Mode, window: int
    ) -> None:  # fmt: skip
        """Create the state of a session.

        `window`: unanswered requests to this ESME at once.
        """
        self.connection = connection
        self.username = username
        self.password = password
        self.customer = customer
        self.mode = mode
        self.trail: Trail[str] = Trail()  # only ids, because there may be many
        self.since = connection.opened_at
        self.is_doubted = False  # the session is treated as broken before its end is known
        self.under_way: dict[Taken, Started] = {}
        self._told: set[Taken] = set()  # submits of under_way already returned by `unsure`
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
    ) -> Pdu:  # fmt: skip
        """Send a request when the window allows, and return its response.

        The timeout starts when the request is sent. Raises NotBound if nothing was sent, or ConnectionError if no
        response came.
        """
        self.to_do += 1
        try:
            async with self._room:
                answer: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
                self.connection.ask(command, dict(fields), Asked(answer, late), dict(tlvs))
                return await answer
        finally:
            self.to_do -= 1

    def answered(self, taken: Taken, now: float) -> None:
        """Record the response to a submit."""
        started = self.under_way.pop(taken, None)
        if started is not None and taken not in self._told:
            self.trail.answered(started.key, taken.result(), now, started.since)
        self._told.discard(taken)

    def failed(self, taken: Taken) -> None:
        """Forget a submit that was not stored."""
        self.under_way.pop(taken, None)
        self._told.discard(taken)

    def look(self, now: float) -> None:
        """Check whether the ESME's system has acknowledged our octets. Call it regularly."""
        if len(self.trail):
            self.trail.looked(now, all_heard=self.connection.is_heard)

    def unsure(self, now: float, span: float) -> list[tuple[Key, Taken]]:
        """Return the submits that this ESME may send again after its session broke.

        These are submits without a response, and submits whose response the ESME received within the last `span`
        seconds or perhaps not at all. Each submit is returned once.
        """
        answered = [(key, known(message_id)) for key, message_id in self.trail.unsure(now, span)]
        waiting = [(one.key, taken) for taken, one in self.under_way.items() if taken not in self._told]
        self.trail.forget()
        self._told.update(taken for _, taken in waiting)
        return answered + waiting

    def oldest(self, now: float) -> float:
        """Return the arrival time of the oldest submit whose response may be lost; inf if none."""
        return oldest_of(self.under_way.values(), self.trail, now)

    def is_mute(self, now: float) -> bool:
        """Return True if the session may be broken and there are submits that the ESME may send again."""
        return bool(len(self.trail) or self.under_way) and self.connection.is_mute(now)

    def may_be_gone(self, now: float) -> bool:
        """Return True if a new session of the user may replace this session."""
        return self.is_mute(now) or self.connection.session.unanswered(now) >= _GONE
