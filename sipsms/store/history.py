"""History by number: which messages a DID has, and which a contact, in the order of their ids.

The commit that accepts a message does not write it. A row in the order of numbers touches a page of its own in the
file, so that two of them cost more than the message itself. The writer adds them later, many at once and in order
(`follow`). `MARK` says up to which message it has done so; readers look at the few messages after it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, func, insert, literal, literal_column, select, update

from sipsms.store.rows import counter, take_ids
from sipsms.store.schema import CONTACT, counters, history, messages

MARK: Final = "history"  # counter: the last message that is in the history
CHUNK: Final = 1000  # messages of one step


class By(NamedTuple):
    """A side of messages: its kind in the table, and the SQL of the number."""

    kind: int
    number: Any


DID: Final = By(0, messages.c.did)
CONTACTS: Final = By(1, literal_column(f"({CONTACT})"))  # the number of the other side

_NEXT = select(messages.c.id).where(messages.c.id > bindparam("mark")).order_by(messages.c.id).limit(CHUNK).subquery()
_LAST = select(func.max(_NEXT.c.id), func.count())
_COPY = tuple(
    insert(history).from_select(
        ["kind", "number", "id"],
        select(literal(side.kind), side.number, messages.c.id)
        .where(messages.c.id > bindparam("mark"), messages.c.id <= bindparam("last"), side.number != "")
        .order_by(side.number, messages.c.id),
    )
    for side in (DID, CONTACTS)
)
_MOVE = update(counters).where(counters.c.name == MARK).values(value=bindparam("last"))


def newest(connection: Connection) -> int:
    """Return the id of the newest message; 0 if there is none."""
    return int(connection.execute(select(func.max(messages.c.id))).scalar() or 0)


def follow(connection: Connection) -> bool:
    """Add the next messages to the history. Return whether there may be more."""
    if newest(connection) == counter(connection, MARK):
        return False  # without a write, which would cost a commit
    mark = take_ids(connection, MARK, 0) - 1  # an update: other nodes wait for the end of this transaction
    last, count = connection.execute(_LAST, {"mark": mark}).one()
    if not count:
        return False
    for copy in _COPY:
        connection.execute(copy, {"mark": mark, "last": last})
    connection.execute(_MOVE, {"last": last})
    return int(count) == CHUNK


class History:
    """The history as it is now: what is stored later is not in it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._mark = counter(connection, MARK)
        self._newest = newest(connection)

    def rows(
        self, columns: Sequence[Any], by: By, number: str, low: int, high: int, most: int, *, ascending: bool = False
    ) -> list[Any]:
        """Return these columns, id among them, of at most `most` messages of a number with low < id < high.

        The newest come first, or the oldest with `ascending`.
        """
        older = (
            select(*columns)
            .join(history, history.c.id == messages.c.id)
            .where(history.c.kind == by.kind, history.c.number == number)
            .where(history.c.id > low, history.c.id < min(high, self._mark + 1))
            .order_by(history.c.id if ascending else history.c.id.desc())
        )
        newer = (
            select(*columns)
            .where(messages.c.id > max(low, self._mark), messages.c.id < min(high, self._newest + 1))
            .where(by.number == number)
            .order_by(messages.c.id if ascending else messages.c.id.desc())
        )
        parts = [(newer, self._newest > self._mark and high > self._mark + 1), (older, low < self._mark)]
        found: list[Any] = []
        for part, is_there in reversed(parts) if ascending else parts:
            if is_there and len(found) < most:
                found += self._connection.execute(part.limit(most - len(found))).all()
        return found
