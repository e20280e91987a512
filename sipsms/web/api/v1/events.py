"""GET /v1/events: changes of messages as Server-Sent Events.

https://html.spec.whatwg.org, section 9.2. A stream keeps no changes of its own: it reads from the event stream,
which keeps the latest changes for all readers. A client that reads too slowly misses changes; its stream is reset
and ended.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sipsms.accounts.directory import Directory
from sipsms.core.account import Token
from sipsms.core.courier_id import CourierId
from sipsms.core.message import Direction
from sipsms.messaging.event_stream import Change, EventStream, Gap
from sipsms.web.api.v1.dependencies import Api, Reach
from sipsms.web.api.v1.permissions import ALL, Permissions, token_of
from sipsms.web.api.v1.problems import Problem

STREAMS: Final = 200
OF_CUSTOMER: Final = 20  # streams of one customer, with all its tokens
OF_ONE: Final = 5  # streams of one token
KEEP_ALIVE: Final = 15.0  # seconds
GATHER: Final = 0.02  # seconds to gather changes: two hundred streams must not wake up for each change
SLOW: Final = 30.0  # seconds in which a client must read what was sent

# State in the event stream -> name of the event. "accepted" without a courier: see `name_of`.
_NAMES: Final = {
    "queued": "message.delayed",
    "accepted": "message.sent",
    "delivered": "message.delivered",
    "failed": "message.failed",
    "expired": "message.expired",
    "unknown": "message.unknown",
}
_STREAM: Final = {"text/event-stream": {"schema": {"type": "string"}}}

router = APIRouter(tags=["messages"])


@router.get("/events", response_class=Response, responses={200: {"content": _STREAM}})
async def follow_events(request: Request, api: Api, reach: Reach, last_event_id: str = "") -> Response:
    """Stream changes of messages as Server-Sent Events.

    `Last-Event-ID` continues after that event."""
    token, account = token_of(request, api.directory), reach.need(ALL).own

    def still() -> bool:
        return _is_valid(api.directory, token, api.clock()) and (not account or _is_on(api.directory, account))

    last = request.headers.get("last-event-id", last_event_id)
    return EventResponse(request.app.state.streams, reach, last, still)


def _is_valid(directory: Directory, token: Token | None, now: float) -> bool:
    if token is None or directory.token(token.hash) != token:
        return False
    return token.expires_at is None or token.expires_at > now


def _is_on(directory: Directory, name: str) -> bool:
    account = directory.account(name)
    return account is not None and account.enabled


class Streams:
    """All open streams, with limits per token, per customer and in total."""

    def __init__(
        self, feed: EventStream, most: int = STREAMS, of_one: int = OF_ONE, of_customer: int = OF_CUSTOMER
    ) -> None:
        self.feed = feed
        self._most = most
        self._of_one = of_one
        self._of_customer = of_customer
        self._open: Counter[str] = Counter()
        self._customers: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.closed = False

    def enter(self, token: str, customer: str) -> None:
        """Count a stream of a customer (empty: the operator). Raises Problem if a limit is reached."""
        if self.closed or self._open.total() >= self._most:
            raise _too_many("too many event streams are open")
        if self._open[token] >= self._of_one:
            raise _too_many(f"this token has {self._of_one} streams open already")
        if customer and self._customers[customer] >= self._of_customer:
            raise _too_many(f"this customer has {self._of_customer} streams open already")
        self._open[token] += 1
        self._customers[customer] += 1

    def leave(self, token: str, customer: str) -> None:
        for counter, name in ((self._open, token), (self._customers, customer)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]

    async def run(self, stream: AsyncIterator[bytes], send: Send, receive: Receive) -> None:
        """Send a stream until the client leaves, is too slow or loses access, or the server stops."""
        copying = asyncio.ensure_future(_copy(stream, send))
        leaving = asyncio.ensure_future(_gone(receive))
        self._tasks.add(copying)
        try:
            await asyncio.wait((copying, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._tasks.discard(copying)
            for task in (copying, leaving):
                task.cancel()
            await asyncio.gather(copying, leaving, return_exceptions=True)

    def close(self) -> None:
        """End every stream when the server stops."""
        self.closed = True
        for task in list(self._tasks):
            task.cancel()


def _too_many(why: str) -> Problem:
    return Problem(429, "too-many", why, headers={"Retry-After": "10"})


async def _copy(stream: AsyncIterator[bytes], send: Send) -> None:
    async for chunk in stream:
        async with asyncio.timeout(SLOW):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventResponse(Response):
    """An event stream as an HTTP response. `still` returns whether the caller still has access."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, reach: Permissions, last_event_id: str, still: Callable[[], bool]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._reach = reach
        self._last = last_event_id
        self._still = still

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token, customer = self._reach.caller.name, self._reach.own
        self._streams.enter(token, customer)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._streams.run(self._events(), send, receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.leave(token, customer)

    async def _events(self) -> AsyncIterator[bytes]:
        feed = self._streams.feed
        number, reset = _position(feed, self._last)
        yield b"retry: 3000\n\n" + (_reset(feed, number) if reset else b"")
        try:
            async for changes in feed.follow(number, KEEP_ALIVE):
                if not self._still():
                    return
                if chunk := self._written(feed, changes):
                    yield chunk
                await asyncio.sleep(GATHER)
        except Gap:  # changes that the client did not read are no longer kept
            yield _reset(feed, feed.last)

    def _written(self, feed: EventStream, changes: Sequence[Change]) -> bytes:
        if not changes:
            return b": keep-alive\n\n"
        sees = self._reach.sees
        return b"".join(
            _event(feed, one, self._reach)
            for one in changes
            if sees(one.message.account, one.message.did, one.message.received_at)
        )


def _position(feed: EventStream, last: str) -> tuple[int, bool]:
    """Return the number after which to continue, and whether changes in between are lost."""
    if not last:
        return feed.last, False
    run, _, number = last.partition("-")
    known = run == feed.run and number.isascii() and number.isdigit() and len(number) < 19
    try:
        feed.after(int(number) if known else -1)
    except Gap:
        return feed.last, True
    return int(number), False


def _reset(feed: EventStream, number: int) -> bytes:
    return f"id: {feed.run}-{number}\nevent: reset\ndata: {{}}\n\n".encode()


def _event(feed: EventStream, change: Change, reach: Permissions) -> bytes:
    message = change.message
    data = {
        "id": message.id, "direction": str(message.direction), "did": message.did, "from": message.source,
        "to": message.destination, "state": change.state,
        "courier": change.courier if reach.is_operator else CourierId(change.courier).kind,
        "detail": change.detail, "at": datetime.fromtimestamp(change.at, UTC).isoformat(timespec="milliseconds"),
    }  # fmt: skip
    return f"id: {feed.run}-{change.number}\nevent: {name_of(change)}\ndata: {json.dumps(data)}\n\n".encode()


def name_of(change: Change) -> str:
    if change.state == "accepted" and not change.courier:
        return "message.received" if change.message.direction is Direction.IN else "message.accepted"
    return _NAMES.get(change.state, "message.changed")
