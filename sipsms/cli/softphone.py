"""A softphone on pjsua2, an independent SIP stack.

`sipsms softphone`, the demo and the tests use it. pjsua2 is an optional extra (GPL, wheels for x86-64 Linux only) and
is imported when a `Stack` is opened, never before. It aborts the process when it is called from an unknown thread or
when a second Endpoint is made. So there must be one `Stack` in a process, which owns the Endpoint; several `Softphone`s
on it, each with its own socket; and only ONE thread that uses them. pjsua2 runs no thread of its own (threadCnt=0):
callbacks run inside `Stack.pump`, and every method that waits calls `pump`. pjsua2 prints and swallows exceptions in
callbacks, so callbacks only store values.

`offline(abrupt=True)` simulates a pulled cable: the sockets below pjsua2 vanish, and nothing is sent to the server.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

PUMP_MS = 20
TIMER_F = 32.0  # seconds after which pjsip gives up on a MESSAGE over UDP (RFC 3261 17.1.2.2)
NO_INSTALL = "the softphone needs pjsua2: pip install '.[softphone]' (x86-64 Linux, Python up to 3.12)"


class SoftphoneMissing(RuntimeError):
    """The package pjsua2 is not installed, or not available for this platform."""


class Answer(NamedTuple):
    """The final answer to a request."""

    status: int
    reason: str
    warning: str  # the text of the Warning header; empty if there was none

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Received:
    """A MESSAGE as received. `sender` is the user part of From: for an SMS the number."""

    sender: str
    from_uri: str
    to_uri: str
    r_uri: str
    text: str
    content_type: str  # as pjsua2 returns it, without parameters; the whole header is in `headers`
    headers: Mapping[str, str]  # names as on the wire
    raw: str
    at: float = field(default_factory=time.time)

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")


def load_pjsua2() -> Any:
    """Import pjsua2. Raises SoftphoneMissing."""
    try:
        import pjsua2
    except ImportError as error:
        raise SoftphoneMissing(NO_INSTALL) from error
    return pjsua2


class Stack:
    """The owner of the process' one Endpoint: `with Stack() as stack: ...`."""

    def __init__(self) -> None:
        self.pj = load_pjsua2()
        self.phones: list[Softphone] = []
        self.endpoint: Any = None

    def __enter__(self) -> Self:
        self.endpoint = _new_endpoint(self)
        with _quiet():  # libCreate prints six lines before any log level applies
            self.endpoint.libCreate()
        self.endpoint.libInit(self._config())
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for phone in list(self.phones):
            phone.close()
        self.endpoint.libDestroy()  # always takes about a second
        self.endpoint = None

    def _config(self) -> Any:
        config = self.pj.EpConfig()
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.logConfig.level = config.logConfig.consoleLevel = 0
        return config

    def pump(self, seconds: float = 0.0) -> None:
        """Let pjsua2 handle sockets, timers and callbacks, at least once."""
        end = time.monotonic() + seconds
        self.endpoint.libHandleEvents(min(PUMP_MS, int(seconds * 1000)))
        while (left := end - time.monotonic()) > 0:
            self.endpoint.libHandleEvents(min(PUMP_MS, max(1, int(left * 1000))))

    def wait_for(self, predicate: Callable[[], Any], timeout: float = 5.0) -> bool:
        end = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() >= end:
                return False
            self.pump(PUMP_MS / 1000)
        return True

    def open_transport(self, transport: str, host: str, port: int) -> int:
        kinds = {
            "udp": self.pj.PJSIP_TRANSPORT_UDP, "tcp": self.pj.PJSIP_TRANSPORT_TCP,
            "tls": self.pj.PJSIP_TRANSPORT_TLS,
        }  # fmt: skip
        config = self.pj.TransportConfig()
        config.tlsConfig.method = self.pj.PJSIP_TLSV1_2_METHOD  # its OpenSSL has no newer, we accept no older
        config.boundAddress, config.port = host, port
        return int(self.endpoint.transportCreate(kinds[transport], config))

    def account_for(self, raw: str, guess: int) -> int:
        """Return the id of the account that an incoming request is for, by the Request-URI of its device."""
        r_uri = raw.split(" ", 2)[1].partition(";")[0]
        fits = [p for p in self.phones if p.online and p.contact == r_uri]
        return int(fits[0].account.getId()) if len(fits) == 1 else guess


