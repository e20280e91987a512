"""Impatient phones: they register and retransmit without a break, whatever the server is doing.

Each keeps every status it heard and every SMS it got. Over UDP, TCP, or WSS by the `websockets` library. Nothing here
imports sipsms.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import secrets
import ssl
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import websockets

DOMAIN = "sip.example.net"
T1 = 0.5  # seconds until a request by UDP is repeated (RFC 3261 section 17.1.2.1)
_AGAIN = 0.05  # seconds until a broken connection is opened again

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Got:
    """A MESSAGE that came."""

    call_id: str
    user: str  # of the Request-URI
    text: str


@dataclass(eq=False)
class Phone:
    name: str
    password: str
    transport: str  # udp, tcp or wss
    address: tuple[str, int]
    heard: Counter[int] = field(default_factory=Counter)  # statuses of answers to REGISTER
    got: list[Got] = field(default_factory=list)
    repeated: bytes = b""  # a request that it sends again every second or so
    answers: list[bytes] = field(default_factory=list)  # to that

    def __post_init__(self) -> None:
        self._instance = f"<urn:uuid:{secrets.token_hex(4)}-0000-4000-8000-{secrets.token_hex(6)}>"
        self._call_id, self._tag, self._cseq = secrets.token_hex(8), secrets.token_hex(4), 0
        self._answer: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: deque[asyncio.Future[None]] = deque(maxlen=20)
        self._more = asyncio.Event()
        self._send: Send
        self._local = ("127.0.0.1", 0)

    async def run(self) -> None:
        """Register for ever, by new connections where one breaks."""
        ways = {"udp": self._by_udp, "tcp": self._by_tcp, "wss": self._by_wss}
        while True:
            try:
                await ways[self.transport]()
            except (OSError, EOFError, websockets.WebSocketException):
                await asyncio.sleep(_AGAIN)

    # --- ways ---

    async def _by_udp(self) -> None:
        phone = self

        class Wire(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                phone._tasks.append(asyncio.ensure_future(phone._take(data)))

            def error_received(self, exc: Exception) -> None:
                """Nobody is there now; the phone does not care."""

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Wire, local_addr=self._local, remote_addr=self.address
        )

        async def send(data: bytes) -> None:
            transport.sendto(data)

        self._local = transport.get_extra_info("sockname")
        try:
            await self._keep_registering(send)
        finally:
            transport.close()

    async def _by_tcp(self) -> None:
        reader, writer = await asyncio.open_connection(*self.address)
        self._local = writer.get_extra_info("sockname")

        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        async def read() -> None:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?im)^content-length: *(\d+)", head)
                await self._take(head + await reader.readexactly(int(length[1]) if length else 0))

        try:
            await _first(read(), self._keep_registering(send))
        finally:
            writer.close()

    async def _by_wss(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        url = f"wss://127.0.0.1:{self.address[1]}/"
        async with websockets.connect(url, subprotocols=["sip"], ssl=context, compression=None) as connection:  # type: ignore[list-item]
            self._local = (f"{secrets.token_hex(6)}.invalid", 5060)

            async def read() -> None:
                async for data in connection:
                    await self._take(data.encode() if isinstance(data, str) else data)
                raise EOFError

            async def send(data: bytes) -> None:
                await connection.send(data)

            await _first(read(), self._keep_registering(send))

    # --- dialogue ---

    async def _keep_registering(self, send: Send) -> None:
        self._send = send
        while True:
            status, answer = await self._ask(self._register(""))
            if status == 401:
                status, _ = await self._ask(self._register(answer.decode()))
            if self.repeated:
                await send(self.repeated)
            await asyncio.sleep(random.uniform(0.5, 1.5))

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        """Send, and again after T1, T1 * 2 ... until it is answered."""
        wait = T1
        while True:
            await self._send(request)
            try:
                async with asyncio.timeout(wait):
                    while _header(answer := await self._answer.get(), "CSeq") != f"{self._cseq} REGISTER":
                        continue
            except TimeoutError:
                if self.repeated:
                    await self._send(self.repeated)
                wait = min(4.0, wait * 2) if self.transport == "udp" else wait
                continue
            status = int(answer[8:11])
            self.heard[status] += 1
            return status, answer

    async def _take(self, data: bytes) -> None:
        if data.startswith(b"SIP/2.0 "):
            if _header(data, "CSeq").endswith("REGISTER"):
                self._answer.put_nowait(data)
            else:
                self.answers.append(data)
                self._more.set()
        elif data.startswith(b"MESSAGE "):
            head, _, body = data.partition(b"\r\n\r\n")
            self.got.append(
                Got(_header(data, "Call-ID"), head.split(b"sip:")[1].split(b"@")[0].decode(), body.decode())
            )
            kept = [line for line in head.split(b"\r\n")[1:] if line.split(b":")[0].lower() in _ECHOED]
            await self._send(b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0", b"", b""]))

    def _register(self, challenge: str) -> bytes:
        self._cseq += 1
        (host, port), way = self._local, self.transport.replace("wss", "ws")
        lines = [
            f'Contact: <sip:{self.name}@{host}:{port};transport={way}>;+sip.instance="{self._instance}"',
            "Expires: 600",
        ]
        if challenge:
            lines.append("Authorization: " + self.sign(challenge, "REGISTER", f"sip:{DOMAIN}"))
        return self.request("REGISTER", f"sip:{DOMAIN}", f"sip:{self.name}@{DOMAIN}", self._cseq, lines)

    def request(self, method: str, uri: str, to: str, cseq: int, lines: list[str], text: str = "") -> bytes:
        body = text.encode()
        via = f"{self.transport.upper()} {self._local[0]}:{self._local[1]}"
        call_id = self._call_id if method == "REGISTER" else f"m-{self._call_id}"
        head = [
            f"{method} {uri} SIP/2.0", f"Via: SIP/2.0/{via};rport;branch=z9hG4bK{secrets.token_hex(8)}",
            "Max-Forwards: 70", f"From: <sip:{self.name}@{DOMAIN}>;tag={self._tag}", f"To: <{to}>",
            f"Call-ID: {call_id}", f"CSeq: {cseq} {method}", *lines, f"Content-Length: {len(body)}", "", "",
        ]  # fmt: skip
        return "\r\n".join(head).encode() + body

    def message(self, number: str, text: str, challenge: str = "") -> bytes:
        """A MESSAGE to a number; sent again, it is the same one."""
        uri, lines = f"sip:{number}@{DOMAIN}", ["Content-Type: text/plain"]
        if challenge:
            lines.append("Proxy-Authorization: " + self.sign(challenge, "MESSAGE", uri))
        return self.request("MESSAGE", uri, uri, 2 if challenge else 1, lines, text)

    async def write(self, number: str, text: str) -> bytes:
        """Send an SMS and return the bytes that were answered 202; `answers` has the answer. Only while it is up."""
        await self._send(self.message(number, text))
        challenge = await self._next_answer(0)
        signed = self.message(number, text, challenge.decode())
        await self._send(signed)
        answer = await self._next_answer(1)
        assert answer.startswith(b"SIP/2.0 202 "), answer
        self.answers[:] = [answer]
        return signed

    async def _next_answer(self, number: int) -> bytes:
        async with asyncio.timeout(20):
            while len(self.answers) <= number:
                self._more.clear()
                await self._more.wait()
        return self.answers[number]

    def sign(self, challenge: str, method: str, uri: str) -> str:
        known = dict(re.findall(r'(realm|nonce)="([^"]*)"', challenge))
        cnonce = secrets.token_hex(4)
        ha1 = _md5(f"{self.name}:{known['realm']}:{self.password}")
        response = _md5(f"{ha1}:{known['nonce']}:00000001:{cnonce}:auth:{_md5(f'{method}:{uri}')}")
        return (
            f'Digest username="{self.name}", realm="{known["realm"]}", nonce="{known["nonce"]}", uri="{uri}", '
            f'response="{response}", algorithm=MD5, qop=auth, nc=00000001, cnonce="{cnonce}"'
        )


_ECHOED = (b"via", b"from", b"to", b"call-id", b"cseq")


async def _first(*works: Any) -> None:
    """Until one of these ends; raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _header(message: bytes, name: str) -> str:
    match = re.search(rf"^{name}:[ \t]*(.*?)\r$", message.decode("utf-8", "replace"), re.M | re.I)
    return match[1] if match else ""
