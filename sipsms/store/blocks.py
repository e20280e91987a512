"""STOP and block lists.

Rows are switched off and never deleted, so that the server sees the change by its version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, func, literal, select, update

from sipsms.core.directory_rows import Block
from sipsms.core.errors import AdminError
from sipsms.store import upsert
from sipsms.store.rows import take_ids
from sipsms.store.schema import blocks, dids

BY_HAND = "by hand"  # made by the operator, who alone may lift it
BY_CUSTOMER = "by the customer"
MOST: Final = 10_000  # blocks a customer may ever make; rows are not deleted
_STRENGTH: Final = {BY_HAND: 2, BY_CUSTOMER: 1}  # any other reason: the blocked person sent STOP


def put(connection: Connection, block: Block, reason: str, now: float) -> bool:
    """Switch a block on or off. Return False if its state did not change.

    The state does not change if the block is already in it, or if a weaker reason would lift the block: only the
    operator lifts the operator's block, and START does not lift the customer's block. A stronger reason replaces the
    reason of an active block."""
    here = (blocks.c.owner == block.owner, blocks.c.number == block.number, blocks.c.direction == block.direction)
    known = connection.execute(select(blocks.c.active, blocks.c.reason).where(*here)).first()
    if (known.active if known is not None else False) == block.active:
        if known is not None and block.active and _strength(reason) > _strength(known.reason):
            connection.execute(update(blocks).where(*here).values(reason=reason))  # START does not lift it any more
        return False
    if known is not None and known.active and _strength(reason) < _strength(known.reason):
        return False
    values = {"active": block.active, "reason": reason[:255], "version": take_ids(connection, "directory", 1)}
    upsert.put(connection, blocks, {**block._asdict(), **values, "created_at": now})
    return True


def _strength(reason: str) -> int:
    return _STRENGTH.get(reason, 0)


def is_operators(connection: Connection, owner: str, number: str, directions: Sequence[str]) -> bool:
    """Return whether one of these blocks is active and was made by the operator."""
    here = (blocks.c.owner == owner, blocks.c.number == number, blocks.c.direction.in_(directions))
    query = select(blocks.c.owner).where(*here, blocks.c.active, blocks.c.reason == BY_HAND)
    return connection.execute(query.limit(1)).first() is not None


def check_share(connection: Connection, owner: str) -> None:
    """Check that a customer may make more blocks for itself and its DIDs. Raises AdminError.

    `owner`: the customer or one of its DIDs."""
    customer = connection.execute(select(dids.c.account).where(dids.c.number == owner)).scalar() or owner
    owners = select(literal(customer)).union_all(select(dids.c.number).where(dids.c.account == customer))
    mine = select(func.count()).where(blocks.c.owner.in_(owners), blocks.c.reason == BY_CUSTOMER)
    if (connection.execute(mine).scalar() or 0) >= MOST:
        raise AdminError(f"a customer makes at most {MOST:,} blocks")
