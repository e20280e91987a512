"""SMSC for customers' ESMEs, which submit messages and receive for their DIDs (S-064..S-071).

Each bind is for the DIDs with its SMPP user and password."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

from sipsms.accounts.auth import Access, Denied
from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.account import Did
from sipsms.core.admission import Admission, Guest
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.listener import BACKLOG
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.outbound import Outbound
from sipsms.smpp.connection import Connection
from sipsms.smpp.esme import Esme
from sipsms.smpp.pdu import BINDS, Command, Pdu, Status, Tag
from sipsms.smpp.query import QueryHandler
from sipsms.smpp.resend_detection import AGAIN, HEARD, PARTED, QUIET
from sipsms.smpp.session import MODES, Answer, Closed, Event, Late, Lost, Request, Session, State
from sipsms.smpp.settings import SmppSettings
from sipsms.smpp.submit import SubmitHandler
from sipsms.smpp.submit_sm import Refused
from sipsms.store.store import Store

_WRONG_BINDS: Final = 3  # wrong binds of one connection (P-02)
_PENALTY: Final = 1.0  # seconds before a wrong bind is answered
_VERSION: Final = b"\x34"
_HANDSHAKE: Final = 10.0  # seconds for the TLS handshake


class Smsc:
    def __init__(
        self, settings: Callable[[], SmppSettings], access: Access, directory: Directory, consent: SendingPolicy,
        outbound: Outbound, store: Store, clock: Clock, wake: Callable[[str], None], admission: Admission,
    ) -> None:  # fmt: skip
        """`wake(did)`: called when an ESME that receives for this DID has bound."""
        self._settings = settings
        self._access = access
        self._directory = directory
        self._store = store
        self._clock = clock
        self._wake = wake
        self._admission = admission
        self._loop = asyncio.get_running_loop()
        self._listeners: list[tuple[socket.socket, asyncio.Task[None]]] = []
        self._connections: dict[Connection, Esme | None] = {}
        self._wrong: Counter[Connection] = Counter()
        self._bound: dict[str, list[Esme]] = {}  # username -> sessions
        self._throttled: Counter[str] = Counter()  # username -> throttled submits since the last sweep
        self._tasks: set[asyncio.Future[Any]] = set()
        self._stopping = False
        self._intake = SubmitHandler(settings, directory, outbound, store, clock, self._refuse)
        self.enquiries = enquiries = QueryHandler(settings, directory, consent, store, clock)
        self._handlers: Mapping[int, Callable[[Esme, Pdu], Awaitable[None]]] = {
            Command.SUBMIT_MULTI: self._intake.submit_multi, Command.QUERY_SM: enquiries.query,
            Command.CANCEL_SM: enquiries.cancel, Command.REPLACE_SM: enquiries.replace,
        }  # fmt: skip

    # --- life ---

    async def start(self) -> None:
        """Load the submits that may come again. Call it before `listen`. Raises Unavailable."""
        await self._intake.start()

    def listen(self, sock: socket.socket, tls: Callable[[], ssl.SSLContext] | None) -> None:
        """Accept ESMEs on a bound socket; `tls` returns the current context. Raises OSError."""
        sock.listen(BACKLOG)
        self._listeners.append((sock, self._loop.create_task(self._accept(sock, tls))))

    async def _accept(self, listener: socket.socket, tls: Callable[[], ssl.SSLContext] | None) -> None:
        """Accept connections; each connection is counted before it costs anything, also before TLS."""
        while True:
            try:
                peer, address = await self._loop.sock_accept(listener)
            except OSError as error:  # most likely no file descriptor is free
                log.warning("smpp_accept_failed", why=error.strerror or str(error))
                await asyncio.sleep(0.1)
                continue
            connection = self._connection(str(address[0]))
            guest = None if self._stopping else self._admission.enter(str(address[0]), connection.expel)
            if guest is None:
                peer.close()
                continue
            connection.guest = guest
            self._run(self._welcome(peer, connection, guest, tls))

    async def _welcome(
        self, peer: socket.socket, connection: _Incoming, guest: Guest, tls: Callable[[], ssl.SSLContext] | None
    ) -> None:
        more: dict[str, Any] = {"ssl": tls(), "ssl_handshake_timeout": _HANDSHAKE} if tls is not None else {}
        try:
            await self._loop.connect_accepted_socket(lambda: connection, peer, **more)
        except OSError:  # no TLS, or already closed
            guest.leave()
            peer.close()

    def _connection(self, address: str) -> _Incoming:
        limits = self._settings().limits._replace(pdu_timeout=self._admission.limits.message_timeout)
        return _Incoming(Session("smsc", self._clock(), limits), self._clock, self._heed, address, self._opened)

    def _opened(self, connection: Connection) -> None:
        self._connections[connection] = None

    def sweep(self) -> None:
        """Run the timers. Call it once a second."""
        now = self._clock()
        for connection, bound in list(self._connections.items()):
            connection.tick(now)
            if bound is not None:
                bound.look(now)
        self._intake.sweep(now)
        for user, count in self._throttled.items():
            log.smpp_throttled(user, count)
        self._throttled.clear()

    def heard_by(self, now: float, span: float) -> float:
        """Return the time of `SubmitHandler.heard_by` for all bound ESMEs."""
        return self._intake.heard_by(now, span, filter(None, self._connections.values()))

    def review(self) -> None:
        """Apply a change of the directory: unbind ESMEs without permission, wake the lanes of new DIDs."""
        for bound in [one for group in self._bound.values() for one in group]:
            may_stay = self._access.may_stay(bound.customer, bound.connection.address)
            if not bound.dids(self._directory) or not may_stay:
                bound.connection.unbind()
            elif bound.hears:
                self._wake_all(bound)

    async def close(self) -> None:
        """Answer the requests in progress, then unbind all ESMEs."""
        self._stopping = True
        for _, task in self._listeners:
            task.cancel()
        await asyncio.gather(*(task for _, task in self._listeners), return_exceptions=True)
        for listener, _ in self._listeners:
            listener.close()
        if under_way := self._tasks | self._intake.tasks:
            await asyncio.wait(under_way, timeout=5.0)
        for connection in list(self._connections):
            connection.unbind()
        if self._connections:
            await asyncio.wait([connection.closed for connection in self._connections], timeout=2.0)
        for connection in list(self._connections):
            connection.drop("the server stops")

    # --- events ---

    def _heed(self, connection: Connection, event: Event) -> None:
        match event:
            case Request(pdu):
                self._request(connection, pdu)
            case Answer(asked, pdu):
                if not asked.answer.done():
                    asked.answer.set_result(pdu)
            case Late(asked, pdu):
                asked.late(pdu)
            case Lost(asked, why):
                if not asked.answer.done():
                    asked.answer.set_exception(ConnectionError(why))
            case Closed(why, orderly):
                self._closed(connection, why, orderly)

    def _request(self, connection: Connection, pdu: Pdu) -> None:
        if pdu.command in BINDS:
            self._bind(connection, pdu)
            return
        bound = self._connections.get(connection)
        if bound is None:  # the connection was just dropped
            connection.answer(pdu, Status.WRONG_BIND_STATE)
            return
        bound.is_doubted, now = False, self._clock()
        bound.look(now)
        if now - bound.since < AGAIN:
            self._intake.look_at_others(bound, self._bound.get(bound.username, ()))
        if pdu.command in self._handlers:
            self._run(self._guarded(bound, pdu, self._handlers[pdu.command]))
        else:
            self._intake.submit(bound, pdu)

    def _closed(self, connection: Connection, why: str, orderly: bool) -> None:
        if connection not in self._connections:
            return
        bound = self._connections.pop(connection)
        self._wrong.pop(connection, None)
        if bound is None:
            return
        group = self._bound[bound.username]
        group.remove(bound)
        if not group:
            del self._bound[bound.username]
        if bound.under_way or not orderly:
            gone = connection.was_finished and not bound.under_way
            self._intake.broken(bound, PARTED if gone else HEARD)
        log.note("smpp_unbound", user=bound.username, peer=connection.address, why=why)

    def _run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, bound: Esme, pdu: Pdu, handler: Callable[[Esme, Pdu], Awaitable[None]]) -> None:
        try:
            await handler(bound, pdu)
        except Exception as error:
            self._refuse(bound, pdu, error)

    def _refuse(self, bound: Esme, pdu: Pdu, error: BaseException) -> None:
        """Answer with an error status; QUEUE_FULL, after which programs try again, if the error is ours."""
        status = error.status if isinstance(error, Refused) else Status.QUEUE_FULL
        if status == Status.THROTTLED:  # may be many a second: logged once a sweep
            self._throttled[bound.username] += 1
        elif isinstance(error, Refused):
            log.note("smpp_refused", user=bound.username, status=hex(status), why=str(error))
        elif isinstance(error, Unavailable):
            log.warning("store_unavailable", why=str(error))
        elif isinstance(error, Exception):
            log.crash("smpp_failed", error)
        bound.connection.answer(pdu, status)

    # --- bind ---

    def _bind(self, connection: Connection, pdu: Pdu) -> None:
        if self._stopping:  # no refusal, because the credentials may be right
            connection.drop("the server stops")
            return
        username, password = pdu.fields["system_id"], pdu.fields["password"]
        try:
            dids = self._access.esme(username, password, connection.address)
        except Denied as denied:
            self._no_bind(connection, pdu, username, denied.reason)
            return
        settings, customer = self._settings(), dids[0].account
        binds = self._binds_of(customer)
        if binds >= settings.max_binds and self._make_room(username):
            binds = self._binds_of(customer)
        if binds >= settings.max_binds:
            self._no_bind(connection, pdu, username, f"{binds} binds already")
            return
        mode = MODES[Command(pdu.command)]
        bound = Esme(connection, username, password, customer, mode, settings.deliver_window)
        self._connections[connection] = bound
        self._bound.setdefault(username, []).append(bound)
        if connection.guest is not None:
            connection.guest.busy()
        tlvs = {Tag.SC_INTERFACE_VERSION: _VERSION} if pdu.fields["interface_version"] >= 0x34 else {}
        connection.session.bound(mode)
        connection.answer(pdu, fields={"system_id": settings.system_id}, tlvs=tlvs)
        log.note("smpp_bound", user=username, peer=connection.address, mode=str(mode))
        if bound.hears:
            self._wake_all(bound)

    def _binds_of(self, customer: str) -> int:
        return sum(one.customer == customer for group in self._bound.values() for one in group)

    def _make_room(self, username: str) -> bool:
        """End a user's quietest unreachable session; False if there is none: probe quiet ones for the next bind."""
        now, group = self._clock(), self._bound.get(username, [])
        gone = [one for one in group if one.may_be_gone(now)]
        if gone:
            quietest = min(gone, key=lambda one: one.connection.session.last_heard)
            quietest.connection.drop("silent, and its user binds again")
            return True
        for one in group:
            if now - one.connection.session.last_heard >= QUIET:
                one.connection.probe(now)
        return False

    def _no_bind(self, connection: Connection, pdu: Pdu, username: str, why: str) -> None:
        """Refuse a bind after `_PENALTY` seconds; response and delay must be the same for every reason."""
        self._wrong[connection] += 1
        last = self._wrong[connection] >= _WRONG_BINDS
        log.note("smpp_bind_refused", user=username, peer=connection.address, why=why)
        self._loop.call_later(_PENALTY, self._say_no, connection, pdu, last)

    def _say_no(self, connection: Connection, pdu: Pdu, last: bool) -> None:
        connection.answer(pdu, Status.BIND_FAILED)
        if last:
            connection.finish("three wrong binds")

    def _wake_all(self, bound: Esme) -> None:
        for did in bound.dids(self._directory):
            self._wake(did.number)

    # --- for the courier and the status ---

    def hearing(self, did: Did) -> Esme | None:
        """Return the ESME with the fewest open requests that receives for a DID, or None."""
        fit = [
            one for one in self._bound.get(did.smpp_username, ())
            if one.hears and one.customer == did.account and did.smpp is not None
            and one.password == did.smpp.password and one.connection.session.can_ask
        ]  # fmt: skip
        return min(fit, key=lambda one: one.to_do, default=None)

    async def answered(self, did: Did) -> None:
        """Wait, at most 5 s, until the user's submits are answered: receipts must come after the responses."""
        groups = self._bound.get(did.smpp_username, ())
        waiting = {taken for one in groups for taken in one.under_way if not taken.done()}
        if waiting:
            await asyncio.wait(waiting, timeout=5.0)
            await asyncio.sleep(0)  # lets the responses be written

    def binds(self) -> Iterator[dict[str, Any]]:
        """Yield the rows for `sipsms binds`."""
        for connection, bound in self._connections.items():
            if bound is not None:
                yield {
                    "direction": "in", "name": bound.username, "account": bound.customer,
                    "peer": f"{connection.address}:{connection.port}", "mode": str(bound.mode),
                    "tls": connection.is_tls, "state": str(connection.session.state), "since": connection.opened_at,
                    "sent": connection.sent, "received": connection.received, "why": "",
                }  # fmt: skip


class _Incoming(Connection):
    """Connection of an ESME; reports when it is open."""

    def __init__(
        self, session: Session, clock: Clock, heed: Callable[[Connection, Event], None], address: str,
        opened: Callable[[Connection], None],
    ) -> None:  # fmt: skip
        super().__init__(session, clock, heed, address)
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.session.state is State.CLOSED:  # dropped during the TLS handshake
            self.drop("dropped before")
            return
        self._opened(self)

    def expel(self) -> None:
        """End a connection that has not bound, because another needs its place."""
        self.drop("another needs its place")
