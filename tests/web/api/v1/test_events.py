"""The /v1 event stream: each client gets its own events once and in order, and streams never delay a stop."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from sipsms.accounts.auth import Caller
from sipsms.accounts.directory import Directory
from sipsms.core.account import Scope
from sipsms.core.message import Direction, Message
from sipsms.messaging.event_stream import EventStream
from sipsms.web.api.v1 import events
from sipsms.web.api.v1.events import EventResponse, Streams
from sipsms.web.api.v1.permissions import Permissions
from sipsms.web.api.v1.problems import Problem
from tests.support.http.v1 import HANDSET, ApiNode


class Event(NamedTuple):
    id: str
    name: str
    data: Any


class Listener:
    """A stream over a real socket."""

    def __init__(self, node: ApiNode, who: str, last: str = "", query: str = "") -> None:
        self.wire = socket.create_connection(("127.0.0.1", node.http_port), 10)
        resume = f"Last-Event-ID: {last}\r\n" if last else ""
        self.wire.sendall(
            f"GET /v1/events{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {node.tokens.get(who, who)}\r\n"
            f"{resume}Connection: close\r\n\r\n".encode()
        )
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.wire.recv(65536)
        self.head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        self.status = int(self.head.split()[1])
        if self.status == 200:
            self.text("retry: ")

    def text(self, wanted: str) -> str:
        """All up to the end of the block that has this."""
        while (at := self.buffer.find(wanted.encode())) < 0 or b"\n\n" not in self.buffer[at:]:
            data = self.wire.recv(65536)
            assert data, f"closed; before that: {self.buffer!r}"
            self.buffer += data
        end = self.buffer.index(b"\n\n", at) + 2
        found, self.buffer = self.buffer[:end], self.buffer[end:]
        return found.decode()

    def event(self) -> Event:
        lines = self.text("data: ").splitlines()
        fields = dict(line.split(": ", 1) for line in lines if ": " in line and not line.startswith(":"))
        return Event(fields["id"], fields["event"], json.loads(fields["data"]))

    def until(self, name: str, message: int) -> Event:
        """Passes by what is told of others."""
        while (found := self.event()).name != name or found.data["id"] != message:
            pass
        return found

    def until_closed(self) -> bytes:
        found = self.buffer
        while data := self.wire.recv(65536):
            found += data
        return found

    def close(self) -> None:
        self.wire.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiNode]:
    with ApiNode(tmp_path_factory.mktemp("events")) as node:
        yield node


@pytest.mark.e2e
def test_a_stream_shows_each_state_of_a_message(node: ApiNode) -> None:
    with closing(Listener(node, "anna")) as anna:
        assert b"text/event-stream" in anna.head
        message = node.send("told", "anna").json["id"]
        first, second = anna.event(), anna.event()
        assert [first.name, second.name] == ["message.accepted", "message.delivered"]
        assert first.data["id"] == second.data["id"] == message
        assert first.data["from"] == first.data["did"] == "5550001111"
        assert (second.data["to"], second.data["courier"]) == (HANDSET, "carrier")
        assert node.post("/incoming", {"from": HANDSET, "to": "5550001111", "text": "hi"}).status == 202
        assert anna.event().name == "message.received"
        later = node.send("not now", "anna", send_at="2027-01-01T00:00:00Z").json["id"]
        assert anna.event().name == "message.accepted"
        node.post(f"/messages/{later}/cancel", {}, "anna")
        cancelled = anna.event()
        assert (cancelled.name, cancelled.data["id"]) == ("message.failed", later)
        assert cancelled.data["detail"] == "cancelled"


@pytest.mark.e2e
@pytest.mark.req("W-07")
def test_a_stream_shows_only_the_messages_of_its_token(node: ApiNode) -> None:
    with closing(Listener(node, "anna")) as anna, closing(Listener(node, "did")) as did, closing(
        Listener(node, "bert")
    ) as bert, closing(Listener(node, "reseller")) as rita, closing(Listener(node, "op")) as operator:  # fmt: skip
        of_bert = node.send("of bert", "bert").json["id"]
        of_anna = node.send("of anna", "anna").json["id"]
        assert {anna.event().data["id"] for _ in range(2)} == {of_anna}
        assert {did.event().data["id"] for _ in range(2)} == {of_anna}
        assert {bert.event().data["id"] for _ in range(2)} == {of_bert}
        assert {rita.event().data["id"] for _ in range(2)} == {of_bert}, "she manages bert"
        assert {operator.event().data["id"] for _ in range(4)} == {of_anna, of_bert}


@pytest.mark.e2e
def test_a_client_that_reconnects_gets_the_missed_events(node: ApiNode) -> None:
    with closing(Listener(node, "anna")) as anna:
        first = node.send("first", "anna").json["id"]
        last = anna.until("message.accepted", first)
        anna.until("message.delivered", first)
    missed = node.send("missed", "anna").json["id"]
    for how in ({"last": last.id}, {"query": f"?last_event_id={last.id}"}):
        with closing(Listener(node, "anna", **how)) as anna:
            rest = [anna.event() for _ in range(3)]
            assert [one.name for one in rest] == ["message.delivered", "message.accepted", "message.delivered"]
            assert rest[1].data["id"] == missed
            numbers = [int(one.id.partition("-")[2]) for one in (last, *rest)]
            assert numbers == sorted(set(numbers)), "once, in order"


@pytest.mark.e2e
@pytest.mark.parametrize("last", ["another-1", "nonsense", "-", "1-\u00b2", "9" * 40, "x" * 4000])
def test_a_stream_that_cannot_be_resumed_begins_anew(node: ApiNode, last: str) -> None:
    with closing(Listener(node, "anna", last.encode("utf-8").decode("latin-1"))) as anna:
        assert anna.event().name == "reset"
        message = node.send("after the reset", "anna").json["id"]
        assert anna.until("message.delivered", message)


@pytest.mark.e2e
def test_a_token_has_a_limited_number_of_streams_and_gets_them_back(node: ApiNode) -> None:
    secret = node.made("listener", "anna")
    streams = [Listener(node, secret) for _ in range(5)]
    with closing(Listener(node, secret)) as sixth:
        assert sixth.status == 429
        assert b"retry-after" in sixth.head.lower()
    assert Listener(node, "bert").status == 200, "others have their own"
    for one in streams:
        one.close()
    deadline = time.monotonic() + 5
    while Listener(node, secret).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)  # polled: the server has to see that they are gone


@pytest.mark.e2e
def test_a_removed_token_ends_its_stream(node: ApiNode) -> None:
    secret = node.made("leaving", "anna")
    with closing(Listener(node, secret)) as stream:
        assert node.call("DELETE", "/tokens/leaving").status == 204
        node.send("none of its business", "anna")
        assert b"message" not in stream.until_closed()


@pytest.mark.e2e
def test_open_streams_do_not_hold_up_a_stop(tmp_path: Any) -> None:
    with ApiNode(tmp_path) as node:
        listeners = [Listener(node, who) for who in ("anna", "bert", "op", "op")]
        assert node.stop() == 0
        for one in listeners:
            assert b"0\r\n\r\n" in one.until_closed(), "the answer has an end"
        assert "Traceback" not in node.log_tail(200)


# --- without sockets -------------------------------------------------------------------------------------------------


def reach() -> Permissions:
    return Permissions(Caller(None, Scope.OPERATOR, "op"), Directory())


def note(feed: EventStream, number: int = 1) -> None:
    for _ in range(number):
        feed.note(Message(Direction.OUT, "5550001111", HANDSET, "x", "v1", 1.0, "anna", "5550001111"), "accepted")


async def read(stream: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(5):
        return await anext(stream)


async def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.01)
    stream = EventResponse(Streams(EventStream(lambda: 1.0)), reach(), "", lambda: True)._events()
    assert await read(stream) == b"retry: 3000\n\n"
    assert await read(stream) == b": keep-alive\n\n"


async def test_a_slow_reader_is_cut_off_with_a_reset_event() -> None:
    feed = EventStream(lambda: 1.0, kept=10)
    stream = EventResponse(Streams(feed), reach(), "", lambda: True)._events()
    await read(stream)
    note(feed, 3)
    assert (await read(stream)).count(b"event: message.accepted") == 3
    note(feed, 11)
    assert b"event: reset" in await read(stream)
    with pytest.raises(StopAsyncIteration):
        await read(stream)


async def test_a_client_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SLOW", 0.02)
    streams = Streams(EventStream(lambda: 1.0))
    never = asyncio.Event()
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message["type"])
        if message.get("more_body"):
            await never.wait()

    async def receive() -> Any:
        await never.wait()

    async with asyncio.timeout(5):
        await EventResponse(streams, reach(), "", lambda: True)({"type": "http"}, receive, send)
    assert told[0] == "http.response.start"
    assert streams._open.total() == 0


def test_the_number_of_streams_is_limited() -> None:
    streams = Streams(EventStream(lambda: 1.0), most=3, of_one=2)
    for token in ("a", "a", "b"):
        streams.enter(token, token)
    for token in ("a", "c"):
        with pytest.raises(Problem) as refused:
            streams.enter(token, token)
        assert refused.value.status == 429
    streams.leave("b", "b")
    streams.enter("c", "c")
    streams.close()
    streams.leave("a", "a")
    with pytest.raises(Problem):
        streams.enter("a", "a")


def test_a_customer_has_a_share_of_the_streams_however_many_tokens() -> None:
    streams = Streams(EventStream(lambda: 1.0), most=9, of_one=2, of_customer=3)
    for token in ("a", "b", "c"):
        streams.enter(token, "anna")
    with pytest.raises(Problem):
        streams.enter("d", "anna")
    streams.enter("e", "bert")
    for token in ("f", "g", "h", "i"):
        streams.enter(token, "")  # the operator's
    streams.leave("a", "anna")
    streams.enter("d", "anna")


def test_a_token_that_expires_ends_its_stream(node: ApiNode) -> None:
    until = time.time() + 2.5
    expires = datetime.fromtimestamp(until, UTC).isoformat()
    secret = node.post("/tokens", {"name": "short", "account": "anna", "scope": "customer", "expires_at": expires})
    with closing(Listener(node, secret.json["secret"]).wire) as wire:
        time.sleep(max(0.0, until - time.time()) + 0.1)
        node.send("somebody must not hear this")
        wire.settimeout(5)
        heard = b""
        while chunk := wire.recv(65536):
            heard += chunk
    assert b"message." not in heard
