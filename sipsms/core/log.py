"""The log and the metrics: one function per event writes the line and counts the metric.

`grep message=123` shows everything that happened to a message. Texts, passwords and keys must never be logged. No other
module writes to the log. The lines of one turn of the event loop leave in one write at its end, warnings at once.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, TextIO

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class _Counts(dict[tuple[str, ...], int]):
    """Counts by labels, and the time when each began."""

    def __init__(self) -> None:
        self.created: dict[tuple[str, ...], float] = {}

    def __missing__(self, labels: tuple[str, ...]) -> int:
        self.created[labels] = time.time()
        return 0


class Tally(Collector):
    """A counter for every message (`counts[labels] += 1`), ten times as quick as a `Counter`.

    Only the thread of the event loop may count."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.counts = _Counts()
        self._family = (name, text, labels)
        REGISTRY.register(self)

    def describe(self) -> Iterable[CounterMetricFamily]:
        return [self._new()]

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = self._new()
        for labels, count in list(self.counts.items()):
            family.add_metric(labels, count, self.counts.created[labels])
        return [family]

    def _new(self) -> CounterMetricFamily:
        name, text, labels = self._family
        return CounterMetricFamily(name, text, labels=labels)


ACCEPTED = Tally("sipsms_messages_accepted_total", "Messages committed", "direction", "door")
RECEIPTS = Counter("sipsms_receipts_total", "Receipts of carriers that changed a state", ["courier", "state"])
DUPLICATES = Counter("sipsms_messages_duplicate_total", "Messages that were there already", ["door"])
REFUSED = Counter("sipsms_messages_refused_total", "Messages refused by a rule", ["door", "status"])
ATTEMPTS = Tally("sipsms_attempts_total", "Attempts by how they ended", "courier", "outcome")
ATTEMPT_SECONDS = Histogram("sipsms_attempt_seconds", "Duration of attempts", ["courier"])
COMMIT_SECONDS = Histogram("sipsms_commit_seconds", "Duration of the store's group commits")
COMMIT_SIZE = Histogram("sipsms_commit_jobs", "Jobs in one group commit", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500))
EXPIRED = Counter("sipsms_deliveries_expired_total", "Deliveries that waited too long")
REGISTRATIONS = Tally("sipsms_registrations_total", "REGISTER requests by answer", "status")
AUTH_FAILURES = Counter("sipsms_auth_failures_total", "Wrong credentials", ["door"])
SIP_DROPPED = Counter("sipsms_sip_dropped_total", "SIP packets without an answer", ["reason"])
SIP_REQUESTS = Tally("sipsms_sip_requests_total", "SIP requests by method and answer", "method", "status")
SIP_READ = Tally("sipsms_sip_read_total", "SIP datagrams by how they were read: usual (quickly) or general", "way")
HEP_PACKETS = Counter("sipsms_hep_packets_total", "Copies for the capture server", ["outcome"])
BINDINGS = Gauge("sipsms_bindings", "Bindings in the location service")
SUBSCRIPTIONS = Gauge("sipsms_subscriptions", "Subscriptions to presence")
SMPP_BINDS = Gauge("sipsms_smpp_binds", "SMPP sessions", ["direction"])  # in: bound to us; out: we are bound there
SMPP_ANSWERS = Tally(
    "sipsms_smpp_answers_total", "Answers to submit_sm and deliver_sm, ours (in) and our peers' (out)",
    "direction", "status",
)  # fmt: skip
SMPP_THROTTLED = Counter("sipsms_smpp_throttled_total", "Messages of SMPP programs beyond their rate")
LANES = Gauge("sipsms_lanes", "Lanes being worked on, and lanes whose deliveries wait in the store", ["state"])
UNKNOWN = Gauge("sipsms_unknown", "Deliveries whose result is not known, found at start or since")

_DEBUG, _INFO, _WARNING, _ERROR = 10, 20, 30, 40
_NAMES = {_DEBUG: "debug", _INFO: "info", _WARNING: "warning", _ERROR: "error"}
_LEVELS = {name: level for level, name in _NAMES.items()}
Facts = dict[str, Any]


