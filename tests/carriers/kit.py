"""What the carriers' tests share: a client that answers from a script, tools, messages and hook requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sipsms.core.http_client import HttpReply
from sipsms.core.message import Delivery, Direction, Media, Message
from sipsms.messaging.carrier import CarrierTools, HookError, HookRequest

HOOK_URL = "https://sms.example.net/hooks/acme"
NOW = 1_790_000_000.0
DID, PHONE = "4165550000", "5551234567"
PICTURE = Media("image/png", "a.png", 4, "tok", "https://sms.example.net/m/tok/a.png")

JSON = {"content-type": "application/json; charset=utf-8"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

JUNK: list[Any] = [
    None, True, 5, -1, 1.5, "", " ", "x", "a\0b", "\ud83d", "9" * 5000, [], [[]], {}, {"a": {}}, [None], ["\udfff"],
]  # fmt: skip


class KeptMedia:
    """A media store in which everything is one picture, but for what is gone."""

    async def save(self, data: bytes, name: str = "") -> Media:
        return PICTURE

    async def read(self, media: Media) -> bytes:
        if media.token == "gone":
            raise FileNotFoundError(media.token)
        return b"\x89PNG"

    def url(self, media: Media) -> str:
        return media.url


class ScriptedClient:
    """One answer for each request, the last one again and again."""

    def __init__(self, *answers: HttpReply | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0,
        limit: int = 65536,
    ) -> HttpReply:  # fmt: skip
        self.requests.append((method, url, dict(headers), body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def tools(client: Any, now: float = NOW) -> CarrierTools:
    return CarrierTools(client, KeptMedia(), lambda: now, HOOK_URL)


def reply(body: Any = None, status: int = 200, **headers: str) -> HttpReply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status, {k.replace("_", "-"): v for k, v in headers.items()}, data)


def delivery(text: str = "hi", *media: Media, id: int = 7, source: str = DID, to: str = PHONE) -> Delivery:
    message = Message(Direction.OUT, DID, to, text, "sip", 0.0, account="alice", did=DID, media=media)
    return Delivery(message, "carrier:acme", to, source, "lane", 1e12, 0.0, id=id)


def hook(
    body: Any = b"", headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None,
    method: str = "POST", url: str = f"{HOOK_URL}/s3cret", at: float = NOW,
) -> HookRequest:  # fmt: skip
    if not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {**JSON, **(headers or {})}
    return HookRequest(method, query or {}, headers or {}, body, url, at)


def refusal(carrier: Any, request: HookRequest) -> int:
    """The status a request is refused with; 0 if it is taken. Anything but HookError is a failure of the test."""
    try:
        carrier.parse(request)
    except HookError as error:
        assert error.reason.isprintable()
        return error.status
    return 0