class Softphone:
    """A device of an account; with `local_port` 0 it keeps the free port it once took."""

    def __init__(
        self,
        name: str,
        password: str,
        server_host: str,
        server_port: int,
        transport: str = "udp",
        *,
        stack: Stack,
        domain: str | None = None,
        instance: str | None = None,
        auth_user: str | None = None,
        display_name: str = "",
        local_port: int = 0,
        expires: int = 300,
        publish: bool = False,
    ) -> None:
        """Open the phone's socket. `publish`: `appear` publishes presence to the server (RFC 3903)."""
        self.stack = stack
        self.name, self.password, self.auth_user = name, password, auth_user or name
        self.server = (server_host, server_port)
        self.transport = transport.lower()
        self.domain = domain or server_host
        self.instance = instance
        self.display_name = display_name
        self.expires = expires
        self.publish = publish
        self.inbox: list[Received] = []
        self.online = False
        self.port = local_port
        self._host = _local_address(self.server)
        self._reg: Answer | None = None
        self._sent: list[Answer] = []
        self._watched: dict[str, Any] = {}
        self._ignore = 0  # outstanding answers to sends that we stopped waiting for
        self._fds: set[int] = set()
        self._before = _sockets_to(self.server)
        self._transport_id = self._open()
        self.account: Any = _new_account(self)
        self.account.create(self._account_config())
        stack.phones.append(self)

    # --- actions of a user -----------------------------------------------------------------------------------------

    @property
    def aor(self) -> str:
        return f"sip:{self.name}@{self.domain}"

    @property
    def contact(self) -> str:
        return f"sip:{self.name}@{self._host}:{self.port}"

    def register(self, timeout: float = 5.0) -> Answer:
        return self._registration(True, timeout)

    def unregister(self, timeout: float = 5.0) -> Answer:
        return self._registration(False, timeout)

    def send(
        self,
        number: str,
        text: str,
        display_name: str | None = None,
        from_user: str | None = None,
        headers: Mapping[str, str] = {},
        *,
        content_type: str = "text/plain",
        timeout: float = TIMER_F + 3,
    ) -> Answer:
        """Send a MESSAGE to a number or a sip: URI; return its final answer. Raises TimeoutError."""
        param = self.stack.pj.SendInstantMessageParam()
        param.content, param.contentType = text, content_type
        param.txOption.localUri = self._identity(display_name, from_user)
        for header, value in headers.items():
            param.txOption.headers.append(self._header(header, value))
        buddy = self._buddy(number if number.startswith("sip:") else self._uri(number))
        self._sent.clear()
        buddy.sendInstantMessage(param)
        if not self.stack.wait_for(lambda: self._sent, timeout):
            self._ignore += 1
            raise TimeoutError(f"no final answer to the MESSAGE to {number} within {timeout:g} s")
        del buddy  # must be deleted before the account, or pjsua2 aborts
        return self._sent.pop()

    def watch(self, user: str) -> None:
        """Subscribe to a user's presence. pjsua2 uses the first account of this domain on the stack."""
        self._watched[user] = self._buddy(self._uri(user), subscribe=True)

    def presence(self, user: str) -> str:
        """Return a watched user's presence: "online", "offline", or "unknown" before the first NOTIFY."""
        status = int(self._watched[user].getInfo().presStatus.status)
        pj = self.stack.pj
        return {pj.PJSUA_BUDDY_STATUS_ONLINE: "online", pj.PJSUA_BUDDY_STATUS_OFFLINE: "offline"}.get(status, "unknown")

    def appear(self, online: bool) -> None:
        """Publish presence as online or offline."""
        pj = self.stack.pj
        status = pj.PresenceStatus()
        status.status = pj.PJSUA_BUDDY_STATUS_ONLINE if online else pj.PJSUA_BUDDY_STATUS_OFFLINE
        self.account.setOnlineStatus(status)

    def wait_for(self, predicate: Callable[[Softphone], Any], timeout: float = 5.0) -> bool:
        return self.stack.wait_for(lambda: predicate(self), timeout)

    def wait_message(self, text: str, timeout: float = 5.0) -> Received | None:
        """Return the first message in the inbox with this text, after waiting for it; None on timeout."""
        self.wait_for(lambda me: any(m.text == text for m in me.inbox), timeout)
        return next((m for m in self.inbox if m.text == text), None)

    def offline(self, *, abrupt: bool = False) -> None:
        """Unregister and close the socket; `abrupt` without a message, as after a power cut."""
        if not self.online:
            return
        registered = self._reg is not None and self._reg.ok
        if registered and not abrupt:
            self.unregister()
        self._cut()
        if registered and abrupt:  # pjsip keeps the socket of a registration: let it "unregister" without effect
            with contextlib.suppress(self.stack.pj.Error):
                self.account.setRegistration(False)
        self.online = False

    def go_online(self) -> Answer:
        """Open the same port again and register."""
        if not self.online:
            self._transport_id = self._open()
            self.account.setTransport(self._transport_id)
        return self.register()

    def close(self) -> None:
        """Unregister (unless offline) and release all resources for ever."""
        if self.account is None:
            return
        self._watched.clear()  # must be cleared before the account, or pjsua2 aborts
        self.offline()
        self.account.shutdown()
        self.account = None
        self.stack.phones.remove(self)

    # --- callbacks from pjsua2, through _new_account -----------------------------------------------------------------

    def on_message(self, message: Received) -> None:
        self.inbox.append(message)

    def on_sent(self, answer: Answer) -> None:
        if self._ignore:
            self._ignore -= 1
            return
        self._sent.append(answer)

    def on_registration(self, answer: Answer) -> None:
        self._reg = answer

    # --- internals -------------------------------------------------------------------------------------------------

    def _open(self) -> int:
        opened = self.stack.open_transport(self.transport, self._host, self.port)
        self.port = int(self.stack.endpoint.transportGetInfo(opened).localName.rpartition(":")[2])
        self.online = True
        return opened

    def _cut(self) -> None:
        """Replace this phone's sockets by dead ones: the port is free at once, and pjsua2's later packets are lost.

        Were only the transport closed, pjsip would keep the port for T4 = 5 s and still unregister."""
        own = {fd for fd, name, _ in _inet_sockets() if name[1] == self.port and name[0] == self._host}
        for fd in own | (self._fds & _sockets_to(self.server)):
            kind = socket.SOCK_STREAM if fd in self._fds else socket.SOCK_DGRAM
            here, there = socket.socketpair(socket.AF_UNIX, kind)
            os.dup2(here.fileno(), fd)
            here.close()
            there.close()
        self._fds.clear()
        self.stack.endpoint.transportClose(self._transport_id)  # closed first: pjsip must not find its listener dead
        self.stack.pump(0.05)  # lets pjsip see the end of a TCP connection

    def _registration(self, wanted: bool, timeout: float) -> Answer:
        self._reg = None
        self.account.setRegistration(wanted)
        self.stack.wait_for(lambda: self._reg, timeout)
        answer: Answer | None = self._reg
        if answer is None:
            raise TimeoutError(f"no answer to the REGISTER of {self.name} within {timeout:g} s")
        if self.transport != "udp" and wanted:
            others = set().union(*(p._fds for p in self.stack.phones if p is not self))
            self._fds = _sockets_to(self.server) - self._before - others
        return answer

    def _account_config(self) -> Any:
        pj = self.stack.pj
        config = pj.AccountConfig()
        config.idUri = self._identity(None, None)
        config.regConfig.registrarUri = self._uri("")
        config.regConfig.registerOnAdd = False
        config.regConfig.timeoutSec = self.expires
        config.presConfig.publishEnabled = self.publish
        config.regConfig.retryIntervalSec = 0  # no registration that a test does not request
        config.sipConfig.transportId = self._transport_id
        config.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", self.auth_user, 0, self.password))
        if self.domain != self.server[0]:
            config.sipConfig.proxies.append(f"<sip:{self.server[0]}:{self.server[1]};transport={self.transport};lr>")
        if self.transport != "udp":  # by default pjsip uses one id for all phones of this host
            config.natConfig.sipOutboundInstanceId = f"<{self.instance or uuid.uuid4().urn}>"
        elif self.instance:  # over UDP pjsip does not offer outbound
            config.regConfig.contactParams = f';+sip.instance="<{self.instance}>"'
        return config

    def _uri(self, user: str) -> str:
        host = self.domain if self.domain != self.server[0] else f"{self.server[0]}:{self.server[1]}"
        suffix = f";transport={self.transport}" if self.transport != "udp" else ""
        return f"sip:{user}@{host}{suffix}" if user else f"sip:{host}{suffix}"

    def _identity(self, display_name: str | None, user: str | None) -> str:
        shown = self.display_name if display_name is None else display_name
        return f'"{shown}" <sip:{user or self.name}@{self.domain}>'.removeprefix('"" ')

    def _buddy(self, uri: str, *, subscribe: bool = False) -> Any:
        config = self.stack.pj.BuddyConfig()
        config.uri, config.subscribe = uri, subscribe
        buddy = self.stack.pj.Buddy()
        buddy.create(self.account, config)
        return buddy

    def _header(self, name: str, value: str) -> Any:
        header = self.stack.pj.SipHeader()
        header.hName, header.hValue = name, value
        return header


