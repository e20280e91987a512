"""Was an answer heard? What a connection knows of it, so that a blind retry is not taken for another message.

An answer counts as heard only when the client did something after it: it sent another request on the same connection,
or it ended that in order: its FIN came when it had acknowledged all that we wrote, and no reset came.

- An acknowledgement alone must never count: a system acknowledges what its program never reads.
- A reset means that nobody has read it: that is what a system says for a program that closes what it has not read.
- The FIN of a program that breaks off can come just before its reset (`shutdown`, then `close`). So for `GRACE` seconds
  after the answer we do not send our own FIN: once both have been sent, a reset can no longer be seen.
- Who reads until we close gets our FIN after that time, and ends the connection then. Of one that shuts down and closes
  after our FIN nobody can tell whether it has read; it counts as heard.

Behind a proxy all that is about the proxy's connection: an answer that is lost between it and its client is not known.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Final
from weakref import WeakSet

from starlette.requests import Request

KEY: Final = "sipsms.link"  # in a request's scope
GRACE: Final = 0.05  # seconds between an answer and our FIN, and between the client's FIN and what it means
_LONGEST: Final = 30.0  # seconds that a client is waited for; after that its retry is another message anyhow
_MOST_ENDED: Final = 200  # connections that are waited for at once
_FIN: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP
_RESET: Final = select.POLLERR | select.POLLNVAL

Actions = list[Callable[[], None]]


class _State(Enum):
    OPEN = auto()  # nothing has been said yet
    ENDED = auto()  # the client's FIN, and all that we wrote is acknowledged
    BROKEN = auto()  # a reset, or a FIN without that


def _state(descriptor: int, *, is_shut: bool = False) -> _State:
    """What the system knows of a connection now, also where the event loop has not seen it yet."""
    poll = select.poll()
    poll.register(descriptor, _FIN)
    seen = dict(poll.poll(0)).get(descriptor, 0)
    if seen & _RESET or (seen & select.POLLHUP and not is_shut):
        return _State.BROKEN  # hung up on both sides, but not by us: a reset that the event loop has read already
    if not seen & _FIN:
        return _State.OPEN
    left = _unacknowledged(descriptor)
    most = 1 if is_shut else 0  # our own FIN counts as an octet, the last one
    return _State.ENDED if left is not None and left <= most else _State.BROKEN


def _unacknowledged(descriptor: int) -> int | None:
    """Octets that we have written and the other system has not acknowledged; None: nobody knows."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):
        return None
    return int(count)