def setup(level: str = "info", style: str = "auto") -> None:
    """Log to stderr: coloured on a terminal, else `key=value` lines or JSON lines (`style`)."""
    global _level, _render, _stream
    flush()
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    _level, _stream = _LEVELS[level.lower()], sys.stderr
    _render = _console(_stream.isatty()) if console else _as_json if style == "json" else _as_pairs


def _write(level: int, event: str, /, **facts: Any) -> None:
    global _flushing
    if level < _level:
        return
    line = _render(_NAMES[level], event, facts)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # a thread, or a command
        _put(line)
        return
    _lines.append(line)
    if level >= _WARNING:
        flush()
    elif _flushing is not loop:
        _flushing = loop
        loop.call_soon(flush)


def flush() -> None:
    """Write the lines that wait for the end of the turn."""
    global _flushing
    _flushing = None
    if _lines:
        text = "\n".join(_lines)
        _lines.clear()
        _put(text)


def _put(text: str) -> None:
    with suppress(OSError, ValueError):  # a full disk, or a closed file: messages are worth more than lines
        _stream.write(text + "\n")
        _stream.flush()


atexit.register(flush)
_lines: list[str] = []
_flushing: asyncio.AbstractEventLoop | None = None  # the loop that will call `flush`


def _console(colors: bool) -> Callable[[str, str, Facts], str]:
    from structlog.dev import ConsoleRenderer

    renderer = ConsoleRenderer(colors=colors)

    def render(level: str, event: str, facts: Facts) -> str:
        for name, value in facts.items():
            if isinstance(value, str) and not value.isprintable():  # a terminal would obey a stranger
                facts[name] = json.dumps(value)
        return str(renderer(None, level, {"timestamp": _stamp(), "level": level, "event": event, **facts}))

    return render


def _as_pairs(level: str, event: str, facts: Facts) -> str:
    """Format a line like `2026-11-22T00:03:26.512Z info accepted message=12 ...`, by hand for speed."""
    error = _traceback(facts)
    line = [_stamp(), level, event]
    for name, value in facts.items():
        text = str(value)
        line.append(f"{name}={text}" if text.isalnum() else f"{name}={_quoted(text)}")
    return " ".join(line) + error


def _quoted(text: str) -> str:
    plain = text and text.isprintable() and " " not in text and '"' not in text
    # escapes U+2028 and C1 control characters
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _as_json(level: str, event: str, facts: Facts) -> str:
    error = _traceback(facts)
    if error:
        facts["exception"] = error.strip()
    return _JSON.encode({"timestamp": _stamp(), "level": level, "event": event, **facts})


_JSON = json.JSONEncoder(default=str)


def _traceback(facts: Facts) -> str:
    error = facts.pop("exc_info", None)
    return "" if error is None else "\n" + "".join(traceback.format_exception(error)).rstrip()


def _stamp() -> str:
    """Return UTC to the millisecond; the part down to the second is formatted once a second."""
    global _second
    now = time.time()
    whole = int(now)
    if whole != _second[0]:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{_second[1]}.{int((now - whole) * 1000):03d}Z"


_second = (0, "")

_level: int = _INFO
_render: Callable[[str, str, Facts], str] = _as_pairs
_stream: TextIO = sys.stderr


@lru_cache(maxsize=4096)
def _child(metric: Any, *labels: str) -> Any:
    """Return the metric with these labels: `labels()` itself is too slow for every message."""
    return metric.labels(*labels)


_METHODS = frozenset("REGISTER MESSAGE OPTIONS INVITE SUBSCRIBE PUBLISH NOTIFY CANCEL".split())


def sip_answered(method: str, status: int) -> None:
    """Count an answered SIP request, without a log line."""
    SIP_REQUESTS.counts[method if method in _METHODS else "other", str(status)] += 1


_USUAL, _GENERAL = ("usual",), ("general",)


def sip_read(*, usual: bool) -> None:
    SIP_READ.counts[_USUAL if usual else _GENERAL] += 1


# --- messages --------------------------------------------------------------------------------------------------------


