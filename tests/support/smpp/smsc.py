"""An SMSC with scripted answers, exact bytes, and a ledger of all submits.

Its PDUs are packed by hand, so that it shares nothing with the codec under test. It runs an event loop in a thread of
its own: a test may be plain or a coroutine. `kill` cuts all connections and frees the port, `start` takes it again;
what it knows (messages, receipts not yet told, deliveries not yet answered) it keeps.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from tests.support.node.certificates import Files
from tests.support.smpp import records as words
from tests.support.smpp.records import Came, Joiner, LoopThread, Part, Seen

RESP = 0x80000000
NACK = 0x80000000
BINDS = {1: "rx", 2: "tx", 9: "trx"}
QUERY, SUBMIT, DELIVER, UNBIND, REPLACE, CANCEL, ENQUIRE = 3, 4, 5, 6, 7, 8, 0x15
THROTTLED, QUEUE_FULL, SUBMIT_FAILED, BAD_PASSWORD, NO_SUCH_MESSAGE = 0x58, 0x14, 0x45, 0x0E, 0x67


@dataclass(frozen=True)
class Receipt:
    """How a message's fate is told. `form`: text, tlv or both. `id`: as the submit_sm_resp had it, or hex, decimal."""

    state: str = "DELIVRD"
    before: bool = False  # ahead of the submit_sm_resp
    form: str = "both"
    id: str = "same"
    times: int = 1
    error: str = "000"


@dataclass(frozen=True)
class Answer:
    """What becomes of one submit_sm. A status other than 0 takes nothing; silence and cutting take the message."""

    status: int = 0
    id: str | None = None  # None: a running number
    after: float = 0.0  # seconds
    silent: bool = False
    cut: bool = False  # taken, no answer, the connection is reset
    lost: bool = False  # with cut: not even taken
    receipts: tuple[Receipt, ...] = ()


class Submitted(NamedTuple):
    """One submit_sm as it came, and what was answered. `text` without UDH."""

    at: float  # time.monotonic()
    session: int
    sequence: int
    source: str
    destination: str
    text: str
    part: Part | None
    esm_class: int
    registered: int
    coding: int
    octets: bytes  # short_message or message_payload, with UDH
    tlvs: dict[int, bytes]
    answer: Answer
    id: str


class Pdu(NamedTuple):
    """Any PDU that came."""

    at: float
    session: int
    command: int
    status: int
    sequence: int
    body: bytes


class Bound(NamedTuple):
    session: int
    mode: str
    system_id: str
    password: str
    status: int


