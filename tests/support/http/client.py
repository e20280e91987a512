"""A scripted HTTP client, and a message, for the tests of couriers that call customers' servers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sipsms.core.account import Did
from sipsms.core.http_client import HttpReply
from sipsms.core.message import Delivery, Direction, Media, Message

AT = 1790965471.0  # 2026-10-02 18:24:31 UTC, 14:24:31 in New York


@dataclass
class Asked:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: float


@dataclass
class FakeClient:
    """Answers what is scripted: a reply, or an exception; the last one again and again."""

    script: deque[Any] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, *answers: Any) -> None:
        self.script = deque(answers)

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0,
        limit: int = 65536,
    ) -> HttpReply:  # fmt: skip
        self.asked.append(Asked(method, url, headers, body, timeout))
        answer = self.script.popleft() if len(self.script) > 1 else self.script[0]
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, HttpReply)
        return answer


def reply(status: int = 200, body: bytes = b"", **headers: str) -> HttpReply:
    return HttpReply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def message(text: str = "hello", **fields: Any) -> Message:
    usual: dict[str, Any] = {
        "direction": Direction.IN, "source": "2125550123", "destination": "7185550100", "origin": "hook:acme",
        "received_at": AT, "account": "acme", "did": "7185550100", "id": 4412,
    }  # fmt: skip
    return Message(text=text, **{**usual, **fields})


def delivery(what: Message, courier: str = "callback", attempts: int = 1, **fields: Any) -> Delivery:
    usual: dict[str, Any] = {
        "courier": courier, "destination": what.did, "source": what.source, "lane": f"{courier}/{what.did}",
        "expires_at": AT + 14 * 86400, "created_at": AT, "attempts": attempts, "id": 67945,
    }  # fmt: skip
    return Delivery(message=what, **{**usual, **fields})


def media_url(media: Media) -> str:
    return f"https://host/media/{media.token}/{media.name}" if media.token else media.url


class Dids:
    """The directory, and what was switched off in it."""

    def __init__(self, *dids: Did) -> None:
        self.dids = {did.number: did for did in dids}
        self.disabled: list[tuple[str, str, str]] = []
        self.fails: Exception | None = None

    async def disable(self, number: str, kind: str, why: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.disabled.append((number, kind, why))
