"""Lanes of the queue: one state machine. Pure: the queue performs the actions and tells the machine what happened.

Two rules hold whatever happens:

1. Never are two deliveries of a lane out at once, and deliveries leave in the order of their ids. So the machine does
   one thing with a lane at a time. An event without a row in the table changes no state: the lane only remembers it.
2. What memory misses is late and never lost: the store is the truth. So a lane that leaves memory with anything undone
   is `WAITING`, and each event that it needs is written down as a due time.

A lane that is `IDLE` (the store has nothing of it) has no object, and one that is `WAITING` (the store has something;
whether for a time or for an event is known only there) is a hash. While a delivery of such a lane is being stored, the
lane is `STORING`: a row that ends in `IDLE` or `WAITING` ends there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum, auto
from typing import Final

from sipsms.core.message import Delivery
from sipsms.core.queue_rows import DueLane

CHUNK: Final = 50  # deliveries of one lane in memory


class LaneState(StrEnum):
    IDLE = auto()
    WAITING = auto()
    STORING = auto()
    WAKING = auto()  # its event has come: that its head is due is being written
    READY = auto()  # it waits for its turn at the courier
    LOADING = auto()
    SENDING = auto()  # from the commit of an attempt until it is closed


class Event(StrEnum):
    RESERVED = auto()
    BEGUN = auto()  # a delivery is being stored together with its first attempt
    STORED = auto()  # a delivery is stored and due
    RELEASED = auto()  # a reserved delivery is stored, or will not be
    WOKEN = auto()
    WRITTEN = auto()  # its head is due now, and the store knows
    POLLED = auto()  # the store says that something of it is due
    TURN = auto()  # its courier has room
    LOADED = auto()
    HEAD_WAITS = auto()  # loaded: its oldest delivery is not due
    NOT_OWNED = auto()  # another node is working on it
    SENT = auto()  # or failed: the attempt is closed, and the next delivery may go
    DEFERRED = auto()
    STOPPED = auto()  # its courier takes no more, or the store is away


class Action(StrEnum):
    NONE = auto()
    ENTER = auto()  # give it its turn at the courier
    START = auto()  # begin the attempt of its next delivery
    LOAD = auto()  # read its deliveries from the store
    MAKE_DUE = auto()  # write down that its head is due
    WAIT = auto()  # search for it when its head falls due
    SEARCH = auto()  # search for it soon
    FORGET = auto()


IDLE, WAITING, STORING, WAKING, READY, LOADING, SENDING = LaneState
(
    RESERVED, BEGUN, STORED, RELEASED, WOKEN, WRITTEN, POLLED,
    TURN, LOADED, HEAD_WAITS, NOT_OWNED, SENT, DEFERRED, STOPPED,
) = Event  # fmt: skip
NONE, ENTER, START, LOAD, MAKE_DUE, WAIT, SEARCH, FORGET = Action

_ENTER = (("", READY, ENTER),)
_WAIT = (("", WAITING, WAIT),)
_NEXT = (("pending", SENDING, START), ("more", LOADING, LOAD), ("", IDLE, FORGET))
_STOP = (("owed", WAKING, MAKE_DUE), ("more", WAITING, SEARCH), ("", IDLE, FORGET))

# (state, event): rows of (what must be true of the lane, next state, action), of which the first that fits counts.
TABLE: Final = {
    (IDLE, RESERVED): (("", STORING, NONE),),
    (IDLE, BEGUN): (("", SENDING, NONE),),
    (IDLE, STORED): _ENTER,
    (IDLE, POLLED): _ENTER,
    (WAITING, RESERVED): (("", STORING, NONE),),
    (WAITING, STORED): _ENTER,
    (WAITING, POLLED): _ENTER,
    (WAITING, WOKEN): (("", WAKING, MAKE_DUE),),
    (STORING, RELEASED): (("more", WAITING, NONE), ("", IDLE, FORGET)),
    (STORING, STORED): _ENTER,
    (STORING, POLLED): _ENTER,
    (STORING, WOKEN): (("", WAKING, MAKE_DUE),),
    (WAKING, WRITTEN): (("woken", WAKING, MAKE_DUE), ("", WAITING, SEARCH)),
    (READY, TURN): (("pending", SENDING, START), ("", LOADING, LOAD)),
    (READY, STOPPED): _STOP,
    (LOADING, LOADED): _NEXT,
    (LOADING, HEAD_WAITS): _WAIT,
    (LOADING, NOT_OWNED): (("owed", WAKING, MAKE_DUE), *_WAIT),
    (LOADING, STOPPED): _STOP,
    (SENDING, SENT): _NEXT,
    (SENDING, DEFERRED): (("woken", LOADING, LOAD), *_WAIT),
    (SENDING, STOPPED): _STOP,
}
_AT_WORK: Final = (READY, LOADING, SENDING)
_NO_OBJECT: Final = (IDLE, WAITING)


class Lane:
    """A lane in memory, and what it remembers until the operation under way is over."""

    __slots__ = ("coming", "going", "key", "last", "more", "pending", "state", "woken")

    def __init__(self, key: str, state: LaneState, *, more: bool) -> None:
        self.key = key
        self.state = state
        self.pending: list[Delivery] = []
        self.more = more  # the store has deliveries that are not in `pending`
        self.woken = False  # its event has come, and no attempt has begun since
        self.going = False  # its next delivery may go, due or not: one went before it, or it was woken
        self.coming = 0  # reserved deliveries that are being stored
        self.last = 0  # id of the newest delivery that was in `pending`

    @property
    def owed(self) -> bool:
        """Return whether its head in the store may go although its due time may not say so."""
        return self.more and (self.woken or self.going)

    def take(self) -> Delivery:
        """Take the next delivery, whose attempt begins now."""
        self.going, self.woken = self.going or self.woken, False
        return self.pending.pop(0)

    def may_start(self, head: Delivery, now: float) -> bool:
        return self.going or self.woken or is_due(head, now)


def is_due(delivery: Delivery, now: float) -> bool:
    return delivery.due_at is not None and delivery.due_at <= now


class Lanes:
    """All lanes that are not idle."""

    def __init__(self) -> None:
        self.known = False  # which lanes wait in the store; until then, any may
        self._lanes: dict[str, Lane] = {}
        self._waiting: set[int] = set()  # hashes
        self._left: set[str] | None = None  # lanes that left memory during a search

    def count(self) -> tuple[int, int]:
        """Return how many lanes are at work, and how many wait."""
        at_work = sum(lane.state in _AT_WORK for lane in self._lanes.values())
        return at_work, len(self._waiting) + len(self._lanes) - at_work

    def state_of(self, key: str) -> LaneState:
        lane = self._lanes.get(key)
        if lane is not None:
            return lane.state
        return IDLE if self.known and hash(key) not in self._waiting else WAITING

    def is_at_work(self, key: str) -> bool:
        return self.state_of(key) in _AT_WORK

    def __getitem__(self, key: str) -> Lane:
        return self._lanes[key]

    # --- what comes in ---

    def begin(self, key: str) -> None:
        """Take an idle lane for a delivery that is stored together with its first attempt."""
        self._receive(self._enter(key), BEGUN)

    def reserve(self, key: str) -> None:
        lane = self._enter(key)
        lane.coming += 1
        self._receive(lane, RESERVED)

    def release(self, key: str) -> None:
        lane = self._lanes[key]
        lane.coming -= 1
        self._receive(lane, RELEASED)

    def stored(self, delivery: Delivery) -> Action:
        """Take a delivery that was committed and is due."""
        lane = self._enter(delivery.lane)
        if delivery.id <= lane.last:  # it comes late: the store knows the order
            lane.pending.clear()
            lane.more = True
        elif lane.more or lane.state is LOADING or len(lane.pending) >= CHUNK:
            lane.more = True
        else:
            lane.pending.append(delivery)
            lane.last = delivery.id
        return self._receive(lane, STORED)

    def park(self, key: str) -> None:
        """Mark a lane as not empty: deliveries in it have to wait, or another component is about to store some."""
        if key in self._lanes:
            self._lanes[key].more = True
        self._waiting.add(hash(key))  # even so: the lane may be read, and leave memory, before that is stored

    def forget(self, key: str) -> None:
        """Forget a lane whose deliveries another component has closed."""
        if key not in self._lanes:
            self._waiting.discard(hash(key))

    def wake(self, key: str) -> Action:
        """Take the event that a lane waits for."""
        if self.state_of(key) is IDLE:
            return NONE
        lane = self._enter(key)
        lane.woken = lane.more = True
        return self._receive(lane, WOKEN)

    def written(self, key: str) -> Action:
        return self._receive(self._lanes[key], WRITTEN)

    def learn(self, keys: Iterable[str]) -> None:
        """Take the lanes that wait in the store."""
        for key in keys:
            self.park(key)
        self.known = True

    # --- a search for due lanes in the store ---

    def begin_search(self) -> None:
        """Remember from now on which lanes leave memory: what the search reads of them is old."""
        self._left = set()

    def end_search(self, found: Sequence[DueLane]) -> tuple[list[Lane], bool]:
        """Return the lanes that need a turn now, and whether another search is needed."""
        left, self._left = self._left or set(), None
        entered = [self._polled(due) for due in found if due.lane not in left]
        return [lane for lane in entered if lane is not None], any(due.lane in left for due in found)

    def _polled(self, due: DueLane) -> Lane | None:
        lane = self._enter(due.lane)
        if lane.state in _NO_OBJECT and due.deliveries:
            lane.pending, lane.more, lane.last = list(due.deliveries), due.more, due.deliveries[-1].id
        else:
            lane.more = True
        return lane if self._receive(lane, POLLED) is ENTER else None

    # --- work ---

    def turn(self, lane: Lane) -> Action:
        return self._receive(lane, TURN)

    def loaded(self, lane: Lane, rows: Sequence[Delivery] | None, now: float) -> Action:
        """Take the lane's first deliveries in the store. None: another node is working on it."""
        if not rows:
            lane.more = lane.more or rows is None
            return self._receive(lane, NOT_OWNED if rows is None else LOADED)
        if not lane.may_start(rows[0], now):
            lane.more = True
            return self._receive(lane, HEAD_WAITS)
        lane.pending, lane.last = list(rows), rows[-1].id
        lane.more = lane.more or len(rows) >= CHUNK
        return self._receive(lane, LOADED)

    def sent(self, lane: Lane) -> Action:
        lane.going = True
        return self.skipped(lane)

    def skipped(self, lane: Lane) -> Action:
        """Go on behind a delivery that has expired: the sweep writes that down."""
        return self._receive(lane, SENT)

    def refused(self, lane: Lane) -> Action:
        """Read the lane again, since another component has changed the delivery that was to start."""
        lane.pending.clear()
        lane.more = True
        return self.sent(lane)

    def deferred(self, lane: Lane) -> Action:
        """Let all wait that stand behind the delivery that has to wait."""
        lane.pending.clear()
        lane.more, lane.going = True, False
        return self._receive(lane, DEFERRED)

    def stopped(self, lane: Lane, *, undone: bool = True) -> Action:
        """Take the lane's turn away. `undone`: the delivery that was to start is still in the store."""
        lane.more = lane.more or undone or bool(lane.pending)
        lane.pending.clear()
        return self._receive(lane, STOPPED)

    # --- the machine ---

    def _enter(self, key: str) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            state = self.state_of(key)
            lane = self._lanes[key] = Lane(key, state, more=state is WAITING)
            self._waiting.discard(hash(key))
        return lane

    def _receive(self, lane: Lane, event: Event) -> Action:
        for condition, state, action in TABLE.get((lane.state, event), ()):
            if not condition or getattr(lane, condition):
                lane.state = STORING if lane.coming and state in _NO_OBJECT else state
                if action is LOAD:
                    lane.more = False
                elif action is MAKE_DUE:
                    lane.woken = lane.going = False
                if lane.state in _NO_OBJECT:
                    self._leave(lane)
                return action
        return NONE

    def _leave(self, lane: Lane) -> None:
        del self._lanes[lane.key]
        if lane.state is WAITING:
            self._waiting.add(hash(lane.key))
        if self._left is not None:
            self._left.add(lane.key)
