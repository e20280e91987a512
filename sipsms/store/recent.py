"""The newest messages of an origin, which resend detection needs after a restart."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select

from sipsms.core.queue_rows import StoredPart
from sipsms.store import concatenated_parts, smpp_marks
from sipsms.store.schema import messages

_OLD = 600.0  # seconds; segments joined longer ago are not read
_BACK = 100.0  # seconds before the newest message; older messages are not sent again
_STEP = 1000  # rows per query


class Recent(NamedTuple):
    account: str
    source: str
    destination: str
    text: str
    id: int
    received_at: float


def recent(connection: Connection, origin: str, span: float, limit: int = 50_000, after: float = 0.0) -> list[Recent]:
    """Return an origin's messages of the last `span` seconds, newest first.

    The seconds count back from the newest message of all origins. Only messages received later than `after` are
    returned. The query walks down the ids and stops at the first older message, so its cost depends only on the
    messages received in that time.
    """
    names = [messages.c[name] for name in Recent._fields]
    found: list[Recent] = []
    last, oldest = None, 0.0
    while len(found) < limit:
        query = select(*names, messages.c.origin).order_by(messages.c.id.desc()).limit(_STEP)
        rows = connection.execute(query if last is None else query.where(messages.c.id < last)).all()
        if not rows:
            break
        oldest = oldest or rows[0].received_at - span
        young = [row for row in rows if row.received_at >= oldest and row.received_at > after]
        found += [Recent(*row[:-1]) for row in young if row.origin == origin]
        if len(young) < len(rows):
            break
        last = rows[-1].id
    return found[:limit]


def recall(connection: Connection, origin: str, now: float) -> tuple[list[Recent], list[StoredPart]]:
    """Return messages of the last run whose response a peer may lack, and segments waiting or joined since."""
    mark = smpp_marks.heard(connection, origin)
    found = concatenated_parts.open_parts(connection, origin, now - _OLD)
    newest = max((one.received_at for one in found), default=0.0)
    young = max(mark, newest - _BACK)
    kept = [one for one in found if not one.joined or one.received_at > young]
    return recent(connection, origin, _BACK, after=mark), kept
