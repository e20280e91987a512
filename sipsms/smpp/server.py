"""The SMSC: customers' ESMEs bind here, send what their DIDs may send, and hear what comes in for them (S-064..S-071).

Each bind is for the DIDs whose SMPP user and password it shows. A submit is answered after its commit; a submit that
came again because its ESME had not heard the answer gets the first one's id (see `doubts`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from ipaddress import ip_address
from secrets import token_hex
from typing import Any, Final, NamedTuple, Protocol

from sipsms import log
from sipsms.access import Access, Denied
from sipsms.dialplan import Refusal, RefusalCode
from sipsms.directory import Directory
from sipsms.gateway import Gateway, Receipt
from sipsms.model import Account, Did, Message, State
from sipsms.ports import Clock, Part, StoredPart, Unavailable
from sipsms.reports import by_smpp
from sipsms.smpp.coding import Charset, Concat
from sipsms.smpp.connection import Connection
from sipsms.smpp.doubts import Doubts, Key, Trail
from sipsms.smpp.pdu import BINDS, Address, Command, Pdu, Status, Tag
from sipsms.smpp.receipt import CODES
from sipsms.smpp.session import MODES, Answer, Closed, Event, Limits, Lost, Mode, Request, Session
from sipsms.smpp.submission import Refused, Submission, moment, number, read, read_text, smpp_time

ORIGIN: Final = "smpp"
_WRONG_BINDS: Final = 3  # of one connection (P-02)
_PENALTY: Final = 1.0  # seconds before a wrong bind is answered
_VERSION: Final = b"\x34"
_PATIENCE: Final = 300.0  # seconds between parts of one text; the gateway gives up then
_TEXTS: Final = 10_000  # texts whose parts are coming
_CONNECTIONS: Final = 5000
_OF_REFUSAL: Final = {
    RefusalCode.NO_ROUTE: Status.INVALID_DESTINATION,
}  # every other one: it cannot be sent, whatever is tried
_STATES: Final = {
    State.DELIVERED: "DELIVRD", State.FAILED: "UNDELIV", State.EXPIRED: "EXPIRED", State.UNKNOWN: "UNKNOWN",
}  # fmt: skip


class Options(NamedTuple):
    """From the configuration's `smpp`. Seconds; `rate`: messages a second of a customer, 0: any number."""

    system_id: str
    limits: Limits
    rate: float
    max_binds: int
    max_binds_per_address: int
    charsets: Mapping[int, Charset]


class Looked(NamedTuple):
    """What the store knows of a message: all that query_sm asks for."""

    message: Message
    state: State
    updated_at: float


