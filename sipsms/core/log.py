"""The log and the metrics: one function per event writes the line and counts the metric.

`grep message=123` shows everything that happened to a message. Texts, passwords and keys must never be logged. No other
module writes to the log.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

_log: Any = structlog.get_logger("sipsms")

ACCEPTED = Counter("sipsms_messages_accepted_total", "Messages committed", ["direction", "door"])
RECEIPTS = Counter("sipsms_receipts_total", "Receipts of carriers that changed a state", ["courier", "state"])
DUPLICATES = Counter("sipsms_messages_duplicate_total", "Messages that were there already", ["door"])
REFUSED = Counter("sipsms_messages_refused_total", "Messages refused by a rule", ["door", "status"])
ATTEMPTS = Counter("sipsms_attempts_total", "Attempts by how they ended", ["courier", "outcome"])
ATTEMPT_SECONDS = Histogram("sipsms_attempt_seconds", "Duration of attempts", ["courier"])
COMMIT_SECONDS = Histogram("sipsms_commit_seconds", "Duration of the store's group commits")
COMMIT_SIZE = Histogram("sipsms_commit_jobs", "Jobs in one group commit", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500))
EXPIRED = Counter("sipsms_deliveries_expired_total", "Deliveries that waited too long")
REGISTRATIONS = Counter("sipsms_registrations_total", "REGISTER requests by answer", ["status"])
AUTH_FAILURES = Counter("sipsms_auth_failures_total", "Wrong credentials", ["door"])
SIP_DROPPED = Counter("sipsms_sip_dropped_total", "SIP packets without an answer", ["reason"])
SIP_REQUESTS = Counter("sipsms_sip_requests_total", "SIP requests by method and answer", ["method", "status"])
HEP_PACKETS = Counter("sipsms_hep_packets_total", "Copies for the capture server", ["outcome"])
BINDINGS = Gauge("sipsms_bindings", "Bindings in the location service")
SUBSCRIPTIONS = Gauge("sipsms_subscriptions", "Subscriptions to presence")
SMPP_BINDS = Gauge("sipsms_smpp_binds", "SMPP sessions", ["direction"])  # in: bound to us; out: we are bound there
SMPP_ANSWERS = Counter(
    "sipsms_smpp_answers_total", "Answers to submit_sm and deliver_sm, ours (in) and our peers' (out)",
    ["direction", "status"],
)  # fmt: skip
SMPP_THROTTLED = Counter("sipsms_smpp_throttled_total", "Messages of SMPP programs beyond their rate")
LANES = Gauge("sipsms_lanes", "Lanes being worked on, and lanes whose deliveries wait in the store", ["state"])
UNKNOWN = Gauge("sipsms_unknown", "Deliveries whose result is not known, found at start or since")


def setup(level: str = "info", style: str = "auto") -> None:
    """Log to stderr: coloured on a terminal, else `key=value` lines or JSON lines (`style`)."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    processors: list[Any] = [structlog.processors.add_log_level]
    if console:
        processors += [
            _without_controls,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
    else:
        processors.append(_as_json if style == "json" else _as_pairs)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    global _log
    _log = structlog.get_logger("sipsms").bind()


def _without_controls(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape control characters: a terminal would obey those that strangers write."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = json.dumps(value)
    return event


def _as_pairs(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    """Format a line like `2026-11-22T00:03:26.512Z info accepted message=12 ...`.

    Every message is logged, so the line is built by hand for speed."""
    error = _traceback(event)
    line = [_stamp(), str(event.pop("level")), str(event.pop("event"))]
    for name, value in event.items():
        text = str(value)
        line.append(f"{name}={text}" if text.isalnum() else f"{name}={_quoted(text)}")
    return " ".join(line) + error


def _quoted(text: str) -> str:
    plain = text and text.isprintable() and " " not in text and '"' not in text
    # escapes U+2028 and C1 control characters
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _as_json(_logger: Any, _method: str, event: structlog.typing.EventDict) -> str:
    error = _traceback(event)
    if error:
        event["exception"] = error.strip()
    head = {"timestamp": _stamp(), "level": event.pop("level"), "event": event.pop("event")}
    return json.dumps({**head, **event}, default=str)


def _traceback(event: structlog.typing.EventDict) -> str:
    error = event.pop("exc_info", None)
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

_METHODS = frozenset("REGISTER MESSAGE OPTIONS INVITE SUBSCRIBE PUBLISH NOTIFY CANCEL".split())
_answered: dict[tuple[str, int], Counter] = {}  # labels() is too slow to call for every request


_smpp_answers: dict[tuple[str, str], Counter] = {}
_accepted: dict[tuple[str, str], Counter] = {}


def sip_answered(method: str, status: int) -> None:
    """Count an answered SIP request, without a log line."""
    key = (method if method in _METHODS else "other", status)
    child = _answered.get(key)
    if child is None:
        child = _answered[key] = SIP_REQUESTS.labels(key[0], str(status))
    child.inc()


# --- messages --------------------------------------------------------------------------------------------------------


def accepted(message: int, direction: str, door: str, source: str, destination: str, deliveries: int) -> None:
    child = _accepted.get((direction, door))
    if child is None:
        child = _accepted[direction, door] = ACCEPTED.labels(direction, door)
    child.inc()
    _log.info(
        "accepted", message=message, direction=direction, door=door, source=source, destination=destination,
        deliveries=deliveries,
    )  # fmt: skip


def duplicate(message: int, door: str) -> None:
    DUPLICATES.labels(door).inc()
    _log.info("duplicate", message=message, door=door)


def refused(door: str, status: int, account: str, why: str) -> None:
    REFUSED.labels(door, str(status)).inc()
    _log.info("refused", door=door, status=status, account=account, why=why)


def audit(door: str, account: str, destination: str, why: str) -> None:
    """Log an attempt that is never permitted: an emergency or premium number."""
    _log.warning("audit", door=door, account=account, destination=destination, why=why)


def relayed(account: str, to: str, status: int, phones: int) -> None:
    _log.info("relayed", account=account, to=to, status=status, phones=phones)


def attempt(message: int, delivery: int, courier: str, number: int) -> None:
    _log.debug("attempt", message=message, delivery=delivery, courier=courier, number=number)


def outcome(message: int, delivery: int, courier: str, result: str, detail: str, seconds: float) -> None:
    ATTEMPTS.labels(courier, result).inc()
    ATTEMPT_SECONDS.labels(courier).observe(seconds)
    emit = _log.warning if result in ("unknown", "failed") else _log.info
    emit(result, message=message, delivery=delivery, courier=courier, detail=detail, seconds=round(seconds, 3))
    if result == "unknown":
        UNKNOWN.inc()


def receipt(message: int, delivery: int, courier: str, state: str, detail: str) -> None:
    """Log a carrier's receipt that changed a delivery's state."""
    RECEIPTS.labels(courier, state).inc()
    _log.info("receipt", message=message, delivery=delivery, courier=courier, state=state, detail=detail)


def settled(message: int, delivery: int, state: str, why: str) -> None:
    """Log the final state of a delivery whose outcome was unknown."""
    _log.warning("settled", message=message, delivery=delivery, state=state, why=why)


def expired(message: int, delivery: int) -> None:
    EXPIRED.inc()
    _log.info("expired", message=message, delivery=delivery)


def handed_over(aor: str, count: int, why: str) -> None:
    _log.info("handed_over", aor=aor, deliveries=count, why=why)


# --- registrations and credentials -----------------------------------------------------------------------------------


def registered(aor: str, status: int, contacts: int, source: str) -> None:
    REGISTRATIONS.labels(str(status)).inc()
    _log.info("register", aor=aor, status=status, contacts=contacts, source=source)


def auth_failure(door: str, user: str, source: str, port: int, reason: str) -> None:
    """Log wrong credentials in one line whose format must not change, for fail2ban."""
    AUTH_FAILURES.labels(door).inc()
    _log.warning("auth_failure", proto=door, user=user[:64], src=source, port=port, reason=reason)


def flood_muted(source: str) -> None:
    """Log an address that is not answered for a while.

    The address sent too many requests without a correct password."""
    _log.warning("flood_muted", src=source)


# --- SMPP ------------------------------------------------------------------------------------------------------------


def smpp_answered(direction: str, status: str) -> None:
    """Count an SMPP response, without a log line."""
    child = _smpp_answers.get((direction, status))
    if child is None:
        child = _smpp_answers[direction, status] = SMPP_ANSWERS.labels(direction, status)
    child.inc()


def smpp_throttled(user: str, count: int) -> None:
    """Log how many messages of a user were beyond its rate in the last second or so."""
    SMPP_THROTTLED.inc(count)
    _log.info("smpp_throttled", user=user, count=count)


# --- the program -----------------------------------------------------------------------------------------------------


def note(event: str, **facts: Any) -> None:
    """Log start, stop, reload and similar events."""
    _log.info(event, **facts)


def warning(event: str, **facts: Any) -> None:
    _log.warning(event, **facts)


def crash(event: str, error: BaseException, **facts: Any) -> None:
    """Log a bug with its traceback."""
    _log.error(event, exc_info=error, **facts)
