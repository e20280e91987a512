"""Messages that apps fetch, and the push tokens to wake those apps. Synchronous."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, and_, case, delete, func, insert, literal_column, select, update

from sipsms.core.lane_key import LaneKey
from sipsms.core.message import Message
from sipsms.core.queue_rows import PushToken
from sipsms.store.history import DID, History
from sipsms.store.rows import OPEN, in_lane, message_of
from sipsms.store.schema import deliveries, messages, push_tokens

SCAN: Final = 2000  # messages examined by one query
_MOST = 10  # push tokens of one account
_NEVER = 2**62
_OF_APPS = deliveries.c.courier == literal_column("'app'")


def received(
    connection: Connection, account: str, made: float, after: int, since: float, limit: int
) -> list[tuple[int, Message]]:
    """Return messages for an account's apps after delivery `after`, oldest first.

    Each message comes with its delivery's id. With `after` 0, return the newest messages created at `since` or later.
    Pages follow the id of the delivery and not of the message, because an MMS is delivered only after its files are
    fetched. A message that no app has fetched yet is never left out. Messages from before the account was made (`made`)
    are left out: they were for an earlier account of the same name."""
    mine = (
        select(messages, deliveries.c.id.label("delivery"), deliveries.c.created_at)
        .join(deliveries, deliveries.c.message_id == messages.c.id)
        .where(_OF_APPS, deliveries.c.destination == account, deliveries.c.state != "failed")
        .where(deliveries.c.created_at >= made)
    )
    if not after:
        newest = connection.execute(mine.order_by(deliveries.c.id.desc()).limit(limit)).all()
        rows = [row for row in reversed(newest) if row.created_at >= since]  # filtered here: keeps the query short
        waiting = _oldest_waiting(connection, account, made)
        if waiting is None or (rows and rows[0].delivery <= waiting):
            return [(row.delivery, message_of(row)) for row in rows]
        after = waiting - 1
    rows = list(connection.execute(mine.where(deliveries.c.id > after).order_by(deliveries.c.id).limit(limit)))
    return [(row.delivery, message_of(row)) for row in rows]


def _oldest_waiting(connection: Connection, account: str, made: float) -> int | None:
    waiting = and_(OPEN, in_lane(connection, LaneKey.to("app", account)), _OF_APPS, deliveries.c.created_at >= made)
    return connection.execute(select(func.min(deliveries.c.id)).where(waiting)).scalar()


def sent(
    connection: Connection, account: str, dids: Sequence[str], after: int, since: float, limit: int
) -> tuple[list[Message], int]:
    """Return messages an account sent from these DIDs after message `after`, oldest first.

    The second value is the last id examined: no message of the account up to that id is missing, and the caller
    continues after it. With `after` 0, return the newest messages sent at `since` or later."""
    walk = _Walk(connection, account, dids, after, since)
    ids = list(islice(walk, limit))
    found = connection.execute(select(messages).where(messages.c.id.in_(ids)).order_by(messages.c.id))
    return [message_of(row) for row in found], ids[-1] if len(ids) == limit else walk.passed


class _Walk(Iterator[int]):
    """Ids of an account's own messages among all of its DIDs.

    Ids ascend after `after`; without `after` they descend from the newest. The walk examines about `SCAN` messages. If
    there are more, no message before the id `passed` is missing."""

    def __init__(self, connection: Connection, account: str, dids: Sequence[str], after: int, since: float) -> None:
        self._connection = connection
        self._past = History(connection)
        self._after = after
        own = and_(messages.c.direction == "out", messages.c.account == account, messages.c.content_type == "")
        self._hit = case((and_(own, messages.c.received_at >= since), 1), else_=0).label("hit")
        # one upper limit for all numbers
        self._newest = int(connection.execute(select(func.max(messages.c.id))).scalar() or 0)
        self._left = SCAN
        self._ended = False
        self.passed = after
        chunk = max(1, SCAN // (2 * max(len(dids), 1)))
        up = 1 if after else -1
        self._rows = merge(*(self._of(did, chunk) for did in dids), key=lambda row: up * row.id)

    def _of(self, did: str, chunk: int) -> Iterator[Any]:
        columns, ascending = (messages.c.id, self._hit), bool(self._after)
        low, high = self._after, self._newest + 1
        while not self._ended:
            rows = self._past.rows(columns, DID, did, low, high, chunk, ascending=ascending)
            self._left -= len(rows)
            yield from rows
            if len(rows) < chunk:
                return
            low, high = (rows[-1].id, high) if ascending else (low, rows[-1].id)
            self._ended = self._left <= 0

    def __next__(self) -> int:
        for row in self._rows:
            if self._ended:  # the next messages of a number were not read; this row may come after them
                break
            self.passed = row.id
            if row.hit:
                return int(row.id)
        raise StopIteration


def fetched(connection: Connection, ids: Sequence[int], now: float) -> list[int]:
    """Mark deliveries as fetched by an app. Return the ids of those that were still open."""
    waiting = deliveries.c.state.in_(("queued", "sending", "unknown"))
    open_ones = list(
        connection.execute(select(deliveries.c.id).where(deliveries.c.id.in_(list(ids)), _OF_APPS, waiting)).scalars()
    )
    if open_ones:
        values = {"state": "delivered", "due_at": None, "updated_at": now, "last_error": ""}
        connection.execute(update(deliveries).where(deliveries.c.id.in_(open_ones)).values(values))
    return open_ones


def report_token(connection: Connection, account: str, one: PushToken, now: float) -> None:
    """Store an app's push token. An empty token removes the app's registration for push."""
    here = (push_tokens.c.account == account, push_tokens.c.selector == one.selector)
    connection.execute(delete(push_tokens).where(*here))
    if not one.token:
        return
    connection.execute(insert(push_tokens), {"account": account, **one._asdict(), "updated_at": now})
    mine = select(push_tokens.c.selector).where(push_tokens.c.account == account)
    old = list(connection.execute(mine.order_by(push_tokens.c.updated_at.desc()).offset(_MOST)).scalars())
    if old:
        connection.execute(delete(push_tokens).where(push_tokens.c.account == account, push_tokens.c.selector.in_(old)))


def tokens_of(connection: Connection, account: str) -> list[PushToken]:
    rows = connection.execute(select(push_tokens).where(push_tokens.c.account == account))
    return [PushToken(row.selector, row.app, row.token) for row in rows]
