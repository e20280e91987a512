"""Acknowledgement of answers: evidence that a client has received an answer.

The evidence distinguishes a client's blind retry from a new message. An answer counts as acknowledged only when the
client acted after it: the client sent another request on the same connection, or closed it in order (its FIN came after
it had acknowledged all that we wrote, and no reset came).

- A TCP acknowledgement alone must never count: the system acknowledges data that its program never reads.
- A reset means that the program did not read the answer: the system sends a reset for a program that closes a
  connection with unread data.
- The FIN of a program that aborts can come just before its reset (`shutdown`, then `close`). So for `GRACE` seconds
  after the answer we do not send our own FIN: once both FINs have been sent, a reset can no longer be seen.
- A client that reads until we close gets our FIN after that time and then closes. For a client that shuts down and
  closes after our FIN it is not known whether it has read; the answer counts as acknowledged.

Behind a proxy, all this applies to the proxy's connection: an answer lost between proxy and client is not detected.
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

KEY: Final = "sipsms.link"  # key of the connection in a request's scope
GRACE: Final = 0.05  # seconds between an answer and our FIN, and between the client's FIN and its evaluation
_LONGEST: Final = 30.0  # seconds to wait for a client; a later retry counts as a new message anyhow
_MOST_ENDED: Final = 200  # connections waited for at once
_FIN: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP
_RESET: Final = select.POLLERR | select.POLLNVAL

Actions = list[Callable[[], None]]


class _State(Enum):
    OPEN = auto()  # no FIN and no reset
    ENDED = auto()  # the client's FIN, and all that we wrote is acknowledged
    BROKEN = auto()  # a reset, or a FIN with unacknowledged data


def _state(descriptor: int, *, is_shut: bool = False) -> _State:
    """Return the state of a connection as the system knows it, perhaps before the event loop does."""
    poll = select.poll()
    poll.register(descriptor, _FIN)
    seen = dict(poll.poll(0)).get(descriptor, 0)
    if seen & _RESET or (seen & select.POLLHUP and not is_shut):
        return _State.BROKEN  # closed on both sides, but not by us: a reset that the event loop has already read
    if not seen & _FIN:
        return _State.OPEN
    left = _unacknowledged(descriptor)
    most = 1 if is_shut else 0  # our own FIN counts as one octet, the last
    return _State.ENDED if left is not None and left <= most else _State.BROKEN


def _unacknowledged(descriptor: int) -> int | None:
    """Return the written octets that the other system has not acknowledged; None if not known."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):
        return None
    return int(count)


