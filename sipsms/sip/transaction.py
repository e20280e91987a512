"""Non-INVITE transactions of RFC 3261 section 17, as tables.

Pure: the endpoint owns sockets, clock and timers. One row of a table is one arrow of the RFC's figure. A missing key
means: ignore. The machines never raise.
"""

from __future__ import annotations

from enum import Enum, auto

from sipsms.sip.message import Request

T1 = 0.5  # round trip estimate, seconds
T2 = 4.0  # longest interval between retransmissions
T4 = 5.0  # longest time a message stays in the network
TIMEOUT = 64 * T1  # timers F and J

MAGIC = "z9hG4bK"


class State(Enum):
    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    TERMINATED = auto()


class Event(Enum):
    REQUEST = auto()  # retransmission of the request
    PROVISIONAL = auto()
    FINAL = auto()
    TIMER_E = auto()  # time to retransmit
    TIMER_F = auto()  # no answer in 64*T1
    TIMER_END = auto()  # timer J or K: end of retransmissions
    ERROR = auto()  # the transport reports an unreachable peer


class Action(Enum):
    NONE = auto()
    SEND = auto()  # server: the response; client: the request
    DELIVER = auto()  # pass the response to the transaction user
    FAIL = auto()  # report to the transaction user that there will be no response


# RFC 3261 figure 8. Provisional answers are not sent (RFC 4320 section 4.1), so PROCEEDING is only passed through.
SERVER = {
    (State.TRYING, Event.FINAL): (State.COMPLETED, Action.SEND),
    (State.TRYING, Event.REQUEST): (State.TRYING, Action.NONE),
    (State.PROCEEDING, Event.REQUEST): (State.PROCEEDING, Action.SEND),
    (State.PROCEEDING, Event.FINAL): (State.COMPLETED, Action.SEND),
    (State.COMPLETED, Event.REQUEST): (State.COMPLETED, Action.SEND),
    (State.COMPLETED, Event.TIMER_END): (State.TERMINATED, Action.NONE),
}

# RFC 3261 figure 6.
CLIENT = {
    (State.TRYING, Event.TIMER_E): (State.TRYING, Action.SEND),
    (State.TRYING, Event.PROVISIONAL): (State.PROCEEDING, Action.NONE),
    (State.TRYING, Event.FINAL): (State.COMPLETED, Action.DELIVER),
    (State.TRYING, Event.TIMER_F): (State.TERMINATED, Action.FAIL),
    (State.TRYING, Event.ERROR): (State.TERMINATED, Action.FAIL),
    (State.PROCEEDING, Event.TIMER_E): (State.PROCEEDING, Action.SEND),
    (State.PROCEEDING, Event.PROVISIONAL): (State.PROCEEDING, Action.NONE),
    (State.PROCEEDING, Event.FINAL): (State.COMPLETED, Action.DELIVER),
    (State.PROCEEDING, Event.TIMER_F): (State.TERMINATED, Action.FAIL),
    (State.PROCEEDING, Event.ERROR): (State.TERMINATED, Action.FAIL),
    (State.COMPLETED, Event.FINAL): (State.COMPLETED, Action.NONE),
    (State.COMPLETED, Event.TIMER_END): (State.TERMINATED, Action.NONE),
}


class ServerTransaction:
    """Server transaction: absorbs retransmissions.

    `response`: bytes of the final response.
    """

    __slots__ = ("response", "state")

    def __init__(self) -> None:
        self.state = State.TRYING
        self.response = b""

    def receive(self, event: Event) -> Action:
        self.state, action = SERVER.get((self.state, event), (self.state, Action.NONE))
        return action


class ClientTransaction:
    """Client transaction: decides on retransmissions.

    `deadline`: time of the next call of `timer`.
    """

    __slots__ = ("_give_up", "_interval", "_resend_at", "reliable", "state")

    def __init__(self, *, reliable: bool, now: float) -> None:
        self.state = State.TRYING
        self.reliable = reliable
        self._interval = T1
        self._resend_at = float("inf") if reliable else now + T1
        self._give_up = now + TIMEOUT

    @property
    def deadline(self) -> float:
        return min(self._resend_at, self._give_up)

    def receive(self, event: Event, now: float) -> Action:
        before = self.state
        self.state, action = CLIENT.get((before, event), (before, Action.NONE))
        if event is Event.PROVISIONAL and before is State.TRYING and not self.reliable:
            self._interval = T2
            self._resend_at = now + T2
        elif self.state is State.COMPLETED and before is not State.COMPLETED:
            self._resend_at = float("inf")
            self._give_up = now if self.reliable else now + T4  # timer K
        return action

    def timer(self, now: float) -> Action:
        """Handle the timer; call it at or after `deadline`."""
        if self.state is State.COMPLETED:
            return self.receive(Event.TIMER_END, now)
        if now >= self._give_up:
            return self.receive(Event.TIMER_F, now)
        if now < self._resend_at:
            return Action.NONE
        self._interval = T2 if self.state is State.PROCEEDING else min(2 * self._interval, T2)
        self._resend_at = now + self._interval
        return self.receive(Event.TIMER_E, now)


def server_key(request: Request) -> tuple[str, ...]:
    """Return the key that is equal for requests of the same transaction (RFC 3261 section 17.2.3)."""
    via = request.via
    if via is None:  # only requests that could be parsed get a transaction
        return ()
    branch = via.branch
    if branch.startswith(MAGIC):
        return (branch, via.host, str(via.port or 5060), request.method)
    to, from_ = request.to, request.from_
    return (
        "2543",
        request.method,
        request.uri,
        to.tag if to else "",
        from_.tag if from_ else "",
        request.call_id,
        str(request.cseq),
        request.vias[0],
    )


def merge_key(request: Request) -> tuple[str, str, str, int]:
    """Return a key that copies of one request by other routes share (RFC 3261 section 8.2.2.2).

    The key contains the user, so that nobody can use up another user's key.
    """
    return (request.user, request.from_.tag if request.from_ else "", request.call_id, request.cseq)
