"""Messages of DIDs for the VoIP.ms-compatible API, newest first, and their deletion there.

A deleted message is only hidden from these lists; the operator's record stays. Ids grow with time, so the requested
days are found by bisection and each DID's messages by an index: the cost does not grow with the number of stored
messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from itertools import islice
from operator import attrgetter
from time import sleep
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, select, update

from sipsms.core.message import Direction, Message
from sipsms.store.history import DID, History
from sipsms.store.message_list import last_before
from sipsms.store.rows import media_of
from sipsms.store.schema import messages

LOOKED_AT: Final = 50_000  # messages examined for one request at most
_SLACK: Final = 600.0  # seconds by which ids and times may differ: waits for commits, clocks of two nodes
_PAGE: Final = (50, 1000)  # rows of the first page, and of the largest
_NEVER: Final = float("inf")
_BREATH: Final = 32  # rows between two releases of the interpreter lock

_COLUMNS = (
    messages.c.id, messages.c.direction, messages.c.source, messages.c.destination, messages.c.text,
    messages.c.received_at, messages.c.did, messages.c.media, messages.c.content_type, messages.c.hidden,
)  # fmt: skip

T = TypeVar("T")


def past(
    connection: Connection, dids: Mapping[str, float], since: float, until: float,
    render: Callable[[Message], T | None], *, limit: int, direction: Direction | None = None, contact: str = "",
    mms: bool | None = None,
) -> list[T]:  # fmt: skip
    """Return messages from about `since` to about `until`, rendered.

    `render` returns None for a message to skip. `dids`: DID -> start of the customer's ownership. Messages the number
    carried for an earlier owner are never returned.
    """
    least = last_before(connection, since - _SLACK) + 1
    below = last_before(connection, until + _SLACK) + 1
    recorded = History(connection)
    found = merge(*(_of(recorded, one, least, below) for one in dids), key=attrgetter("id"), reverse=True)
    wanted = (
        rendered
        for row in _yielding(islice(found, LOOKED_AT))
        if _is(row, dids, direction, contact, mms) and (rendered := render(_message(row))) is not None
    )
    return list(islice(wanted, limit))


def _yielding(rows: Iterator[Any]) -> Iterator[Any]:
    """Yield rows and release the interpreter lock now and then: the event loop would wait 5 ms each time."""
    for number, row in enumerate(rows):
        if number % _BREATH == 0:
            sleep(0)
        yield row


def _is(
    row: Any, dids: Mapping[str, float], direction: Direction | None = None, contact: str = "", mms: bool | None = None
) -> bool:
    if row.hidden or row.content_type:  # an IMDN notification is not a message
        return False
    if row.received_at < dids.get(row.did, _NEVER):
        return False
    other = row.source if row.direction == Direction.IN else row.destination
    return (
        (direction is None or row.direction == direction)
        and (not contact or other == contact)
        and (mms is None or bool(row.media) == mms)
    )


def _of(past: History, did: str, least: int, below: int) -> Iterator[Any]:
    """Yield a DID's messages page by page, so that rows that are not needed are not read."""
    size, largest = _PAGE
    while True:
        rows = past.rows(_COLUMNS, DID, did, least - 1, below, size)
        yield from rows
        if len(rows) < size:
            return
        below, size = rows[-1].id, min(2 * size, largest)


def one(connection: Connection, message: int, dids: Mapping[str, float]) -> Message | None:
    """Return a message of one of these DIDs, received since its present customer owns it; else None."""
    row = connection.execute(select(*_COLUMNS).where(messages.c.id == message)).first()
    if row is None or not _is(row, dids):
        return None
    return _message(row)


def hide(connection: Connection, message: int, dids: Mapping[str, float]) -> bool:
    """Hide a message from these lists. Return False if these DIDs have no such message."""
    if one(connection, message, dids) is None:
        return False
    connection.execute(update(messages).where(messages.c.id == message).values(hidden=True))
    return True


def _message(row: Any) -> Message:
    return Message(
        Direction(row.direction), row.source, row.destination, row.text, "", row.received_at, did=row.did,
        media=media_of(row.media), id=row.id,
    )  # fmt: skip