class ResponseAcks:
    """The connections of one server whose last answers are not acknowledged yet."""

    def __init__(self) -> None:
        self.waiting: set[ResponseAck] = set()
        self._ended: dict[int, _Ended] = {}  # by descriptor, oldest first
        self._epoll: select.epoll | None = None
        self._is_closed = False
        _all.add(self)

    async def look(self) -> None:
        """Read the system's state of all connections, which the event loop may not have seen yet.

        Wait until no reset can follow a FIN that has come. A FIN can be overtaken by the request of another
        connection that the client opened after it: wait for that, too."""
        self._look_once()
        if self.waiting:
            await asyncio.sleep(GRACE)
            self._look_once()
        for ended in [one for one in self._ended.values() if one.has_fin]:
            await ended.is_settled.wait()

    def _look_once(self) -> None:
        for link in list(self.waiting):
            link.look()
        for ended in list(self._ended.values()):
            ended.look()

    def end(self, descriptor: int, actions: Actions) -> None:
        """Run the actions once the client has closed in order a connection that our side has finished.

        Must be called before the descriptor is closed: a duplicate of it keeps the connection open."""
        if self._is_closed or descriptor < 0 or _unacknowledged(descriptor) is None:
            return
        with suppress(OSError):
            ended = _Ended(socket.socket(fileno=os.dup(descriptor)), actions, self)
            self._ended[ended.descriptor] = ended
            if len(self._ended) > _MOST_ENDED:
                next(iter(self._ended.values())).give_up()
            self._watch(ended.descriptor)

    def _watch(self, descriptor: int) -> None:
        """Call `_changed` once for each change of a descriptor.

        The event loop's own readers would be called without end after a FIN, and uvloop's treat a reset as a program
        error."""
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
        """Stop watching a descriptor. Must be called before it is closed."""
        self._ended.pop(descriptor, None)
        if self._epoll is not None:
            with suppress(OSError):
                self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Stop waiting for all clients: the server stops."""
        self._is_closed = True
        self.waiting.clear()
        for ended in list(self._ended.values()):
            ended.give_up()
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None


_all: Final[WeakSet[ResponseAcks]] = WeakSet()


class ResponseAck:
    """The acknowledgement state of one connection."""

    def __init__(self, transport: Any, links: ResponseAcks) -> None:
        self._transport = transport
        self._links = links
        self._coming: Actions = []  # actions of the answer being made
        self._waiting: Actions = []  # actions of answers that have been written

    def _descriptor(self) -> int:
        sock = self._transport.get_extra_info("socket")
        return int(sock.fileno()) if sock is not None else -1

    def _is_there(self) -> bool:
        """Return whether the client has not closed the connection yet."""
        descriptor = self._descriptor()
        return descriptor >= 0 and not self._transport.is_closing() and _state(descriptor) is _State.OPEN

    def when_heard(self, action: Callable[[], None]) -> None:
        """Run `action` once the answer about to be written is acknowledged; never if it is not."""
        if self._is_there():
            self._coming.append(action)

    def written(self) -> None:
        """Note that the whole answer has been passed to the transport."""
        if self._coming:
            self._waiting += self._coming
            self._coming = []
            self._links.waiting.add(self)

    def asked_again(self) -> None:
        """Note that another request has begun, which counts if the previous answer had arrived."""
        if self._waiting and self._has_arrived():
            _run(self._take())

    def look(self) -> None:
        """Detect an end of the connection before the event loop reports it."""
        descriptor = self._descriptor()
        if descriptor < 0 or self._transport.is_closing():
            return  # `lost` will be called in a moment with the cause
        state = _state(descriptor)
        if state is _State.ENDED:
            self.closed_by_client()
        elif state is _State.BROKEN:
            self._take()

    def closed_by_client(self) -> None:
        """Note that the client's FIN has come."""
        actions = self._take()
        if actions and self._has_arrived():
            self._links.end(self._descriptor(), actions)

    def lost(self, *, broken: bool) -> None:
        """Note that the connection was closed by us in order, or that it broke."""
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
    """A connection that our side has finished, kept until the client has closed it too."""

    def __init__(self, sock: socket.socket, actions: Actions, links: ResponseAcks) -> None:
        self.descriptor = sock.fileno()
        self._sock = sock
        self._actions = actions
        self._links = links
        self._is_shut = False  # our FIN is sent
        self.has_fin = False  # the client's FIN has come
        self.is_settled = asyncio.Event()
        self._timer = self._later(GRACE, self._shut)

    def look(self, *, at_once: bool = False) -> None:
        """Check the state. A FIN counts `at_once`, or after a wait, because a reset may follow it."""
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
        """Send our FIN: a client that reads until we close has waited long enough."""
        self.look()
        if self.has_fin or self._sock.fileno() < 0:
            return
        self._is_shut = True
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
        self._timer = self._later(_LONGEST, self.give_up)
        self.look()

    def give_up(self) -> None:
        """Decide by the present state and stop waiting."""
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
    """Check all connections with unacknowledged answers: has the client closed any meanwhile?

    Takes at most twice `GRACE` seconds, and no time if every client has asked for more or has closed its connection
    long ago."""
    for links in list(_all):
        await links.look()


def when_heard(request: Request, action: Callable[[], None]) -> None:
    """Run `action` once the client has acknowledged the answer; at once if that is not tracked."""
    link: ResponseAck | None = request.scope.get(KEY)
    if link is None:
        action()
    else:
        link.when_heard(action)
