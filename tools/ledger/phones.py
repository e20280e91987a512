"""Phones that register for ever, write, and answer what comes, as real ones do; none asks if the server is there."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import secrets
from dataclasses import dataclass

from .links import LINKS, Broken, Link
from .plan import BREAKS, DOMAIN, HANDSET, Account, Play, Site

T1, T2, PATIENCE = 0.5, 4.0, 32.0  # of RFC 3261: timer E, and timer F
ROUNDS = 4  # challenges of one server to one request, which a right password should not see
DEAF = 0.1  # of the messages for a forgetful phone are not answered the first time
SHARE = 0.4  # of all new texts


@dataclass(frozen=True)
class Handset:
    """One phone of an account."""

    name: str
    account: Account
    transport: str
    instance: str = ""
    keeps_nonce: bool = False
    is_forgetful: bool = False


def handsets(site: Site) -> list[Handset]:
    """Mostly UDP; every third has no instance id, every tenth account has two phones."""
    found = []
    for n, account in enumerate(site.phones):
        transport = "ws" if n % 12 == 5 else "tcp" if n % 4 == 1 else "udp"
        instance = "" if n % 3 == 0 else _urn(n)
        found.append(Handset(f"{account.name}p", account, transport, instance, n % 2 == 0, n % 5 == 0))
        if n % 10 == 0:
            found.append(Handset(f"{account.name}q", account, "udp", _urn(10_000 + n)))
    return found


def _urn(number: int) -> str:
    return f"urn:uuid:00000000-0000-4000-8000-{number:012d}"


@dataclass(frozen=True)
class Sip:
    """A message as it came."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def read(cls, raw: bytes) -> Sip:
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *rest = head.decode("utf-8", "replace").split("\r\n")
        pairs = (line.partition(":") for line in rest)
        headers = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
        return cls(first, headers, body.decode("utf-8", "replace"))

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    @property
    def status(self) -> int:
        """0: a request."""
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def key(self) -> tuple[str, str]:
        return self.get("call-id"), self.get("cseq")


@dataclass
class _Challenge:
    fields: dict[str, str]
    incarnation: int  # of the server that has made it
    uses: int = 0


