"""Rows of bindings and devices: loaded at the start, saved in batches by the writer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection, Row, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from sipsms.core.registration import Binding, Device, identity
from sipsms.store.rows import take_ids
from sipsms.store.schema import bindings, devices

Key = tuple[str, str, str, int]  # key of a binding: AOR, contact, instance, reg-id


@dataclass(frozen=True, slots=True)
class Change:
    """Changes made by one REGISTER or one removal of expired bindings."""

    updated: Sequence[Binding] = ()
    removed: Sequence[Key] = ()
    devices: Sequence[Device] = ()
    forgotten: Sequence[int] = ()  # ids of devices to delete


def key_of(binding: Binding) -> Key:
    return (binding.aor, *identity(binding))


_BINDING_FIELDS = tuple(
    "aor contact expires_at call_id cseq received q instance reg_id user_agent accept".split()
    + "flow node local to_uri device".split()
)


def _binding_row(binding: Binding) -> dict[str, Any]:
    row = {name: getattr(binding, name) for name in _BINDING_FIELDS}
    row["path"] = json.dumps(binding.path) if binding.path else "[]"
    row["params"] = json.dumps(binding.params) if binding.params else "[]"
    return row


def binding_of(row: Row[Any]) -> Binding:
    values = row._mapping
    params = tuple((name, value) for name, value in json.loads(row.params))
    return Binding(**{name: values[name] for name in _BINDING_FIELDS}, path=tuple(json.loads(row.path)), params=params)


def device_of(row: Row[Any]) -> Device:
    return Device(row.id, row.aor, row.key, row.user_agent, row.first_seen, row.last_seen, row.stable)


def forget_aor(connection: Connection, aor: str) -> None:
    connection.execute(delete(bindings).where(bindings.c.aor == aor))
    connection.execute(delete(devices).where(devices.c.aor == aor))


def take_device_ids(connection: Connection, counts: Sequence[int]) -> list[range]:
    first = take_ids(connection, "device", sum(counts))
    starts = accumulate(counts, initial=first)
    return [range(start, start + count) for start, count in zip(starts, counts, strict=False)]


def load(connection: Connection, now: float, aor: str) -> tuple[list[Binding], list[Device]]:
    alive = select(bindings).where(bindings.c.expires_at > now)
    phones = select(devices).order_by(devices.c.id)
    if aor:
        alive, phones = alive.where(bindings.c.aor == aor), phones.where(devices.c.aor == aor)
    found = [binding_of(row) for row in connection.execute(alive)]
    known = [device_of(row) for row in connection.execute(phones)]
    return found, known


def _upsert(table: Any, keys: Sequence[str], connection: Connection) -> Any:
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = make(table)
    fixed = {*keys, "aor"}
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in fixed}
    same_owner = table.c.aor == statement.excluded.aor
    return statement.on_conflict_do_update(index_elements=list(keys), set_=changed, where=same_owner)


_UPSERTS: dict[tuple[str, str], Any] = {}


def _save(connection: Connection, table: Any, keys: Sequence[str], rows: list[dict[str, Any]]) -> None:
    cached = (table.name, connection.dialect.name)
    if cached not in _UPSERTS:
        _UPSERTS[cached] = _upsert(table, keys, connection)
    connection.execute(_UPSERTS[cached], rows)


def save_all(connection: Connection, batch: Sequence[Change]) -> list[None]:
    """Save all changes of a batch.

    Later changes of a row win, so the order of the changes must be kept."""
    dead = {key: None for change in batch for key in change.removed}
    alive: dict[Key, dict[str, Any]] = {}
    for change in batch:
        for key in change.removed:
            alive.pop(key, None)
        for binding in change.updated:
            alive[key_of(binding)] = _binding_row(binding)
    if dead:
        keys = tuple_(bindings.c.aor, bindings.c.contact, bindings.c.instance, bindings.c.reg_id)
        connection.execute(delete(bindings).where(keys.in_(list(dead))))
    if alive:
        _save(connection, bindings, ("aor", "contact", "instance", "reg_id"), list(alive.values()))
    _save_devices(connection, [device for change in batch for device in change.devices])
    gone = [device for change in batch for device in change.forgotten]
    if gone:
        connection.execute(delete(devices).where(devices.c.id.in_(gone)))
    return [None] * len(batch)


def _save_devices(connection: Connection, known: Iterable[Device]) -> None:
    rows = {
        device.id: {
            "id": device.id, "aor": device.aor, "key": device.key, "user_agent": device.user_agent,
            "first_seen": device.first_seen, "last_seen": device.last_seen, "stable": device.stable,
        }
        for device in known
    }  # fmt: skip
    if rows:
        _save(connection, devices, ("id",), list(rows.values()))


def log_out(connection: Connection, aor: str) -> None:
    """Delete the bindings of an AOR. Its devices stay."""
    connection.execute(delete(bindings).where(bindings.c.aor == aor))
