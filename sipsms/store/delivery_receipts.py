"""Carriers' receipts (DLR), and deliveries whose response was lost (unknown outcome).

A receipt can only advance a delivery's state. "Delivered" is final and overrides every other state; "failed" and
"expired" end only a delivery that is under way. Therefore receipts may arrive in any order, twice, or before the
response that names the message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, literal_column, select, update
from sqlalchemy.sql import ColumnElement

from sipsms.core.directory_rows import Block
from sipsms.core.message import Delivery, State
from sipsms.core.queue_rows import LOOK_BACK, CarrierReceipt, Closing, Doubt, fold_id
from sipsms.store import blocks, upsert
from sipsms.store.rows import WITH_MESSAGE, chunks, delivery_of, execute_scalar
from sipsms.store.schema import attempts, deliveries, receipts

Given = tuple[str, CarrierReceipt, float]  # courier, receipt, now

# Current states that a receipt of each kind may replace.
_RISES = {
    State.DELIVERED: {"accepted", "unknown", "sending", "failed", "expired", "queued"},
    State.FAILED: {"accepted", "unknown"},
    State.EXPIRED: {"accepted", "unknown"},
    State.ACCEPTED: {"unknown"},
}

_NAMED = and_(
    deliveries.c.remote_id == bindparam("key"),
    deliveries.c.remote_id != literal_column("''"),
    deliveries.c.courier == bindparam("carrier"),
)
_folded = func.ltrim(func.lower(deliveries.c.remote_id), literal_column("'0'"))  # as ix_deliveries_folded_id has it
_NAMED_OTHERWISE = and_(
    _folded == bindparam("key"), deliveries.c.remote_id != _folded, deliveries.c.courier == bindparam("carrier")
)
_IS_DELIVERED = deliveries.c.state == literal_column("'delivered'")
_ID = select(deliveries.c.id)

Search = tuple[dict[str, str], list[ColumnElement[bool]]]  # parameters and conditions


def _meant(recipient: str, sender: str) -> list[ColumnElement[bool]]:
    """Return conditions for the deliveries a receipt can mean; empty if any delivery."""
    given = ((deliveries.c.destination, recipient), (deliveries.c.source, sender))
    return [column == value for column, value in given if value]


_SET = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("key"), deliveries.c.state == bindparam("old"))
    .values(state=bindparam("new"), last_error=bindparam("why"), updated_at=bindparam("now"), due_at=None)
)


def apply_all(connection: Connection, batch: Sequence[Given]) -> list[Delivery | None]:
    """Apply receipts. Return each receipt's delivery in its new state; None if nothing changed."""
    return [_apply(connection, *given) for given in batch]


def _apply(connection: Connection, courier: str, receipt: CarrierReceipt, now: float) -> Delivery | None:
    has_numbers = bool(receipt.recipient or receipt.sender)
    for values, named in _searches(courier, receipt):
        row = connection.execute(WITH_MESSAGE.where(*named, ~_IS_DELIVERED), values).first()
        if row is not None:
            return _raise(connection, row, receipt, now)
        if has_numbers and connection.execute(_ID.where(*named, _IS_DELIVERED), values).first() is not None:
            return None  # a repeated receipt; if stored, another message could match it
    _keep(connection, courier, receipt, now)
    return None


def is_ours(connection: Connection, courier: str, receipt: CarrierReceipt) -> bool:
    """Return True if a delivery between the two numbers has the receipt's id; False if a number is missing."""
    if not (receipt.recipient and receipt.sender):
        return False
    found = (connection.execute(_ID.where(*named), values).first() for values, named in _searches(courier, receipt))
    return any(row is not None for row in found)


def _searches(courier: str, receipt: CarrierReceipt) -> Iterator[Search]:
    """Yield the searches for a receipt's delivery: by the id as it is, then by its other forms."""
    meant = _meant(receipt.recipient, receipt.sender)
    yield {"key": receipt.remote_id, "carrier": courier}, [_NAMED, *meant]
    for form in receipt.alternatives if meant else ():
        values = {"key": form, "carrier": courier}
        yield values, [_NAMED, *meant]
        yield values, [_NAMED_OTHERWISE, *meant]


def _raise(connection: Connection, row: Row[Any], receipt: CarrierReceipt, now: float) -> Delivery | None:
    if row.state not in _RISES[receipt.state]:
        return None
    why = "" if receipt.state is State.DELIVERED else receipt.detail[:255]
    values = {"key": row.id, "old": row.state, "new": str(receipt.state), "why": why, "now": now}
    if not connection.execute(_SET, values).rowcount:
        return None
    delivery = delivery_of(row)._replace(state=receipt.state, last_error=why)
    if receipt.opt_out and delivery.message.did:  # the server sees the new block by the directory's version
        block = Block(delivery.message.did, delivery.destination, "out")
        blocks.put(connection, block, "the carrier says that they opted out", now)
    return delivery


