"""ASGI middleware of /v1: checks credentials, then limits the size and the time of the body.

Every error has the form of RFC 9457. Pure ASGI, because every sent message passes through this code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipsms.accounts.auth import Access, DenialCode, Denied
from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.web.api.v1.permissions import Permissions
from sipsms.web.api.v1.problems import Problem, missing, unavailable
from sipsms.web.request import BadRequest, Held, Room, address_of, bearer_of

ORIGIN: Final = "v1"
SMALL: Final = 256 * 1024
LARGE: Final = 5 * 2**20  # bytes of a message with media
MEMORY: Final = 64 * 2**20  # bytes for all bodies being read
PATIENCE: Final = 20.0  # seconds to receive the body
DEADLINE: Final = 75.0  # seconds for the whole request: three files of an MMS may have to be fetched
MAX_PATH: Final = 1024
_OPEN: Final = ("/openapi.json",)
_STREAM: Final = "/events"
_HOT: Final = "/messages"  # the handler of this path takes the body from the scope
_BODIES: Final = ("POST", "PUT", "PATCH", "DELETE")


class Middleware:
    def __init__(self, app: ASGIApp, access: Access, directory: Directory, clock: Clock) -> None:
        self._app = app
        self._access = access
        self._directory = directory
        self._clock = clock
        self._room = Room(MEMORY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._serve(scope, receive, answer)
        except Exception as error:
            if answer.ended:  # the framework has already answered and re-raises the error
                return
            if answer.started:
                raise
            await problem_of(error, scope).response()(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in _OPEN and scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        scope["sipsms.reach"] = reach = self._reach(request)
        if len(scope["path"]) > MAX_PATH:
            raise missing()
        if path == _STREAM:
            await self._app(scope, receive, send)
            return
        async with asyncio.timeout(DEADLINE):
            with self._room.held(f"customer {reach.own}" if reach.own else address_of(request)) as held:
                if scope["method"] in _BODIES:
                    body = await read_body(scope, receive, LARGE if path == _HOT else SMALL, held)
                    scope["sipsms.body"] = body
                    receive = receive if path == _HOT else _replay(body, receive)
                await self._app(scope, receive, send)

    def _reach(self, request: Request) -> Permissions:
        try:
            return Permissions(self._access.bearer(bearer_of(request), address_of(request), ORIGIN), self._directory)
        except Denied as error:
            raise denied(error, self._clock()) from None


def problem_of(error: Exception, scope: Scope) -> Problem:
    """Return the problem for an error. An unexpected error gives the client no details."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Unavailable):
        log.warning("store_unavailable", why=str(error))
        return unavailable()
    if isinstance(error, ClientDisconnect):
        return gone()
    if isinstance(error, TimeoutError):
        return Problem(503, "too-slow", "This took too long.", headers={"Retry-After": "5"})
    log.crash("api_failed", error, method=scope["method"])
    return Problem(500, "internal", "Something is wrong here; the operator's log has it.")


def denied(error: Denied, now: float) -> Problem:
    if error.code is DenialCode.TOO_MANY:
        return Problem(429, "too-many", error.reason, headers={"Retry-After": str(60 - int(now % 60))})
    if error.code is DenialCode.ADDRESS:
        return Problem(403, "address", "This token may not be used from this address.")
    parameters = "" if error.code is DenialCode.MISSING else ', error="invalid_token"'
    headers = {"WWW-Authenticate": f'Bearer realm="sipsms"{parameters}'}
    return Problem(401, "token", "A valid token is needed: Authorization: Bearer ...", headers=headers)


class _Answer:
    """A wrapper of `send` that remembers whether the answer has started and ended."""

    __slots__ = ("_send", "ended", "started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = self.ended = False

    async def __call__(self, message: Message) -> None:
        self.started = True
        await self._send(message)
        self.ended = message["type"] == "http.response.body" and not message.get("more_body")


async def read_body(scope: Scope, receive: Receive, limit: int, held: Held) -> bytes:
    """Return the body. Reading stops at the limit or when memory is used up. Raises Problem."""
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if length.isdigit() and (len(length) > 12 or int(length) > limit):
        raise _too_large(limit)
    try:
        async with asyncio.timeout(PATIENCE):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                body: bytes = message.get("body", b"")
                _check(body, limit)
                return body
            return await _read_on(message, receive, limit, held)
    except BadRequest as error:
        raise Problem(503, "too-much", error.reason, headers={"Retry-After": "5", "Connection": "close"}) from None
    except TimeoutError:
        raise Problem(408, "too-slow", "The body did not come.", headers={"Connection": "close"}) from None


async def _read_on(message: Message, receive: Receive, limit: int, held: Held) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise gone()
        chunk = message.get("body", b"")
        held.take(len(chunk))
        body += chunk
        _check(body, limit)
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


def _check(body: bytes | bytearray, limit: int) -> None:
    if len(body) > limit:
        raise _too_large(limit)


def gone() -> Problem:
    return Problem(400, "disconnected", "The client went away.")


def _too_large(limit: int) -> Problem:
    return Problem(413, "too-large", f"A body has at most {limit} bytes here.", headers={"Connection": "close"})


def _replay(body: bytes, receive: Receive) -> Callable[[], Any]:
    first = True

    async def again() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again