# --- subclasses that pjsua2 calls back, made only after its import ----------------------------------------------------


def _new_endpoint(stack: Stack) -> Any:
    class Endpoint(stack.pj.Endpoint):  # type: ignore[misc, name-defined]
        def onSelectAccount(self, prm: Any) -> None:
            prm.accountIndex = stack.account_for(prm.rdata.wholeMsg, prm.accountIndex)

    return Endpoint()


def _new_account(phone: Softphone) -> Any:
    class Account(phone.stack.pj.Account):  # type: ignore[misc, name-defined]
        def onInstantMessage(self, prm: Any) -> None:
            phone.on_message(_received(prm))

        def onInstantMessageStatus(self, prm: Any) -> None:
            if prm.code >= 200:
                phone.on_sent(Answer(prm.code, prm.reason, _warning(prm.rdata.wholeMsg)))

        def onRegState(self, prm: Any) -> None:
            phone.on_registration(Answer(prm.code, prm.reason, _warning(prm.rdata.wholeMsg)))

    return Account()


def _received(prm: Any) -> Received:
    raw = str(prm.rdata.wholeMsg)
    return Received(
        sender=_user_part(prm.fromUri),
        from_uri=prm.fromUri,
        to_uri=prm.toUri,
        r_uri=raw.split(" ", 2)[1],
        text=prm.msgBody,
        content_type=prm.contentType,
        headers=_headers(raw),
        raw=raw,
    )