def _keep(connection: Connection, courier: str, receipt: CarrierReceipt, now: float) -> None:
    for name in dict.fromkeys((receipt.remote_id[:128], *receipt.alternatives)):
        key = {
            "remote_id": name, "courier": courier, "state": str(receipt.state),
            "recipient": receipt.recipient[:64], "sender": receipt.sender[:64],
        }  # fmt: skip
        rest = {
            "detail": receipt.detail[:255], "received_at": now, "opt_out": receipt.opt_out,
            "other": name != receipt.remote_id[:128],
        }  # fmt: skip
        upsert.keep(connection, receipts, {**key, **rest})


_KEPT = select(receipts.c.state).limit(1)


def match(connection: Connection, named: Sequence[Closing]) -> dict[int, State]:
    """Apply receipts that arrived before the carrier's response. Return the new states by delivery id."""
    if execute_scalar(connection, _KEPT, (), ()) is None:  # the usual case; the next query is expensive
        return {}
    keys = [key for one in named for key in {one.remote_id[:128], fold_id(one.remote_id[:128])}]
    early: list[Row[Any]] = []
    for chunk in chunks(keys):
        early += connection.execute(select(receipts).where(receipts.c.remote_id.in_(chunk))).all()
    changed: dict[int, State] = {}
    for row in early:
        receipt = CarrierReceipt(
            row.remote_id, State(row.state), row.detail, row.opt_out, (row.remote_id,), row.recipient, row.sender
        )
        searches = _searches(row.courier, receipt)
        rows = (connection.execute(WITH_MESSAGE.where(*found, ~_IS_DELIVERED), key).first() for key, found in searches)
        found = next((one for one in rows if one is not None), None)
        if found is None:
            continue
        delivery = _raise(connection, found, receipt, row.received_at)
        if delivery is not None:
            changed[delivery.id] = delivery.state
        if row.recipient or row.sender:
            _forget_forms(connection, row)
    return changed


def _forget_forms(connection: Connection, row: Row[Any]) -> None:
    """Delete the other forms of a matched receipt's id: they must not match a second message."""
    names = ("recipient", "sender", "courier", "state", "received_at")
    same = [receipts.c[name] == getattr(row, name) for name in names]
    connection.execute(delete(receipts).where(*same))


class Unmatched(NamedTuple):
    remote_id: str
    state: State
    detail: str
    received_at: float


def unmatched(connection: Connection, courier: str, sender: str, recipient: str, since: float) -> list[Unmatched]:
    """Return receipts that match no delivery, from our number `sender` to `recipient`.

    At most 100 receipts, ordered by time. These receipts can settle deliveries whose response, with the carrier's id in
    it, was lost. Only the carrier's own form of the id is used. An empty `sender` selects receipts without a sender.
    The result is empty if more deliveries of those days have an unknown outcome than there are ids: then the receipts
    cannot be assigned.
    """
    columns = (receipts.c.remote_id, receipts.c.state, receipts.c.detail, receipts.c.received_at)
    named = select(deliveries.c.id).where(
        deliveries.c.remote_id == receipts.c.remote_id, deliveries.c.remote_id != literal_column("''"),
        deliveries.c.courier == courier,
    )  # fmt: skip
    query = select(*columns).where(
        receipts.c.recipient == recipient, receipts.c.recipient != literal_column("''"), receipts.c.sender == sender,
        receipts.c.courier == courier, receipts.c.received_at >= since, ~receipts.c.other, ~named.exists(),
    )  # fmt: skip
    rows = connection.execute(query.order_by(receipts.c.received_at).limit(100))
    found = [Unmatched(row.remote_id, State(row.state), row.detail, row.received_at) for row in rows]
    names = len({one.remote_id for one in found})
    doubted = select(func.count()).where(
        deliveries.c.state == literal_column("'unknown'"), deliveries.c.courier == courier,
        *_meant(recipient, sender), deliveries.c.created_at >= since - LOOK_BACK,
    )  # fmt: skip
    return found if names and connection.execute(doubted).scalar_one() <= names else []


def forget(connection: Connection, before: float) -> None:
    connection.execute(delete(receipts).where(receipts.c.received_at < before))


# --- unknown outcomes -------------------------------------------------------------------------------------------

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
    """Return deliveries created since then whose outcome is unknown, oldest first, with ids above `after`."""
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
    """Close a delivery of unknown outcome, and its attempt.

    Return False, with nothing changed, if its outcome is known or another delivery of its courier has that id."""
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