class Phone:
    def __init__(self, handset: Handset, play: Play, phones: int) -> None:
        self.handset = handset
        self._play = play
        self._book = play.book
        self._phones = phones
        self._dice = random.Random(play.dice.random())
        ports = play.site.ports
        port = {"udp": ports.udp, "tcp": ports.tcp, "ws": ports.ws}[handset.transport]
        self._link: Link = LINKS[handset.transport](("127.0.0.1", port), self._take)
        self._waiting: dict[tuple[str, str], asyncio.Future[Sip]] = {}
        self._challenges: dict[str, _Challenge] = {}  # by method
        self._seen: set[str] = set()  # Call-IDs of what came
        self._cseq = 0
        self._is_registered = False
        self._own_number = play.number()

    # --- what it does ---

    async def register(self) -> None:
        """For ever, every second or two."""
        call_id, tag = secrets.token_hex(8), secrets.token_hex(4)
        while True:
            await self._play.nap(1.0, 2.0)
            await self._open()
            lines = [f"Contact: {self._contact()}", "Expires: 120", f"User-Agent: Ledger/{self.handset.transport}"]
            answer = await self._transact(
                "REGISTER", f"sip:{DOMAIN}", f"sip:{self._name}@{DOMAIN}", call_id, tag, lines
            )
            if answer is None:
                self._book.note("REGISTER unanswered")
            elif answer.status == 200:
                self._registered()
            elif answer.status == 503:
                self._book.note("REGISTER 503")
            else:
                self._book.refuse("register", self.handset.name, "", answer.status, _why(answer))

    def _registered(self) -> None:
        self._book.note("REGISTER 200")
        if not self._is_registered:
            self._is_registered = True
            key = f"<{self.handset.instance}>" if self.handset.instance else self._contact().strip("<>")
            self._book.write("registered", phone=self.handset.name, account=self._name, key=key)

    async def write(self) -> None:
        """One text after the other, each until its fate is known or nobody answers any more."""
        while await self._play.pause(SHARE, self._phones):
            kind, to = self._whom()
            source = self._name if kind == "own" else self.handset.account.did
            text = self._book.ask("sip", self.handset.name, source, to)
            await self._say(to, text)

    def _whom(self) -> tuple[str, str]:
        """The kind of destination, and one: strangers, one number of its own, the common one, or another account."""
        draw = self._dice.random()
        if draw < 0.15:
            others = [one for one in self._play.site.phones if one != self.handset.account]
            return "own", self._dice.choice(others).name
        if draw < 0.4:
            return "number", HANDSET
        return "number", self._own_number if draw < 0.7 else self._play.number()

    async def _say(self, to: str, text: str) -> None:
        uri, call_id, tag = f"sip:{to}@{DOMAIN}", secrets.token_hex(8), secrets.token_hex(4)
        while True:
            answer = await self._transact("MESSAGE", uri, uri, call_id, tag, ["Content-Type: text/plain"], text)
            if answer is None:
                self._book.write("silence", client=self.handset.name, text=text)
            elif answer.status == 202:
                self._book.accept("sip", self.handset.name, text, 202)
            elif answer.status == 503:  # nothing was taken, says the server: later
                self._book.write("later", client=self.handset.name, text=text, status=503)
                await asyncio.sleep(1.0)
                continue
            else:
                self._book.refuse("message", self.handset.name, text, answer.status, _why(answer))
            return

    # --- what comes ---

    def _take(self, raw: bytes) -> None:
        message = Sip.read(raw)
        if not message.status:
            self._requested(message)
        elif message.status >= 200:
            future = self._waiting.get(message.key)
            if future is not None and not future.done():
                future.set_result(message)

    def _requested(self, request: Sip) -> None:
        if not request.get("call-id"):
            return
        if request.start.startswith("MESSAGE "):
            is_new = request.get("call-id") not in self._seen
            if is_new:
                self._note(request)
                if self.handset.is_forgetful and not self._link.is_reliable and self._dice.random() < DEAF:
                    self._book.note("200 kept back")
                    return
            else:
                self._book.note("MESSAGE heard again")
        self._answer(request)

    def _note(self, request: Sip) -> None:
        self._seen.add(request.get("call-id"))
        source = re.search(r"<?sips?:([^@;>]*)", request.get("from"))
        self._book.got(
            self.handset.name, self._name, request.get("call-id"), request.body, source[1] if source else "",
            request.get("x-sms-to"),
        )  # fmt: skip

    def _answer(self, request: Sip) -> None:
        lines = ["SIP/2.0 200 OK"]
        for name in ("via", "from", "to", "call-id", "cseq"):
            tag = f";tag={secrets.token_hex(4)}" if name == "to" and ";tag=" not in request.get("to") else ""
            lines += [f"{name.title()}: {value}{tag}" for key, value in request.headers if key == name]
        self._link.send("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())

    # --- transactions ---

    async def _transact(
        self, method: str, uri: str, to: str, call_id: str, tag: str, lines: list[str], body: str = ""
    ) -> Sip | None:
        """The final answer, after as many challenges as a client answers; None: there was none in time."""
        rounds, challenge = 0, self._challenges.get(method) if self.handset.keeps_nonce else None
        while True:
            self._cseq += 1
            signed = [self._sign(challenge, method, uri)] if challenge is not None else []
            cseq = f"{self._cseq} {method}"
            data = self._request(method, uri, to, call_id, tag, cseq, [*lines, *signed], body)
            answer = await self._ask(data, (call_id, cseq))
            if answer is None or answer.status not in (401, 407):
                return answer
            if challenge is not None and challenge.uses == 1 and challenge.incarnation == self._book.incarnation:
                rounds += 1
                if rounds >= ROUNDS:
                    return answer
            challenge = _Challenge(_challenge_of(answer), self._book.incarnation)
            self._challenges[method] = challenge

    def _request(
        self, method: str, uri: str, to: str, call_id: str, tag: str, cseq: str, lines: list[str], body: str
    ) -> bytes:
        host, port = self._link.local
        via = f"SIP/2.0/{self._link.name} {host}:{port};rport;branch=z9hG4bK{secrets.token_hex(8)}"
        head = [
            f"{method} {uri} SIP/2.0", f"Via: {via}", "Max-Forwards: 70",
            f"From: <sip:{self._name}@{DOMAIN}>;tag={tag}", f"To: <{to}>", f"Call-ID: {call_id}", f"CSeq: {cseq}",
            *lines, f"Content-Length: {len(body.encode())}",
        ]  # fmt: skip
        return "\r\n".join([*head, "", body]).encode()

    async def _ask(self, data: bytes, key: tuple[str, str]) -> Sip | None:
        """The same bytes again and again: by UDP by timer E, else on each new connection."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sip] = loop.create_future()
        self._waiting[key] = future
        end, interval, copies = loop.time() + PATIENCE, T1, 0
        try:
            while (left := end - loop.time()) > 0:
                await self._open()
                self._send(data)
                copies += 1
                if copies > 1:
                    self._book.note(f"{data[:8].split()[0].decode()} sent again")
                if await self._heard(future, left if self._link.is_reliable else min(interval, left)):
                    return future.result()
                interval = min(interval * 2, T2)
            return None
        finally:
            del self._waiting[key]

    def _send(self, data: bytes) -> None:
        """Send a request; at times, break a connection off within it or at some moment before or after the answer."""
        breaks = self._link.is_reliable and self._dice.random() < BREAKS
        is_cut = breaks and self._link.name == "TCP" and self._dice.random() < 0.3  # a WebSocket frame is whole
        cut = self._dice.randrange(len(data)) if is_cut else len(data)
        self._link.send(data[:cut])
        if breaks:
            self._book.note("SIP connection broken off")
            asyncio.get_running_loop().call_later(0 if is_cut else self._dice.random() * 0.03, self._link.reset)

    async def _heard(self, future: asyncio.Future[Sip], seconds: float) -> bool:
        """Within that time, and before the connection breaks."""
        broken = asyncio.create_task(self._link.broken.wait())
        await asyncio.wait((future, broken), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        broken.cancel()
        return future.done()

    async def _open(self) -> None:
        """Until there is a connection."""
        while True:
            try:
                return await self._link.open()
            except Broken:
                self._book.note("connection refused")
                await self._play.nap(0.1, 0.6)

    def close(self) -> None:
        self._link.close()

    # --- words ---

    @property
    def _name(self) -> str:
        return self.handset.account.name

    def _contact(self) -> str:
        """One that stays, for who has no instance id: such a phone is known by its contact only."""
        host, port = self._link.local
        if self.handset.transport == "ws":
            address = f"{self.handset.name}.invalid;transport=ws"
        elif self.handset.transport == "tcp":
            address = f"{host}:{port if self.handset.instance else 5060};transport=tcp"
        else:
            address = f"{host}:{port}"
        instance = f';+sip.instance="<{self.handset.instance}>"' if self.handset.instance else ""
        return f"<sip:{self.handset.name}@{address}>{instance}"

    def _sign(self, challenge: _Challenge, method: str, uri: str) -> str:
        challenge.uses += 1
        fields, count, cnonce = challenge.fields, f"{challenge.uses:08x}", secrets.token_hex(4)
        ha1 = _md5(f"{self._name}:{fields['realm']}:{self.handset.account.password}")
        response = _md5(f"{ha1}:{fields['nonce']}:{count}:{cnonce}:auth:{_md5(f'{method}:{uri}')}")
        header = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
        return (
            f'{header}: Digest username="{self._name}", realm="{fields["realm"]}", nonce="{fields["nonce"]}", '
            f'uri="{uri}", response="{response}", algorithm=MD5, qop=auth, nc={count}, cnonce="{cnonce}"'
        )


def _challenge_of(answer: Sip) -> dict[str, str]:
    header = answer.get("www-authenticate") or answer.get("proxy-authenticate")
    return dict(re.findall(r'(\w+)="([^"]*)"', header))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _why(answer: Sip) -> str:
    return f"{answer.start} {answer.get('warning')}"


def phones(play: Play) -> list[Phone]:
    found = handsets(play.site)
    return [Phone(one, play, len(found)) for one in found]
