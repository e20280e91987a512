"""Clients that break off: in their request, or before they have read the answer, and what they then ask again.

What breaks off is a socket of this process, so the ends are the kernel's own: a reset, a FIN, or one after the other.
"""

from __future__ import annotations

import asyncio
import base64
import json
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from e2e.site import HANDSET, SECRET

from sipsms.web.response_ack import GRACE
from tests.support.node.stub_carrier import StubCarrier

from .conftest import MakeSite
from .test_doors import API as UNLIMITED
from .test_doors import Client, settle

pytestmark = pytest.mark.e2e

API: dict[str, Any] = {**UNLIMITED, "trusted_proxies": []}  # loopback is no proxy here, as strangers are none
CLOSE = "Connection: close\r\n"
RST = struct.pack("ii", 1, 0)  # of SO_LINGER: close without a word
AT_ONCE = 60  # connections: an address may have 200
FORM = "application/x-www-form-urlencoded"


class Raw:
    """Writes each door's request as octets; `text` is the message, `more` are header lines."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._name, self._did = client.account.name, client.account.did
        self._port = client.site.http_port

    def rest(self, text: str, more: str = "") -> bytes:
        return self._get("/api/v1/rest.php?" + urlencode(self._rest(text)), more)

    def rest_post(self, text: str, more: str = "") -> bytes:
        return self._post("/api/v1/rest.php", urlencode(self._rest(text)), FORM, more)

    def rest_parts(self, text: str, more: str = "") -> bytes:
        fields = [
            f'--x\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in self._rest(text).items()
        ]
        return self._post("/api/v1/rest.php", "".join(fields) + "--x--\r\n", "multipart/form-data; boundary=x", more)

    def originate(self, text: str, more: str = "") -> bytes:
        login = base64.b64encode(f"{self._name}:{self._client.key}".encode()).decode()
        fields = urlencode({"message": text, "number": HANDSET})
        return self._post("/api/v1/originate/sms", fields, FORM, f"{more}Authorization: Basic {login}\r\n")

    def kannel(self, text: str, more: str = "") -> bytes:
        return self._get("/cgi-bin/sendsms?" + urlencode(self._kannel(text)), more)

    def kannel_post(self, text: str, more: str = "") -> bytes:
        return self._post("/cgi-bin/sendsms", urlencode(self._kannel(text)), FORM, more)

    def acrobits(self, text: str, more: str = "") -> bytes:
        fields = {"username": self._name, "password": self._client.key, "sms_to": HANDSET, "sms_body": text}
        return self._post("/acrobits/send", urlencode(fields), FORM, more)

    def telnyx(self, text: str, more: str = "") -> bytes:
        return self._json("/v2/messages", text, more)

    def native(self, text: str, more: str = "") -> bytes:
        """Without an Idempotency-Key."""
        return self._json("/v1/messages", text, more)

    def native_files(self, text: str, more: str = "") -> bytes:
        data = base64.b64encode(bytes(100_000)).decode()
        body = {"from": self._did, "to": HANDSET, "text": text, "media": [{"data": data, "name": "a.jpg"}]}
        return self._post("/v1/messages", json.dumps(body), "application/json", self._bearer(more))

    def hook(self, text: str, more: str = "") -> bytes:
        fields = {"from": HANDSET, "to": self._did, "text": text, "id": quote(text)}
        return self._post(f"/hooks/door/{SECRET}", json.dumps(fields), "application/json", more)

    def _rest(self, text: str) -> dict[str, str]:
        login = {"api_username": self._name, "api_password": self._client.key}
        return {**login, "method": "sendSMS", "did": self._did, "dst": HANDSET, "message": text}

    def _kannel(self, text: str) -> dict[str, str]:
        return {"username": self._name, "password": self._client.key, "to": HANDSET, "text": text}

    def _json(self, path: str, text: str, more: str) -> bytes:
        body = json.dumps({"from": self._did, "to": HANDSET, "text": text})
        return self._post(path, body, "application/json", self._bearer(more))

    def _bearer(self, more: str) -> str:
        return f"{more}Authorization: Bearer {self._client.token}\r\n"

    def _get(self, path: str, more: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode()

    def _post(self, path: str, body: str, kind: str, more: str) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\n{more}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        return (head + body).encode()


DOORS = {
    "rest": (Raw.rest, '"success"'), "originate": (Raw.originate, '"Success"'), "kannel": (Raw.kannel, "0: Accepted"),
    "acrobits": (Raw.acrobits, '"sms_id"'), "v2": (Raw.telnyx, '"queued"'), "v1": (Raw.native, '"accepted"'),
}  # fmt: skip

# --- how a client ends a connection ---

End = Callable[[socket.socket], None]


def resets(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)


def closes(sock: socket.socket) -> None:
    """Nothing before it: that is a FIN, or a reset if there is something to read."""


def shuts_down(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


ENDS: tuple[End, ...] = (resets, closes, shuts_down)


class Wire:
    """Connections to the server, as octets."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)

    async def connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self._address)
        return sock

    async def break_off(self, octets: bytes, after: float, end: End) -> bool:
        """Whether nobody can tell how it was meant; what the server has answered is not read."""
        sock = await self.connect()
        await asyncio.get_running_loop().sock_sendall(sock, octets)
        await asyncio.sleep(after)
        return _end(sock, end)

    async def answer(self, sock: socket.socket, octets: bytes) -> str:
        """The whole answer to a request; empty if there is none."""
        loop, said = asyncio.get_running_loop(), b""
        try:
            await loop.sock_sendall(sock, octets)
            while not _is_whole(said):
                chunk = await loop.sock_recv(sock, 65536)
                if not chunk:
                    return ""
                said += chunk
        except OSError:
            return ""
        return said.decode()

    async def ask(self, octets: bytes) -> str:
        """Read the answer, then close in order."""
        sock = await self.connect()
        try:
            return await self.answer(sock, octets)
        finally:
            sock.close()


