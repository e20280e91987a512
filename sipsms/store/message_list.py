"""The lists of the API: paged by indexed keys, limited to rows that the caller may see.

Commands show some of them as one page. Synchronous. A page must cost no more with a million stored messages than with a
thousand. Whatever the filters, one query walks at most `SCAN` rows of an index, newest first, and returns where the
next query continues. So a page may be short or even empty although more rows follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Column, Connection, Row, and_, bindparam, case, func, literal, literal_column, select, tuple_

from sipsms.store.history import CONTACTS, DID, History
from sipsms.store.operator_lists import DEAD_LETTERS, dead_row, device_row, message_row, queue_row
from sipsms.store.rows import OPEN, chunks
from sipsms.store.schema import (
    accounts,
    attempts,
    bindings,
    blocks,
    deliveries,
    devices,
    did_targets,
    dids,
    group_members,
    groups,
    messages,
    tokens,
)

UNLIMITED: Final = 2**31  # limit of a page that has all rows
SCAN: Final = 2000  # messages examined by one query
SPOKEN: Final = 2000  # newest messages of a number that are searched for conversations
MOST_DIDS: Final = 200  # with more DIDs, all messages are walked instead of each number's
_AT_ONCE: Final = 200  # messages whose deliveries are read in one query
_SLACK: Final = 300.0  # seconds by which the order of ids and of times may differ

Sees = Callable[[str, str, float], bool]  # (account, DID, time received): may the caller see it?
Found = tuple[list[dict[str, Any]], Any]  # a page, and the start of the next page; None at the end
_NAMES: Final = {"accounts": accounts.c.name, "dids": dids.c.number, "endpoints": did_targets.c.did}


# --- messages --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters of a message list. `numbers`: the DIDs to search, None: all. `before`: only ids below it."""

    numbers: Sequence[str] | None = None
    contact: str = ""
    direction: str = ""
    state: str = ""
    since: float | None = None
    until: float | None = None
    before: int | None = None
    limit: int = 50


def list_messages(connection: Connection, wanted: Wanted, sees: Sees) -> Found:
    """Return a page of messages with their deliveries, newest first, and where the next begins (None: end)."""
    walk = _Walk(connection, wanted, sees)
    found: list[dict[str, Any]] = []
    least = _AT_ONCE if wanted.state else 1  # with a filter on state, ids are read in larger groups
    while len(found) <= wanted.limit and (ids := list(islice(walk, max(least, wanted.limit + 1 - len(found))))):
        rows = [message_row(row, parts) for row, parts in _with_deliveries(connection, ids)]
        found += [row for row in rows if not wanted.state or row["state"] == wanted.state]
    if len(found) > wanted.limit:
        return found[: wanted.limit], found[wanted.limit - 1]["id"]
    return found, walk.horizon or None


def newest(connection: Connection, wanted: Wanted, count: int) -> list[dict[str, Any]]:
    """Return the newest `count` messages however old they are; `before` and `limit` of `wanted` are ignored."""
    found: list[dict[str, Any]] = []
    before: int | None = None
    while len(found) < count:
        most = min(count - len(found), SCAN)
        rows, before = list_messages(connection, replace(wanted, before=before, limit=most), lambda *_: True)
        found += rows
        if before is None:
            break
    return found


