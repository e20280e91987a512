"""Rows of messages: inserted with their deliveries, completed later with fetched media."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from sipsms.core.message import Delivery, Message
from sipsms.core.queue_rows import Stored
from sipsms.store import threads
from sipsms.store.rows import (
    DELIVERY_KEYS,
    INSERT_DELIVERY,
    INSERT_MESSAGE,
    MESSAGE_KEYS,
    delivery_row,
    execute_many,
    media_text,
    message_of,
    message_row,
    take_ids,
)
from sipsms.store.schema import attempts, deliveries, messages
from sipsms.store.writer import ALONE

INSERT_ATTEMPT = insert(attempts)
ATTEMPT_KEYS = ("delivery_id", "number", "started_at")

Acceptance = tuple[Message, Sequence[Delivery], str, float]


def accept_all(connection: Connection, batch: Sequence[Acceptance]) -> list[Stored]:
    """Insert messages with their deliveries, and note their DID for the accounts that answer from it.

    Return the stored ids. A duplicate key fails the batch. The writer then runs each message alone, and the duplicate
    is found before its insert.
    """
    if connection.info.get(ALONE) and (key := batch[0][0].dedupe_key) is not None:
        known = message_with_key(connection, key)
        if known is not None:
            return [Stored(known, duplicate=True)]
    message_id = take_ids(connection, "message", len(batch))
    total = sum(len(item[1]) for item in batch)
    delivery_id = take_ids(connection, "delivery", total) if total else 0
    message_rows: list[tuple[Any, ...]] = []
    delivery_rows: list[tuple[Any, ...]] = []
    begun_rows: list[tuple[Any, ...]] = []
    thread_rows: list[tuple[str, str, str]] = []
    results: list[Stored] = []
    for message, new, node, now in batch:
        message_rows.append(message_row(message, message_id))
        kept = []
        numbered = message._replace(id=message_id)
        for delivery in new:
            delivery_rows.append(delivery_row(delivery, delivery_id, message_id, node, now))
            if delivery.attempts:
                begun_rows.append((delivery_id, delivery.attempts, now))
            kept.append(delivery._replace(message=numbered, id=delivery_id))
            delivery_id += 1
        if message.answering:
            thread_rows += [(account, message.source, message.did) for account in message.answering]
        results.append(Stored(message_id, tuple(kept)))
        message_id += 1
    execute_many(connection, INSERT_MESSAGE, MESSAGE_KEYS, message_rows)
    if delivery_rows:
        execute_many(connection, INSERT_DELIVERY, DELIVERY_KEYS, delivery_rows)
    if begun_rows:
        execute_many(connection, INSERT_ATTEMPT, ATTEMPT_KEYS, begun_rows)
    if thread_rows:
        threads.note_all(connection, thread_rows)
    return results


Addition = tuple[Message, Sequence[Delivery], str, str, float]


def add(connection: Connection, addition: Addition) -> tuple[Delivery, ...]:
    """Store the fetched media of a message and, once, its deliveries. Return the new deliveries."""
    message, new, fetcher, node, now = addition
    connection.execute(update(messages).where(messages.c.id == message.id).values(media=media_text(message.media)))
    other = select(deliveries.c.id).where(deliveries.c.message_id == message.id, deliveries.c.courier != fetcher)
    if not new or connection.execute(other.limit(1)).first() is not None:
        return ()
    first = take_ids(connection, "delivery", len(new))
    kept = tuple(one._replace(message=message, id=first + index) for index, one in enumerate(new))
    rows = [delivery_row(one, one.id, message.id, node, now) for one in kept]
    execute_many(connection, INSERT_DELIVERY, DELIVERY_KEYS, rows)
    return kept


def message_with_id(connection: Connection, message: int) -> Message | None:
    row = connection.execute(select(messages).where(messages.c.id == message)).first()
    return message_of(row) if row is not None else None


def message_named(connection: Connection, start: bytes) -> tuple[int, bytes] | None:
    """Return id and duplicate key of the message whose key begins with `start`, or None."""
    named = messages.c.dedupe_key.between(start, start + b"\xff" * 12)
    row = connection.execute(select(messages.c.id, messages.c.dedupe_key).where(named).limit(1)).first()
    return (row.id, row.dedupe_key) if row is not None else None


def message_with_key(connection: Connection, key: bytes) -> int | None:
    return connection.execute(select(messages.c.id).where(messages.c.dedupe_key == key)).scalar()
