"""Was an answer heard? What a connection knows of it, so that a blind retry is not taken for another message.

An answer counts as heard when the client asks for the next thing on the same connection, or when its system has
acknowledged all that we wrote and the connection is closed in order, by either side. While it is still open that is
looked at when the same comes again (`look`): a program that waits is no program that has hung up. It was not heard when
the client had hung up before we wrote, or when the connection breaks with our bytes unacknowledged. Behind a proxy
all that is about the proxy; so what is acknowledged there says nothing while it is open.
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
from typing import Any, ClassVar, Final
from weakref import WeakSet

from starlette.requests import Request

KEY: Final = "sipsms.link"  # in a request's scope
_GONE: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
_PAUSES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, *((1.0,) * 30))  # seconds between looks at what we have closed
_MOST_CLOSED: Final = 200  # of those at once

Actions = list[Callable[[], None]]


class Link:
    """One connection."""

    waiting: ClassVar[WeakSet[Link]] = WeakSet()
    closed: ClassVar[set[_Closed]] = set()

    def __init__(self, transport: Any, *, is_proxy: bool = False) -> None:
        self._transport = transport
        self._is_proxy = is_proxy
        self._waiting: Actions = []
        self._is_written = False

    def _descriptor(self) -> int:
        sock = self._transport.get_extra_info("socket")
        return int(sock.fileno()) if sock is not None else -1

    def is_there(self) -> bool:
        """Has the client not hung up yet, also where the event loop has not seen it?"""
        descriptor = self._descriptor()
        if descriptor < 0 or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(descriptor, _GONE)
        return not poll.poll(0)

    def when_heard(self, action: Callable[[], None]) -> None:
        """Run this once the answer that is about to be written was heard; never, if it was not."""
        if self.is_there():
            self._is_written = False
            self._waiting.append(action)
            self.waiting.add(self)

    def written(self) -> None:
        """The whole answer has been handed over."""
        self._is_written = True

    def heard(self) -> None:
        _run(self._take())

    def look(self) -> None:
        if self._is_proxy or not self._is_written or not self.is_there():
            return
        if not self._transport.get_write_buffer_size() and _unacknowledged(self._descriptor()) == 0:
            self.heard()

    def closed_by_client(self) -> None:
        """In order: did its system have all that we wrote?"""
        actions = self._take()
        if actions and self._is_written and _unacknowledged(self._descriptor()) == 0:
            _run(actions)

    def lost(self, *, broken: bool) -> None:
        """Closed by us in order, as the client had asked for, or broken."""
        actions = self._take()
        if actions and self._is_written and not broken and len(self.closed) < _MOST_CLOSED:
            with suppress(OSError):
                _Closed(os.dup(self._descriptor()), actions).watch()

    def _take(self) -> Actions:
        actions, self._waiting = self._waiting, []
        self.waiting.discard(self)
        return actions


class _Closed:
    """A connection that we have closed: has its client's system acknowledged everything yet?"""

    def __init__(self, descriptor: int, actions: Actions) -> None:
        self._sock = socket.socket(fileno=descriptor)
        self._actions = actions
        self._pauses = iter(_PAUSES)
        Link.closed.add(self)
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)  # our copy of it would keep it open

    def watch(self) -> None:
        self.look()
        if self in Link.closed:
            pause = next(self._pauses, None)
            if pause is None:
                self._leave()
            else:
                asyncio.get_running_loop().call_later(pause, self.watch)

    def look(self) -> None:
        if self not in Link.closed:
            return
        left = _unacknowledged(self._sock.fileno())
        is_broken = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        if left is None or is_broken:
            self._leave()
        elif left == 0:
            self._leave()
            _run(self._actions)

    def _leave(self) -> None:
        Link.closed.discard(self)
        self._sock.close()


def _unacknowledged(descriptor: int) -> int | None:
    """Octets that we have written and the other system has not acknowledged; None: nobody knows."""
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    except (OSError, ValueError):
        return None
    return int(count)


def _run(actions: Actions) -> None:
    for action in actions:
        action()


def look() -> None:
    """At all connections whose answer nobody is known to have heard: has it arrived meanwhile?"""
    for link in list(Link.waiting):
        link.look()
    for closed in list(Link.closed):
        closed.look()


def when_heard(request: Request, action: Callable[[], None]) -> None:
    """Run this once the client has the answer to its request. Without a connection that knows, at once."""
    link: Link | None = request.scope.get(KEY)
    if link is None:
        action()
    else:
        link.when_heard(action)