def _headers(raw: str) -> dict[str, str]:
    head = raw.partition("\r\n\r\n")[0].replace("\r\n ", " ").replace("\r\n\t", " ")
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])}


def _warning(raw: str) -> str:
    """Return the text of a Warning header, `399 host "words"` -> words (RFC 3261 section 20.43)."""
    value = next((v for k, v in _headers(raw).items() if k.lower() == "warning"), "")
    _, quote, rest = value.partition('"')
    return rest.rpartition('"')[0] if quote else value


def _user_part(name_addr: str) -> str:
    return name_addr.partition("sip:")[2].partition("@")[0]


# --- sockets below pjsua2 --------------------------------------------------------------------------------------------


def _local_address(server: tuple[str, int]) -> str:
    """Return the address of this host that the server will see; pjsua2 would only guess it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(server)  # sends nothing
        return str(probe.getsockname()[0])


def _inet_sockets() -> Iterator[tuple[int, tuple[str, int], tuple[str, int] | None]]:
    """Yield every IPv4 socket of this process: descriptor, own name, peer."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family == socket.AF_INET:
                    yield fd, sock.getsockname(), _peer(sock)


def _peer(sock: socket.socket) -> tuple[str, int] | None:
    try:
        host, port = sock.getpeername()
    except OSError:
        return None
    return host, port


