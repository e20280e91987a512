"""Messages that apps fetch, and where those apps want to be woken up. Synchronous."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, literal_column, select, update

from sipsms.model import Message
from sipsms.ports import PushToken
from sipsms.store.rows import message_of
from sipsms.store.schema import deliveries, messages, push_tokens

_MOST = 10  # apps of one account
_OF_APPS = deliveries.c.courier == literal_column("'app'")


def received(connection: Connection, account: str, after: int, since: float, limit: int) -> list[tuple[int, Message]]:
    """What came for an account's apps behind delivery `after` (0: the newest since then), oldest first, with the
    delivery's id: an MMS is delivered later than it came, when its files are here."""
    mine = (
        select(messages, deliveries.c.id.label("delivery"), deliveries.c.created_at)
        .join(deliveries, deliveries.c.message_id == messages.c.id)
        .where(_OF_APPS, deliveries.c.destination == account, deliveries.c.id > after)
    )
    if after:
        rows = connection.execute(mine.order_by(deliveries.c.id).limit(limit)).all()
    else:
        newest = connection.execute(mine.order_by(deliveries.c.id.desc()).limit(limit)).all()
        rows = [row for row in reversed(newest) if row.created_at >= since]
    return [(row.delivery, message_of(row)) for row in rows]


def sent(
    connection: Connection, account: str, dids: Sequence[str], after: int, since: float, limit: int
) -> list[Message]:
    """What an account has sent from these DIDs behind message `after` (0: the newest since then), oldest first."""
    found: list[Message] = []
    for did in dids:
        query = select(messages).where(messages.c.did == did, messages.c.id > after)
        order = messages.c.id if after else messages.c.id.desc()
        for row in connection.execute(query.order_by(order).limit(limit * 5)):
            mine = row.direction == "out" and row.account == account and not row.content_type
            if mine and (after or row.received_at >= since):
                found.append(message_of(row))
    found.sort(key=lambda one: one.id)
    return found[:limit] if after else found[-limit:]


def fetched(connection: Connection, ids: Sequence[int], now: float) -> list[int]:
    """An app has these deliveries now: those that were not over."""
    waiting = deliveries.c.state.in_(("queued", "sending", "unknown"))
    open_ones = list(
        connection.execute(select(deliveries.c.id).where(deliveries.c.id.in_(list(ids)), _OF_APPS, waiting)).scalars()
    )
    if open_ones:
        values = {"state": "delivered", "due_at": None, "updated_at": now, "last_error": ""}
        connection.execute(update(deliveries).where(deliveries.c.id.in_(open_ones)).values(values))
    return open_ones


def report_token(connection: Connection, account: str, one: PushToken, now: float) -> None:
    """An empty token: it wants to hear nothing more."""
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
