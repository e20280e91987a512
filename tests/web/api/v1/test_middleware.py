"""The /v1 middleware without a server: size limits, timeouts, and errors that reveal nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from sipsms.accounts.auth import Access
from sipsms.accounts.directory import Directory
from sipsms.core.account import Account, Did, Scope, Token
from sipsms.core.errors import Unavailable
from sipsms.messaging.event_stream import EventStream
from sipsms.web.api.v1 import middleware
from sipsms.web.api.v1.app import V1Api
from sipsms.web.api.v1.middleware import Middleware

SECRET = "sipsms_right"
OTHERS = {"anna": "sipsms_of_anna", "bert": "sipsms_of_bert"}


class Asked:
    """One request to a guard around an application of ours."""

    def __init__(self, application: Any, path: str = "/messages", method: str = "POST") -> None:
        directory = Directory()
        tokens = [
            Token("op", sha256(SECRET.encode()).hexdigest(), "", Scope.OPERATOR),
            *(Token(name, sha256(one.encode()).hexdigest(), name, Scope.CUSTOMER) for name, one in OTHERS.items()),
        ]
        directory.update(1, True, [Account(name) for name in OTHERS], [], frozenset(), tokens=tokens)
        access = Access(directory, lambda: 30.0, "realm", lambda: 0)
        self.guard = Middleware(application, access, directory, lambda: 30.0)
        headers = [(b"authorization", f"Bearer {SECRET}".encode())]
        self.scope: dict[str, Any] = {
            "type": "http", "method": method, "path": "/v1" + path, "root_path": "/v1", "headers": headers,
            "client": ("192.0.2.1", 1), "query_string": b"",
        }  # fmt: skip
        self.told: list[Any] = []

    def by(self, secret: str, address: str = "192.0.2.1") -> Asked:
        self.scope["headers"] = [(b"authorization", f"Bearer {secret}".encode())]
        self.scope["client"] = (address, 1)
        return self

    async def answer(self, parts: Iterable[bytes] = (b"{}",), *, ends: bool = True) -> tuple[int, Any]:
        given = list(parts)

        async def receive() -> Any:
            if not given:
                await asyncio.Event().wait()
            part = given.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(given) or not ends}

        async def send(message: Any) -> None:
            self.told.append(message)

        async with asyncio.timeout(5):
            await self.guard(self.scope, receive, send)
        body = b"".join(one.get("body", b"") for one in self.told[1:])
        return self.told[0]["status"], json.loads(body)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.told[0]["headers"])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """How much of a body the application gets."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(scope["sipsms.body"])).encode()})


def failing(error: Exception) -> Any:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise error

    return fail


async def test_a_body_in_any_pieces_is_read_whole() -> None:
    assert await Asked(echo).answer([b"a" * 1000] * 100) == (200, 100_000)
    assert await Asked(echo, "/blocks").answer([b"a" * middleware.SMALL]) == (200, middleware.SMALL)


@pytest.mark.req("A-38")
@pytest.mark.parametrize(("path", "limit"), [("/messages", middleware.LARGE), ("/blocks", middleware.SMALL)])
async def test_a_body_above_the_limit_is_refused(path: str, limit: int) -> None:
    for parts in ([b"a" * (limit + 1)], [b"a" * limit, b"a"]):
        asked = Asked(echo, path)
        status, problem = await asked.answer(parts, ends=len(parts) == 1)
        assert (status, problem["type"]) == (413, "urn:sipsms:problem:too-large")
        assert asked.headers[b"connection"] == b"close"
    asked = Asked(echo, path)
    asked.scope["headers"].append((b"content-length", str(limit + 1).encode()))
    assert (await asked.answer([]))[0] == 413, "it is not even read"


async def test_all_bodies_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "MEMORY", 250_000)
    second = Asked(echo, "/blocks")
    reading = await held(*(Asked(echo, "/blocks").by(SECRET, f"192.0.2.{n}") for n in range(2, 6)), at=second.guard)
    status, problem = await second.answer([b"a" * 60_000, b"a"])
    assert (status, problem["type"]) == (503, "urn:sipsms:problem:too-much")
    await end(reading)
    second.told.clear()
    assert await second.answer([b"a" * 60_000, b"a"]) == (200, 60_001), "there is room again"


async def held(*asked: Asked, at: Middleware) -> list[asyncio.Future[Any]]:
    """Bodies of 60,000 bytes that do not end."""
    for one in asked:
        one.guard = at
    reading = [asyncio.ensure_future(one.answer([b"a" * 60_000], ends=False)) for one in asked]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return reading