def _end(sock: socket.socket, end: End) -> bool:
    """Whether nobody can tell that it was broken off: there is no reset when both sides have sent their FIN, and one
    that comes long after the FIN may have been caused by another thread of ours."""
    began = time.monotonic()
    with suppress(OSError):  # the server has reset it
        end(sock)
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    was_shut = bool(poll.poll(0))
    sock.close()
    return end is shuts_down and (was_shut or time.monotonic() - began > GRACE / 2)


def _is_whole(said: bytes) -> bool:
    head, has_head, body = said.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return bool(has_head) and len(body) >= int(length)


# --- answers that nobody has read ---


@dataclass(frozen=True)
class Try:
    """One text: sent, broken off `after` seconds, asked again `pause` seconds later."""

    door: str
    end: End
    more: str
    after: float
    pause: float | None = 0.15  # None: it is broken off when the same has been asked again
    cut: float | None = None  # so much of the whole request is sent

    @property
    def text(self) -> str:
        how = "close" if self.more else "keep"
        return f"{self.door} {self.end.__name__} {how} {self.after * 1000:.0f} {self.pause} {self.cut}"

    def first(self, octets: bytes) -> bytes:
        return octets if self.cut is None else octets[: max(1, min(len(octets) - 1, int(len(octets) * self.cut)))]


def tries() -> Iterator[Try]:
    """At every millisecond of request and answer, after it, and in the request."""
    for door, end, more in product(DOORS, ENDS, ("", CLOSE)):
        for k in range(41):
            yield Try(door, end, more, k / 1000, (0.15, 0.15, 0.03, 0.0)[k % 4])
        for after in (0.0, 0.01, 0.03, 0.07, 0.2):
            yield Try(door, end, more, after, None)
        for after in (0.06, 0.12, 0.3):
            yield Try(door, end, more, after)
        for cut in (0.001, 0.2, 0.5, 0.9, 0.999):
            yield Try(door, end, more, 0.005, 0.0, cut)


