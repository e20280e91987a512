"""A SIP phone on plain sockets, for tests of the server: it sends bytes, and reads answers with a parser of its own.

Nothing here imports sipsms, so that a mistake there cannot hide behind the same mistake here. Everything blocks, with a
time limit. `Udp` and `Tcp` are the wires, `Draft` is a request that can still be bent, `Phone` knows the everyday
dialogues: register, send a text, take one and answer it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import select
import socket
import ssl
import struct
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Address = tuple[str, int]

_LONG = {
    "v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length", "c": "content-type",
    "e": "content-encoding", "k": "supported", "s": "subject", "o": "event",
}  # fmt: skip


class Silence(AssertionError):
    """Nothing came within the time that was given."""


class Closed(AssertionError):
    """The other side has closed the connection."""


# --- what comes in ---------------------------------------------------------------------------------------------------


@dataclass
class Incoming:
    """A request or a response, as it came."""

    raw: bytes
    start: str
    headers: list[tuple[str, str]]
    body: bytes
    sender: Address = ("", 0)
    at: float = 0.0

    @classmethod
    def read(cls, raw: bytes) -> Incoming:
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "surrogateescape")).split("\r\n")
        pairs = (line.partition(":") for line in lines[1:])
        return cls(raw, lines[0], [(name.strip(), value.strip()) for name, _, value in pairs], body)

    @property
    def is_response(self) -> bool:
        return self.start.startswith("SIP/2.0 ")

    @property
    def status(self) -> int:
        if not self.is_response:
            raise AssertionError(f"a request, not a response: {self.start}")
        return int(self.start.split(" ", 2)[1])

    @property
    def method(self) -> str:
        return self.start.split(" ", 1)[0]

    @property
    def uri(self) -> str:
        return self.start.split(" ")[1]

    def all(self, name: str) -> list[str]:
        wanted = name.lower()
        return [value for key, value in self.headers if _LONG.get(key.lower(), key.lower()) == wanted]

    def get(self, name: str) -> str:
        values = self.all(name)
        return values[0] if values else ""

    def has(self, name: str) -> bool:
        return bool(self.all(name))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.headers]

    @property
    def call_id(self) -> str:
        return self.get("call-id")

    @property
    def cseq(self) -> int:
        return int(self.get("cseq").split()[0])

    @property
    def branch(self) -> str:
        return param(self.get("via"), "branch")

    @property
    def text(self) -> str:
        return self.body.decode()

    def contacts(self) -> dict[str, int]:
        """URI -> expires of the Contact header fields of a 200 to REGISTER."""
        found = (re.match(r"<([^>]*)>(.*)", value) for value in self.all("contact"))
        return {match[1]: int(param(match[2], "expires")) for match in found if match}

    def challenges(self) -> list[dict[str, str]]:
        values = self.all("www-authenticate") + self.all("proxy-authenticate")
        return [parse_challenge(value) for value in values]


def param(value: str, name: str) -> str:
    """The value of `;name=value` in a header value; "" if it is not there."""
    match = re.search(rf";\s*{re.escape(name)}\s*=\s*(\"[^\"]*\"|[^;,\s>]*)", value, re.I)
    return match[1].strip('"') if match else ""


# --- wires -----------------------------------------------------------------------------------------------------------


class Udp:
    """A datagram socket that talks to one server."""

    name = "udp"
    stream = False

    def __init__(self, server: Address, *, port: int = 0, host: str = "") -> None:
        self.server = server
        host = host or ("::1" if ":" in server[0] else "127.0.0.1")
        self._socket = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.bind((host, port))
        self.local: Address = self._socket.getsockname()[:2]

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self.server)

    def receive(self, seconds: float = 6.0) -> Incoming:
        """The next message. Raises Silence."""
        raw, sender = self.receive_raw(seconds)
        message = Incoming.read(raw)
        message.sender, message.at = sender, time.monotonic()
        return message

    def receive_raw(self, seconds: float = 6.0) -> tuple[bytes, Address]:
        if not _readable(self._socket, seconds):
            raise Silence(f"nothing from {self.server} within {seconds} s")
        raw, sender = self._socket.recvfrom(65535)
        return raw, sender[:2]

    def assert_silent(self, seconds: float = 0.3) -> None:
        if _readable(self._socket, seconds):
            raise AssertionError(f"expected silence, got {self._socket.recv(65535)[:300]!r}")

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()


class Tcp:
    """A connection to one server; messages are cut by Content-Length."""

    name = "tcp"
    stream = True

    def __init__(self, server: Address, *, host: str = "") -> None:
        self.server = server
        host = host or ("::1" if ":" in server[0] else "127.0.0.1")
        self._socket: socket.socket = socket.create_connection(server, timeout=5, source_address=(host, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.local: Address = self._socket.getsockname()[:2]
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, seconds: float = 6.0) -> Incoming:
        """The next message; keep-alive answers before it are skipped. Raises Silence or Closed."""
        deadline = time.monotonic() + seconds
        while (raw := self._cut()) is None:
            self._more(deadline)
        message = Incoming.read(raw)
        message.sender, message.at = self.server, time.monotonic()
        return message

    def receive_bytes(self, count: int, seconds: float = 6.0) -> bytes:
        """The next bytes, whatever they are."""
        deadline = time.monotonic() + seconds
        while len(self._buffer) < count:
            self._more(deadline)
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _cut(self) -> bytes | None:
        self._buffer = self._buffer.lstrip(b"\r\n")
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        match = re.search(rb"\r\n(?:Content-Length|l)[ \t]*:[ \t]*(\d+)", self._buffer[:end], re.I)
        if not match:
            raise AssertionError(f"a message without Content-Length on a stream: {self._buffer[:end]!r}")
        total = end + 4 + int(match[1])
        if len(self._buffer) < total:
            return None
        raw, self._buffer = self._buffer[:total], self._buffer[total:]
        return raw

    def _more(self, deadline: float) -> None:
        data = self._read(deadline)
        if data is None:
            raise Silence(f"nothing from {self.server} in time; so far {self._buffer[:200]!r}")
        if not data:
            raise Closed(f"closed by {self.server}; so far {self._buffer[:200]!r}")
        self._buffer += data

    def _read(self, deadline: float) -> bytes | None:
        """What is there, b"" at the end, None if nothing comes until the deadline."""
        while _readable(self._socket, max(0.0, deadline - time.monotonic())):
            try:
                return self._socket.recv(65536)
            except ssl.SSLWantReadError:  # TLS had something to say to itself
                continue
            except OSError:
                return b""
        return None

    def assert_silent(self, seconds: float = 0.3) -> None:
        """Open, and nothing comes."""
        if self._buffer:
            raise AssertionError(f"expected silence, got {self._buffer[:300]!r}")
        data = self._read(time.monotonic() + seconds)
        if data is not None:
            raise AssertionError(f"expected silence, got {data[:300]!r}")

    def assert_closed(self, seconds: float = 6.0) -> None:
        """The server closes without another byte."""
        if self._buffer:
            raise AssertionError(f"expected the end, got {self._buffer[:300]!r}")
        data = self._read(time.monotonic() + seconds)
        if data is None:
            raise Silence(f"the connection is still open after {seconds} s")
        if data:
            raise AssertionError(f"expected the end, got {data[:300]!r}")

    def reset(self) -> None:
        """Close with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()