class Recent(Protocol):
    """A message that came just before the start."""

    @property
    def account(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def destination(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def id(self) -> int: ...


class Records(Protocol):
    """What the SMSC needs of the store, besides what the gateway does. All raise Unavailable."""

    async def look(self, message: int) -> Looked | None: ...

    async def cancel(self, message: int) -> bool:
        """False: some of it has left."""

    async def replace_text(self, message: int, text: str) -> bool:
        """False: it is not held, or not whole."""

    async def recent(self) -> Iterable[Recent]: ...

    async def open_parts(self) -> Iterable[StoredPart]: ...


class Bound:
    """One ESME, bound."""

    def __init__(self, connection: Connection, username: str, password: str, customer: str, mode: Mode) -> None:
        self.connection = connection
        self.username = username
        self.password = password
        self.customer = customer
        self.mode = mode
        self.trail: Trail[_Taken] = Trail()
        self.under_way: dict[_Taken, Key] = {}

    @property
    def hears(self) -> bool:
        return self.mode is not Mode.TRANSMITTER

    def unsure(self, now: float) -> list[tuple[Key, _Taken]]:
        """What this ESME may send again, now that the session is broken."""
        return [*self.trail.unsure(now), *((key, taken) for taken, key in self.under_way.items())]


_Taken = asyncio.Future[str]  # the id that a submit was answered with


class _Text:
    """A long text whose parts are coming."""

    def __init__(self, token: str, now: float) -> None:
        self.token = token
        self.numbers: set[int] = set()
        self.at = now


class Bucket:
    """A customer's rate: as many a second, and as many at once after a rest."""

    def __init__(self, now: float) -> None:
        self._left = 1.0
        self._at = now - 1.0

    def take(self, rate: float, now: float, count: int = 1) -> bool:
        self._left = min(max(rate, 1.0), self._left + (now - self._at) * rate)
        self._at = now
        if self._left < count and not (count > rate and self._left >= rate):
            return False
        self._left -= count
        return True


class Smsc:
    def __init__(
        self, options: Callable[[], Options], access: Access, directory: Directory, gateway: Gateway, records: Records,
        clock: Clock, wake: Callable[[str], None],
    ) -> None:  # fmt: skip
        """`wake(did)`: an ESME that hears for this DID has bound."""
        self._options = options
        self._access = access
        self._directory = directory
        self._gateway = gateway
        self._records = records
        self._clock = clock
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._servers: list[asyncio.Server] = []
        self._connections: dict[Connection, Bound | None] = {}
        self._wrong: Counter[Connection] = Counter()
        self._bound: dict[str, list[Bound]] = {}  # by username
        self._of_address: Counter[str] = Counter()
        self._doubts: Doubts[_Taken] = Doubts()
        self._texts: OrderedDict[Key, _Text] = OrderedDict()
        self._buckets: dict[str, Bucket] = {}
        self._senders: dict[str, tuple[Account, Account]] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._stopping = False
        self._handlers: Mapping[int, Callable[[Bound, Pdu], Awaitable[None]]] = {
            Command.SUBMIT_MULTI: self._submit_multi, Command.QUERY_SM: self._query, Command.CANCEL_SM: self._cancel,
            Command.REPLACE_SM: self._replace,
        }  # fmt: skip

    # --- life ---

    async def start(self) -> None:
        """What was taken just before the server ended may come again. Raises Unavailable."""
        now = self._clock()
        left: list[tuple[Key, _Taken]] = []
        for one in await self._records.recent():
            left.append(((one.account, one.source, one.destination, one.text, None), self._known(str(one.id))))
        for part in await self._records.open_parts():
            reference = int(part.reference[:4], 16)
            concat = (reference, part.total, part.number)
            key = (part.account, part.source, part.destination, part.text, concat)
            left.append((key, self._known(f"{part.reference}-{part.number}")))
            if not part.joined:
                text = self._text_of((part.account, part.source, part.destination, reference, part.total), now)
                text.token = part.reference
                text.numbers.add(part.number)
        self._doubts.add(left, now)

    def _known(self, message_id: str) -> _Taken:
        taken = self._loop.create_future()
        taken.set_result(message_id)
        return taken

    async def listen(self, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None) -> int:
        """The port that is listened on. `tls`: the certificate as it is now. Raises OSError."""
        more: dict[str, Any] = {"ssl": _renewed(tls), "ssl_handshake_timeout": 10.0} if tls is not None else {}
        server = await self._loop.create_server(self._connection, host, port, backlog=512, **more)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _connection(self) -> Connection:
        now = self._clock()
        return _Incoming(Session("smsc", now, self._options().limits), self._clock, self._heed, self._opened)

    def _opened(self, connection: Connection) -> None:
        network = _network(connection.peer[0])
        limit = self._options().max_binds_per_address
        full = len(self._connections) >= _CONNECTIONS or self._of_address[network] >= limit
        self._connections[connection] = None
        self._of_address[network] += 1
        if full or self._stopping:
            connection.drop("too many connections")

    def sweep(self) -> None:
        """Once a second."""
        now = self._clock()
        for connection in list(self._connections):
            connection.tick(now)
        while self._texts and next(iter(self._texts.values())).at < now - _PATIENCE:
            self._texts.popitem(last=False)

    def review(self) -> None:
        """The directory has changed: who may not be bound any more goes; new DIDs of who may are heard of at once."""
        for bound in [one for group in self._bound.values() for one in group]:
            if not self._dids_of(bound):
                bound.connection.unbind()
            elif bound.hears:
                self._wake_all(bound)

    async def close(self) -> None:
        """Answer what is under way, say good-bye."""
        self._stopping = True
        for server in self._servers:
            server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
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
            case Answer(token, pdu):
                if not token.done():
                    token.set_result(pdu)
            case Lost(token, why):
                if not token.done():
                    token.set_exception(ConnectionError(why))
            case Closed(why, orderly):
                self._closed(connection, why, orderly)

    def _request(self, connection: Connection, pdu: Pdu) -> None:
        if pdu.command in BINDS:
            self._bind(connection, pdu)
            return
        bound = self._connections.get(connection)
        if bound is None:  # it was dropped in the same breath
            connection.answer(pdu, Status.WRONG_BIND_STATE)
        elif pdu.command in self._handlers:
            self._run(self._guarded(bound, pdu, self._handlers[pdu.command]))
        else:
            self._submit(bound, pdu)

    def _closed(self, connection: Connection, why: str, orderly: bool) -> None:
        if connection not in self._connections:
            return
        bound = self._connections.pop(connection)
        self._wrong.pop(connection, None)
        network = _network(connection.peer[0])
        self._of_address[network] -= 1
        if not self._of_address[network]:
            del self._of_address[network]
        if bound is None:
            return
        group = self._bound[bound.username]
        group.remove(bound)
        if not group:
            del self._bound[bound.username]
        if not orderly and (bound.under_way or not connection.was_finished):
            self._doubts.add(bound.unsure(self._clock()), self._clock())
        log.note("smpp_unbound", user=bound.username, peer=connection.peer[0], why=why)

    def _run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, bound: Bound, pdu: Pdu, handler: Callable[[Bound, Pdu], Awaitable[None]]) -> None:
        try:
            await handler(bound, pdu)
        except Exception as error:
            self._refuse(bound, pdu, error)

    def _refuse(self, bound: Bound, pdu: Pdu, error: BaseException) -> None:
        """An answer that says what is wrong; what is wrong with us is worth another try (a full queue is, for all)."""
        if isinstance(error, Refused):
            log.note("smpp_refused", user=bound.username, status=hex(error.status), why=str(error))
            status = error.status
        elif isinstance(error, Unavailable):
            log.warning("store_unavailable", why=str(error))
            status = Status.QUEUE_FULL
        else:
            if isinstance(error, Exception):
                log.crash("smpp_failed", error)
            status = Status.QUEUE_FULL
        bound.connection.answer(pdu, status)

    # --- bind ---

    def _bind(self, connection: Connection, pdu: Pdu) -> None:
        username, password = pdu.fields["system_id"], pdu.fields["password"]
        try:
            dids = self._access.esme(username, password, connection.peer[0])
        except Denied as denied:
            self._no_bind(connection, pdu, username, denied.reason)
            return
        options, customer = self._options(), dids[0].account
        binds = sum(one.customer == customer for group in self._bound.values() for one in group)
        if binds >= options.max_binds or self._stopping:
            self._no_bind(connection, pdu, username, f"{binds} binds already")
            return
        mode = MODES[Command(pdu.command)]
        bound = Bound(connection, username, password, customer, mode)
        self._connections[connection] = bound
        self._bound.setdefault(username, []).append(bound)
        tlvs = {Tag.SC_INTERFACE_VERSION: _VERSION} if pdu.fields["interface_version"] >= 0x34 else {}
        connection.session.bound(mode)
        connection.answer(pdu, fields={"system_id": options.system_id}, tlvs=tlvs)
        log.note("smpp_bound", user=username, peer=connection.peer[0], mode=str(mode))
        if bound.hears:
            self._wake_all(bound)

    def _no_bind(self, connection: Connection, pdu: Pdu, username: str, why: str) -> None:
        """The same answer, as late, whatever is wrong."""
        self._wrong[connection] += 1
        last = self._wrong[connection] >= _WRONG_BINDS
        log.note("smpp_bind_refused", user=username, peer=connection.peer[0], why=why)
        self._loop.call_later(_PENALTY, self._say_no, connection, pdu, last)

    def _say_no(self, connection: Connection, pdu: Pdu, last: bool) -> None:
        connection.answer(pdu, Status.BIND_FAILED)
        if last:
            connection.finish("three wrong binds")

    def _dids_of(self, bound: Bound) -> list[Did]:
        """Those that it may send from and hears of, now."""
        return [
            did for did in self._directory.smpp_dids(bound.username)
            if did.account == bound.customer and did.smpp is not None and did.smpp.password == bound.password
        ]  # fmt: skip

    def _wake_all(self, bound: Bound) -> None:
        for did in self._dids_of(bound):
            self._wake(did.number)

    # --- what comes in ---

    def _submit(self, bound: Bound, pdu: Pdu) -> None:
        """One message, or a part of one; answered when it is stored."""
        now = self._clock()
        try:
            self._check_rate(bound, 1, now)
            submission = read(pdu, self._options().charsets, now)
            destination = self._destination(submission.destinations[0])
            self._check_source(bound, submission.source)
        except Refused as refused:
            self._refuse(bound, pdu, refused)
            return
        concat = submission.body.concat
        part = (concat.reference, concat.total, concat.number) if concat is not None and concat.total > 1 else None
        key = (bound.customer, submission.source, destination, submission.body.text, part)
        taken = self._doubts.take(key, now) if len(self._doubts) else None
        if taken is None or (taken.done() and (taken.cancelled() or taken.exception() is not None)):
            taken = asyncio.ensure_future(self._take(bound, pdu, submission, destination))
            self._tasks.add(taken)
            taken.add_done_callback(self._tasks.discard)
        else:
            log.note("smpp_again", user=bound.username, source=submission.source, destination=destination)
        bound.under_way[taken] = key
        taken.add_done_callback(partial(self._answer, bound, pdu))

    def _answer(self, bound: Bound, pdu: Pdu, taken: _Taken) -> None:
        key = bound.under_way.pop(taken, None)
        if taken.cancelled():
            return
        error = taken.exception()
        if error is not None:
            self._refuse(bound, pdu, error)
            return
        bound.connection.received += 1
        bound.connection.answer(pdu, 0, taken.result())
        if key is not None:
            bound.trail.answered(key, taken, self._clock())

    async def _take(self, bound: Bound, pdu: Pdu, submission: Submission, destination: str) -> str:
        """The id, when it is stored. Raises Refused or Unavailable."""
        concat = submission.body.concat
        if concat is not None and concat.total > 1:
            return await self._take_part(bound, pdu, submission, destination, concat)
        wish = _wish(pdu, submission)
        return str(await self._send(bound, submission, destination, wish))

    async def _send(self, bound: Bound, submission: Submission, destination: str, wish: str) -> int:
        result = await self._gateway.send(
            self._sender(bound), submission.source, destination, submission.body.text, ORIGIN, notify=wish,
            due_at=submission.due_at, expires_at=submission.expires_at,
        )  # fmt: skip
        return _stored(result).message_id

    async def _take_part(
        self, bound: Bound, pdu: Pdu, submission: Submission, destination: str, concat: Concat
    ) -> str:  # fmt: skip
        if submission.due_at is not None:
            raise Refused(Status.INVALID_SCHEDULE, "a part of a long text cannot be held")
        account, source = self._sender(bound), submission.source
        objection = self._gateway.consent.objection(account, source, destination, submission.body.text)
        if objection is not None:
            raise _refused(objection)
        name = (bound.customer, source, destination, concat.reference, concat.total)
        text = self._text_of(name, self._clock(), concat.number)
        text.numbers.add(concat.number)
        if len(text.numbers) == concat.total:
            self._texts.pop(name, None)  # the next one with this reference is another
        part = Part(text.token, concat.number, concat.total)
        try:
            result = await self._gateway.send_part(
                account, source, destination, submission.body.text, part, origin=ORIGIN,
                notify=_wish(pdu, submission, concat.total, text.token), expires_at=submission.expires_at,
            )  # fmt: skip
        except Unavailable:
            text.numbers.discard(concat.number)
            self._texts.setdefault(name, text)
            raise
        _stored(result)
        return f"{text.token}-{concat.number}"

    def _text_of(self, name: Key, now: float, part: int = 0) -> _Text:
        """The text that a part belongs to: a new one if this part of it is there already."""
        known = self._texts.get(name)
        if known is not None and part not in known.numbers and known.at >= now - _PATIENCE:
            known.at = now
            self._texts.move_to_end(name)
            return known
        self._texts.pop(name, None)
        assert isinstance(name, tuple)
        fresh = self._texts[name] = _Text(f"{name[3]:04x}{token_hex(6)}", now)
        if len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return fresh

    def _check_rate(self, bound: Bound, count: int, now: float) -> None:
        account = self._directory.account(bound.customer)
        own = account.smpp_rate if account is not None else None
        rate = self._options().rate if own is None else float(own)
        if rate and not self._buckets.setdefault(bound.customer, Bucket(now)).take(rate, now, count):
            raise Refused(Status.THROTTLED, f"more than {rate:g} messages a second")

    def _check_source(self, bound: Bound, source: str) -> None:
        did = self._directory.did(source)
        if (
            did is None or did.account != bound.customer or not did.sms or did.smpp is None or not did.smpp.enabled
            or did.smpp_username != bound.username or did.smpp.password != bound.password
        ):  # fmt: skip
            raise Refused(Status.INVALID_SOURCE, f"{source} is not a number that this user sends from")

    def _destination(self, destination: str) -> str:
        if not destination:
            raise Refused(Status.INVALID_DESTINATION, "not a telephone number")
        if (refusal := self._gateway.dialplan.numbering.policy(destination)) is not None:
            raise Refused(Status.INVALID_DESTINATION, refusal.reason)
        return destination

    def _sender(self, bound: Bound) -> Account:
        """The customer's account; who has SMPP may write alike to many (C-6). Raises Refused."""
        account = self._directory.account(bound.customer)
        if account is None or not account.enabled:
            raise Refused(Status.SUBMIT_FAILED, "the account is off")
        known = self._senders.get(bound.customer)
        if known is None or known[0] is not account:
            known = self._senders[bound.customer] = (account, replace(account, bulk=True))
        return known[1]

    async def _submit_multi(self, bound: Bound, pdu: Pdu) -> None:
        """To each destination a message of its own; the first one's id stands for all."""
        now = self._clock()
        asked: tuple[Address, ...] = pdu.fields["dest_address"]
        self._check_rate(bound, len(asked), now)
        submission = read(pdu, self._options().charsets, now)
        self._check_source(bound, submission.source)
        if submission.body.concat is not None and submission.body.concat.total > 1:
            raise Refused(Status.INVALID_ESM_CLASS, "submit_multi of a part of a long text")
        first, failures = "", []
        for address, destination in zip(asked, submission.destinations, strict=True):
            if address.list_name:
                failures.append(address._replace(address=address.list_name, status=Status.CANNOT_SUBMIT_TO_LIST))
                continue
            try:
                taken = self._one_of_many(bound, pdu, submission, address, self._destination(destination), first)
                message_id = await asyncio.shield(taken)
            except Refused as refused:
                failures.append(address._replace(status=refused.status))
            except Unavailable:
                failures.append(address._replace(status=Status.QUEUE_FULL))
            else:
                first = first or message_id
        bound.connection.received += len(asked) - len(failures)
        if not first:
            status = failures[0].status if len({one.status for one in failures}) == 1 else Status.SUBMIT_FAILED
            bound.connection.answer(pdu, status)
            return
        bound.connection.answer(pdu, fields={"message_id": first, "unsuccess_sme": tuple(failures)})

    def _one_of_many(
        self, bound: Bound, pdu: Pdu, submission: Submission, address: Address, destination: str, first: str
    ) -> _Taken:  # fmt: skip
        now = self._clock()
        key = (bound.customer, submission.source, destination, submission.body.text, None)
        taken = self._doubts.take(key, now) if len(self._doubts) else None
        if taken is None:
            wish = _wish(pdu, submission, token=first, to=address)
            taken = asyncio.ensure_future(self._one_id(bound, submission, destination, wish))
        bound.under_way[taken] = key
        taken.add_done_callback(partial(self._one_done, bound))
        return taken

    async def _one_id(self, bound: Bound, submission: Submission, destination: str, wish: str) -> str:
        return str(await self._send(bound, submission, destination, wish))

    def _one_done(self, bound: Bound, taken: _Taken) -> None:
        key = bound.under_way.pop(taken, None)
        if key is not None and not taken.cancelled() and taken.exception() is None:
            bound.trail.answered(key, taken, self._clock())

    # --- what became of it ---

    async def _query(self, bound: Bound, pdu: Pdu) -> None:
        found = await self._own(bound, pdu, Status.QUERY_FAILED)
        word = _STATES.get(found.state, "ENROUTE")
        final = smpp_time(found.updated_at) if found.state in _STATES and found.state is not State.UNKNOWN else ""
        fields = {
            "message_id": pdu.fields["message_id"], "final_date": final, "message_state": CODES[word], "error_code": 0,
        }  # fmt: skip
        bound.connection.answer(pdu, fields=fields)

    async def _cancel(self, bound: Bound, pdu: Pdu) -> None:
        found = await self._own(bound, pdu, Status.CANCEL_FAILED)
        if not await self._records.cancel(found.message.id):
            raise Refused(Status.CANCEL_FAILED, "it has left")
        bound.connection.answer(pdu)

    async def _replace(self, bound: Bound, pdu: Pdu) -> None:
        """Of a message that is held: its text."""
        found = await self._own(bound, pdu, Status.REPLACE_FAILED)
        now = self._clock()
        moment(pdu.fields, "schedule_delivery_time", now, Status.INVALID_SCHEDULE)
        as_submit = Pdu(pdu.command, pdu.sequence, 0, {**pdu.fields, "esm_class": 0, "data_coding": 0}, pdu.tlvs)
        text = read_text(as_submit, self._options().charsets)
        if not await self._records.replace_text(found.message.id, text):
            raise Refused(Status.REPLACE_FAILED, "it is not held, or it is not whole")
        bound.connection.answer(pdu)

    async def _own(self, bound: Bound, pdu: Pdu, status: Status) -> Looked:
        """The message that this customer names, sent from the number that it names. Raises Refused."""
        message_id = await self._numbered(pdu.fields["message_id"])
        found = await self._records.look(message_id) if message_id else None
        source = number(pdu.fields["source_addr_ton"], pdu.fields["source_addr"])
        if found is None or found.message.source not in {did.number for did in self._dids_of(bound)}:
            raise Refused(status, "no such message of this user")
        account = self._directory.account(found.message.account)
        if (account is None or account.customer != bound.customer) or (source and source != found.message.source):
            raise Refused(status, "no such message of this user")
        return found

    async def _numbered(self, message_id: str) -> int:
        """The message with the id that an ESME was told; 0: none."""
        if message_id.isascii() and message_id.isdigit() and len(message_id) < 19:
            return int(message_id)
        token, _, _ = message_id.rpartition("-")
        known = await self._gateway.known(blake2b(b"smpp parts\n" + token.encode(), digest_size=20).digest())
        return known.message_id if known is not None else 0

    # --- for the courier, and for who looks ---

    def hearing(self, did: Did) -> Bound | None:
        """The ESME that gets what comes in for a DID: of several, the one with the least to do."""
        fit = [
            one for one in self._bound.get(did.smpp_username, ())
            if one.hears and one.customer == did.account and did.smpp is not None
            and one.password == did.smpp.password and one.connection.session.can_ask
        ]  # fmt: skip
        return min(fit, key=lambda one: one.connection.session.asked, default=None)

    async def answered(self, did: Did) -> None:
        """When every submit that is under way now for this DID's user has its answer: a receipt comes after it."""
        groups = self._bound.get(did.smpp_username, ())
        waiting = {taken for one in groups for taken in one.under_way if not taken.done()}
        if waiting:
            await asyncio.wait(waiting, timeout=5.0)
            await asyncio.sleep(0)  # the answers themselves

    def binds(self) -> Iterator[dict[str, Any]]:
        """For `sipsms binds`."""
        for connection, bound in self._connections.items():
            if bound is not None:
                yield {
                    "direction": "in", "name": bound.username, "account": bound.customer,
                    "peer": f"{connection.peer[0]}:{connection.peer[1]}", "mode": str(bound.mode),
                    "tls": connection.is_tls, "state": str(connection.session.state), "since": connection.opened_at,
                    "sent": connection.sent, "received": connection.received, "why": "",
                }  # fmt: skip


class _Incoming(Connection):
    def __init__(
        self, session: Session, clock: Clock, heed: Callable[[Connection, Event], None],
        opened: Callable[[Connection], None],
    ) -> None:  # fmt: skip
        super().__init__(session, clock, heed)
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opened(self)


def _renewed(tls: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A listener keeps its context; each handshake takes the certificate that is there by then."""
    context = tls()

    def follow(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = tls()

    context.sni_callback = follow
    return context


def _network(address: str) -> str:
    """An IPv6 host has a /64 to itself."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(int(found) >> 64) if found.version == 6 else address


def _wish(pdu: Pdu, submission: Submission, parts: int = 1, token: str = "", to: Address | None = None) -> str:
    """What the ESME wants to hear of it."""
    mask = submission.registered_delivery & 0x1F
    if not mask:
        return ""
    fields = pdu.fields
    ton, npi, address = (
        (to.ton, to.npi, to.address) if to is not None
        else (fields["dest_addr_ton"], fields["dest_addr_npi"], fields["destination_addr"])
    )  # fmt: skip
    return by_smpp(
        mask, fields["source_addr"], address, fields["source_addr_ton"], fields["source_addr_npi"], ton, npi, parts,
        token,
    )  # fmt: skip


def _stored(result: Receipt | Refusal) -> Receipt:
    if isinstance(result, Refusal):
        raise _refused(result)
    return result


def _refused(refusal: Refusal) -> Refused:
    return Refused(_OF_REFUSAL.get(refusal.code, Status.SUBMIT_FAILED), refusal.reason)
