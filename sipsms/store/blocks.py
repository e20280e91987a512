"""STOP and block lists: rows are switched off, not removed, so that the server sees the change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from sipsms.core.directory_rows import Block
from sipsms.store.accounts import AdminError
from sipsms.store.rows import take_ids
from sipsms.store.schema import blocks

BY_HAND = "by hand"  # of the operator: nobody else lifts it
BY_CUSTOMER = "by the customer"
MOST: Final = 10_000  # that a customer has ever made by itself: rows stay
_STRENGTH: Final = {BY_HAND: 2, BY_CUSTOMER: 1}  # anything else: what the blocked one has written


def put(connection: Connection, block: Block, reason: str, now: float) -> bool:
    """Switch one on or off. False: it was so already, or it is the operator's, or a START would lift the customer's."""
    here = (
        blocks.c.owner == block.owner,
        blocks.c.number == block.number,
        blocks.c.direction == block.direction,
    )
    known = connection.execute(select(blocks.c.active, blocks.c.reason).where(*here)).first()
    if (known.active if known is not None else False) == block.active:
        if known is not None and block.active and _strength(reason) > _strength(known.reason):
            connection.execute(update(blocks).where(*here).values(reason=reason))  # a START does not lift it any more
        return False
    if known is not None and known.active and _strength(reason) < _strength(known.reason):
        return False
    values = {"active": block.active, "reason": reason[:255], "version": take_ids(connection, "directory", 1)}
    if known is not None:
        connection.execute(update(blocks).where(*here).values(**values, created_at=now))
    else:
        connection.execute(insert(blocks), {**block._asdict(), **values, "created_at": now})
    return True


def _strength(reason: str) -> int:
    return _STRENGTH.get(reason, 0)


def is_operators(connection: Connection, owner: str, number: str, directions: Sequence[str]) -> bool:
    """Is one of these on, and the operator's own?"""
    here = (blocks.c.owner == owner, blocks.c.number == number, blocks.c.direction.in_(directions))
    query = select(blocks.c.owner).where(*here, blocks.c.active, blocks.c.reason == BY_HAND)
    return connection.execute(query.limit(1)).first() is not None


def check_share(connection: Connection, owners: Sequence[str]) -> None:
    """May a customer, with its DIDs, make more? Raises AdminError."""
    count = 0
    for start in range(0, len(owners), 500):
        mine = blocks.c.owner.in_(owners[start : start + 500]) & (blocks.c.reason == BY_CUSTOMER)
        count += int(connection.execute(select(func.count()).where(mine)).scalar() or 0)
    if count >= MOST:
        raise AdminError(f"a customer makes at most {MOST:,} blocks")


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
