"""Ledgers of clients and of the carrier: accepted and sent messages, to compare with the store.

`Ledger` is an append-only file in memory's company: every 202 a client saw, every request the stub carrier got.
`check` compares them with the rows of `sipsms messages` (the invariants of docs/dev/reliability.md section 4.1).
`Sender` is a phone on a bare UDP socket that behaves as real ones do: challenged for each message, retransmitting the
same bytes at T1, 2*T1 ... T2 until an answer comes, signing again when the nonce is stale. Nothing here imports sipsms.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.support.node.stub_carrier import StubCarrier, Taken

T1, T2 = 0.5, 4.0
Rows = list[dict[str, Any]]


class Ledger:
    """`text_of` finds the text in a request to the carrier."""

    def __init__(
        self, path: Path, stub: StubCarrier | None = None, text_of: Callable[[Taken], str] = lambda t: t.json["text"]
    ) -> None:
        self._file = path.open("a")
        self._lock = threading.Lock()  # the carrier writes from threads of its own
        self.accepted: list[str] = []
        self.refused: list[tuple[str, int]] = []
        self.unanswered: list[str] = []
        self.submitted: list[str] = []
        if stub is not None:
            stub.on_taken = lambda taken: self.submit(text_of(taken))

    def _write(self, **line: Any) -> None:
        with self._lock:
            self._file.write(json.dumps({"at": time.time(), **line}) + "\n")
            self._file.flush()

    def accept(self, text: str) -> None:
        self.accepted.append(text)
        self._write(what="202", text=text)

    def refuse(self, text: str, status: int) -> None:
        self.refused.append((text, status))
        self._write(what=status, text=text)

    def no_answer(self, text: str) -> None:
        self.unanswered.append(text)
        self._write(what="no answer", text=text)

    def submit(self, text: str) -> None:
        self.submitted.append(text)
        self._write(what="submit", text=text)

    async def reached(self, *, accepted: int, seconds: float) -> None:
        """Until this many messages were accepted. Raises AssertionError."""
        deadline = time.monotonic() + seconds
        while len(self.accepted) < accepted:
            assert time.monotonic() < deadline, f"{len(self.accepted)} accepted within {seconds} s: {self.refused[:3]}"
            await asyncio.sleep(0.01)

    def check(self, rows: Rows, *, unknown_allowed: int) -> None:
        """Raises AssertionError with the first violation."""
        out = [row for row in rows if row["direction"] == "out"]
        stored, left = Counter(row["text"] for row in out), Counter(self.submitted)
        lost = [text for text in self.accepted if stored[text] == 0]
        assert not lost, f"I1: {len(lost)} accepted and not in the store: {lost[:5]}"
        double = [text for text, count in stored.items() if count > 1]
        assert not double, f"I4: {len(double)} stored more than once: {double[:5]}"
        doubly_sent = [text for text, count in left.items() if count > 1]
        assert not doubly_sent, f"I2: {len(doubly_sent)} sent more than once: {doubly_sent[:5]}"
        promised = {*self.accepted, *self.unanswered}
        answers = dict(self.refused)
        unasked = [(text, answers.get(text)) for text in stored if text not in promised]
        assert not unasked, f"I3: {len(unasked)} stored though the client was refused: {unasked[:5]}"
        invented = [text for text in left if stored[text] == 0]
        assert not invented, f"I3: {len(invented)} sent and not in the store: {invented[:5]}"
        for row in out:
            count = left[row["text"]]
            if row["state"] in ("accepted", "delivered"):
                assert count == 1, f"I1: {row['text']} is {row['state']} and left {count} times"
            elif row["state"] == "queued":
                assert count == 0, f"I2: {row['text']} waits and left already"
        unknown = [row["text"] for row in out if row["state"] == "unknown"]
        assert len(unknown) <= unknown_allowed, f"{len(unknown)} unknown, allowed {unknown_allowed}: {unknown[:5]}"
        self._check_order(out)

    def _check_order(self, out: Rows) -> None:
        """I6: to one number from one DID, messages leave in the order they were accepted in."""
        when = {text: n for n, text in enumerate(self.submitted)}
        lanes: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in sorted(out, key=lambda row: row["id"]):
            if row["text"] in when:
                lanes[row["from"], row["to"]].append(row["text"])
        for (source, destination), texts in lanes.items():
            assert texts == sorted(texts, key=when.__getitem__), f"I6: order from {source} to {destination} is lost"


class Sender(asyncio.DatagramProtocol):
    """An account's phone."""

    def __init__(
        self, server: tuple[str, int], name: str, password: str, ledger: Ledger, *, patience: float = 32.0
    ) -> None:
        """`patience`: seconds after which an unanswered request is given up (Timer F)."""
        self.server = server
        self.name = name
        self.password = password
        self.ledger = ledger
        self.patience = patience
        self.retransmissions = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: dict[tuple[str, int], asyncio.Future[str]] = {}

    async def open(self) -> None:
        if self._transport is None:
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = data.decode("utf-8", "replace")
        future = self._waiting.get((_header(answer, "Call-ID"), int(_header(answer, "CSeq").split()[0])))
        if future is not None and not future.done() and not answer.startswith("SIP/2.0 1"):
            future.set_result(answer)

    @staticmethod
    async def load(
        senders: Iterable[Sender], destination: str, *, seconds: float, stop_when_refused: bool = False
    ) -> None:
        """Each sends one message after the other to a number of its own, until time is up."""
        deadline = time.monotonic() + seconds

        async def one(sender: Sender) -> None:
            number = 0
            while time.monotonic() < deadline:
                number += 1
                status = await sender.send(destination, f"{sender.name}-{number}")
                if status != 202 and stop_when_refused:
                    return

        await asyncio.gather(*(one(sender) for sender in senders))

    async def send(self, destination: str, text: str) -> int:
        """One message as a phone sends it; the final status, 0 for none. All is written into the ledger."""
        await self.open()
        call_id, tag, authorization, status = secrets.token_hex(8), secrets.token_hex(4), "", 0
        for cseq in range(1, 8):
            request = self.request(destination, text, call_id, tag, cseq, authorization)
            answer = await self._ask(request, call_id, cseq)
            status = int(answer.split(" ", 2)[1]) if answer else 0
            if status != 407:
                break
            authorization = self.sign(answer, f"sip:{destination}@sip.example.net")
        if status == 202:
            self.ledger.accept(text)
        elif status:
            self.ledger.refuse(text, status)
        else:
            self.ledger.no_answer(text)
        return status

    def request(self, destination: str, text: str, call_id: str, tag: str, cseq: int, authorization: str) -> bytes:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")
        uri, body = f"sip:{destination}@sip.example.net", text.encode()
        lines = [
            f"MESSAGE {uri} SIP/2.0", f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{secrets.token_hex(8)}",
            "Max-Forwards: 70", f"From: <sip:{self.name}@sip.example.net>;tag={tag}", f"To: <{uri}>",
            f"Call-ID: {call_id}", f"CSeq: {cseq} MESSAGE", "Content-Type: text/plain",
        ]  # fmt: skip
        if authorization:
            lines.append(f"Proxy-Authorization: {authorization}")
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body

    def sign(self, challenge: str, uri: str, method: str = "MESSAGE") -> str:
        """The answer to a 407."""
        known = dict(re.findall(r'(\w+)="([^"]*)"', _header(challenge, "Proxy-Authenticate")))
        cnonce = secrets.token_hex(4)
        ha1 = _md5(f"{self.name}:{known['realm']}:{self.password}")
        response = _md5(f"{ha1}:{known['nonce']}:00000001:{cnonce}:auth:{_md5(f'{method}:{uri}')}")
        return (
            f'Digest username="{self.name}", realm="{known["realm"]}", nonce="{known["nonce"]}", uri="{uri}", '
            f'response="{response}", algorithm=MD5, qop=auth, nc=00000001, cnonce="{cnonce}"'
        )

    async def _ask(self, request: bytes, call_id: str, cseq: int) -> str:
        """Retransmit until there is an answer; empty when patience is at its end."""
        assert self._transport is not None
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[call_id, cseq] = future
        deadline, interval = time.monotonic() + self.patience, T1
        try:
            while True:
                self._transport.sendto(request, self.server)
                left = deadline - time.monotonic()
                done, _ = await asyncio.wait((future,), timeout=min(interval, left))
                if done:
                    return future.result()
                if time.monotonic() >= deadline:
                    return ""
                interval = min(interval * 2, T2)
                self.retransmissions += 1
        finally:
            del self._waiting[call_id, cseq]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _header(message: str, name: str) -> str:
    match = re.search(rf"^{name}:[ \t]*(.*?)\r$", message, re.M | re.I)
    return match[1] if match else ""
