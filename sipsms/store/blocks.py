"""STOP and block lists: rows are switched off, not removed, so that the server sees the change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, insert, select, update

from sipsms.ports import Block
from sipsms.store.rows import take_ids
from sipsms.store.schema import blocks

BY_HAND = "by hand"


def put(connection: Connection, block: Block, reason: str, now: float) -> bool:
    """Switch one on or off. False: it was so already, or somebody else than an operator would lift an operator's."""
    here = (
        blocks.c.owner == block.owner,
        blocks.c.number == block.number,
        blocks.c.direction == block.direction,
    )
    known = connection.execute(select(blocks.c.active, blocks.c.reason).where(*here)).first()
    if (known.active if known is not None else False) == block.active:
        if known is not None and block.active and reason == BY_HAND:  # a START of theirs does not lift it any more
            connection.execute(update(blocks).where(*here).values(reason=BY_HAND))
        return False
    if known is not None and known.active and known.reason == BY_HAND and reason != BY_HAND:
        return False
    values = {"active": block.active, "reason": reason[:255], "version": take_ids(connection, "directory", 1)}
    if known is not None:
        connection.execute(update(blocks).where(*here).values(**values, created_at=now))
    else:
        connection.execute(insert(blocks), {**block._asdict(), **values, "created_at": now})
    return True


def show(connection: Connection, owner: str) -> Iterator[dict[str, Any]]:
    """Those that are on, of everybody or of one owner."""
    query = select(blocks).where(blocks.c.active).order_by(blocks.c.owner, blocks.c.number)
    if owner:
        query = query.where(blocks.c.owner == owner)
    for row in connection.execute(query):
        yield {
            "owner": row.owner, "number": row.number, "direction": row.direction, "reason": row.reason,
            "created_at": row.created_at,
        }  # fmt: skip
