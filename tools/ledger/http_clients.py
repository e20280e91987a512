"""Programs at the HTTP doors: carriers' hooks, rest.php asked blindly, /v1 with its keys. All break off at times."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from urllib.parse import urlencode

from .book import Book
from .links import break_off
from .plan import CARRIER, HANDSET, SECRET, Account, Play

HOOK_SHARE, API_SHARE = 0.2, 0.3  # of all new texts
KEPT = 0.5  # of the requests leave the connection open for the next one
CUT = 0.15  # of the requests are broken off on purpose
UNREAD = 0.3  # of those, once the answer is there
LATER = (429, 502, 503, 504)


@dataclass(frozen=True)
class Answer:
    """`status` 0: none was heard; `why`, if anything was sent."""

    status: int = 0
    body: str = ""
    why: str = ""


class Http:
    """A connection that is kept until it breaks, or until its owner loses patience."""

    def __init__(self, port: int, book: Book, dice: random.Random) -> None:
        self._dice = dice
        self._port = port
        self._book = book
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self,
        start: str,
        headers: dict[str, str],
        body: bytes,
        patience: float,
        cut: float = -1.0,
        *,
        half: bool = False,
    ) -> Answer:
        """`cut`: so many seconds after sending the connection is reset; `half`: and not all of the body was sent."""
        kept = {"Connection": "keep-alive" if self._dice.random() < KEPT else "close"}
        fields = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **kept, **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        data = f"{start} HTTP/1.1\r\n{head}\r\n".encode() + (body[: len(body) // 2] if half else body)
        try:
            async with asyncio.timeout(patience):
                return await self._exchange(data, cut)
        except TimeoutError:
            why = f"no answer within {patience:.2f} s"
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            why = f"broken off after {cut:.3f} s" if isinstance(error, ConnectionAbortedError) else "broken"
        if self._streams is None:  # nobody is there
            return Answer()
        self.reset()
        return Answer(why=f"{why}, {'half, ' if half else ''}{kept['Connection']}")

    async def _exchange(self, data: bytes, cut: float) -> Answer:
        if self._streams is None or self._streams[0].at_eof():
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(data)
        if cut >= 0:
            if self._dice.random() < UNREAD:
                await reader.readuntil(b"\r\n\r\n")  # its system has the answer, and it never looks at it
                cut *= 10
            await asyncio.sleep(cut)
            raise ConnectionAbortedError
        return await self._read(reader)

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        if fields.get("connection") == "close":
            self._leave()
        return Answer(status, body.decode("utf-8", "replace"))

    def _leave(self) -> None:
        """In order."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def reset(self) -> None:
        """Hang up with an RST, so that nothing that was on its way counts as heard."""
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            break_off(writer)


class Sender:
    """Asks the same again until it hears that it is taken, then the next; what it asks is said by those below."""

    kind = ""
    share = 0.0
    cuts = CUT

    def __init__(self, name: str, play: Play, clients: int) -> None:
        self.name = name
        self._play = play
        self._book = play.book
        self._dice = random.Random(play.dice.random())
        self._clients = clients
        self._http = Http(play.site.ports.http, play.book, self._dice)

    async def run(self) -> None:
        while await self._play.pause(self.share, self._clients):
            await self._send(*self._whom())
        self._http.reset()

    def _whom(self) -> tuple[str, str, str]:
        """(source, destination, whom the text names)."""
        raise NotImplementedError

    async def _ask(self, source: str, to: str, text: str) -> Answer:
        raise NotImplementedError

    def _judge(self, answer: Answer) -> tuple[bool, object]:
        """Is it taken, and under which id?"""
        raise NotImplementedError

    async def _send(self, source: str, to: str, named: str) -> None:
        text = self._book.ask(self.kind, self.name, source, named)
        while True:
            answer = await self._ask(source, to, text)
            taken, id = self._judge(answer)
            if taken:
                self._book.accept(self.kind, self.name, text, answer.status, id)
                return
            if answer.status and not self._is_later(answer):
                self._book.refuse(self.kind, self.name, text, answer.status, answer.body)
                return
            if answer.status or answer.why:
                why = answer.why or answer.body[:100]
                self._book.write("again", client=self.name, text=text, status=answer.status, why=why)
            await asyncio.sleep(0.15 if not answer.status else self._dice.uniform(0.1, 0.4))

    def _is_later(self, answer: Answer) -> bool:
        return answer.status in LATER

    def _cut(self) -> float:
        return self._dice.uniform(0.0, 0.03) if self._dice.random() < self.cuts else -1.0


