"""The ledger held against the store: what was lost, doubled, misdirected, reordered, refused or left unexplained. Pure.

Nothing here looks at times: what has to be there is said by the order of the lines and by the rows.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Line = Mapping[str, Any]
Row = Mapping[str, Any]

SENT = ("accepted", "delivered")
WAITING = ("queued", "sending")
PHONES = ("sip", "smpp")  # couriers to an account; all others are carriers


@dataclass(frozen=True)
class Store:
    """Rows of its tables, as dictionaries by column."""

    messages: Sequence[Row]
    deliveries: Sequence[Row]
    attempts: Sequence[Row] = ()


@dataclass(frozen=True)
class Case:
    """All that there is to judge by."""

    lines: Sequence[Line]
    store: Store
    log: Sequence[str] = ()

    def of(self, what: str) -> Iterator[Line]:
        return (line for line in self.lines if line["what"] == what)

    def by_text(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.store.messages:
            found[row["text"]].append(row)
        return found

    def deliveries(self) -> dict[int, list[Row]]:
        """By message."""
        found: dict[int, list[Row]] = defaultdict(list)
        for row in self.store.deliveries:
            found[row["message_id"]].append(row)
        return found


def target_of(text: str) -> str:
    """The account or number that a text names."""
    words = text.split(" ")
    return words[2] if len(words) == 4 else ""


def judge(case: Case) -> dict[str, list[str]]:
    """By verdict the evidence, a line each; all is well where every list is empty."""
    return {name: list(find(case)) for name, find in _VERDICTS.items()}


# --- lost ---


def _lost(case: Case) -> Iterator[str]:
    yield from _not_stored(case)
    yield from _not_sent(case)
    yield from _not_at_phone(case)


def _not_stored(case: Case) -> Iterator[str]:
    """Promised and not in the store, or under another id; or out in the world, and not in the store."""
    stored = case.by_text()
    for line in case.of("accept"):
        rows = stored.get(line["text"], [])
        if not rows:
            yield f"accepted ({line['status']}) and not stored: {line['text']!r}"
        elif line.get("id") is not None and str(line["id"]) not in {str(row["id"]) for row in rows}:
            yield f"accepted as {line['id']} and stored as {rows[0]['id']}: {line['text']!r}"
    for what in ("carrier", "got"):
        for line in case.of(what):
            if line["text"] not in stored:
                yield f"at the {'carrier' if what == 'carrier' else line['phone']} and not stored: {line['text']!r}"


def _not_sent(case: Case) -> Iterator[str]:
    """Stored, and no way led out; or said to be sent, and nobody has it."""
    at_carrier = {line["text"] for line in case.of("carrier")}
    at_account = {(line["account"], line["text"]) for line in case.of("got")}
    deliveries = case.deliveries()
    for message in case.store.messages:
        rows, text = deliveries[message["id"]], message["text"]
        if not rows:
            yield f"stored without a delivery: {_told(message)}"
        for row in rows:
            is_there = (target_of(text), text) in at_account if row["courier"] in PHONES else text in at_carrier
            if row["state"] in SENT and not is_there:
                yield f"{row['state']} by {row['courier']}, and nobody has it: {_told(message, row)}"
            elif row["state"] in WAITING:
                yield f"still {row['state']}: {_told(message, row)}"
            elif row["state"] not in (*SENT, "unknown"):
                yield f"{row['state']}: {_told(message, row)}"


def _not_at_phone(case: Case) -> Iterator[str]:
    """A phone that was registered before a text was asked for, and never got it."""
    got = {(line["phone"], line["text"]) for line in case.of("got")}
    stored, registered = case.by_text(), defaultdict[str, list[str]](list)
    for line in case.lines:
        if line["what"] == "registered":
            registered[line["account"]].append(line["phone"])
        elif line["what"] == "ask" and line["text"] in stored:
            for phone in registered.get(line["to"], ()):
                if (phone, line["text"]) not in got:
                    yield f"never at {phone}, registered before: {_told(stored[line['text']][0])}"


# --- doubled ---


def _doubled(case: Case) -> Iterator[str]:
    for text, count in Counter(line["text"] for line in case.of("carrier")).items():
        if count > 1:
            yield f"{count} times at the carrier: {text!r}"
    for text, rows in case.by_text().items():
        if len(rows) > 1:
            yield f"stored as {[row['id'] for row in rows]}: {text!r}"
    names: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in case.of("got"):
        names[line["phone"], line["text"]].add(line["call_id"])
    for (phone, text), ids in names.items():
        if len(ids) > 1:
            yield f"at {phone} as {sorted(ids)}: {text!r}"


# --- stranger ---


def _stranger(case: Case) -> Iterator[str]:
    asked = {line["text"]: line for line in case.of("ask")}
    for line in case.of("got"):
        if target_of(line["text"]) != line["account"]:
            yield f"at {line['phone']} of {line['account']}: {line['text']!r}"
    for line in case.of("carrier"):
        ask = asked.get(line["text"])
        if ask is not None and (ask["source"], ask["to"]) != (line["source"], line["to"]):
            yield f"left from {line['source']} to {line['to']}, asked from {ask['source']}: {line['text']!r}"
    owners = {id: aor for line in case.of("devices") for id, aor, _ in line["rows"]}
    for row in case.store.deliveries:
        if row["courier"] == "sip" and owners.get(row["device"], row["destination"]) != row["destination"]:
            owner = owners[row["device"]]
            yield f"delivery {row['id']} for {row['destination']} by device {row['device']}, which is {owner}'s"


# --- order ---


def _order(case: Case) -> Iterator[str]:
    """Each sequential client's texts, in the order in which they were taken, at each place where they arrived."""
    arrivals: dict[str, dict[str, int]] = defaultdict(dict)  # place -> text -> its first arrival
    for number, line in enumerate(case.lines):
        if line["what"] in ("carrier", "got"):
            arrivals["carrier" if line["what"] == "carrier" else line["phone"]].setdefault(line["text"], number)
    lanes: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    asked = {line["text"]: line for line in case.of("ask") if line["ordered"]}
    for line in case.of("accept"):
        if (ask := asked.get(line["text"])) is not None:
            lanes[ask["client"], ask["source"], ask["to"]].append(line["text"])
    for (client, source, to), texts in lanes.items():
        for place, when in arrivals.items():
            there = [text for text in texts if text in when]
            for before, after in pairwise(there):
                if when[before] > when[after]:
                    yield f"{client}, {source} to {to}, at {place}: {after!r} came before {before!r}"