class _Walk(Iterator[int]):
    """Ids of matching messages, newest first.

    After the last id, `horizon` is the continuation, or 0 at the end. All numbers together share `SCAN` examined
    messages. Each number is read in small chunks, and more only if needed; with a contact, all its messages are one
    source instead, whichever number had them."""

    def __init__(self, connection: Connection, wanted: Wanted, sees: Sees) -> None:
        self._connection = connection
        self._past = History(connection)
        self._wanted = wanted
        self._sees = sees
        self._left = SCAN
        self.horizon = 0
        sources: Sequence[str | None] = [None] if wanted.numbers is None else wanted.numbers
        sources = sources if not wanted.contact else sources[:1]
        chunk = max(1, min(max(wanted.limit + 1, 50), SCAN // (2 * max(len(sources), 1))))
        low, high = _ids_between(connection, wanted)
        self._rows = merge(*(self._of(number, low, high, chunk) for number in sources), key=lambda row: -row.id)

    def _of(self, number: str | None, low: int, high: int, chunk: int) -> Iterator[Any]:
        while not self.horizon:
            rows = _look(self._connection, self._past, self._wanted, number, low, high, chunk)
            self._left -= len(rows)
            yield from rows
            if len(rows) < chunk:
                return
            high = rows[-1].id
            chunk = min(2 * chunk, max(1, self._left))
            if self._left <= 0:
                self.horizon = high

    def __next__(self) -> int:
        for row in self._rows:
            if self.horizon:  # the next messages of a number were not read; this row may come after them
                break
            if row.hit and self._sees(row.account, row.did, row.received_at):
                return int(row.id)
        raise StopIteration


def _look(
    connection: Connection, past: History, wanted: Wanted, number: str | None, low: int, high: int, most: int
) -> Sequence[Any]:
    columns = (messages.c.id, messages.c.account, messages.c.did, messages.c.received_at, _hit(wanted).label("hit"))
    if wanted.contact:
        return past.rows(columns, CONTACTS, wanted.contact, low, high, most)
    if number is not None:
        return past.rows(columns, DID, number, low, high, most)
    query = select(*columns).where(messages.c.id < high, messages.c.id > low)
    return connection.execute(query.order_by(messages.c.id.desc()).limit(most)).all()


def _hit(wanted: Wanted) -> Any:
    tests = [messages.c.content_type == ""]  # not IMDN notifications
    if wanted.direction:
        tests.append(messages.c.direction == wanted.direction)
    if wanted.contact and wanted.numbers is not None:
        tests.append(messages.c.did.in_(wanted.numbers))
    if wanted.since is not None:
        tests.append(messages.c.received_at >= wanted.since)
    if wanted.until is not None:
        tests.append(messages.c.received_at < wanted.until)
    return case((and_(*tests), literal(1)), else_=literal(0))


_NEVER: Final = 2**62
_UNKNOWN: Final = deliveries.c.state == literal_column("'unknown'")  # a literal, so that the partial index is used


def _ids_between(connection: Connection, wanted: Wanted) -> tuple[int, int]:
    """Return the range of ids for the requested times, both ends exclusive."""
    low = last_before(connection, wanted.since - _SLACK) if wanted.since is not None else 0
    high = last_before(connection, wanted.until + _SLACK) + 1 if wanted.until is not None else _NEVER
    return low, min(high, wanted.before or _NEVER)


RECEIVED_AT: Final = (
    select(messages.c.received_at).where(messages.c.id <= bindparam("most")).order_by(messages.c.id.desc()).limit(1)
)


def last_before(connection: Connection, when: float) -> int:
    """Return the last id of a message received before a time, or an id near it. Ids grow with time."""
    low, high = 0, int(connection.execute(select(func.max(messages.c.id))).scalar() or 0)
    while low < high:
        middle = (low + high + 1) // 2
        at = connection.execute(RECEIVED_AT, {"most": middle}).scalar()
        if at is None or at < when:
            low = middle
        else:
            high = middle - 1
    return low


def _with_deliveries(connection: Connection, ids: Sequence[int]) -> Iterator[tuple[Any, list[Any]]]:
    parts: dict[int, list[Any]] = {one: [] for one in ids}
    query = select(deliveries).where(deliveries.c.message_id.in_(ids)).order_by(deliveries.c.id)
    for part in connection.execute(query):
        parts[part.message_id].append(part)
    rows = {row.id: row for row in connection.execute(select(messages).where(messages.c.id.in_(ids)))}
    return ((rows[one], parts[one]) for one in ids if one in rows)


def message(connection: Connection, message_id: int, sees: Sees) -> dict[str, Any] | None:
    """Return a message with its deliveries and attempts; None if the caller may not see it."""
    row, parts = next(_with_deliveries(connection, [message_id]), (None, []))
    if row is None or row.content_type or not sees(row.account, row.did, row.received_at):
        return None
    tries: dict[int, list[dict[str, Any]]] = {part.id: [] for part in parts}
    query = (
        select(attempts).where(attempts.c.delivery_id.in_(tries)).order_by(attempts.c.delivery_id, attempts.c.number)
    )
    for one in connection.execute(query):
        tries[one.delivery_id].append(
            {"number": one.number, "started_at": one.started_at, "ended_at": one.ended_at, "outcome": one.outcome,
             "detail": one.detail}
        )  # fmt: skip
    found = message_row(row, parts)
    for shown, part in zip(found["deliveries"], parts, strict=True):
        shown |= {"id": part.id, "due_at": part.due_at, "expires_at": part.expires_at, "tries": tries[part.id]}
    return {**found, "origin": row.origin}


def conversations(connection: Connection, number: str, sees: Sees) -> list[dict[str, Any]]:
    """Return the contacts of a number, latest first, among the number's newest messages."""
    columns = (
        messages.c.id, messages.c.direction, messages.c.account, messages.c.did, messages.c.received_at,
        messages.c.text, CONTACTS.number.label("contact"), messages.c.content_type,
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = {}
    for row in History(connection).rows(columns, DID, number, 0, _NEVER, SPOKEN):
        if row.content_type or not sees(row.account, row.did, row.received_at):
            continue
        one = found.setdefault(
            row.contact, {"did": number, "contact": row.contact, "last_id": row.id, "last_at": row.received_at,
                          "last_direction": row.direction, "last_text": row.text, "received": 0, "sent": 0}
        )  # fmt: skip
        one["received" if row.direction == "in" else "sent"] += 1
    return list(found.values())


# --- by key ----------------------------------------------------------------------------------------------------------


def names(connection: Connection, kind: str, after: str, limit: int) -> list[str]:
    """Return accounts, DIDs or DIDs with a callback or webhook (`endpoints`), in order, after `after`."""
    column = _NAMES[kind]
    query = select(column).distinct().where(column > after).order_by(column).limit(limit)
    if kind == "endpoints":
        query = query.where(did_targets.c.kind.in_(("callback", "webhook")))
    return list(connection.execute(query).scalars())


def _of(connection: Connection, query: Any, column: Any, owners: Sequence[str] | None, limit: int) -> Iterable[Any]:
    """Yield rows of these owners (None: all), at most `limit` per group of 500 owners, not sorted between groups."""
    if owners is None:
        yield from connection.execute(query.limit(limit))
        return
    for names in chunks(owners):
        yield from connection.execute(query.where(column.in_(names)).limit(limit))


def _page(
    connection: Connection, query: Any, key: Sequence[Column[Any]], owner: Column[Any], owners: Sequence[str] | None,
    after: Sequence[Any], limit: int,
) -> tuple[list[Row[Any]], list[Any] | None]:  # fmt: skip
    """Return a page of these owners' rows by key, and the key at its end; None at the end of the list.

    `after`: the key of the row before the page; empty for the first page."""
    behind = query.where(tuple_(*key) > tuple_(*map(literal, after))) if after else query
    key_of = attrgetter(*(column.name for column in key))
    found = sorted(_of(connection, behind.order_by(*key), owner, owners, limit + 1), key=key_of)
    return found[:limit], list(key_of(found[limit - 1])) if len(found) > limit else None


def list_groups(connection: Connection, owners: Sequence[str] | None, after: str, limit: int) -> list[dict[str, Any]]:
    query = select(groups).where(groups.c.name > after).order_by(groups.c.name)
    rows = sorted(_of(connection, query, groups.c.account, owners, limit), key=lambda row: str(row.name))[:limit]
    members: dict[str, list[str]] = {row.name: [] for row in rows}
    for one in _of(connection, select(group_members), group_members.c.group_name, list(members), UNLIMITED):
        members[one.group_name].append(one.member)
    return [{"name": row.name, "account": row.account, "members": sorted(members[row.name])} for row in rows]


def count_groups(connection: Connection, owner: str) -> int:
    return int(connection.execute(select(func.count()).where(groups.c.account == owner)).scalar() or 0)


def group(connection: Connection, name: str) -> dict[str, Any] | None:
    row = connection.execute(select(groups).where(groups.c.name == name)).first()
    if row is None:
        return None
    query = select(group_members.c.member).where(group_members.c.group_name == name)
    return {"name": name, "account": row.account, "members": sorted(connection.execute(query).scalars())}


def list_tokens(connection: Connection, owners: Sequence[str] | None, after: str, limit: int) -> list[dict[str, Any]]:
    """Return tokens by name, without the secret."""
    query = select(tokens).where(tokens.c.name > after).order_by(tokens.c.name)
    rows = sorted(_of(connection, query, tokens.c.account, owners, limit), key=lambda row: str(row.name))[:limit]
    return [_token(row) for row in rows]


def token(connection: Connection, name: str) -> dict[str, Any] | None:
    row = connection.execute(select(tokens).where(tokens.c.name == name)).first()
    return None if row is None else _token(row)


def _token(row: Any) -> dict[str, Any]:
    scope, _, number = row.scope.partition(":")
    return {
        "name": row.name, "account": row.account, "scope": scope, "did": number, "created_at": row.created_at,
        "expires_at": row.expires_at,
    }  # fmt: skip


def list_devices(
    connection: Connection, owners: Sequence[str] | None, after: int, limit: int, now: float
) -> list[dict[str, Any]]:
    query = select(devices).where(devices.c.id > after).order_by(devices.c.id)
    rows = sorted(_of(connection, query, devices.c.aor, owners, limit), key=lambda row: int(row.id))[:limit]
    aors = list({row.aor for row in rows})
    here = select(bindings.c.device).where(bindings.c.aor.in_(aors), bindings.c.expires_at > now)
    bound = set(connection.execute(here).scalars())
    lanes = {f"sip:{row.id}": row.id for row in rows}
    queued = (
        select(deliveries.c.lane, func.count()).where(OPEN, deliveries.c.lane.in_(lanes)).group_by(deliveries.c.lane)
    )
    waiting = {lanes[row.lane]: row[1] for row in connection.execute(queued)}
    return [device_row(row, bound, waiting) for row in rows]


def list_bindings(
    connection: Connection, owners: Sequence[str] | None, after: Sequence[Any], limit: int, now: float
) -> Found:
    """Return a page of bindings. `after`: account, contact, instance and reg-id; or empty."""
    key = (bindings.c.aor, bindings.c.contact, bindings.c.instance, bindings.c.reg_id)
    query = select(bindings).where(bindings.c.expires_at > now)
    found, last = _page(connection, query, key, bindings.c.aor, owners, after, limit)
    rows = [
        {"account": row.aor, "contact": row.contact, "received": row.received, "device": row.device,
         "user_agent": row.user_agent, "expires_in": max(0, round(row.expires_at - now))}
        for row in found
    ]  # fmt: skip
    return rows, last


def list_blocks(connection: Connection, owners: Sequence[str] | None, after: Sequence[str], limit: int) -> Found:
    """Return a page of active blocks. `after`: owner, number and direction; or empty."""
    key = (blocks.c.owner, blocks.c.number, blocks.c.direction)
    query = select(blocks).where(blocks.c.active)
    found, last = _page(connection, query, key, blocks.c.owner, owners, after, limit)
    rows = [
        {"owner": row.owner, "number": row.number, "direction": row.direction, "reason": row.reason,
         "created_at": row.created_at}
        for row in found
    ]  # fmt: skip
    return rows, last


# --- deliveries ------------------------------------------------------------------------------------------------------


def list_queue(connection: Connection, after: Sequence[Any], limit: int, *, unknown: bool) -> Found:
    """Return a page of open deliveries by lane, oldest first within a lane.

    `after`: lane and id; or empty. `unknown`: list deliveries with an unknown outcome instead, oldest first."""
    if unknown:
        behind = _UNKNOWN & (deliveries.c.id > (after[1] if after else 0))
        query = select(deliveries).where(behind).order_by(deliveries.c.id)
    else:  # ordered by id alone, the query would pass over every stored row
        key = (deliveries.c.lane, deliveries.c.id)
        query = select(deliveries).where(OPEN).order_by(*key)
        query = query.where(tuple_(*key) > tuple_(*map(literal, after))) if after else query
    found = connection.execute(query.limit(limit + 1)).all()
    last = found[limit - 1] if len(found) > limit else None
    return [queue_row(row) for row in found[:limit]], None if last is None else [last.lane, last.id]


def list_dead(connection: Connection, before: int | None, limit: int, sees: Sees) -> Found:
    """Return a page of callbacks, webhooks and e-mail that failed for good, newest first."""
    query = DEAD_LETTERS.where(deliveries.c.id < (before or _NEVER)).order_by(deliveries.c.id.desc()).limit(SCAN)
    found: list[dict[str, Any]] = []
    last, count = 0, 0
    for row in connection.execute(query):
        if len(found) == limit:
            return found, last
        last, count = row.id, count + 1
        if sees(row.account, row.did, row.received_at):
            found.append(dead_row(row))
    return found, last if count == SCAN else None


def dead_letter(connection: Connection, delivery: int, sees: Sees) -> bool:
    """Return whether a dead letter with this id exists and the caller may see it."""
    row = connection.execute(DEAD_LETTERS.where(deliveries.c.id == delivery)).first()
    return row is not None and sees(row.account, row.did, row.received_at)


def state_of(connection: Connection, delivery: int) -> str:
    """Return the state of a delivery; empty if there is no such delivery."""
    return str(connection.execute(select(deliveries.c.state).where(deliveries.c.id == delivery)).scalar() or "")
