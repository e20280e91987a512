"""NOTIFYs over a wire that answers when it is told to: one at a time, merged, paced, and ended by a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from sipsms.accounts.directory import Directory
from sipsms.core.account import Account
from sipsms.core.flow_address import FlowAddress
from sipsms.core.registration import Binding
from sipsms.sip import pidf
from sipsms.sip.endpoint import Endpoint, NoResponse
from sipsms.sip.message import Request, Response, parse_datagram
from sipsms.sip.presence import Presence
from sipsms.sip.presence_server import PresenceServer, Reply
from sipsms.sip.transport import Flow

NOW = 1_000_000.0


class Wire:
    """Endpoint and flow: what is sent waits here for `answer`."""

    name, reliable = "udp", False

    def __init__(self) -> None:
        self.out: list[tuple[Request, asyncio.Future[Response]]] = []
        self.sent = 0

    def sent_by(self) -> str:
        return "192.0.2.9:5060"

    async def request(self, request: Request, flow: Flow) -> Response:
        self.sent += 1
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.out.append((request, future))
        return await future

    async def answer(self, status: int = 200) -> Request:
        """Answer the NOTIFY that is out (0: it got no answer)."""
        ((request, future),) = self.out
        self.out.clear()
        if status:
            future.set_result(Response(status, "", {}))
        else:
            future.set_exception(NoResponse("no answer"))
        await settle()
        return request


class Places:
    """The location service."""

    def __init__(self) -> None:
        self.bound: set[str] = set()

    def bindings(self, aor: str, now: float) -> list[Binding]:
        return [Binding(aor, "sip:x", now + 1, "c", 1, FlowAddress("udp:h:1"))] if aor in self.bound else []


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.now = NOW
        self.wire, self.places, self.directory = Wire(), Places(), Directory()
        self.presence = Presence("example.com", 60, 7200)
        self.tasks: list[asyncio.Task[Any]] = []
        self.set(Account("alice"), Account("bob", "alice"))
        self.notifier = PresenceServer(
            self.presence, cast(Endpoint, self.wire), self.directory, cast(Any, self.places), lambda: self.now,
            self.spawn,
        )  # fmt: skip

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    def set(self, *accounts: Account) -> None:
        self.directory.update(1, False, accounts, (), frozenset())

    async def subscribe(self, expires: int = 600) -> Reply:
        reply = self.notifier.subscribe(_subscribe(expires), cast(Flow, self.wire), Account("alice"))
        assert reply.after is not None
        reply.after()
        await settle()
        return reply

    async def flip(self) -> None:
        """Bob comes or goes."""
        self.places.bound ^= {"bob"}
        self.notifier.changed("bob")
        await settle()


def _subscribe(expires: int) -> Request:
    lines = [
        "SUBSCRIBE sip:bob@example.com SIP/2.0", "Via: SIP/2.0/UDP h;branch=z9hG4bK1", "Call-ID: c",
        "From: <sip:alice@example.com>;tag=f", "To: <sip:bob@example.com>", "CSeq: 1 SUBSCRIBE",
        "Contact: <sip:alice@192.0.2.1>", "Event: presence", f"Expires: {expires}",
    ]  # fmt: skip
    request = parse_datagram(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert isinstance(request, Request)
    return request


def _is_open(request: Request) -> bool:
    return pidf.read(request.body).is_open


@pytest.fixture
async def world() -> World:
    return World()


@pytest.mark.req("C-126")
async def test_a_notify_has_the_headers_of_its_dialog(world: World) -> None:
    reply = await world.subscribe()
    assert ("Contact", "<sip:192.0.2.9:5060>") in reply.headers
    notify = await world.wire.answer()
    assert notify.get("from") == f"<sip:bob@example.com>;tag={reply.tag}"
    assert notify.get("contact") == "<sip:192.0.2.9:5060>"


@pytest.mark.req("C-126")
async def test_only_one_notify_of_a_subscription_is_under_way(world: World) -> None:
    """While one is out changes wait; what cancels out is not told at all."""
    await world.subscribe()
    for _ in range(3):
        await world.flip()
    assert world.wire.sent == 1
    assert not _is_open(await world.wire.answer())
    assert _is_open(await world.wire.answer())
    await world.flip()
    await world.flip()
    await world.flip()
    assert not _is_open(await world.wire.answer())
    assert world.wire.out == []
    assert world.wire.sent == 3


async def test_an_unchanged_state_sends_no_notify(world: World) -> None:
    await world.subscribe()
    await world.wire.answer()
    world.notifier.changed("bob")
    world.notifier.changed("nobody")
    await settle()
    assert world.wire.sent == 1


async def test_changes_above_the_rate_are_notified_later(world: World) -> None:
    """RFC 3856 section 6.10: the last state is told later, by the sweep."""
    await world.subscribe()
    await world.wire.answer()
    while True:
        await world.flip()
        if not world.wire.out:
            break
        await world.wire.answer()
    assert world.wire.sent == 5
    world.notifier.sweep()
    await settle()
    assert world.wire.out == []
    world.now += 5
    world.notifier.sweep()
    await settle()
    assert _is_open(await world.wire.answer()) == bool(world.places.bound)
    world.notifier.sweep()
    await settle()
    assert world.wire.out == []


@pytest.mark.req("C-126")
@pytest.mark.parametrize("status", [0, 302, 407, 404, 481, 503])
async def test_a_refused_notify_ends_the_subscription(world: World, status: int) -> None:
    await world.subscribe()
    await world.wire.answer(status)
    assert len(world.presence) == 0
    await world.flip()
    assert world.wire.sent == 1


@pytest.mark.req("C-126")
async def test_the_expiry_is_notified_after_the_notify_under_way(world: World) -> None:
    await world.subscribe(60)
    world.now += 60
    world.notifier.sweep()
    await settle()
    assert world.wire.sent == 1
    await world.wire.answer()
    last = await world.wire.answer()
    assert last.get("subscription-state") == "terminated;reason=timeout"
    assert len(world.presence) == 0
    assert world.wire.out == []


@pytest.mark.req("C-126")
async def test_switching_presence_off_ends_the_subscriptions(world: World) -> None:
    await world.subscribe()
    await world.wire.answer()
    world.set(Account("bob", "alice", presence=False))
    world.notifier.review(["bob"])
    await settle()
    last = await world.wire.answer()
    assert (last.get("subscription-state"), last.body) == ("terminated;reason=rejected", b"")
    assert len(world.presence) == 0


async def test_an_internal_error_leaves_no_subscription_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.presence, "document", fail)
    await world.subscribe()
    assert isinstance(world.tasks[0].exception(), RuntimeError)
    assert len(world.presence) == 0