# --- refused ---


def _refused(case: Case) -> Iterator[str]:
    """All credentials are right, and all that is asked for is allowed: every "no" is a fault."""
    stored = case.by_text()
    for line in case.of("refuse"):
        kept = f", and stored as {stored[line['text']][0]['id']}" if stored.get(line["text"]) else ""
        yield f"{line['at']} {line['kind']} of {line['client']}: {line['status']} {line['why']}{kept} {line['text']!r}"


# --- unexplained ---


def _unexplained(case: Case) -> Iterator[str]:
    yield from _without_reason(case)
    yield from _moved_devices(case)


def _without_reason(case: Case) -> Iterator[str]:
    told = {row["delivery_id"] for row in case.store.attempts if row["detail"]}
    for row in case.store.deliveries:
        if row["state"] == "unknown" and not row["last_error"] and row["id"] not in told:
            yield f"delivery {row['id']} of message {row['message_id']} is unknown without a reason"


def _moved_devices(case: Case) -> Iterator[str]:
    """A device that has another owner, that is gone, or a phone that is another device, after a kill."""
    phones = {(line["account"], line["key"]) for line in case.of("registered")}
    owners: dict[int, str] = {}
    ids: dict[tuple[str, str], int] = {}
    found: dict[str, int] = {}  # what is wrong, and the snapshot that has shown it first
    for number, line in enumerate(case.of("devices")):
        rows = [(int(id), str(aor), str(key)) for id, aor, key in line["rows"]]
        for id, aor, key in rows:
            first = ids.setdefault((aor, key), id)
            if owners.setdefault(id, aor) != aor:
                found.setdefault(f"device {id} was {owners[id]}'s and is {aor}'s", number)
            if (aor, key) in phones and first != id:
                found.setdefault(f"{aor} {key} was device {first} and is {id}", number)
        for id in sorted(owners.keys() - {id for id, _, _ in rows}):
            found.setdefault(f"device {id} of {owners.pop(id)} is gone", number)
    yield from (f"snapshot {number}: {what}" for what, number in found.items())


# --- traceback ---


def _traceback(case: Case) -> Iterator[str]:
    for end in case.of("died"):
        yield f"{end['at']} the server ended by itself with {end['code']}: {end['log'][-300:]}"
    for number, line in enumerate(case.log):
        if any(event.get("level") == "error" for event in events_of(line)):
            yield line[:1500]
        elif "Traceback" in line:
            yield _end_of_traceback(case.log[number + 1 : number + 200])


def _end_of_traceback(lines: Sequence[str]) -> str:
    """Where it happened, and the exception."""
    before: deque[str] = deque(maxlen=2)
    for line in lines:
        if line.strip() and not line.startswith(" "):
            return f"Traceback: {' '.join(one.strip() for one in before)}: {line}"
        before.append(line)
    return "Traceback"


def events_of(line: str) -> Iterator[dict[str, Any]]:
    """Of a line of the log: after a kill in the middle of one, the next begins behind it."""
    while (start := line.find('{"')) >= 0:
        line = line[start:]
        try:
            event, end = json.JSONDecoder().raw_decode(line)
        except ValueError:
            line = line[1:]
            continue
        if isinstance(event, dict):
            yield event
        line = line[end:]


def _told(message: Row, delivery: Row | None = None) -> str:
    """A message in a line of evidence."""
    told = f"message {message['id']} {message['text']!r}"
    if delivery is None:
        return told
    return f"{told}, delivery {delivery['id']} (device {delivery['device']}, error {delivery['last_error']!r})"


_VERDICTS: dict[str, Callable[[Case], Iterable[str]]] = {
    "lost": _lost, "doubled": _doubled, "stranger": _stranger, "order": _order, "refused": _refused,
    "unexplained": _unexplained, "traceback": _traceback,
}  # fmt: skip
