"""Rows of bindings and devices: loaded at the start, saved in batches by the writer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import accumulate
from operator import attrgetter
from sys import intern
from typing import Any

from sqlalchemy import Connection, Row, delete, select, tuple_

from sipsms.core.flow_address import FlowAddress
from sipsms.core.registration import Binding, Device, identity
from sipsms.store.rows import execute_many, take_ids
from sipsms.store.schema import bindings, devices
from sipsms.store.upsert import insert_into

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


_FIELDS = tuple(field.name for field in fields(Binding))
_RECEIVED, _PATH, _PARAMS, _Q = map(_FIELDS.index, ("received", "path", "params", "q"))
_REPEATED = tuple(map(_FIELDS.index, ("aor", "instance", "user_agent", "accept", "node", "local")))  # in many rows
_BINDINGS = select(*(bindings.c[name] for name in _FIELDS))
_DEVICE_FIELDS = tuple(field.name for field in fields(Device))
_DEVICES = select(*(devices.c[name] for name in _DEVICE_FIELDS)).order_by(devices.c.id)


_values = attrgetter(*_FIELDS)
_device_row = attrgetter(*_DEVICE_FIELDS)


def _binding_row(binding: Binding) -> tuple[Any, ...]:
    row = list(_values(binding))
    row[_PATH] = json.dumps(binding.path) if binding.path else "[]"
    row[_PARAMS] = json.dumps(binding.params) if binding.params else "[]"
    return tuple(row)


def _binding_of(row: Row[Any]) -> Binding:
    """Return the binding of a row of `_BINDINGS`; nearly all rows have no path."""
    values = list(row)
    for index in _REPEATED:
        values[index] = intern(row[index])
    values[_Q] = 1.0 if row[_Q] == 1.0 else row[_Q]  # one object for nearly all
    values[_RECEIVED] = FlowAddress(row[_RECEIVED])
    values[_PATH] = tuple(json.loads(row[_PATH])) if row[_PATH] != "[]" else ()
    pairs = json.loads(row[_PARAMS]) if row[_PARAMS] != "[]" else ()
    values[_PARAMS] = tuple((name, value) for name, value in pairs)
    return Binding(*values)


def forget_aor(connection: Connection, aor: str) -> None:
    connection.execute(delete(bindings).where(bindings.c.aor == aor))
    connection.execute(delete(devices).where(devices.c.aor == aor))


def take_device_ids(connection: Connection, counts: Sequence[int]) -> list[range]:
    first = take_ids(connection, "device", sum(counts))
    starts = accumulate(counts, initial=first)
    return [range(start, start + count) for start, count in zip(starts, counts, strict=False)]


def load(connection: Connection, now: float, aor: str) -> tuple[list[Binding], list[Device]]:
    alive, phones = _BINDINGS.where(bindings.c.expires_at > now), _DEVICES
    if aor:
        alive, phones = alive.where(bindings.c.aor == aor), phones.where(devices.c.aor == aor)
    found = [_binding_of(row) for row in connection.execute(alive)]
    known = [
        Device(row[0], intern(row[1]), intern(row[2]), intern(row[3]), *row[4:]) for row in connection.execute(phones)
    ]
    return found, known


@cache
def _upsert(table: Any, keys: tuple[str, ...], dialect: str) -> Any:
    statement = insert_into(dialect, table)
    fixed = {*keys, "aor"}
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in fixed}
    same_owner = table.c.aor == statement.excluded.aor
    return statement.on_conflict_do_update(index_elements=keys, set_=changed, where=same_owner)


def save_all(connection: Connection, batch: Sequence[Change]) -> list[None]:
    """Save the changes of a batch in their order: later changes of a row win."""
    dead = {key: None for change in batch for key in change.removed}
    alive: dict[Key, tuple[Any, ...]] = {}
    for change in batch:
        for key in change.removed:
            alive.pop(key, None)
        for binding in change.updated:
            alive[key_of(binding)] = _binding_row(binding)
    if dead:
        keys = tuple_(bindings.c.aor, bindings.c.contact, bindings.c.instance, bindings.c.reg_id)
        connection.execute(delete(bindings).where(keys.in_(list(dead))))
    if alive:
        statement = _upsert(bindings, ("aor", "contact", "instance", "reg_id"), connection.dialect.name)
        execute_many(connection, statement, _FIELDS, list(alive.values()))
    _save_devices(connection, [device for change in batch for device in change.devices])
    gone = [device for change in batch for device in change.forgotten]
    if gone:
        connection.execute(delete(devices).where(devices.c.id.in_(gone)))
    return [None] * len(batch)


def _save_devices(connection: Connection, known: Iterable[Device]) -> None:
    rows = {device.id: _device_row(device) for device in known}
    if rows:
        statement = _upsert(devices, ("id",), connection.dialect.name)
        execute_many(connection, statement, _DEVICE_FIELDS, list(rows.values()))


def log_out(connection: Connection, aor: str) -> None:
    """Delete the bindings of an AOR. Its devices stay."""
    connection.execute(delete(bindings).where(bindings.c.aor == aor))
