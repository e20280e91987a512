"""SMPP session on a TCP or TLS connection: octets in, octets out, the clock, bounded memory.

`Session` decides on the protocol. The connection measures what the peer's system has acknowledged."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from typing import Final, cast

from sipsms.core import log
from sipsms.core.admission import Guest
from sipsms.core.clock import Clock
from sipsms.smpp.pdu import Command, Pdu, status_name
from sipsms.smpp.resend_detection import QUIET
from sipsms.smpp.session import Answer, Closed, Event, Session

MAX_UNREAD: Final = 1 << 20  # octets that a peer may leave unread before its connection is dropped
_COUNTED: Final = frozenset({Command.SUBMIT_SM, Command.DELIVER_SM})


class Connection(asyncio.Protocol):
    """Connection that carries one session; `heed(connection, event)` gets its events, Closed as the last."""

    def __init__(
        self, session: Session, clock: Clock, heed: Callable[[Connection, Event], None], address: str = ""
    ) -> None:
        """`address`: the peer's address if known before; after a reset the socket cannot report it."""
        self.session = session
        self.address = address
        self.port = 0
        self.opened_at = clock()
        self.sent = self.received = 0  # messages, counted by the owner
        self._clock = clock
        self._heed = heed
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._flush_due = False
        self._paused = False
        self._caught_up_at = self.opened_at  # time of the last check that found nothing unacknowledged
        self.was_finished = False  # the peer closed with FIN, not RST: it had nothing unread
        self.is_tls = False
        self.guest: Guest | None = None  # the admission of a connection that the peer opened
        self.closed = self._loop.create_future()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class is no subclass
        host, port = (transport.get_extra_info("peername") or (self.address, 0))[:2]
        self.address, self.port = self.address or str(host), int(port)
        self.is_tls = transport.get_extra_info("sslcontext") is not None

    def data_received(self, data: bytes) -> None:
        self._go_on(data)

    def eof_received(self) -> bool:
        self.was_finished = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self.guest is not None:
            self.guest.leave()
        why = f"connection lost: {error}" if error else "the peer closed the connection"
        self._tell(self.session.end(why))
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)

    # --- ours ---

    def _go_on(self, data: bytes = b"") -> None:
        self._tell(self.session.receive(data, self._clock()))
        self.flush()
        if self._transport is None or self._transport.is_closing():
            return
        if self.session.has_more:
            self._flush_soon()
        full = self.session.is_full or self.session.has_more
        if full != self._paused:
            self._paused = full
            if self._paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Answer) and event.pdu.command & 0x7FFFFFFF in _COUNTED:
                log.smpp_answered("out", status_name(event.pdu.status))
            self._heed(self, event)
            if isinstance(event, Closed):
                self._close()

    def answer(self, request: Pdu, status: int = 0, message_id: str = "", **more: object) -> None:
        """Answer a request of the peer; all responses of one loop iteration leave together."""
        self.session.answer(request, status, message_id, **more)  # type: ignore[arg-type]
        if request.command in _COUNTED:
            log.smpp_answered("in", status_name(status))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        if self._transport is not None:
            self._go_on()  # the window may have capacity again

    def flush(self) -> None:
        """Write the session's octets; drop a peer that does not read."""
        data = self.session.take()
        if not data or self._transport is None or self._transport.is_closing():
            return
        self._look(self._clock())  # check before the write: new octets are not overdue
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > MAX_UNREAD:
            self.drop("it does not read what it is sent")

    def ask(self, command: int, fields: dict[str, object], token: object, tlvs: dict[int, bytes]) -> None:
        """Send a request. Raises NotBound."""
        self.session.ask(command, fields, self._clock(), token, tlvs)
        self._flush_soon()

    def tick(self, now: float) -> None:
        """Run the session's timers. Call it once a second."""
        self._tell(self.session.tick(now))
        self.flush()
        self._look(now)

    def probe(self, now: float) -> None:
        self.session.probe(now)
        self._flush_soon()

    def unbind(self) -> None:
        self.session.unbind(self._clock())
        self.flush()

    def unread(self) -> int:
        """Return the octets that the peer's system has not acknowledged, sent or to be sent."""
        found = self._transport.get_extra_info("socket") if self._transport is not None else None
        if found is None or self._transport is None:
            return 0
        try:
            waiting = fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError):
            return 0
        sent = int.from_bytes(waiting, sys.byteorder) + self._transport.get_write_buffer_size()
        return sent + self.session.unsent

    def _look(self, now: float) -> None:
        """Note the time if the peer's system has acknowledged everything."""
        if now - self._caught_up_at >= QUIET / 10 and self.unread() == 0:
            self._caught_up_at = now

    def is_mute(self, now: float) -> bool:
        """Return True if a peer, silent for `QUIET` seconds, has also not acknowledged our octets in that time."""
        if now - self.session.last_heard < QUIET:
            return False
        self._look(now)
        return now - self._caught_up_at >= QUIET

    @property
    def is_heard(self) -> bool:
        """True if the peer's system has acknowledged all our octets."""
        return self._transport is not None and not self._transport.is_closing() and self.unread() == 0

    def finish(self, why: str) -> None:
        """Send the octets written so far and end the session without an unbind."""
        self.flush()
        self._tell(self.session.end(why))

    def drop(self, why: str) -> None:
        """End the session and abort the connection at once."""
        self._tell(self.session.end(why))
        if self._transport is not None:
            self._transport.abort()

    def _close(self) -> None:
        """Close after the last octets; abort after 5 s if the peer does not read them."""
        if self._transport is None:
            return
        self.flush()
        self._transport.close()
        self._loop.call_later(5.0, self._abort)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
