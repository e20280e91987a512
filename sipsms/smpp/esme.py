"""One bound ESME, what all of them may, and what the SMSC asks of the store."""

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

_GONE = 5.0  # seconds without an answer to an enquire_link, after which a new session may have the place

Taken = asyncio.Future[str]  # the id that a submit is answered with


def known(message_id: str) -> Taken:
    """Of a submit that was answered before."""
    taken: Taken = asyncio.get_running_loop().create_future()
    taken.set_result(message_id)
    return taken


class Options(NamedTuple):
    """From the configuration's `smpp`. Seconds; `rate`: messages a second of a customer, 0: any number;
    `deliver_window`: requests of ours that an ESME has not answered."""

    system_id: str
    limits: Limits
    rate: float
    max_binds: int
    max_binds_per_address: int
    charsets: Mapping[int, Charset]
    deliver_window: int


class Asked(NamedTuple):
    """A request of ours to an ESME. `late`: is told an answer that comes after it was given up."""

    answer: asyncio.Future[Pdu]
    late: Callable[[Pdu], None]


class Looked(NamedTuple):
    """What the store knows of a message: all that query_sm asks for."""

    message: Message
    state: State
    updated_at: float


class Recent(Protocol):
    """A message that came just before the start."""

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
    messages: Sequence[Recent]
    parts: Sequence[StoredPart]  # of long texts: those that wait for others, and those that came just before the start


class Records(Protocol):
    """What the SMSC needs of the store, besides what the gateway does. All raise Unavailable."""

    async def look(self, message: int) -> Looked | None: ...

    async def cancel(self, message: int) -> bool:
        """False: some of it has left."""

    async def replace_text(self, message: int, text: str) -> bool:
        """False: it is not held, or not whole."""

    async def recall(self) -> Recalled:
        """What was taken just before the start."""

    async def errors(self, message: int) -> Sequence[str]:
        """Why it failed, in the carriers' words."""


class Bound:
    """One ESME, bound."""

    def __init__(
        self, connection: Connection, username: str, password: str, customer: str, mode: Mode, window: int
    ) -> None:  # fmt: skip
        """`window`: requests of ours that may be out at once."""
        self.connection = connection
        self.username = username
        self.password = password
        self.customer = customer
        self.mode = mode
        self.trail: Trail[str] = Trail()  # ids only: there may be many
        self.since = connection.opened_at
        self.is_doubted = False  # it is taken for broken, though nobody has said so
        self.under_way: dict[Taken, Started] = {}
        self._told: set[Taken] = set()  # of those, what has been said to be in doubt
        self.to_do = 0  # requests of ours that are out, or wait for their turn
        self._room = asyncio.Semaphore(window)

    @property
    def hears(self) -> bool:
        return self.mode is not Mode.TRANSMITTER

    def dids(self, directory: Directory) -> list[Did]:
        """Those that it may send from and hears of, now."""
        return [
            did for did in directory.smpp_dids(self.username)
            if did.account == self.customer and did.smpp is not None and did.smpp.password == self.password
        ]  # fmt: skip

    async def ask(
        self, command: int, fields: Mapping[str, Any], tlvs: Mapping[int, bytes], late: Callable[[Pdu], None]
    ) -> Pdu:  # fmt: skip
        """When it is its turn: the time for an answer begins then. Raises NotBound, with nothing sent, or
        ConnectionError: no answer came."""
        self.to_do += 1
        try:
            async with self._room:
                answer: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()
                self.connection.ask(command, dict(fields), Asked(answer, late), dict(tlvs))
                return await answer
        finally:
            self.to_do -= 1

    def answered(self, taken: Taken, now: float) -> None:
        """What was under way has its id."""
        started = self.under_way.pop(taken, None)
        if started is not None and taken not in self._told:
            self.trail.answered(started.key, taken.result(), now, started.since)
        self._told.discard(taken)

    def failed(self, taken: Taken) -> None:
        self.under_way.pop(taken, None)
        self._told.discard(taken)

    def look(self, now: float) -> None:
        """Has it received what it was told? Now and then."""
        if len(self.trail):
            self.trail.looked(now, all_heard=self.connection.is_heard)

    def unsure(self, now: float, span: float) -> list[tuple[Key, Taken]]:
        """What this ESME may send again, now that the session is broken: what it has no answer to yet, and what it may
        have heard within the last `span` seconds, or not at all. Each is said once."""
        answered = [(key, known(message_id)) for key, message_id in self.trail.unsure(now, span)]
        waiting = [(one.key, taken) for taken, one in self.under_way.items() if taken not in self._told]
        self.trail.forget()
        self._told.update(taken for _, taken in waiting)
        return answered + waiting

    def oldest(self, now: float) -> float:
        """Since when the oldest message is here of which the ESME may not know that; inf: there is none."""
        return oldest_of(self.under_way.values(), self.trail, now)

    def is_mute(self, now: float) -> bool:
        """Its way here may be broken, and there is something that it may send again."""
        return bool(len(self.trail) or self.under_way) and self.connection.is_mute(now)

    def may_be_gone(self, now: float) -> bool:
        """It is given up for a new session of its user, where there is no room for both."""
        return self.is_mute(now) or self.connection.session.unanswered(now) >= _GONE
