"""SMPP session of either side: permitted PDUs by state, matching of responses, timers.

Pure: octets and time come in, events and octets go out; the connection carries them.

    OPEN -- bind --> BOUND -- unbind --> UNBINDING -- last answer --> CLOSED

The session itself answers enquire_link, unbind, unreadable PDUs and PDUs that are not allowed in its state. Every other
request becomes a `Request`, which must be answered with `answer`. Each of our own requests ends in exactly one of
`Answer` (the peer's response) and `Lost` (no response in time, or the session ended). A response that comes after its
`Lost` is `Late`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

from sipsms.smpp.pdu import (
    BINDS,
    GENERIC_NACK,
    BadLength,
    BadPdu,
    Command,
    Framer,
    Pdu,
    Status,
    decode,
    encode,
    encode_response,
    nack,
)

Role = Literal["smsc", "esme"]
_MISSED: Final = 2  # unanswered enquire_links, after which the session is closed (P-07)
_LAST_WORDS: Final = 5.0  # seconds that an unbind waits for open requests
_BEFORE_BIND: Final = 20  # PDUs that an unbound peer may send
_LATE: Final = 1000  # requests remembered for late responses
_AT_ONCE: Final = 200  # PDUs of one peer in a row, before other peers have their turn
_RESPONSE: Final = 0x80000000


class Mode(StrEnum):
    TRANSMITTER = "transmitter"  # the ESME sends
    RECEIVER = "receiver"  # the ESME receives
    TRANSCEIVER = "transceiver"


class State(StrEnum):
    OPEN = "open"
    BOUND = "bound"
    UNBINDING = "unbinding"
    CLOSED = "closed"


MODES: Final = {
    Command.BIND_TRANSMITTER: Mode.TRANSMITTER, Command.BIND_RECEIVER: Mode.RECEIVER,
    Command.BIND_TRANSCEIVER: Mode.TRANSCEIVER,
}  # fmt: skip

_SENDS: Final = frozenset({Mode.TRANSMITTER, Mode.TRANSCEIVER})
_HEARS: Final = frozenset({Mode.RECEIVER, Mode.TRANSCEIVER})
# Requests that a bound peer may send, with the modes (table 2-1; a customer may also send by deliver_sm). bind,
# unbind, enquire_link and generic_nack are allowed in all modes and not listed.
_ALLOWED: Final[Mapping[Role, Mapping[int, frozenset[Mode]]]] = {
    "smsc": {
        Command.SUBMIT_SM: _SENDS, Command.DELIVER_SM: _SENDS, Command.DATA_SM: _SENDS, Command.SUBMIT_MULTI: _SENDS,
        Command.QUERY_SM: _SENDS, Command.CANCEL_SM: _SENDS, Command.REPLACE_SM: _SENDS,
    },
    "esme": {
        Command.DELIVER_SM: _HEARS, Command.DATA_SM: _HEARS, Command.ALERT_NOTIFICATION: _HEARS,
    },
}  # fmt: skip


class Limits(NamedTuple):
    """Limits of a session, in seconds except `window`: unanswered requests of the peer; more wait unread."""

    window: int
    bind_timeout: float
    enquire_link: float
    response_timeout: float
    pdu_timeout: float = 10.0  # from the first octet of a PDU to its last


class Request(NamedTuple):
    """Request of the peer; must be answered with `Session.answer`."""

    pdu: Pdu


class Answer(NamedTuple):
    """Response of the peer to our request."""

    token: Any
    pdu: Pdu


class Late(NamedTuple):
    """Response that came after its `Lost`."""

    token: Any
    pdu: Pdu


class Lost(NamedTuple):
    """Request of ours that got no response."""

    token: Any
    why: str


class Closed(NamedTuple):
    """End of the session, `orderly` by an unbind: send the remaining octets, then close the connection."""

    why: str
    orderly: bool = False


Event = Request | Answer | Late | Lost | Closed


class NotBound(Exception):
    """Error for a request while the session is not bound."""


class _Asked(NamedTuple):
    token: Any
    command: int
    until: float


_OURS: Final = object()  # token of the session's own requests


class Session:
    def __init__(self, role: Role, now: float, limits: Limits) -> None:
        self.role = role
        self.limits = limits
        self.state = State.OPEN
        self.mode = Mode.TRANSCEIVER
        self.under_way = 0  # unanswered requests of the peer
        self.last_heard = now
        self.has_more = False  # PDUs wait in the framer: call `receive` again soon, read no more
        self._began = now
        self._framer = Framer()
        self._part_since: float | None = None  # the time of an unfinished PDU's first octet
        self._strange = 0  # PDUs before a bind
        self._out: list[bytes] = []
        self._asked: OrderedDict[int, _Asked] = OrderedDict()  # by sequence number, oldest first
        self._late: OrderedDict[int, Any] = OrderedDict()
        self._sequence = 0
        self._enquired = 0  # enquire_links since the peer's last PDU
        self._enquired_at = 0.0  # time of the first of these
        self._unbind: int | None = None  # sequence number of the peer's unanswered unbind
        self._unbind_until = 0.0

    # --- out ---

    def take(self) -> bytes:
        """Return and remove the octets to send."""
        data, self._out = b"".join(self._out), []
        return data

    @property
    def unsent(self) -> int:
        return sum(map(len, self._out))

    def ask(
        self, command: int, fields: Mapping[str, Any], now: float, token: Any, tlvs: Mapping[int, bytes] = {}
    ) -> int:
        """Send a request and return its sequence number. Raises NotBound."""
        if self.state is not State.BOUND and not (command in BINDS and self.state is State.OPEN):
            raise NotBound(str(self.state))
        return self._ask(command, fields, now, token, tlvs)

    def _ask(
        self, command: int, fields: Mapping[str, Any], now: float, token: Any, tlvs: Mapping[int, bytes] = {}
    ) -> int:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        self._out.append(encode(Pdu(command, self._sequence, 0, fields, tlvs)))
        self._asked[self._sequence] = _Asked(token, command, now + self.limits.response_timeout)
        return self._sequence

    @property
    def can_ask(self) -> bool:
        return self.state is State.BOUND

    def answer(
        self, request: Pdu, status: int = 0, message_id: str = "", fields: Mapping[str, Any] | None = None,
        tlvs: Mapping[int, bytes] = {},
    ) -> None:  # fmt: skip
        """Answer a `Request`; `fields` if the response has more than a message id."""
        self.under_way -= 1
        if self.state is State.CLOSED:
            return
        if fields is None or status:
            self._out.append(encode_response(request, status, message_id))
        else:
            self._out.append(encode(Pdu(request.command | _RESPONSE, request.sequence, status, fields, tlvs)))

    def bound(self, mode: Mode) -> None:
        """Record that the bind has succeeded, on either side."""
        if self.state is State.CLOSED:
            return
        self.state, self.mode = State.BOUND, mode

    def unbind(self, now: float) -> None:
        """Send an unbind; `Closed` follows the peer's response or its timeout."""
        if self.state is State.BOUND:
            self._ask(Command.UNBIND, {}, now, _OURS)
            self.state, self._unbind_until = State.UNBINDING, now + _LAST_WORDS

    # --- in ---

    @property
    def is_full(self) -> bool:
        """True if the peer's window is full: read no more and call `receive` after the next response."""
        return self.under_way >= self.limits.window

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Return the events of received octets."""
        self._framer.feed(data)
        events: list[Event] = []
        left = _AT_ONCE
        while left and self.state is not State.CLOSED and not self.is_full:
            left -= 1
            try:
                octets = self._framer.next()
            except BadLength as error:
                self._out.append(nack(Status.INVALID_COMMAND_LENGTH, error.sequence))
                self._close(events, str(error))
                break
            if octets is None:
                break
            self._heard(octets, now, events)
        self.has_more = not left
        if not self._framer.has_part or self.has_more or self.is_full:
            self._part_since = None
        elif self._part_since is None or left < _AT_ONCE - 1:  # the part is of another PDU than before
            self._part_since = now
        self._settle_unbind(events, now)
        return events

    def _heard(self, octets: bytes, now: float, events: list[Event]) -> None:
        self.last_heard, self._enquired = now, 0
        if self.state is State.OPEN and self.role == "smsc":
            self._strange += 1
            if self._strange > _BEFORE_BIND:
                self._close(events, "does not bind")
                return
        try:
            pdu = decode(octets, lenient=self.role == "esme")
        except BadPdu as error:
            self._bad(error, events)
            return
        if pdu.is_response:
            self._response(pdu, events)
        else:
            self._request(pdu, now, events)

    def _bad(self, error: BadPdu, events: list[Event]) -> None:
        if error.command & _RESPONSE:  # an unreadable response to our request: the outcome is unknown
            asked = self._asked.pop(error.sequence, None)
            if asked is not None and asked.token is not _OURS:
                events.append(Lost(asked.token, f"the answer cannot be read: {error}"))
        elif error.status is Status.INVALID_COMMAND_ID:
            self._out.append(nack(error.status, error.sequence))
        else:
            self._out.append(encode_response(Pdu(error.command, error.sequence), error.status))

    def _response(self, pdu: Pdu, events: list[Event]) -> None:
        asked = self._asked.get(pdu.sequence)
        if asked is None or pdu.command not in (asked.command | _RESPONSE, GENERIC_NACK):
            token = self._late.pop(pdu.sequence, None)
            if token is not None:
                events.append(Late(token, pdu))
            return
        del self._asked[pdu.sequence]
        if asked.command in BINDS and not pdu.status:  # requests right after the bind response are allowed
            self.bound(MODES[Command(asked.command)])
        if asked.token is not _OURS:
            events.append(Answer(asked.token, pdu))
        elif asked.command == Command.UNBIND:
            self._close(events, "unbound", orderly=True)

    def _request(self, pdu: Pdu, now: float, events: list[Event]) -> None:
        command = pdu.command
        if command == Command.ENQUIRE_LINK:
            self._out.append(encode_response(pdu))
        elif command == Command.UNBIND:
            self._unbound(pdu, now)
        elif command in BINDS:
            self._bind(pdu, events)
        elif self.state is not State.BOUND or self.mode not in _ALLOWED[self.role].get(command, ()):
            if command not in (Command.ALERT_NOTIFICATION, Command.OUTBIND):  # these two have no response
                self._out.append(encode_response(pdu, self._refusal_of_state(command)))
        elif command != Command.ALERT_NOTIFICATION:
            self.under_way += 1
            events.append(Request(pdu))

    def _refusal_of_state(self, command: int) -> Status:
        """Return the status for a request that cannot be taken now.

        After our own unbind it must ask for another try: some programs drop a message that hears any other error."""
        is_ours = self.state is State.UNBINDING and self._unbind is None
        allowed = self.mode in _ALLOWED[self.role].get(command, ())
        return Status.QUEUE_FULL if is_ours and allowed else Status.WRONG_BIND_STATE

    def _bind(self, pdu: Pdu, events: list[Event]) -> None:
        if self.role == "esme":
            self._out.append(encode_response(pdu, Status.WRONG_BIND_STATE))
        elif self.state is not State.OPEN or self.under_way:
            self._out.append(encode_response(pdu, Status.ALREADY_BOUND))
        else:
            self.under_way += 1
            events.append(Request(pdu))

    def _unbound(self, pdu: Pdu, now: float) -> None:
        """Handle the peer's unbind; open requests of both sides are answered first (P-17)."""
        if self.state is State.OPEN:
            self._out.append(encode_response(pdu, Status.WRONG_BIND_STATE))
        elif self._unbind is None:
            self.state, self._unbind, self._unbind_until = State.UNBINDING, pdu.sequence, now + _LAST_WORDS

    def _settle_unbind(self, events: list[Event], now: float) -> None:
        if self._unbind is None or self.state is not State.UNBINDING:
            return
        done = self.under_way == 0 and not self._asked
        if done or now >= self._unbind_until:
            self._out.append(encode_response(Pdu(Command.UNBIND, self._unbind)))
            self._close(events, "unbound by the peer", orderly=done)

    # --- timers and end ---

    def tick(self, now: float) -> list[Event]:
        """Return the events of expired timers. Call it at least once a second."""
        events: list[Event] = []
        if self.state is State.CLOSED:
            return events
        self._time_out(now, events)
        if self.state is State.OPEN and now - self._began >= self.limits.bind_timeout:
            self._close(events, "no bind in time")
        elif self.role == "smsc" and self._part_since is not None and now - self._part_since >= self.limits.pdu_timeout:
            self._close(events, "a PDU was not finished in time")
        elif self.state is State.UNBINDING:
            self._settle_unbind(events, now)
            if now >= self._unbind_until:
                self._close(events, "no answer to unbind")
        elif self.state is State.BOUND and now - self.last_heard >= self.limits.enquire_link * (self._enquired + 1):
            if self._enquired >= _MISSED:
                self._close(events, f"heard nothing for {now - self.last_heard:.0f} s")
            else:
                self._enquire(now)
        return events

    def _enquire(self, now: float) -> None:
        if not self._enquired:
            self._enquired_at = now
        self._enquired += 1
        self._ask(Command.ENQUIRE_LINK, {}, now, _OURS)

    def probe(self, now: float) -> None:
        """Send an enquire_link before its time."""
        if self.state is State.BOUND and not self._enquired:
            self._enquire(now)

    def unanswered(self, now: float) -> float:
        """Return the seconds since the first unanswered enquire_link; 0 if there is none."""
        return now - self._enquired_at if self._enquired else 0.0

    def _time_out(self, now: float, events: list[Event]) -> None:
        while self._asked:
            sequence, asked = next(iter(self._asked.items()))
            if asked.until > now:
                return
            del self._asked[sequence]
            if asked.token is not _OURS:
                events.append(Lost(asked.token, f"no answer in {self.limits.response_timeout:.0f} s"))
                self._late[sequence] = asked.token
                if len(self._late) > _LATE:
                    self._late.popitem(last=False)

    def end(self, why: str) -> list[Event]:
        """End the session, because its connection is closed or must be closed."""
        events: list[Event] = []
        self._close(events, why)
        return events

    def _close(self, events: list[Event], why: str, *, orderly: bool = False) -> None:
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        events += [Lost(asked.token, why) for asked in self._asked.values() if asked.token is not _OURS]
        self._asked.clear()
        self._late.clear()
        events.append(Closed(why, orderly))
