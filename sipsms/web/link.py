"""Was an answer heard? What a connection knows of it, so that a blind retry is not taken for another message.

An answer counts as heard when the client asks for the next thing on the same connection, or closes it after its system
has acknowledged all that we wrote. It does not when the client had hung up before we wrote, when the connection breaks,
or when it is closed with our bytes unacknowledged. Behind a proxy that is all about the proxy.
"""

from __future__ import annotations

import fcntl
import select
import struct
import termios
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request

KEY: Final = "sipsms.link"  # in a request's scope
_GONE: Final = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class Link:
    """One connection."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._waiting: list[Callable[[], None]] = []

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
            self._waiting.append(action)

    def heard(self) -> None:
        waiting, self._waiting = self._waiting, []
        for action in waiting:
            action()

    def closed_by_client(self) -> None:
        """In order: did its system have all that we wrote?"""
        if self._waiting and self._unacknowledged() == 0:
            self.heard()
        self._waiting.clear()

    def lost(self, *, broken: bool) -> None:
        """Closed by us in order, as the client had asked for, or broken."""
        if not broken:
            self.heard()
        self._waiting.clear()

    def _unacknowledged(self) -> int:
        try:
            (count,) = struct.unpack("i", fcntl.ioctl(self._descriptor(), termios.TIOCOUTQ, bytes(4)))
        except (OSError, ValueError):
            return 0
        return int(count)


def when_heard(request: Request, action: Callable[[], None]) -> None:
    """Run this once the client has the answer to its request. Without a connection that knows, at once."""
    link: Link | None = request.scope.get(KEY)
    if link is None:
        action()
    else:
        link.when_heard(action)
