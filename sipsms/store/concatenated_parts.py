"""Segments of long texts (concatenated SMS), kept until all arrive or the text is given up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, func, insert, or_, select, update

from sipsms.core import report_request
from sipsms.core.queue_rows import StoredPart
from sipsms.store.schema import parts

AGAIN = 60.0  # seconds in which an SMSC that received no response sends a segment again


def _of(part: StoredPart) -> list[Any]:
    """Return the conditions for the rows of the text that a segment belongs to."""
    return [
        parts.c.carrier == part.origin, parts.c.source == part.source, parts.c.destination == part.destination,
        parts.c.reference == part.reference,
    ]  # fmt: skip


def _name(part: StoredPart) -> str:
    return report_request.encode(part.report) if part.account else part.remote_id


def _row(part: StoredPart) -> dict[str, Any]:
    """Return a row: the column `remote_id` has the requested report of a segment that an account sends."""
    return dict(zip(parts.c.keys(), part._replace(remote_id=_name(part))[:-1], strict=True))


def _part(row: Any) -> StoredPart:
    part = StoredPart(*row)
    return part._replace(remote_id="", report=report_request.decode(part.remote_id)) if part.account else part


def add(connection: Connection, part: StoredPart) -> list[StoredPart]:
    """Store a segment. Return all segments if the text is now complete, else an empty list.

    If the reference is still in use by another incomplete text, return that text's segments and store nothing. The
    caller must deliver them first and then call again. A repeated segment changes nothing."""
    known = [_part(row) for row in connection.execute(select(parts).where(*_of(part)).order_by(parts.c.number))]
    twin = next((one for one in known if one.number == part.number), None)
    if twin is not None and _same(twin, part):
        return _complete(known) if not twin.joined else []
    waiting = [one for one in known if not one.joined]
    if waiting and (twin is not None or waiting[0].total != part.total):
        return waiting
    if known and not waiting:  # the old text was delivered: the reference is used again
        connection.execute(delete(parts).where(*_of(part)))
        known = []
    connection.execute(insert(parts), _row(part))
    return _complete([*known, part])


def _same(old: StoredPart, new: StoredPart) -> bool:
    """Return whether a segment is a repetition of a stored one.

    Some carriers repeat a segment under another id. For a text already delivered, only an equal id proves a repetition:
    people send the same text again, and references are reused. If the SMSC gives no id, a repetition must come within
    `AGAIN` seconds."""
    if (old.total, old.text) != (new.total, new.text):
        return False
    if not old.joined:
        return True
    has_name = bool(old.remote_id or new.account)  # accounts' own messages have a unique reference
    return _name(old) == _name(new) and (has_name or new.received_at - old.received_at < AGAIN)


def _complete(known: list[StoredPart]) -> list[StoredPart]:
    return sorted(known, key=lambda one: one.number) if len(known) == known[0].total else []


def late(connection: Connection, before: float, whole: float = 0.0) -> list[list[StoredPart]]:
    """Return at most 500 texts whose newest segment is older than `before`, or than `whole` if all have arrived."""
    groups: dict[tuple[str, ...], list[StoredPart]] = defaultdict(list)
    for row in connection.execute(late_query(before, whole)):
        part = _part(row)
        groups[part[:4]].append(part)
    return list(groups.values())


def late_query(before: float, whole: float = 0.0) -> Select[Any]:
    """Return the query of `late`. The query runs often, so it must not read joined segments."""
    keys = (parts.c.carrier, parts.c.source, parts.c.destination, parts.c.reference)
    newest, complete = func.max(parts.c.received_at), func.count() == func.max(parts.c.total)
    over = or_(newest < before, and_(newest < whole, complete))
    found = select(*keys).where(~parts.c.joined).group_by(*keys).having(over).limit(500).subquery()
    same = and_(*(found.c[column.name] == column for column in keys))
    return select(parts).join(found, same).order_by(parts.c.number)


def joined(connection: Connection, done: Sequence[StoredPart]) -> None:
    """Mark these segments as stored in one message."""
    for one in done:
        connection.execute(update(parts).where(*_of(one), parts.c.number == one.number).values(joined=True))


def open_parts(connection: Connection, origin: str, since: float) -> list[StoredPart]:
    """Return the waiting segments of an origin, and those joined since a time; of both directions."""
    mine = select(parts).where(parts.c.carrier == origin)
    waiting = mine.where(~parts.c.joined | (parts.c.received_at >= since))
    return [_part(row) for row in connection.execute(waiting.order_by(parts.c.received_at))]


def forget(connection: Connection, before: float) -> None:
    connection.execute(delete(parts).where(parts.c.joined, parts.c.received_at < before))
