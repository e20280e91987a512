"""A registrar that does what a test tells it, on a UDP socket of its own."""

from __future__ import annotations

import queue
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any, Self

from e2e.site import Account, Site

from sipsms.store.sqlite import sqlite3
from tests.support.sip.wire import Draft, Incoming, Phone, Silence, branch, digest, parse_challenge, token

Say = Callable[[Incoming], tuple[int, str, list[tuple[str, str]]] | None]
NONCE = "n0nce"


def ok(request: Incoming) -> tuple[int, str, list[tuple[str, str]]]:
    contact = request.get("contact")
    return 200, "OK", [("Contact", contact)] if contact else []


def says(status: int, reason: str = "Whatever", *headers: tuple[str, str]) -> Say:
    return lambda request: (status, reason, list(headers))


def silence(request: Incoming) -> None:
    return None


def challenge(nonce: str = NONCE, extra: str = ', algorithm=MD5, qop="auth"', status: int = 401) -> Say:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return says(status, "Unauthorized", (name, f'Digest realm="up", nonce="{nonce}", opaque="o=1"{extra}'))


def answered(request: Incoming, username: str, password: str) -> dict[str, str]:
    """The parameters of its Authorization, if that is right for the password; else an AssertionError."""
    value = request.get("authorization") or request.get("proxy-authorization")
    assert value, f"no credentials: {request.start}"
    found = parse_challenge(value)
    assert found["username"] == username
    algorithm, realm, uri, nonce = found.get("algorithm", "MD5"), found["realm"], found["uri"], found["nonce"]
    rest = {name: found.get(name, "") for name in ("nc", "cnonce", "qop")}
    right = digest(algorithm, username, realm, password, request.method, uri, nonce, **rest)
    assert uri == request.uri
    assert found["response"] == right, f"wrong answer: {value}"
    return found


class Upstream:
    """Each request is answered by the next of `script(...)`, then by `default`; `taken` has them all in order."""

    def __init__(self, default: Say = ok, host: str = "127.0.0.1") -> None:
        self.default = default
        self.registers: queue.Queue[Incoming] = queue.Queue()
        self.messages: queue.Queue[Incoming] = queue.Queue()
        self.replies: queue.Queue[Incoming] = queue.Queue()
        self._script: queue.SimpleQueue[Say] = queue.SimpleQueue()
        self._seen: dict[str, bytes] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def script(self, *says: Say) -> None:
        for one in says:
            self._script.put(one)

    def registration(self, seconds: float = 10.0) -> Incoming:
        return self._next(self.registers, seconds)

    def message(self, seconds: float = 10.0) -> Incoming:
        return self._next(self.messages, seconds)

    def reply(self, seconds: float = 15.0) -> Incoming:
        return self._next(self.replies, seconds)

    def _next(self, source: queue.Queue[Incoming], seconds: float) -> Incoming:
        try:
            return source.get(timeout=seconds)
        except queue.Empty:
            raise Silence(f"nothing within {seconds} s") from None

    def deliver(
        self, contact: str, text: str, *headers: tuple[str, str], source: str = "4445556666", to: str = "pbx",
        call_id: str = "", cseq: int = 1, sock: socket.socket | None = None,
    ) -> None:  # fmt: skip
        """A MESSAGE to what a trunk has registered, by our socket or another."""
        sender = sock or self._socket
        uri = re.search("<([^>]*)>", contact)[1]  # type: ignore[index]
        host, port = re.search(r"@([0-9.]+):([0-9]+)", uri).groups()  # type: ignore[union-attr]
        here = "{}:{}".format(*sender.getsockname())
        draft = Draft(
            "MESSAGE", uri,
            [
                ("Via", f"SIP/2.0/UDP {here};branch={branch()}"), ("Max-Forwards", "70"),
                ("From", f"<sip:{source}@up.example>;tag={token()}"), ("To", f"<sip:{to}@up.example>"),
                ("Call-ID", call_id or token("call-")), ("CSeq", f"{cseq} MESSAGE"), ("Content-Type", "text/plain"),
                *headers, ("Content-Length", str(len(text.encode()))),
            ],
            text.encode(),
        )  # fmt: skip
        sender.sendto(draft.bytes(), (host, int(port)))

    # --- its thread ---

    def _run(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(65536)
                if data.strip():
                    self._take(Incoming.read(data), sender)
            except OSError:  # closed
                return

    def _take(self, one: Incoming, sender: tuple[str, int]) -> None:
        if one.is_response:
            self.replies.put(one)
            return
        if one.branch in self._seen:  # the same again
            if self._seen[one.branch]:
                self._socket.sendto(self._seen[one.branch], sender)
            return
        said = (self.default if self._script.empty() else self._script.get())(one)
        self._seen[one.branch] = b""
        if said is not None:
            self._seen[one.branch] = response(one, *said)
            self._socket.sendto(self._seen[one.branch], sender)
        (self.registers if one.method == "REGISTER" else self.messages).put(one)


def response(request: Incoming, status: int, reason: str, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"SIP/2.0 {status} {reason}", *(f"Via: {value}" for value in request.all("via"))]
    lines += [f"From: {request.get('from')}", f"To: {request.get('to')};tag=up", f"Call-ID: {request.call_id}"]
    lines += [f"CSeq: {request.get('cseq')}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode("utf-8", "surrogateescape")


# --- a server with a trunk ---


def phone_of(site: Site, account: Account) -> Phone:
    phone = Phone(site.address, account.name, account.password)
    phone.register()
    return phone


def logged(site: Site, event: str, count: int = 1) -> dict[str, Any]:
    return dict(site.wait(lambda: site.events(event)[count - 1 :], 15)[-1])


def deliveries(site: Site, text: str) -> list[dict[str, Any]]:
    """The rows of what carries a text."""
    query = "SELECT d.* FROM deliveries d JOIN messages m ON m.id = d.message_id WHERE m.text = ?"
    with closing(sqlite3.connect(site.store)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query, (text,))]


def texts(site: Site, direction: str) -> Counter[str]:
    return Counter(row["text"] for row in site.rows() if row["direction"] == direction)
