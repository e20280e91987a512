"""Carriers' receipts, and deliveries whose answer was lost.

States only rise: a receipt that says "delivered" is the last word, whatever was thought before; "failed" and "expired"
end only what is under way. So receipts may come in any order, twice, or before the answer that names the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, insert, literal_column, select, update

from sipsms.model import Delivery, State
from sipsms.ports import Block, CarrierReceipt, Closing, Doubt
from sipsms.store import blocks
from sipsms.store.rows import WITH_MESSAGE, delivery_of
from sipsms.store.schema import attempts, deliveries, receipts

Given = tuple[str, CarrierReceipt, float]  # courier, receipt, now

# Which states a receipt of each kind may end.
_RISES = {
    State.DELIVERED: {"accepted", "unknown", "sending", "failed", "expired", "queued"},
    State.FAILED: {"accepted", "unknown"},
    State.EXPIRED: {"accepted", "unknown"},
    State.ACCEPTED: {"unknown"},
}

_NAMED = and_(
    deliveries.c.remote_id == bindparam("key"),
    deliveries.c.remote_id != literal_column("''"),
    deliveries.c.state != literal_column("'delivered'"),
)
_FIND = WITH_MESSAGE.where(_NAMED, deliveries.c.courier == bindparam("carrier"))
_SET = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("key"))
    .values(state=bindparam("new"), last_error=bindparam("why"), updated_at=bindparam("now"), due_at=None)
)


def apply_all(connection: Connection, batch: Sequence[Given]) -> list[Delivery | None]:
    """Each receipt's delivery in its new state; None where nothing has changed."""
    return [_apply(connection, *given) for given in batch]


def _apply(connection: Connection, courier: str, receipt: CarrierReceipt, now: float) -> Delivery | None:
    row = connection.execute(_FIND, {"key": receipt.remote_id, "carrier": courier}).first()
    if row is None:
        _keep(connection, courier, receipt, now)
        return None
    if row.state not in _RISES[receipt.state]:
        return None
    why = "" if receipt.state is State.DELIVERED else receipt.detail[:255]
    connection.execute(_SET, {"key": row.id, "new": str(receipt.state), "why": why, "now": now})
    delivery = delivery_of(row)._replace(state=receipt.state, last_error=why)
    if receipt.opt_out and delivery.message.did:  # the server sees the new block by the directory's version
        block = Block(delivery.message.did, delivery.destination, "out")
        blocks.put(connection, block, "the carrier says that they opted out", now)
    return delivery


def _keep(connection: Connection, courier: str, receipt: CarrierReceipt, now: float) -> None:
    key = {"remote_id": receipt.remote_id[:128], "courier": courier, "state": str(receipt.state)}
    there = select(receipts.c.state).where(*(receipts.c[name] == value for name, value in key.items()))
    if connection.execute(there).first() is None:
        rest = {"detail": receipt.detail[:255], "received_at": now, "opt_out": receipt.opt_out}
        connection.execute(insert(receipts), {**key, **rest})


def match(connection: Connection, named: Sequence[Closing]) -> dict[int, State]:
    """Receipts that were quicker than the answer: what they make of the deliveries that have a name now."""
    keys = [one.remote_id[:128] for one in named]
    early: list[Row[Any]] = []
    for start in range(0, len(keys), 500):
        chunk = keys[start : start + 500]
        early += connection.execute(select(receipts).where(receipts.c.remote_id.in_(chunk))).all()
    changed: dict[int, State] = {}
    for row in early:
        found = connection.execute(_FIND, {"key": row.remote_id, "carrier": row.courier}).first()
        if found is None:
            continue
        receipt = CarrierReceipt(row.remote_id, State(row.state), row.detail, row.opt_out)
        delivery = _apply(connection, row.courier, receipt, row.received_at)
        if delivery is not None:
            changed[delivery.id] = delivery.state
    return changed


def forget(connection: Connection, before: float) -> None:
    connection.execute(delete(receipts).where(receipts.c.received_at < before))


# --- answers that were lost ------------------------------------------------------------------------------------------

_DOUBTS = (
    WITH_MESSAGE.add_columns(attempts.c.started_at.label("began"))
    .join(attempts, and_(attempts.c.delivery_id == deliveries.c.id, attempts.c.number == deliveries.c.attempts))
    .where(
        deliveries.c.state == literal_column("'unknown'"),
        deliveries.c.courier == bindparam("carrier"),
        deliveries.c.created_at >= bindparam("since"),
        deliveries.c.id > bindparam("after"),
    )
    .order_by(deliveries.c.id)
    .limit(bindparam("most"))
)


def doubts(connection: Connection, courier: str, since: float, after: int, limit: int) -> list[Doubt]:
    rows = connection.execute(_DOUBTS, {"carrier": courier, "since": since, "after": after, "most": limit})
    return [Doubt(delivery_of(row), row.began) for row in rows]


def _is_taken(connection: Connection, closing: Closing) -> bool:
    mine = select(deliveries.c.courier).where(deliveries.c.id == closing.delivery_id).scalar_subquery()
    other = select(deliveries.c.id).where(
        deliveries.c.remote_id == closing.remote_id[:128], deliveries.c.remote_id != literal_column("''"),
        deliveries.c.courier == mine, deliveries.c.id != closing.delivery_id,
    )  # fmt: skip
    return connection.execute(other.limit(1)).first() is not None


def settle(connection: Connection, closing: Closing) -> bool:
    """The delivery's new state, if it is still unknown; and a line in the attempt's row.

    A name that another delivery of that courier has already is not this one's: then nothing changes.
    """
    if closing.remote_id and _is_taken(connection, closing):
        return False
    changed = connection.execute(
        update(deliveries)
        .where(deliveries.c.id == closing.delivery_id, deliveries.c.state == literal_column("'unknown'"))
        .values(
            state=str(closing.state), due_at=closing.due_at, last_error=closing.detail[:255],
            remote_id=closing.remote_id[:128], updated_at=closing.now,
        )
    ).rowcount  # fmt: skip
    if not changed:
        return False
    connection.execute(
        update(attempts)
        .where(attempts.c.delivery_id == closing.delivery_id, attempts.c.number == closing.number)
        .values(ended_at=closing.now, outcome=closing.outcome, detail=closing.detail[:255])
    )
    if closing.remote_id:
        match(connection, [closing])
    return True
