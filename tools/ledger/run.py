"""The play: clients start, the server is killed at random moments and started again, all settles, the books are held
against the store."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .book import Book
from .carrier import Carrier
from .http_clients import Hook, Native, Rest, Sender
from .phones import Phone, phones
from .plan import Play, Site, accounts, free_ports
from .server import NotReady, Server, settled
from .smpp import Program
from .verdicts import Case, Store, judge

MIX = ("kill", "term", "stop")
STARTUP = 0.35  # of the starts are killed before they are ready, or soon after
STARTUPS = 2  # at most so many in a row
HOOKS = 6
LATEST = 40.0  # seconds that a client needs at most to give up what it has asked for last: timer F, and a little


@dataclass(frozen=True)
class Options:
    kills: int = 60
    seed: int = 1
    phones: int = 60
    esmes: int = 2
    rate: float = 20.0
    mix: Sequence[str] = MIX


@dataclass(frozen=True)
class Result:
    """`verdicts`: by name the evidence."""

    verdicts: dict[str, list[str]]
    figures: dict[str, Any]

    @property
    def is_good(self) -> bool:
        return not any(self.verdicts.values())


async def play(options: Options, folder: Path, say: Callable[[str], None]) -> Result:
    """One run in an empty folder. Raises NotReady if the server cannot be started at all."""
    dice = random.Random(options.seed)
    book = Book(folder / "ledger.jsonl")
    carrier = Carrier(book, random.Random(dice.random()))
    site = Site(folder, free_ports(), accounts(options.phones, options.esmes), await carrier.open())
    server = Server(site, book)
    company = Company(Play(site, book, random.Random(dice.random()), options.rate), server)
    try:
        await company.gather(say)
        began = time.monotonic()
        company.begin()
        await Killer(server, book, dice, options, say).run()
        seconds = time.monotonic() - began
        say("the last start; all settles ...")
        await company.settle()
        await settled(server)
        server.signal(signal.SIGTERM)
        book.write("end", code=await server.ended())
        server.snapshot()
    finally:
        if server.runs:
            await server.kill()
        await company.leave()
        await carrier.close()
        book.close()
    case = case_of(server, book)
    return Result(judge(case), figures(case, book, seconds))


class Company:
    """All clients."""

    def __init__(self, play: Play, server: Server) -> None:
        self._play = play
        self._server = server
        self._phones: list[Phone] = []
        self._programs: list[Program] = []
        self._senders: list[Sender] = []
        self._always: list[asyncio.Task[Any]] = []  # those who stay until the server has ended
        self._writing: list[asyncio.Task[Any]] = []

    async def gather(self, say: Callable[[str], None]) -> None:
        """Before the first start: accounts into the store, passwords and tokens out of it."""
        play, server = self._play, self._server
        path = play.site.write()
        say(f"{len(play.site.accounts)} accounts in {play.site.folder}")
        await asyncio.to_thread(server.cli, "import", str(path))
        heads = play.site.customers
        api = [heads[n % len(heads)] for n in range(5)]
        for n, head in enumerate(dict.fromkeys(api[:3])):
            secret = await asyncio.to_thread(server.cli, "account", "api-password", head.name)
            self._senders += [Rest(f"r{n}{twin}", head, secret, play, 11) for twin in "abc"]
        for n, head in enumerate(api[3:]):
            secret = await asyncio.to_thread(server.cli, "token", "add", f"t{n}", "--account", head.name)
            self._senders.append(Native(f"v{n}", head, secret, play, 11))
        self._senders += [Hook(n, play, HOOKS) for n in range(HOOKS)]
        esmes = play.site.esmes
        self._programs = [Program(one, 1 if n % 2 == 0 else 10, play, len(esmes)) for n, one in enumerate(esmes)]
        self._phones = phones(play)

    def begin(self) -> None:
        stay: list[Coroutine[Any, Any, None]] = [one.register() for one in self._phones]
        write: list[Coroutine[Any, Any, None]] = [one.write() for one in self._phones]
        stay += [one.run() for one in self._programs]
        write += [one.write() for one in self._programs] + [one.run() for one in self._senders]
        self._always = [asyncio.create_task(one) for one in stay]
        self._writing = [asyncio.create_task(one) for one in write]

    async def settle(self) -> None:
        """Nothing new; what was asked for last is heard or given up."""
        self._play.closing.set()
        self._writing += [asyncio.create_task(one.answered()) for one in self._programs]
        _, late = await asyncio.wait(self._writing, timeout=LATEST)
        self._play.book.write("closed", late=len(late))
        for task in self._writing:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def leave(self) -> None:
        tasks = [*self._always, *self._writing]
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for phone in self._phones:
            phone.close()
        wrong = [one for one in found if isinstance(one, Exception)]
        if wrong:
            raise wrong[0]


class Killer:
    def __init__(
        self, server: Server, book: Book, dice: random.Random, options: Options, say: Callable[[str], None]
    ) -> None:
        self._server = server
        self._book = book
        self._dice = dice
        self._options = options
        self._say = say
        self._startups = 0

    async def run(self) -> None:
        """As many kills as wanted; the server runs afterwards."""
        self._server.start()
        for number in range(1, self._options.kills + 1):
            how = await self._one()
            if not self._server.runs:
                self._server.snapshot()
                if self._dice.random() < 0.5:
                    await asyncio.sleep(self._dice.uniform(0.0, 1.0))
                self._server.start()
            counts = self._book.counts
            books = ", ".join(f"{counts[what]} {what}" for what in ("accept", "carrier", "got", "refuse"))
            self._say(f"kill {number}/{self._options.kills}: {how:<32} {books}")
        await self._up()

    async def _one(self) -> str:
        """One kill, and how it was."""
        if "kill" in self._options.mix and self._startups < STARTUPS and self._dice.random() < STARTUP:
            self._startups += 1
            seconds = self._dice.uniform(0.0, 1.5)
            await asyncio.sleep(seconds)
            return await self._kill(f"SIGKILL {seconds:.2f} s after exec")
        self._startups = 0
        await self._up()
        await asyncio.sleep(self._dice.uniform(0.0, 4.0))
        self._server.snapshot()
        match self._dice.choice(self._options.mix):
            case "term":
                return await self._term()
            case "stop":
                return await self._stop()
            case _:
                return await self._kill("SIGKILL")

    async def _up(self) -> None:
        """Ready; a server that ends by itself is written down, and tried again."""
        for left in (3, 2, 1, 0):
            try:
                await self._server.ready()
                return
            except NotReady:
                if not left:
                    raise
                if not self._server.runs:
                    self._server.start()

    async def _kill(self, how: str) -> str:
        self._book.write("kill", how=how)
        await self._server.kill()
        return how

    async def _term(self) -> str:
        self._book.write("kill", how="SIGTERM")
        self._server.signal(signal.SIGTERM)
        if self._dice.random() < 0.25:
            seconds = self._dice.uniform(0.0, 0.5)
            await asyncio.sleep(seconds)
            return await self._kill(f"SIGKILL {seconds:.2f} s after SIGTERM")
        code = await self._server.ended()
        if code != 0:
            self._book.write("died", code=code, log=self._server.tail())
        return "SIGTERM"

    async def _stop(self) -> str:
        seconds = self._dice.uniform(0.1, 3.0)
        self._book.write("kill", how=f"SIGSTOP {seconds:.2f} s")
        self._server.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        if self._dice.random() < 0.25:
            return await self._kill(f"SIGKILL while stopped {seconds:.2f} s")
        self._server.signal(signal.SIGCONT)
        self._book.write("continue")
        return f"SIGSTOP {seconds:.2f} s, SIGCONT"


def case_of(server: Server, book: Book) -> Case:
    store = Store(
        server.rows("SELECT id, direction, source, destination, text, account FROM messages ORDER BY id"),
        server.rows("SELECT id, message_id, courier, destination, device, state, last_error FROM deliveries"),
        server.rows("SELECT delivery_id, number, outcome, detail FROM attempts"),
    )
    return Case(book.lines, store, list(server.log_lines()))


def figures(case: Case, book: Book, seconds: float) -> dict[str, Any]:
    accepted = Counter(line["kind"] for line in case.of("accept"))
    return {
        "kills": book.counts["kill"], "starts": book.counts["start"], "seconds": round(seconds, 1),
        "accepted": dict(accepted), "accepted_per_second": round(sum(accepted.values()) / max(seconds, 0.001), 1),
        "stored": len(case.store.messages), "at_carrier": book.counts["carrier"], "at_phones": book.counts["got"],
        "unanswered": book.counts["silence"], "http_again": book.counts["again"], "later": book.counts["later"],
        "unknown": sum(row["state"] == "unknown" for row in case.store.deliveries), "noted": dict(book.noted),
    }  # fmt: skip