def _sockets_to(server: tuple[str, int]) -> set[int]:
    address = (socket.gethostbyname(server[0]), server[1])
    return {fd for fd, _, peer in _inet_sockets() if peer == address}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard output to descriptor 1: pjlib writes there directly and not to Python's sys.stdout."""
    sys.stdout.flush()
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


# --- `sipsms softphone` ----------------------------------------------------------------------------------------------


def parse_server(server: str) -> tuple[str, int]:
    """Parse HOST or HOST:PORT. Raises ValueError."""
    host, _, port = server.partition(":")
    return host, int(port or 5060)


def run_interactive(
    name: str,
    password: str,
    server: str,
    to: str | None = None,
    text: str | None = None,
    *,
    transport: str = "udp",
    domain: str | None = None,
) -> int:
    """Run a phone in the terminal, or with `to` send one message. Return the exit code."""
    try:
        host, port = parse_server(server)
        stack = Stack()
    except (SoftphoneMissing, ValueError) as error:
        print(f"sipsms: {error}", file=sys.stderr)
        return 1
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends like Ctrl-C: unregistered
    try:
        with stack, contextlib.suppress(KeyboardInterrupt):
            phone = Softphone(name, password, host, port, transport, stack=stack, domain=domain)
            return _send_once(phone, to, text or "") if to else _converse(phone)
        return 0
    except (TimeoutError, OSError) as error:
        print(f"sipsms: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)


def _send_once(phone: Softphone, number: str, text: str) -> int:
    answer = phone.send(number, text)
    print(_line(answer))
    return 0 if answer.ok else 1


def _converse(phone: Softphone) -> int:
    answer = phone.register()
    print(f"REGISTER {phone.aor}: {_line(answer)}")
    if not answer.ok:
        return 1
    print("Type:  NUMBER text    (Ctrl-D leaves)", flush=True)
    shown = 0
    while True:
        phone.stack.pump(0.05)
        for message in phone.inbox[shown:]:
            print(_incoming(message), flush=True)
        shown = len(phone.inbox)
        if select.select([0], [], [], 0)[0] and not _typed(phone, _read_line()):
            return 0


def _read_line() -> str:
    """Read a line byte by byte: a buffered stdin would hold lines that select cannot see."""
    line = b""
    while (byte := os.read(0, 1)) and byte != b"\n":
        line += byte
    return (line + byte).decode(errors="replace")


def _typed(phone: Softphone, line: str) -> bool:
    if not line:
        return False  # end of input
    number, _, text = line.strip().partition(" ")
    if number:
        print(f"{number} <- {_line(phone.send(number, text))}", flush=True)
    return True


def _incoming(message: Received) -> str:
    did = message.header("X-SMS-To")
    return f"{message.sender}{f' to {did}' if did else ''} -> {message.text}"


def _line(answer: Answer) -> str:
    return f"{answer.status} {answer.reason}" + (f" ({answer.warning})" if answer.warning else "")