class Links:
    """The connections of one server whose answers nobody is known to have heard."""

    def __init__(self) -> None:
        self.waiting: set[Link] = set()
        self._ended: dict[int, _Ended] = {}  # by descriptor, oldest first
        self._epoll: select.epoll | None = None
        self._is_closed = False
        _all.add(self)

    async def look(self) -> None:
        """Read what the system knows of them, which the event loop may not have seen; and let pass the moment in which
        a reset may follow a FIN."""
        for link in list(self.waiting):
            link.look()
        for ended in list(self._ended.values()):
            ended.look()
        for ended in [one for one in self._ended.values() if one.has_fin]:
            await ended.is_settled.wait()

    def end(self, descriptor: int, actions: Actions) -> None:
        """Run the actions once the client has ended the connection in order, which our side is done with.

        Must be called before the descriptor is closed: a copy of it keeps the connection."""
        if self._is_closed or descriptor < 0 or _unacknowledged(descriptor) is None:
            return
        with suppress(OSError):
            ended = _Ended(socket.socket(fileno=os.dup(descriptor)), actions, self)
            self._ended[ended.descriptor] = ended
            if len(self._ended) > _MOST_ENDED:
                next(iter(self._ended.values())).give_up()
            self._watch(ended.descriptor)

    def _watch(self, descriptor: int) -> None:
        """Each change of it calls `_changed`, once: the loop's own readers would be called without end after a FIN,
        and uvloop's take a reset for an error of the program."""
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._changed)
        self._epoll.register(descriptor, select.EPOLLRDHUP | select.EPOLLET)

    def _changed(self) -> None:
        assert self._epoll is not None
        for descriptor, _ in self._epoll.poll(0):
            if (ended := self._ended.get(descriptor)) is not None:
                ended.look()

    def leave(self, descriptor: int) -> None:
        """Forget it; called before it is closed."""
        self._ended.pop(descriptor, None)
        if self._epoll is not None:
            with suppress(OSError):
                self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Wait for nobody any more: the server stops."""
        self._is_closed = True
        self.waiting.clear()
        for ended in list(self._ended.values()):
            ended.give_up()
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None


_all: Final[WeakSet[Links]] = WeakSet()


class Link:
    """One connection."""

    def __init__(self, transport: Any, links: Links) -> None:
        self._transport = transport
        self._links = links
        self._coming: Actions = []  # about the answer that is being made
        self._waiting: Actions = []  # about those that have been written

    def _descriptor(self) -> int:
        sock = self._transport.get_extra_info("socket")
        return int(sock.fileno()) if sock is not None else -1

    def _is_there(self) -> bool:
        """Has the client not hung up yet?"""
        descriptor = self._descriptor()
        return descriptor >= 0 and not self._transport.is_closing() and _state(descriptor) is _State.OPEN

    def when_heard(self, action: Callable[[], None]) -> None:
        """Run this once the answer that is about to be written was heard; never, if it was not."""
        if self._is_there():
            self._coming.append(action)

    def written(self) -> None:
        """The whole answer has been handed over."""
        if self._coming:
            self._waiting += self._coming
            self._coming = []
            self._links.waiting.add(self)

    def asked_again(self) -> None:
        """Another request has begun. One that was on its way before the answer had arrived must not count."""
        if self._waiting and self._has_arrived():
            _run(self._take())

    def look(self) -> None:
        """See an end that has come before the event loop tells us."""
        descriptor = self._descriptor()
        if descriptor < 0 or self._transport.is_closing():
            return  # `lost` is told in a moment, and how
        state = _state(descriptor)
        if state is _State.ENDED:
            self.closed_by_client()
        elif state is _State.BROKEN:
            self._take()

    def closed_by_client(self) -> None:
        """Its FIN has come."""
        actions = self._take()
        if actions and self._has_arrived():
            self._links.end(self._descriptor(), actions)

    def lost(self, *, broken: bool) -> None:
        """It was closed by us in order, or it is broken."""
        actions = self._take()
        if actions and not broken:
            self._links.end(self._descriptor(), actions)

    def _has_arrived(self) -> bool:
        return not self._transport.get_write_buffer_size() and _unacknowledged(self._descriptor()) == 0

    def _take(self) -> Actions:
        actions, self._waiting, self._coming = self._waiting, [], []
        self._links.waiting.discard(self)
        return actions


class _Ended:
    """A connection that our side is done with, kept until the client has ended it, too."""

    def __init__(self, sock: socket.socket, actions: Actions, links: Links) -> None:
        self.descriptor = sock.fileno()
        self._sock = sock
        self._actions = actions
        self._links = links
        self._is_shut = False  # our FIN is sent
        self.has_fin = False  # the client's has come
        self.is_settled = asyncio.Event()
        self._timer = self._later(GRACE, self._shut)

    def look(self, *, at_once: bool = False) -> None:
        """`at_once`: a FIN counts now; otherwise a reset may follow it."""
        if self._sock.fileno() < 0:
            return
        state = _state(self.descriptor, is_shut=self._is_shut)
        if state is _State.BROKEN:
            self._leave()
        elif state is _State.ENDED and (at_once or self._is_shut):
            self._leave()
            _run(self._actions)
        elif state is _State.ENDED and not self.has_fin:
            self.has_fin = True
            self._timer.cancel()
            self._timer = self._later(GRACE, self.give_up)

    def _shut(self) -> None:
        """Send our FIN: who reads until we close has waited long enough."""
        self.look()
        if self.has_fin or self._sock.fileno() < 0:
            return
        self._is_shut = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._timer = self._later(_LONGEST, self.give_up)
        self.look()

    def give_up(self) -> None:
        """Judge by what is known now, and wait no longer."""
        self.look(at_once=True)
        self._leave()

    def _later(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, action)

    def _leave(self) -> None:
        self._timer.cancel()
        if self._sock.fileno() >= 0:
            self._links.leave(self.descriptor)
            self._sock.close()
            self.is_settled.set()


def _run(actions: Actions) -> None:
    for action in actions:
        action()


async def look() -> None:
    """Look at all connections whose answer nobody is known to have heard: has their client ended them meanwhile?

    Takes `GRACE` seconds at most, and none where no client has just ended its connection."""
    for links in list(_all):
        await links.look()


def when_heard(request: Request, action: Callable[[], None]) -> None:
    """Run this once the client has the answer to its request. Without a connection that knows, at once."""
    link: Link | None = request.scope.get(KEY)
    if link is None:
        action()
    else:
        link.when_heard(action)