Wire = Udp | Tcp


def _readable(sock: socket.socket, seconds: float) -> bool:
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    return bool(select.select([sock], [], [], max(0.0, seconds))[0])


class Tls(Tcp):
    """A connection by TLS; `context` None: whatever certificate the server has is taken."""

    name = "tls"

    def __init__(self, server: Address, *, host: str = "", context: ssl.SSLContext | None = None) -> None:
        super().__init__(server, host=host)
        self._socket = (context or credulous()).wrap_socket(self._socket, server_hostname="sip.example.net")
        self._socket.setblocking(False)

    def certificate(self) -> dict[str, Any]:
        """The server's, checked; see ssl.SSLSocket.getpeercert."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return dict(self._socket.getpeercert() or {})

    def send(self, data: bytes) -> None:
        self._socket.settimeout(5)
        try:
            self._socket.sendall(data)
        finally:
            self._socket.setblocking(False)


def credulous() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def open_wire(transport: str, server: Address) -> Wire:
    if transport in ("ws", "wss"):
        from tests.support.sip.websocket import WebSocket, open_websocket

        found: WebSocket = open_websocket(transport, server)
        return found
    return {"udp": Udp, "tcp": Tcp, "tls": Tls}[transport](server)


@contextlib.contextmanager
def listening(kind: str = "udp") -> Iterator[Watcher]:
    """A third party that only watches whether anybody talks to it."""
    watcher = Watcher(kind)
    try:
        yield watcher
    finally:
        watcher.close()


class Watcher:
    def __init__(self, kind: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        if kind != "udp":
            self._socket.listen(16)
        self._kind = kind
        self.address: Address = self._socket.getsockname()[:2]

    def assert_untouched(self, seconds: float = 0.3) -> None:
        if _readable(self._socket, seconds):
            what = self._socket.recv(2048)[:200] if self._kind == "udp" else self._socket.accept()[1]
            raise AssertionError(f"somebody talked to a third party: {what!r}")

    def connections(self, seconds: float) -> int:
        """How many connections are opened in this time."""
        deadline, count = time.monotonic() + seconds, 0
        while _readable(self._socket, deadline - time.monotonic()):
            self._socket.accept()[0].close()
            count += 1
        return count

    def close(self) -> None:
        self._socket.close()


# --- what goes out ---------------------------------------------------------------------------------------------------


def hostport(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def token(prefix: str = "") -> str:
    return prefix + uuid.uuid4().hex[:16]


def branch() -> str:
    return "z9hG4bK" + token()


class Draft:
    """A request as a list of header lines that a test may change, double or drop. Content-Length follows the body."""

    def __init__(self, method: str, uri: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        self.method = method
        self.uri = uri
        self.headers = list(headers)
        self.body = body
        self.version = "SIP/2.0"

    def copy(self) -> Draft:
        twin = Draft(self.method, self.uri, self.headers, self.body)
        twin.version = self.version
        return twin

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def set(self, name: str, value: str) -> Draft:
        """One header of this name, in its old place."""
        for index, (key, _) in enumerate(self.headers):
            if key.lower() == name.lower():
                rest = [pair for pair in self.headers[index + 1 :] if pair[0].lower() != name.lower()]
                self.headers[index:] = [(name, value), *rest]
                return self
        return self.add(name, value)

    def add(self, name: str, *values: str) -> Draft:
        self.headers.extend((name, value) for value in values)
        return self

    def set_first_via(self, value: str) -> Draft:
        """Another topmost Via; those below stay."""
        index = next(i for i, (name, _) in enumerate(self.headers) if name.lower() == "via")
        self.headers[index] = ("Via", value)
        return self

    def drop(self, *names: str) -> Draft:
        gone = {name.lower() for name in names}
        self.headers = [pair for pair in self.headers if pair[0].lower() not in gone]
        return self

    def bytes(self) -> bytes:
        lines = [f"{self.method} {self.uri} {self.version}"]
        lines += [f"{name}: {value.replace(LENGTH, str(len(self.body)))}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + self.body

    @property
    def call_id(self) -> str:
        return self.get("Call-ID")

    def next(self) -> Draft:
        """The same request again as a new one: CSeq up, another branch."""
        number, method = self.get("CSeq").split(None, 1)
        twin = self.copy().set("CSeq", f"{int(number) + 1} {method}")
        return twin.set_first_via(re.sub(r"branch=[^;]*", f"branch={branch()}", twin.get("Via"), count=1))


LENGTH = "\0length\0"  # stands for the body's length until the bytes are made


# --- digest (RFC 2617, RFC 7616, RFC 2069) ---------------------------------------------------------------------------

_HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {
    "MD5": hashlib.md5, "SHA-256": hashlib.sha256, "SHA-512-256": lambda data: hashlib.new("sha512_256", data),
}  # fmt: skip


def parse_challenge(value: str) -> dict[str, str]:
    scheme, _, rest = value.partition(" ")
    found = {"scheme": scheme}
    for name, quoted, plain in re.findall(r'([A-Za-z0-9-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', rest):
        found[name.lower()] = quoted or plain
    return found


def digest(
    algorithm: str, user: str, realm: str, password: str, method: str, uri: str, nonce: str, *,
    nc: str = "", cnonce: str = "", qop: str = "", body: bytes = b"",
) -> str:  # fmt: skip
    """The response value. Without `qop`: that of RFC 2069."""

    def hashed(*parts: str) -> str:
        return _HASHES[algorithm.removesuffix("-sess")](":".join(parts).encode()).hexdigest()

    secret = hashed(user, realm, password)
    if algorithm.endswith("-sess"):
        secret = hashed(secret, nonce, cnonce)
    a2 = (
        (method, uri, _HASHES[algorithm.removesuffix("-sess")](body).hexdigest())
        if qop == "auth-int"
        else (method, uri)
    )
    middle = (nonce, nc, cnonce, qop) if qop else (nonce,)
    return hashed(secret, *middle, hashed(*a2))


@dataclass
class Credentials:
    """What a client knows and how it writes it down; a test bends the fields."""

    user: str
    password: str
    algorithm: str = ""  # empty: as the challenge says
    qop: str = "auth"  # empty: RFC 2069
    nc: int = 1
    uri: str = ""  # empty: the Request-URI
    realm: str = ""
    nonce: str = ""
    response: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()

    def header(self, challenge: dict[str, str], draft: Draft) -> str:
        algorithm = self.algorithm or challenge.get("algorithm", "MD5")
        realm, nonce = self.realm or challenge["realm"], self.nonce or challenge["nonce"]
        uri, nc, cnonce = self.uri or draft.uri, f"{self.nc:08x}", token()[:8]
        response = self.response or digest(
            algorithm, self.user, realm, self.password, draft.method, uri, nonce, nc=nc, cnonce=cnonce, qop=self.qop,
            body=draft.body,
        )  # fmt: skip
        values = {
            "username": f'"{self.user}"', "realm": f'"{realm}"', "nonce": f'"{nonce}"', "uri": f'"{uri}"',
            "response": f'"{response}"', "algorithm": algorithm,
        }  # fmt: skip
        if "opaque" in challenge:
            values["opaque"] = f'"{challenge["opaque"]}"'
        if self.qop:
            values |= {"qop": self.qop, "nc": nc, "cnonce": f'"{cnonce}"'}
        values |= self.extra
        return "Digest " + ", ".join(f"{name}={value}" for name, value in values.items() if name not in self.without)


# --- a phone ---------------------------------------------------------------------------------------------------------


class Phone:
    """A user agent on one wire. Requests that come while it waits for a response are kept, and the other way round."""

    def __init__(
        self, server: Address, name: str, password: str, transport: str = "udp", *, domain: str = "sip.example.net",
        wire: Wire | None = None,
    ) -> None:  # fmt: skip
        self.wire: Wire = wire or open_wire(transport, server)
        self.server = server
        self.name = name
        self.domain = domain
        self.credentials = Credentials(name, password)
        self.register_call_id = token("reg-")
        self.register_cseq = 0
        self.invalid = f"{token()}.invalid"
        self.from_tag = token()
        self.challenge: dict[str, str] | None = None
        self._requests: deque[Incoming] = deque()
        self._responses: deque[Incoming] = deque()
        self._taken: dict[str, int] = {}  # branches of requests that `take` has answered, and with what

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    def close(self) -> None:
        self.wire.close()

    @property
    def aor(self) -> str:
        return f"sip:{self.name}@{self.domain}"

    @property
    def contact(self) -> str:
        host, port = self.wire.local
        if self.wire.name.startswith("ws"):  # a browser does not know its address (RFC 7118 section 5.1)
            return f"sip:{self.name}@{self.invalid};transport=ws"
        suffix = f";transport={self.wire.name}" if self.wire.stream else ""
        return f"sip:{self.name}@{hostport(host, port)}{suffix}"

    # --- making requests ---

    def via(self, sent_by: str = "", params: str = ";rport") -> str:
        sent_by = sent_by or (self.invalid if self.wire.name.startswith("ws") else hostport(*self.wire.local))
        return f"SIP/2.0/{self.wire.name.upper()} {sent_by};branch={branch()}{params}"

    def draft(self, method: str, uri: str = "", body: bytes = b"", content_type: str = "text/plain") -> Draft:
        """A plain good request of ours."""
        uri = uri or f"sip:{self.domain}"
        headers = [
            ("Via", self.via()), ("Max-Forwards", "70"), ("From", f"<{self.aor}>;tag={token()}"),
            ("To", f"<{uri}>"), ("Call-ID", token("call-")), ("CSeq", f"1 {method}"),
        ]  # fmt: skip
        if body:
            headers.append(("Content-Type", content_type))
        return Draft(method, uri, [*headers, ("Content-Length", LENGTH)], body)

    def options(self) -> Draft:
        return self.draft("OPTIONS")

    def register_draft(self, *contacts: str, expires: int | str | None = None) -> Draft:
        """The next REGISTER of this phone's Call-ID; without contacts, a query."""
        self.register_cseq += 1
        draft = self.draft("REGISTER").set("To", f"<{self.aor}>").set("Call-ID", self.register_call_id)
        draft.set("From", f"<{self.aor}>;tag={self.from_tag}").set("CSeq", f"{self.register_cseq} REGISTER")
        if contacts:
            draft.add("Contact", *contacts)
        if expires is not None:
            draft.add("Expires", str(expires))
        return draft

    def message_draft(self, to: str, text: str | bytes = "hello", content_type: str = "text/plain") -> Draft:
        body = text.encode() if isinstance(text, str) else text
        return self.draft("MESSAGE", f"sip:{to}@{self.domain}", body, content_type)

    # --- dialogues ---

    def send(self, draft: Draft | bytes) -> None:
        self.wire.send(draft.bytes() if isinstance(draft, Draft) else draft)

    def ask(self, draft: Draft, seconds: float = 6.0) -> Incoming:
        """Send and wait for its final response; by UDP once more after a second, as any phone would (17.1.2.2)."""
        self.send(draft)
        if self.wire.stream or seconds <= 1.5:
            return self.response_to(draft, seconds)
        try:
            return self.response_to(draft, 1.0)
        except Silence:
            self.send(draft)
            return self.response_to(draft, seconds - 1.0)

    def response_to(self, draft: Draft, seconds: float = 6.0) -> Incoming:
        call_id, cseq = draft.get("Call-ID") or draft.get("i"), draft.get("CSeq").split()[0]
        return self._wait(
            self._responses,
            lambda one: one.call_id == call_id and one.get("cseq").split()[0] == cseq and one.status >= 200,
            seconds,
        )

    def authorise(self, draft: Draft, challenged: Incoming, credentials: Credentials | None = None) -> Draft:
        """The request again, with an answer to the first challenge."""
        again = draft.next()
        if again.method == "REGISTER":
            self.register_cseq = int(again.get("CSeq").split()[0])
        self.challenge = challenged.challenges()[0]
        name = "Authorization" if challenged.status == 401 else "Proxy-Authorization"
        return again.add(name, (credentials or self.credentials).header(self.challenge, again))

    def signed(self, draft: Draft, credentials: Credentials | None = None, seconds: float = 6.0) -> Draft:
        """Have the request challenged; what has to be sent next."""
        challenged = self.ask(draft, seconds)
        if challenged.status not in (401, 407):
            raise AssertionError(f"expected a challenge, got {challenged.start} {challenged.get('warning')}")
        return self.authorise(draft, challenged, credentials)

    def authenticated(self, draft: Draft, credentials: Credentials | None = None, seconds: float = 6.0) -> Incoming:
        """Send, answer the challenge, and give the response to that."""
        return self.ask(self.signed(draft, credentials), seconds)

    def settled(self, draft: Draft) -> Incoming:
        """What becomes of a request: refused at once, or the answer with credentials."""
        first = self.ask(draft)
        return self.ask(self.authorise(draft, first)) if first.status in (401, 407) else first

    def register(self, *contacts: str, expires: int | str | None = None) -> Incoming:
        """REGISTER with our contact, or those given. Raises AssertionError unless it is answered with 200."""
        response = self.authenticated(self.register_draft(*(contacts or (f"<{self.contact}>",)), expires=expires))
        if response.status != 200:
            raise AssertionError(f"REGISTER: {response.start} {response.get('warning')}")
        return response

    def bindings(self) -> dict[str, int]:
        """What a REGISTER without Contact says."""
        response = self.authenticated(self.register_draft())
        if response.status != 200:
            raise AssertionError(f"query: {response.start} {response.get('warning')}")
        return response.contacts()

    def message(self, to: str, text: str | bytes = "hello", content_type: str = "text/plain") -> Incoming:
        return self.authenticated(self.message_draft(to, text, content_type))

    # --- as a user agent server ---

    def request(self, seconds: float = 6.0) -> Incoming:
        """The next request of the server. Raises Silence."""
        return self._wait(self._requests, lambda one: True, seconds)

    def answer(self, request: Incoming, status: int = 200, reason: str = "OK", *headers: tuple[str, str]) -> None:
        lines = [f"SIP/2.0 {status} {reason}", *(f"Via: {value}" for value in request.all("via"))]
        to = request.get("to")
        tagged = to if status == 100 or ";tag=" in to else f"{to};tag=phone"
        lines += [f"From: {request.get('from')}", f"To: {tagged}", f"Call-ID: {request.call_id}"]
        lines += [f"CSeq: {request.get('cseq')}", *(f"{name}: {value}" for name, value in headers)]
        self.wire.send(("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode("utf-8", "surrogateescape"))

    def take(self, seconds: float = 6.0, status: int = 200) -> Incoming:
        """Wait for a MESSAGE and answer it. Another copy of one that it has answered gets the same answer again."""
        while True:
            request = self.request(seconds)
            if request.method != "MESSAGE":
                raise AssertionError(f"expected a MESSAGE, got {request.start}")
            known = self._taken.get(request.branch)
            self.answer(request, status if known is None else known)
            if known is None:
                self._taken[request.branch] = status
                return request

    def requests_for(self, seconds: float, status: int = 0) -> list[Incoming]:
        """All requests that come in this time, each answered with `status` (0: not at all)."""
        deadline, found = time.monotonic() + seconds, []
        while True:
            try:
                one = self.request(max(0.0, deadline - time.monotonic()))
            except Silence:
                return found
            found.append(one)
            if status:
                self.answer(one, status)

    def assert_silent(self, seconds: float = 0.3) -> None:
        for kept in (*self._requests, *self._responses):
            raise AssertionError(f"expected silence, got {kept.start}")
        self.wire.assert_silent(seconds)

    def _wait(self, kept: deque[Incoming], wanted: Callable[[Incoming], bool], seconds: float) -> Incoming:
        for one in kept:
            if wanted(one):
                kept.remove(one)
                return one
        deadline = time.monotonic() + seconds
        while True:
            message = self.wire.receive(max(0.0, deadline - time.monotonic()))
            if message.is_response:
                check_response(message)
            queue = self._responses if message.is_response else self._requests
            if queue is kept and wanted(message):
                return message
            queue.append(message)


def check_response(response: Incoming) -> None:
    """What no response of a MESSAGE server may be, whatever the request was."""
    if response.status == 408 or 101 <= response.status <= 199 or response.status >= 600:
        raise AssertionError(
            f"never to be sent (RFC 4320 sections 4.1 and 4.2, RFC 3261 section 10.3): {response.start}"
        )
    if response.has("record-route"):
        raise AssertionError("Record-Route in a response")