async def end(reading: list[asyncio.Future[Any]]) -> None:
    for one in reading:
        one.cancel()
    await asyncio.gather(*reading, return_exceptions=True)


@pytest.mark.req("A-38")
@pytest.mark.parametrize(("secret", "address"), [(OTHERS["bert"], "192.0.2.9"), (SECRET, "192.0.2.1")])
async def test_no_customer_takes_the_memory_of_others(
    monkeypatch: pytest.MonkeyPatch, secret: str, address: str
) -> None:
    """A customer has a quarter, from wherever it asks; operators' tokens have one for each address."""
    monkeypatch.setattr(middleware, "MEMORY", 250_000)
    anna = Asked(echo, "/blocks").by(OTHERS["anna"])
    addresses = [f"192.0.2.{n}" for n in range(2, 6)] if secret != SECRET else [address] * 4
    reading = await held(*(Asked(echo, "/blocks").by(secret, one) for one in addresses), at=anna.guard)
    assert sum(one.done() for one in reading) == 3, "the first has its quarter"
    assert await anna.answer([b"a" * 60_000, b"a"]) == (200, 60_001)
    await end(reading)


async def test_a_body_that_does_not_arrive_in_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "PATIENCE", 0.02)
    assert (await Asked(echo).answer([b"{"], ends=False))[0] == 408


async def test_a_client_that_disconnects_is_no_server_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert (await Asked(failing(ClientDisconnect())).answer())[0] == 400
    assert "api_failed" not in capsys.readouterr().out


async def test_a_request_without_an_answer_in_time_gets_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "DEADLINE", 0.02)

    async def sleep(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    asked = Asked(sleep)
    assert (await asked.answer())[0] == 503
    assert b"retry-after" in asked.headers


async def test_an_unavailable_store_gets_503() -> None:
    asked = Asked(failing(Unavailable("database or disk is full: /var/lib/secret-place")))
    status, problem = await asked.answer()
    assert (status, asked.headers[b"retry-after"]) == (503, b"5")
    assert "secret-place" not in json.dumps(problem)


@pytest.mark.req("A-48")
async def test_an_unexpected_error_reveals_nothing() -> None:
    status, problem = await Asked(failing(ValueError("password is hunter2"))).answer()
    assert (status, problem["title"]) == (500, "Internal Server Error")
    assert "hunter2" not in json.dumps(problem)


class Broken:
    """Parts of the API of which none works."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.feed = EventStream(lambda: 1.0)

    def __getattr__(self, name: str) -> Any:
        return self

    async def __call__(self, *_: Any, **__: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("disk full at /secret-place"), 503), (ValueError("/secret-place"), 500)]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/devices"), ("POST", "/messages"), ("GET", "/messages/5")])
async def test_framework_errors_become_problems(error: Exception, status: int, method: str, path: str) -> None:
    parts: Any = Broken(error)
    asked = Asked(V1Api(parts, parts).application, path, method)
    asked.scope["headers"].append((b"content-type", b"application/json"))
    parts.max_text, parts.clock = (lambda: 160), (lambda: 1.0)
    parts.directory = Directory()
    parts.directory.update(1, True, [Account("a")], [Did("5550001111", "a")], frozenset())
    found, problem = await asked.answer([b'{"from": "5550001111", "to": "4445556666", "text": "x"}'])
    assert (found, problem["status"]) == (status, status)
    assert asked.headers[b"content-type"] == b"application/problem+json"
    assert "secret-place" not in json.dumps(problem)


async def test_an_error_after_half_an_answer_is_left_to_the_server() -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    with pytest.raises(ValueError):
        await Asked(half).answer()


@pytest.mark.parametrize(
    "given", ["", "Basic eDp5", "Bearer", "Bearer wrong", f"bearer  {SECRET}x", f"Bearer {SECRET},"]
)
async def test_a_request_without_token_is_denied(given: str) -> None:
    asked = Asked(echo)
    asked.scope["headers"] = [(b"authorization", given.encode())]
    assert (await asked.answer())[0] == 401
    assert asked.headers[b"www-authenticate"].startswith(b"Bearer")


async def test_wrong_tokens_are_limited() -> None:
    asked = Asked(echo)
    asked.scope["headers"] = [(b"authorization", b"Bearer wrong")]
    seen = set()
    for _ in range(61):
        asked.told.clear()
        seen.add((await asked.answer())[0])
    assert seen == {401, 429}
    assert int(asked.headers[b"retry-after"]) == 30