def accepted(message: int, direction: str, door: str, source: str, destination: str, deliveries: int) -> None:
    ACCEPTED.counts[direction, door] += 1
    _write(
        _INFO, "accepted", message=message, direction=direction, door=door, source=source, destination=destination,
        deliveries=deliveries,
    )  # fmt: skip


def duplicate(message: int, door: str) -> None:
    _child(DUPLICATES, door).inc()
    _write(_INFO, "duplicate", message=message, door=door)


def refused(door: str, status: int, account: str, why: str) -> None:
    _child(REFUSED, door, str(status)).inc()
    _write(_INFO, "refused", door=door, status=status, account=account, why=why)


def audit(door: str, account: str, destination: str, why: str) -> None:
    """Log an attempt that is never permitted: an emergency or premium number."""
    _write(_WARNING, "audit", door=door, account=account, destination=destination, why=why)


def relayed(account: str, to: str, status: int, phones: int) -> None:
    _write(_INFO, "relayed", account=account, to=to, status=status, phones=phones)


def attempt(message: int, delivery: int, courier: str, number: int) -> None:
    _write(_DEBUG, "attempt", message=message, delivery=delivery, courier=courier, number=number)


def outcome(message: int, delivery: int, courier: str, result: str, detail: str, seconds: float) -> None:
    ATTEMPTS.counts[courier, result] += 1
    _child(ATTEMPT_SECONDS, courier).observe(seconds)
    level = _WARNING if result in ("unknown", "failed") else _INFO
    _write(level, result, message=message, delivery=delivery, courier=courier, detail=detail, seconds=round(seconds, 3))
    if result == "unknown":
        UNKNOWN.inc()


def receipt(message: int, delivery: int, courier: str, state: str, detail: str) -> None:
    """Log a carrier's receipt that changed a delivery's state."""
    _child(RECEIPTS, courier, state).inc()
    _write(_INFO, "receipt", message=message, delivery=delivery, courier=courier, state=state, detail=detail)


def settled(message: int, delivery: int, state: str, why: str) -> None:
    """Log the final state of a delivery whose outcome was unknown."""
    _write(_WARNING, "settled", message=message, delivery=delivery, state=state, why=why)


def expired(message: int, delivery: int) -> None:
    EXPIRED.inc()
    _write(_INFO, "expired", message=message, delivery=delivery)


def handed_over(aor: str, count: int, why: str) -> None:
    _write(_INFO, "handed_over", aor=aor, deliveries=count, why=why)


# --- registrations and credentials -----------------------------------------------------------------------------------


def registered(aor: str, status: int, contacts: int, source: str) -> None:
    REGISTRATIONS.counts[(str(status),)] += 1
    _write(_INFO, "register", aor=aor, status=status, contacts=contacts, source=source)


def auth_failure(door: str, user: str, source: str, port: int, reason: str) -> None:
    """Log wrong credentials in one line whose format must not change, for fail2ban."""
    _child(AUTH_FAILURES, door).inc()
    _write(_WARNING, "auth_failure", proto=door, user=user[:64], src=source, port=port, reason=reason)


def flood_muted(source: str) -> None:
    """Log an address that is muted after too many requests without a correct password."""
    _write(_WARNING, "flood_muted", src=source)


# --- SMPP ------------------------------------------------------------------------------------------------------------


def smpp_answered(direction: str, status: str) -> None:
    """Count an SMPP response, without a log line."""
    SMPP_ANSWERS.counts[direction, status] += 1


def smpp_throttled(user: str, count: int) -> None:
    """Log how many messages of a user were beyond its rate in the last second or so."""
    SMPP_THROTTLED.inc(count)
    _write(_INFO, "smpp_throttled", user=user, count=count)


# --- the program -----------------------------------------------------------------------------------------------------


def note(event: str, **facts: Any) -> None:
    """Log start, stop, reload and similar events."""
    _write(_INFO, event, **facts)


def warning(event: str, **facts: Any) -> None:
    _write(_WARNING, event, **facts)


def crash(event: str, error: BaseException, **facts: Any) -> None:
    """Log a bug with its traceback."""
    _write(_ERROR, event, exc_info=error, **facts)
