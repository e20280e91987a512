"""The carriers of etc/carriers, with secrets that are known and without signatures, which no fuzzer could guess."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import TypeAdapter

from sipsms.app.settings import CarrierConfig
from sipsms.carriers.registry import build
from sipsms.core.http_client import HttpReply
from sipsms.core.message import Delivery, Direction, Media, Message
from sipsms.messaging.carrier import Carrier, CarrierTools

NOW: Final = 1_790_000_000.0
KEY: Final = "a-secret-of-the-carrier"
URL: Final = "https://sms.example.net/hooks/acme"
_FOLDER: Final = Path(__file__).resolve().parents[2] / "etc/carriers"
_UNSIGNED: Final = frozenset({"public_key", "signature"})


class Script:
    """An HTTP client that gives the same answer to every request."""

    answer = HttpReply(200, {}, b"")

    async def request(self, *_: object, **__: object) -> HttpReply:
        return self.answer


class _Media:
    async def save(self, data: bytes, name: str = "") -> Media:
        raise AssertionError("a carrier stores nothing")

    async def read(self, media: Media) -> bytes:
        return b""

    def url(self, media: Media) -> str:
        return f"{URL}/media"


CLIENT: Final = Script()


@cache
def carriers() -> tuple[Carrier, ...]:
    return tuple(_built(name, given) for name, given in sorted(_settings().items()))


def _settings() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(_FOLDER.glob("*.yaml")):
        found |= yaml.safe_load(path.read_text())["carriers"]
    return found


def _built(name: str, given: Mapping[str, Any]) -> Carrier:
    config = TypeAdapter(CarrierConfig).validate_python(_plain(given))
    return build(name, config, CarrierTools(CLIENT, _Media(), lambda: NOW, URL))


def _plain(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        kept = {
            name: one for name, one in value.items() if name not in _UNSIGNED and (key, name) != ("inbound", "auth")
        }
        return {name: _plain(one, name) for name, one in kept.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return KEY if isinstance(value, str) and value.startswith("env:") else value


def delivery() -> Delivery:
    message = Message(Direction.OUT, "4165550000", "5551234567", "hi", "sip", 0.0, "acme", "4165550000")
    return Delivery(message, "carrier:acme", "5551234567", "4165550000", "lane", 1e12, 0.0, id=7)  # type: ignore[arg-type]