class Hook(Sender):
    """A carrier that delivers what came for our numbers: the same id until it hears 200."""

    kind = "in"
    share = HOOK_SHARE

    def __init__(self, number: int, play: Play, clients: int) -> None:
        super().__init__(f"h{number}", play, clients)
        self._source = f"2125550{number:03d}"
        self._favourites = self._dice.sample(play.site.phones, min(3, len(play.site.phones)))

    def _whom(self) -> tuple[str, str, str]:
        draw = self._dice.random()
        if draw < 0.5:
            account = self._dice.choice(self._favourites)  # so that there are lanes with more than one
        else:
            esmes = self._play.site.esmes
            account = self._dice.choice(esmes if draw < 0.65 and esmes else self._play.site.phones)
        return self._source, account.did, account.name

    async def _ask(self, source: str, to: str, text: str) -> Answer:
        body = json.dumps({"from": source, "to": to, "text": text, "id": text.replace(" ", "-")}).encode()
        headers = {"Content-Type": "application/json"}
        if self._dice.random() < 0.2:
            self._http.reset()  # a new connection for this one
        patience = self._dice.uniform(0.02, 2.0)
        half = self._dice.random() < 0.3
        return await self._http.ask(
            f"POST /hooks/{CARRIER}/{SECRET}", headers, body, patience, cut := self._cut(), half=half and cut >= 0
        )

    def _judge(self, answer: Answer) -> tuple[bool, object]:
        return answer.status == 200, None


class Api(Sender):
    """A customer's program."""

    share = API_SHARE

    def __init__(self, name: str, account: Account, secret: str, play: Play, clients: int) -> None:
        super().__init__(name, play, clients)
        self._account = account
        self._secret = secret

    def _whom(self) -> tuple[str, str, str]:
        to = HANDSET if self._dice.random() < 0.5 else self._play.number()
        return self._account.did, to, to

    def _patience(self) -> float:
        return self._dice.uniform(0.3, 5.0)


class Rest(Api):
    """The same text again, by the same door, is all that it can do."""

    kind = "rest"
    cuts = 0.6

    async def _ask(self, source: str, to: str, text: str) -> Answer:
        fields = {
            "api_username": self._account.name, "api_password": self._secret, "method": "sendSMS", "did": source,
            "dst": to, "message": text,
        }  # fmt: skip
        path = "/api/v1/rest.php"
        if self._dice.random() < 0.5:
            return await self._http.ask(f"GET {path}?{urlencode(fields)}", {}, b"", self._patience(), self._cut())
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._http.ask(
            f"POST {path}", headers, urlencode(fields).encode(), self._patience(), cut := self._cut(),
            half=cut >= 0 and self._dice.random() < 0.3,
        )  # fmt: skip

    def _judge(self, answer: Answer) -> tuple[bool, object]:
        said = _json(answer)
        return said.get("status") == "success", said.get("sms")

    def _is_later(self, answer: Answer) -> bool:
        return super()._is_later(answer) or _json(answer).get("status") == "method_maintenance"


class Native(Api):
    """/v1 with an Idempotency-Key."""

    kind = "v1"

    async def _ask(self, source: str, to: str, text: str) -> Answer:
        headers = {
            "Authorization": f"Bearer {self._secret}", "Content-Type": "application/json",
            "Idempotency-Key": text.replace(" ", "-"),
        }  # fmt: skip
        body = json.dumps({"from": source, "to": to, "text": text}).encode()
        return await self._http.ask("POST /v1/messages", headers, body, self._patience(), self._cut())

    def _judge(self, answer: Answer) -> tuple[bool, object]:
        return answer.status == 202, _json(answer).get("id")


def _json(answer: Answer) -> dict[str, object]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
