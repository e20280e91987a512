"""SIP endpoint: parsing, transactions, timers and responses, as the pure machines decide.

A request is parsed, then matched against known transactions (retransmission), then given to the server's `admit`. A
request that can be answered at once (bad syntax, challenges, refusals, OPTIONS) is answered without state, so that
strangers cost no memory. Only requests with the right password get a transaction.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

from sipsms.core import log
from sipsms.core.admission import Admission, Limits
from sipsms.core.flow_address import FlowAddress
from sipsms.core.listener import bind
from sipsms.sip import usual
from sipsms.sip.message import REASONS, BadMessage, Broken, Framer, Ping, Request, Response, parse_datagram
from sipsms.sip.settings import SipSettings
from sipsms.sip.tls import TlsLayer
from sipsms.sip.transaction import (
    MAGIC,
    TIMEOUT,
    Action,
    ClientTransaction,
    Event,
    ServerTransaction,
    merge_key,
    server_key,
)
from sipsms.sip.transport import (
    Address,
    Flow,
    StreamConnection,
    StreamListener,
    Streams,
    TlsContext,
    UdpFlow,
    UdpListener,
)
from sipsms.sip.websocket import IsAllowed, WebSocketConnection

MAX_REMEMBERED = 50_000  # finished server transactions; the store knows older requests by their key

_RPORT = re.compile(r";[ \t]*rport[ \t]*(?:=[^;,]*)?(?=;|\Z)", re.I)
_RECEIVED = re.compile(r";[ \t]*received[ \t]*=[^;,]*", re.I)


_ECHOED = (("from", "From: "), ("call-id", "Call-ID: "), ("cseq", "CSeq: "))


@dataclass(slots=True)
class Answer:
    """Final response to build.

    `after` runs when the response has been sent. `tag` is To's tag; empty means a generated tag.
    """

    status: int
    headers: Sequence[tuple[str, str]] = ()
    after: Callable[[], None] | None = None
    tag: str = ""
    reason: str = ""
    body: bytes = b""


# Returns the answer, or None: send nothing and forget the request, so that its next copy is handled as new.
MergeKey = tuple[str, str, str, int]
Work = Coroutine[Any, Any, Answer | None]


class Handler(Protocol):
    """Interface of the transaction user."""

    def admit(self, request: Request, flow: Flow) -> Answer | Work | None:
        """Return a stateless answer, the work to do in a transaction, or None to drop the request."""

    def malformed(self, request: Request, flow: Flow, status: int, why: str) -> Answer | None:
        """Return the refusal of an unreadable request, or None to drop the request."""

    def ignores(self, data: bytes, flow: Flow) -> bool:
        """Return True if this datagram comes from a flooding address."""

    def counts(self, flow: Flow) -> bool:
        """Count an answer without right credentials; False if its receiver floods."""

    def affords(self, flow: Flow, size: int) -> bool:
        """Return True if an answer of this size to a stranger does not make us an amplifier."""

    def tolerates(self, connection: StreamConnection) -> bool:
        """Count what a connection without the right password sends; False if it floods."""

    def refusal(self, status: int, why: str) -> Answer:
        """Return a refusal with a reason in words."""


class NoResponse(Exception):
    """Missing response: the peer timed out, is unreachable, or its flow was closed."""


class NotSent(NoResponse):
    """Failure to send: the flow was closed before, and no byte has left."""


class Unreachable(NoResponse):
    """ICMP error: no process listens at the address.

    `certain`: the ICMP error quotes this request's own datagram, so that the peer certainly does not have it.
    """

    def __init__(self, why: str, *, certain: bool = False) -> None:
        super().__init__(why)
        self.certain = certain


class _Pending:
    """Client transaction with the future of its response."""

    __slots__ = ("data", "flow", "future", "handle", "machine", "method", "vias")

    def __init__(
        self, machine: ClientTransaction, data: bytes, flow: Flow, method: str, vias: int,
        future: asyncio.Future[Response],
    ) -> None:  # fmt: skip
        self.machine = machine
        self.data = data
        self.flow = flow
        self.method = method
        self.vias = vias
        self.future = future
        self.handle: asyncio.TimerHandle | None = None


class Endpoint:
    def __init__(
        self, settings: SipSettings, tls: TlsContext | None = None, origin_allowed: IsAllowed = lambda origin: False,
        admission: Admission | None = None, tag_key: bytes = b"",
    ) -> None:  # fmt: skip
        """`tls`: context source for new TLS and WSS connections. `origin_allowed`: allowed Origins of browsers' pages.
        `tag_key`: key of the generated To tags; kept in the store, so that a copy of a request gets the same response
        after a restart.
        """
        self._handler: Handler | None = None
        self._settings = settings
        self._tls = tls
        self._origin_allowed = origin_allowed
        self._loop = asyncio.get_running_loop()
        self._admission = admission or Admission(Limits(), self._loop.time)
        self._tag_key = tag_key or os.urandom(16)
        self._udp: list[UdpListener] = []
        self._streams: dict[str, StreamListener] = {}  # by their `local`
        self._server: dict[tuple[str, ...], ServerTransaction] = {}
        self._merged: dict[MergeKey, tuple[str, ...]] = {}
        self._finished: deque[tuple[float, tuple[str, ...], MergeKey]] = deque()
        self._client: dict[str, _Pending] = {}
        self._tasks: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._closing = False
        self.on_connect: Callable[[StreamConnection], None] = lambda connection: None
        self.on_disconnect: Callable[[StreamConnection], None] = lambda connection: None
        self.tap: Callable[[bool, Flow, bytes], None] | None = None  # gets each SIP message: incoming?, flow, bytes

    # --- life ---

    def serve(self, handler: Handler) -> None:
        self._handler = handler

    async def listen(self, transport: str, host: str, port: int) -> int:
        """Open a listener and return its port. Raises OSError."""
        return await self.listen_on(transport, bind(host, port, datagrams=transport == "udp"))

    async def listen_on(self, transport: str, sock: socket.socket) -> int:
        """Accept requests on a bound socket and return its port. Raises OSError."""
        if transport == "udp":
            udp = UdpListener(self, sock, self._settings.advertised)
            self._udp.append(udp)
            return udp.port
        make = self._make_websocket if transport in ("ws", "wss") else StreamConnection
        tls = self._tls if transport in ("tls", "wss") else None
        listener = StreamListener(self, transport, self._settings, self._admission, make, tls)
        await listener.open(sock)
        self._streams[listener.local] = listener
        return listener.port

    def _make_websocket(self, pool: Streams, tls: TlsLayer | None) -> WebSocketConnection:
        return WebSocketConnection(pool, tls, self._origin_allowed)

    async def refuse_new(self, seconds: float) -> None:
        """Accept no new requests and wait for the answers to those in progress, at most `seconds`."""
        self._closing = True
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=seconds)

    async def close(self, seconds: float) -> None:
        """Finish the requests in progress, at most for `seconds`, then close the sockets."""
        await self.refuse_new(seconds)
        for udp in self._udp:
            udp.close()
        for listener in self._streams.values():
            listener.close()
        self.give_up()

    def give_up(self) -> None:
        """Fail all requests that wait for a response."""
        for pending in list(self._client.values()):
            self._fail(pending, NoResponse("shutting down"))

    @property
    def udp_listeners(self) -> Sequence[UdpListener]:
        return self._udp

    def flow(self, received: FlowAddress, local: str, number: int) -> Flow | None:
        """Return the flow to a peer by its UDP address or by its connection's number; None if it is closed."""
        if received.transport != "udp":
            listener = self._streams.get(local)
            return listener.connection(number) if listener is not None else None
        udp = next((one for one in self._udp if one.local == local), self._udp[0] if self._udp else None)
        return UdpFlow(udp, (received.host, received.port)) if udp is not None else None

    # --- from the transports ---

    def datagram(self, data: bytes, flow: Flow) -> None:
        if self.tap is not None and len(data) > 4:
            self.tap(True, flow, data)
        if self._handler is not None and self._handler.ignores(data, flow):
            log.SIP_DROPPED.labels("flood").inc()
            return
        try:
            message = usual.read(data)
            log.sip_read(usual=message is not None)
            message = message or parse_datagram(data)
        except BadMessage as error:
            self._bad(error, flow)
            return
        if message is not None:
            self._message(message, flow)

    def connected(self, connection: StreamConnection) -> None:
        connection.state = Framer()
        self.on_connect(connection)

    def stream_data(self, data: bytes, connection: StreamConnection) -> None:
        framer: Framer = connection.state
        for event in framer.feed(data):
            connection.heard()
            if not self.tolerates(connection):
                return
            if isinstance(event, Ping):
                connection.send(b"\r\n")
                continue
            connection.spoke = True
            if self.tap is not None:
                self._tap_event(event, connection)
            if isinstance(event, Broken):
                self._bad(event.error, connection)
                connection.close()
                return
            if isinstance(event, BadMessage):
                self._bad(event, connection)
            else:
                self._message(event, connection)

    def tolerates(self, connection: StreamConnection) -> bool:
        """Count a message or keep-alive of a connection; False if it was closed because a stranger floods it."""
        if connection.is_known or self._handler is None or self._handler.tolerates(connection):
            return True
        log.SIP_DROPPED.labels("flood").inc()
        connection.abort()
        return False

    def affords(self, flow: Flow, size: int) -> bool:
        """Count an answer to a stranger; return True if it may be sent."""
        return self._handler is None or (self._handler.counts(flow) and self._handler.affords(flow, size))

    def has_part(self, connection: StreamConnection) -> bool:
        framer: Framer = connection.state
        return not framer.idle

    def _tap_event(self, event: Request | Response | BadMessage | Broken, connection: StreamConnection) -> None:
        error = event.error if isinstance(event, Broken) else event
        message = error.message if isinstance(error, BadMessage) else error
        if self.tap is not None and isinstance(message, Request | Response):
            self.tap(True, connection, message.to_bytes())

    def message(self, data: bytes, connection: StreamConnection) -> None:
        """Handle one SIP message from a WebSocket (RFC 7118 section 5).

        Content-Length must be exact or absent.
        """
        connection.heard()
        if not self.tolerates(connection):
            return
        if not data.strip(b"\r\n"):
            connection.send(b"\r\n")
            return
        connection.spoke = True
        if self.tap is not None:
            self.tap(True, connection, data)
        try:
            message = parse_datagram(data, exact=True)
        except BadMessage as error:
            self._bad(error, connection)
            return
        if message is not None:
            self._message(message, connection)

    def disconnected(self, connection: StreamConnection) -> None:
        for pending in [one for one in self._client.values() if one.flow is connection]:
            self._error(pending, NoResponse("the connection was closed"))
        self.on_disconnect(connection)

    def unreachable(self, remote: Address | None, sent: bytes = b"") -> None:
        """Fail all requests to an address after an ICMP error.

        Only for the request quoted in the ICMP error is it certain that the peer does not have it.
        """
        for branch, pending in [(key, one) for key, one in self._client.items() if one.flow.remote == remote]:
            self._error(pending, Unreachable("unreachable (ICMP)", certain=str(branch).encode() in sent))

    def _message(self, message: Request | Response, flow: Flow) -> None:
        try:
            if isinstance(message, Request):
                self._request(message, flow)
            else:
                self._response(message)
        except Exception as error:  # a bug must not stop the listener
            log.crash("sip_failed", error, source=flow.remote[0])

    # --- requests in ---

    def _bad(self, error: BadMessage, flow: Flow) -> None:
        request = error.message
        if not isinstance(request, Request) or not request.vias or request.method == "ACK":
            log.SIP_DROPPED.labels("unreadable").inc()
            return
        assert self._handler is not None
        answer = self._handler.malformed(request, flow, error.status, error.why)
        if answer is None:
            log.SIP_DROPPED.labels("unwanted").inc()
            return
        self._answer(request, flow, answer)

    def _request(self, request: Request, flow: Flow) -> None:
        if request.method == "ACK":
            return
        key = server_key(request)
        known = self._server.get(key)
        if known is not None:
            if known.receive(Event.REQUEST) is Action.SEND:
                self._send(flow, known.response)
            return
        if request.method == "CANCEL":
            self._cancel(request, flow, key)
            return
        if self._closing:
            return
        assert self._handler is not None
        work = self._handler.admit(request, flow)
        if work is None:
            log.SIP_DROPPED.labels("unwanted").inc()
            return
        if isinstance(work, Answer):
            self._answer(request, flow, work)
            return
        self._start(request, flow, key, work)

    def _cancel(self, request: Request, flow: Flow, key: tuple[str, ...]) -> None:
        """Answer a CANCEL (RFC 3261 section 9.2); only INVITE could be cancelled."""
        found = any((*key[:3], method) in self._server for method in ("MESSAGE", "REGISTER", "SUBSCRIBE", "PUBLISH"))
        self._answer(request, flow, Answer(200 if found else 481))

    def _start(self, request: Request, flow: Flow, key: tuple[str, ...], work: Work) -> None:
        merge = merge_key(request)
        if merge in self._merged:
            work.close()
            assert self._handler is not None
            self._answer(request, flow, self._handler.refusal(482, "this request came before by another way"))
            return
        transaction = self._server[key] = ServerTransaction()
        self._merged[merge] = key
        work_on = self._perform(request, flow, key, merge, transaction, work)
        self._tasks[key] = self._loop.create_task(work_on)

    async def _perform(
        self,
        request: Request,
        flow: Flow,
        key: tuple[str, ...],
        merge: MergeKey,
        transaction: ServerTransaction,
        work: Work,
    ) -> None:
        answer: Answer | None = Answer(500)
        try:
            answer = await work
        except Exception as error:
            log.crash("sip_request_failed", error, method=request.method, call_id=request.call_id[:64])
        del self._tasks[key]
        if answer is None:
            self._forget(key, merge)
            return
        transaction.response = self._build(request, flow, answer)
        if transaction.receive(Event.FINAL) is Action.SEND:
            self._send(flow, transaction.response)
        if answer.status in (401, 407):  # a challenge is not remembered: the next request has another transaction
            self._forget(key, merge)
        else:
            self._remember(key, merge)
        if answer.after is not None:
            answer.after()

    def _remember(self, key: tuple[str, ...], merge: MergeKey) -> None:
        """Keep a finished transaction for timer J.

        All last equally long, so they expire in order of arrival.
        """
        now = self._loop.time()
        finished = self._finished
        finished.append((now + TIMEOUT, key, merge))
        while finished and (finished[0][0] <= now or len(finished) > MAX_REMEMBERED):
            self._forget(*finished.popleft()[1:])

    def _forget(self, key: tuple[str, ...], merge: MergeKey) -> None:
        self._server.pop(key, None)
        self._merged.pop(merge, None)

    def sweep(self) -> None:
        """Forget expired transactions.

        Call it regularly: without new requests no other call forgets them.
        """
        now = self._loop.time()
        while self._finished and self._finished[0][0] <= now:
            self._forget(*self._finished.popleft()[1:])

    # --- answers ---

    def _send(self, flow: Flow, data: bytes) -> bool:
        if self.tap is not None:
            self.tap(False, flow, data)
        return flow.send(data)

    def _answer(self, request: Request, flow: Flow, answer: Answer) -> None:
        assert self._handler is not None
        data = self._build(request, flow, answer)
        if not self._handler.counts(flow):
            data = b""
        elif not self._handler.affords(flow, len(data)):  # bare, which is hardly larger than the request
            data = self._build(request, flow, Answer(answer.status)) if answer.status not in (401, 407) else b""
            data = data if self._handler.affords(flow, len(data)) else b""
        if not data:
            log.SIP_DROPPED.labels("unwanted").inc()
            return
        self._send(flow, data)
        if answer.after is not None:
            answer.after()

    def _build(self, request: Request, flow: Flow, answer: Answer) -> bytes:
        """Build a response (RFC 3261 section 8.2.6).

        Via, From, Call-ID and CSeq are as received; To gets our tag.
        """
        log.sip_answered(request.method, answer.status)
        headers = request.headers
        start = f"SIP/2.0 {answer.status} {answer.reason or REASONS.get(answer.status, 'Unknown')}"
        lines = [start, f"Via: {top_via(request, flow)}"]
        if len(request.vias) > 1:
            lines += [f"Via: {via}" for via in request.vias[1:]]
        for name, label in _ECHOED:
            if name in headers:
                lines.append(label + headers[name][0])
        if "to" in headers:
            tagged = request.to is None or "tag" in request.to.params
            lines.append(f"To: {headers['to'][0]}" + ("" if tagged else f";tag={answer.tag or self._tag(request)}"))
        for name, value in answer.headers:
            lines.append(f"{name}: {value}")
        lines.append(f"Content-Length: {len(answer.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + answer.body

    def _tag(self, request: Request) -> str:
        """Return a 64-bit To tag that is the same for each copy of a request.

        Stateless answers to copies must be equal.
        """
        text = f"{request.call_id}\n{request.cseq}\n{request.vias[0]}"
        return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8, key=self._tag_key).hexdigest()

    # --- requests out ---

    async def request(self, request: Request, flow: Flow, mark: str = "") -> Response:
        """Send a request on a flow and wait for its final response. Raises NoResponse.

        `mark` ends the branch: a proxy recognizes its own Via by the mark.
        """
        branch = MAGIC + os.urandom(9).hex() + ("-" + mark if mark else "")
        via = f"SIP/2.0/{flow.name.upper()} {flow.sent_by()};branch={branch};rport"
        vias = [via, *request.headers.get("via", ())]
        request.headers = {"via": vias, **{name: values for name, values in request.headers.items() if name != "via"}}
        now = self._loop.time()
        machine = ClientTransaction(reliable=flow.reliable, now=now)
        future: asyncio.Future[Response] = self._loop.create_future()
        pending = _Pending(machine, request.to_bytes(), flow, request.method, len(vias), future)
        if not self._send(flow, pending.data):
            raise NotSent("the connection is closed")
        self._client[branch] = pending
        self._arm(branch, pending)
        try:
            return await future
        except asyncio.CancelledError:  # the caller no longer waits: send no further copy
            self._client.pop(branch, None)
            if pending.handle is not None:
                pending.handle.cancel()
            raise

    def _arm(self, branch: str, pending: _Pending) -> None:
        pending.handle = self._loop.call_at(pending.machine.deadline, self._timer, branch, pending)

    def _timer(self, branch: str, pending: _Pending) -> None:
        action = pending.machine.timer(self._loop.time())
        if action is Action.SEND:
            self._send(pending.flow, pending.data)
        elif action is Action.FAIL:
            self._fail(pending, NoResponse("no answer in 32 seconds"))
        if pending.machine.state.name == "TERMINATED":
            self._client.pop(branch, None)
        else:
            self._arm(branch, pending)

    def _response(self, response: Response) -> None:
        pending = self._client.get(response.branch)
        if pending is None or response.via_count != pending.vias or response.method != pending.method:
            log.SIP_DROPPED.labels("stray response").inc()
            return
        now = self._loop.time()
        event = Event.FINAL if response.status >= 200 else Event.PROVISIONAL
        action = pending.machine.receive(event, now)
        if action is Action.DELIVER:
            if not pending.future.done():
                pending.future.set_result(response)
            self._rearm(response.branch, pending)

    def _rearm(self, branch: str, pending: _Pending) -> None:
        if pending.handle is not None:
            pending.handle.cancel()
        self._arm(branch, pending)

    def _error(self, pending: _Pending, why: NoResponse) -> None:
        if pending.machine.receive(Event.ERROR, self._loop.time()) is Action.FAIL:
            self._fail(pending, why)

    def _fail(self, pending: _Pending, why: NoResponse) -> None:
        if not pending.future.done():
            pending.future.set_exception(why)


def top_via(request: Request, flow: Flow) -> str:
    """Return the topmost Via with `received` and `rport` filled in.

    RFC 3261 section 18.2.1, RFC 3581 section 4.
    """
    value = request.vias[0]
    host, port = flow.remote
    params = request.via.params if request.via is not None else {}
    if "received" in params:
        value = _RECEIVED.sub("", value)
    if "rport" in params:
        if value.endswith(";rport"):
            return f"{value}={port};received={host}"
        value = _RPORT.sub(f";rport={port}", value, count=1)
    return f"{value};received={host}"