@dataclass(eq=False)
class Session:
    """One connection of an ESME."""

    number: int
    writer: asyncio.StreamWriter
    mode: str = ""
    sequence: int = 0
    open: int = 0  # submit_sm not yet answered
    unanswered: dict[int, bytes] = field(default_factory=dict)  # our deliver_sm bodies

    def write(self, command: int, status: int, sequence: int, body: bytes = b"") -> None:
        if not self.writer.is_closing():
            self.writer.write(struct.pack(">IIII", 16 + len(body), command, status, sequence) + body)

    def deliver(self, body: bytes) -> None:
        self.sequence += 1
        self.unanswered[self.sequence] = body
        self.write(DELIVER, 0, self.sequence, body)

    def reset(self) -> None:
        """As a process that dies: no FIN first."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Smsc:
    """`with Smsc() as smsc:`; `script(...)` queues answers, then `default` answers; `rule` comes before both."""

    def __init__(self, user: str = "carrier", password: str = "secret", certificate: Files | None = None) -> None:
        self.user, self.password = user, password
        self.port = 0
        self.default = Answer()
        self.rule: Callable[[Submitted], Answer | None] = lambda submitted: None
        self.ids: Callable[[int], str] = str  # of the running number; f"{n:X}" for hexadecimal ones
        self.deaf = False  # enquire_link is not answered
        self.bind_status = 0  # other than 0: answers every bind with it
        self.redelivers = True  # deliver_sm that were not answered come again with the next bind
        self.known = True  # query_sm finds messages
        self.submitted: Seen[Submitted] = Seen("submit_sm")  # all that came, taken or not
        self.taken: Seen[Submitted] = Seen("messages taken")
        self.pdus: Seen[Pdu] = Seen("PDUs")
        self.binds: Seen[Bound] = Seen("binds")
        self.answered: Seen[Pdu] = Seen("deliver_sm_resp")
        self.ended: Seen[int] = Seen("ended sessions")
        self.sessions: list[Session] = []
        self.most_open = 0  # the widest window that an ESME used
        self.states: dict[str, str] = {}  # by message id, for query_sm
        self._script: deque[Answer] = deque()
        self._waiting: deque[bytes] = deque()  # deliver_sm bodies for the next bind that receives
        self._numbers, self._last = 0, 1000
        self._certificate = certificate
        self._loop = LoopThread()
        self._server: asyncio.Server | None = None

    # --- life ---

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._loop.stop()

    @property
    def url(self) -> str:
        scheme = "ssmpp" if self._certificate else "smpp"
        return f"{scheme}://{self.user}:{self.password}@127.0.0.1:{self.port}"

    def start(self) -> Self:
        self._loop.do(self._start())
        return self

    async def _start(self) -> None:
        context = None
        if self._certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self._certificate.certificate, self._certificate.key)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context, backlog=500)
        self.port = self._server.sockets[0].getsockname()[1]

    def kill(self) -> None:
        """All connections reset, nothing listens; all memory kept."""
        self._loop.do(self._kill())

    async def _kill(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reset_all()

    def cut(self) -> None:
        """All connections reset; still listening."""
        self._loop.soon(self._reset_all)

    def unbind(self) -> None:
        """Says unbind in all sessions, as an SMSC that is going down in good order."""
        self._loop.soon(lambda: [session.write(UNBIND, 0, 0x7000) for session in self.sessions])

    def _reset_all(self) -> None:
        for session in list(self.sessions):
            session.reset()

    # --- orders ---

    def script(self, *answers: Answer) -> None:
        self._script.extend(answers)

    def mo(self, source: str, destination: str, text: str) -> None:
        """Somebody writes: one deliver_sm or, for a long text, several; at the next bind, if there is none now."""
        for bits, coding, octets in words.parts(text, self._next()):
            self.deliver(deliver_body(source, destination, octets, coding, bits))

    def tell(self, submitted: Submitted, receipt: Receipt) -> None:
        for body in receipt_bodies(submitted, receipt):
            self.deliver(body)

    def deliver(self, body: bytes) -> None:
        """A deliver_sm with exactly this body."""
        self._loop.soon(self._deliver, body)

    def send_raw(self, octets: bytes) -> None:
        """Any bytes, in every session."""
        self._loop.soon(lambda: [session.writer.write(octets) for session in self.sessions])

    def _deliver(self, body: bytes) -> None:
        session = next((session for session in self.sessions if session.mode in ("rx", "trx")), None)
        if session is None:
            self._waiting.append(body)
        else:
            session.deliver(body)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    # --- the ledger ---

    def ledger(self) -> Counter[Came]:
        """Whole messages that it took, however often. Raises AssertionError for a text that lacks a part."""
        joiner, found = Joiner(), Counter[Came]()
        for one in self.taken:
            whole = joiner.add(one.source, one.destination, one.part, one.text)
            if whole is not None:
                found[whole] += 1
        assert not joiner.open, f"parts are missing or came again: {joiner.open}"
        assert not joiner.repeated, f"parts came twice: {joiner.repeated}"
        return found

    # --- sessions ---

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(self._next(), writer)
        self.sessions.append(session)
        try:
            while True:
                length, command, status, sequence = struct.unpack(">IIII", await reader.readexactly(16))
                body = await reader.readexactly(length - 16)
                pdu = Pdu(time.monotonic(), session.number, command, status, sequence, body)
                self.pdus.add(pdu)
                self._receive(session, pdu)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the ESME has gone
        finally:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        self.sessions.remove(session)
        session.writer.close()
        if self.redelivers:
            for body in session.unanswered.values():
                self._deliver(body)
        self.ended.add(session.number)

    def _receive(self, session: Session, pdu: Pdu) -> None:
        if pdu.command in BINDS:
            self._bind(session, pdu)
        elif pdu.command == DELIVER | RESP:
            session.unanswered.pop(pdu.sequence, None)
            self.answered.add(pdu)
        elif pdu.command == ENQUIRE:
            if not self.deaf:
                session.write(ENQUIRE | RESP, 0, pdu.sequence)
        elif pdu.command == UNBIND:
            session.write(UNBIND | RESP, 0, pdu.sequence)
            session.writer.close()
        elif pdu.command == SUBMIT:
            self._submit(session, pdu)
        elif pdu.command == QUERY:
            self._query(session, pdu)
        elif not pdu.command & RESP:
            session.write(NACK, 3, pdu.sequence)

    def _bind(self, session: Session, pdu: Pdu) -> None:
        user, password = (part.decode() for part in pdu.body.split(b"\0")[:2])
        right = (user, password) == (self.user, self.password)
        status = self.bind_status or (0 if right else BAD_PASSWORD)
        session.write(pdu.command | RESP, status, pdu.sequence, b"" if status else b"smsc\0")
        if status == 0:
            session.mode = BINDS[pdu.command]
        self.binds.add(Bound(session.number, BINDS[pdu.command], user, password, status))
        if session.mode in ("rx", "trx"):
            while self._waiting:
                session.deliver(self._waiting.popleft())

    def _submit(self, session: Session, pdu: Pdu) -> None:
        session.open += 1
        self.most_open = max(self.most_open, session.open)
        bare = parse_submit(pdu)
        answer = self.rule(bare) or (self._script.popleft() if self._script else self.default)
        self._last += 1
        submitted = bare._replace(answer=answer, id=answer.id or self.ids(self._last))
        if answer.status == 0 and not answer.lost:
            self.taken.add(submitted)
            if answer.receipts:
                self.states[submitted.id] = answer.receipts[-1].state
        self.submitted.add(submitted)
        if answer.cut:
            session.reset()
            for receipt in answer.receipts:
                self._tell(submitted, receipt)  # with the next bind
        elif answer.after:
            asyncio.get_running_loop().call_later(answer.after, self._answer, session, submitted)
        else:
            self._answer(session, submitted)

    def _answer(self, session: Session, submitted: Submitted) -> None:
        answer = submitted.answer
        for receipt in answer.receipts:
            if receipt.before:
                self._tell(submitted, receipt)
        if not answer.silent:
            session.open -= 1
            body = b"" if answer.status else submitted.id.encode() + b"\0"
            session.write(SUBMIT | RESP, answer.status, submitted.sequence, body)
        for receipt in answer.receipts:
            if not receipt.before:
                self._tell(submitted, receipt)

    def _tell(self, submitted: Submitted, receipt: Receipt) -> None:
        for body in receipt_bodies(submitted, receipt):
            self._deliver(body)

    def _query(self, session: Session, pdu: Pdu) -> None:
        id = pdu.body.split(b"\0")[0].decode()
        if not self.known or id not in {one.id for one in self.taken}:
            session.write(QUERY | RESP, NO_SUCH_MESSAGE, pdu.sequence)
            return
        state = words.STATES[self.states.get(id, "ENROUTE")]
        session.write(QUERY | RESP, 0, pdu.sequence, id.encode() + b"\0\0" + bytes([state, 0]))


# --- bodies ---


def parse_submit(pdu: Pdu) -> Submitted:
    """The fields of SMPP 3.4 section 4.4.1, then TLVs."""
    rest = pdu.body
    _service, rest = rest.split(b"\0", 1)
    source, rest = rest[2:].split(b"\0", 1)
    destination, rest = rest[2:].split(b"\0", 1)
    esm_class, rest = rest[0], rest[3:]
    _schedule, rest = rest.split(b"\0", 1)
    _validity, rest = rest.split(b"\0", 1)
    registered, _replace, coding, _canned, length = rest[:5]
    octets, tlvs = rest[5 : 5 + length], parse_tlvs(rest[5 + length :])
    octets = tlvs.get(words.MESSAGE_PAYLOAD, octets)
    part, letters = words.part_of(esm_class, octets, tlvs)
    text = words.DECODERS.get(coding, bytes.hex)(letters)
    return Submitted(
        pdu.at, pdu.session, pdu.sequence, source.decode(), destination.decode(), text, part,
        esm_class, registered, coding, octets, tlvs, Answer(), "",
    )  # fmt: skip


def parse_tlvs(rest: bytes) -> dict[int, bytes]:
    found = {}
    while rest:
        tag, length = struct.unpack(">HH", rest[:4])
        found[tag], rest = rest[4 : 4 + length], rest[4 + length :]
    return found


def tlv(tag: int, value: bytes) -> bytes:
    return struct.pack(">HH", tag, len(value)) + value


def deliver_body(
    source: str, destination: str, octets: bytes, coding: int = 0, esm_class: int = 0, tlvs: bytes = b"",
    ton: int | None = None,
) -> bytes:  # fmt: skip
    """`ton`: of the source; None: national for ten digits, else international."""
    addresses = b"".join(
        bytes((kind if kind is not None else 2 if len(number) == 10 else 1, 1)) + number.encode() + b"\0"
        for number, kind in ((source, ton), (destination, None))
    )
    return b"\0" + addresses + bytes([esm_class, 0, 0, 0, 0, 0, 0, coding, 0, len(octets)]) + octets + tlvs


def receipt_bodies(submitted: Submitted, receipt: Receipt) -> list[bytes]:
    """Of a message's receipt, as often as it is to be told."""
    id = {"same": str, "hex": lambda id: f"{int(id):X}", "decimal": lambda id: str(int(id, 16))}[receipt.id](
        submitted.id
    )
    text = words.receipt_text(id, receipt.state, receipt.error).encode() if receipt.form in ("text", "both") else b""
    tlvs = b""
    if receipt.form in ("tlv", "both"):
        state = bytes([words.STATES[receipt.state]])
        tlvs = tlv(words.RECEIPTED_ID, id.encode() + b"\0") + tlv(words.MESSAGE_STATE, state)
    body = deliver_body(submitted.destination, submitted.source, text, 0, words.RECEIPT, tlvs)
    return [body] * receipt.times