@pytest.mark.req("F-21", "I2", "I4")
async def test_a_client_that_breaks_off_and_asks_again_sends_one_message(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any]
) -> None:
    """Each text is in the store once, and leaves once, whenever its client has broken off, and however."""
    site = make_site(api=API, **carried)
    client = Client(site, site.account())
    raw, wire, turns = Raw(client), Wire(site.http_port), asyncio.Semaphore(AT_ONCE)
    await asyncio.to_thread(site.start)
    untold: set[str] = set()

    async def again(octets: bytes, taken: str) -> None:
        while taken not in await wire.ask(octets):  # noqa: ASYNC110 -- it asks blindly
            await asyncio.sleep(0.05)

    async def go(one: Try) -> None:
        written, taken = DOORS[one.door]
        octets = written(raw, one.text, one.more)
        async with turns:
            if one.pause is None:
                sock = await wire.connect()
                await asyncio.get_running_loop().sock_sendall(sock, octets)
                await asyncio.sleep(one.after)
                await again(octets, taken)
                _end(sock, one.end)
            else:
                if await wire.break_off(one.first(octets), one.after, one.end):
                    untold.add(one.text)
                await asyncio.sleep(one.pause)
                await again(octets, taken)

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for one in tries():
            group.create_task(go(one))
    await asyncio.to_thread(settle, site)
    stored = Counter(row["text"] for row in site.rows())
    left = Counter(taken.json["text"] for taken in stub.taken)
    texts = [one.text for one in tries()]
    doubled = [text for text in texts if stored[text] != 1]
    print(f"{len(texts)} texts, {len(doubled)} doubled; of {len(untold)} nobody can tell", *doubled, sep="\n")
    assert [text for text in doubled if text not in untold] == []
    assert [text for text in texts if left[text] != stored[text]] == []
    assert set(stored) == set(texts)
    site.no_crash()


@pytest.mark.req("F-21")
async def test_a_client_that_reads_the_answer_and_asks_again_sends_a_second_message(make_site: MakeSite) -> None:
    """It has read the answer, and ended the connection or gone on with it: the same text on purpose is a second one."""
    site = make_site(api=API)
    client = Client(site, site.account())
    raw, wire = Raw(client), Wire(site.http_port)
    await asyncio.to_thread(site.start)
    for name, (written, taken) in DOORS.items():
        for more, times in product(("", CLOSE), range(3)):
            assert taken in await wire.ask(written(raw, f"{name} closes {more[:5]}", more)), (name, times)
        sock = await wire.connect()
        for times in range(3):
            assert taken in await wire.answer(sock, written(raw, f"{name} goes on")), (name, times)
        sock.close()
        sock = await wire.connect()
        assert taken in await wire.answer(sock, written(raw, f"{name} reads to the end", CLOSE))
        assert await asyncio.get_running_loop().sock_recv(sock, 100) == b""
        sock.close()
        assert taken in await wire.ask(written(raw, f"{name} reads to the end", CLOSE))
    stored = Counter(row["text"] for row in site.rows())
    for name in DOORS:
        expected = {
            f"{name} closes ": 3,
            f"{name} closes Conne": 3,
            f"{name} goes on": 3,
            f"{name} reads to the end": 2,
        }
        assert {text: stored[text] for text in expected} == expected
    site.no_crash()


# --- requests that do not come to their end ---


def chunked(octets: bytes) -> bytes:
    """The same request, with its body in one chunk."""
    head, _, body = octets.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)])


def whole(octets: bytes) -> bytes:
    return octets


BODIES = {
    "hook": Raw.hook, "v1": Raw.native, "v1 files": Raw.native_files, "v2": Raw.telnyx, "rest": Raw.rest_post,
    "rest parts": Raw.rest_parts, "originate": Raw.originate, "kannel": Raw.kannel_post, "acrobits": Raw.acrobits,
}  # fmt: skip


@pytest.mark.req("A-38")
async def test_a_client_that_breaks_off_in_its_body_stores_nothing(make_site: MakeSite) -> None:
    """Nothing is stored, and the log has no error: whoever writes to the server could fill it."""
    site = make_site(api=API)
    client = Client(site, site.account())
    raw, wire = Raw(client), Wire(site.http_port)
    await asyncio.to_thread(site.start)
    for (name, written), end, frame, cut in product(BODIES.items(), ENDS, (whole, chunked), (0.0, 0.5, 0.99)):
        octets = frame(written(raw, f"cut off by {name}"))
        head = octets.index(b"\r\n\r\n") + 4
        first = octets[: head + int((len(octets) - head) * cut)]
        await wire.break_off(first, 0.005, end)
    for name, written in BODIES.items():
        if name != "v1 files":
            assert await wire.ask(written(raw, f"whole by {name}")), name
    texts = Counter(row["text"] for row in site.rows())
    assert texts == {f"whole by {name}": 1 for name in BODIES if name != "v1 files"}
    assert [event for event in site.events() if event["level"] in ("error", "critical")] == []
    assert "Traceback" not in site.log_path.read_text()
    assert [line for line in site.log_path.read_text().splitlines() if not line.startswith("{")] == []
    site.no_crash()
