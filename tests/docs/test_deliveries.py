"""docs/deliveries.md: its example checks our signatures, its JSON is what we send."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.message import Media
from sipsms.web.outbound.webhook import PAUSES
from sipsms.web.outbound.webhook_payload import encode, received, signed_headers
from tests.support.http.client import message

PAGE = (Path(__file__).parents[2] / "docs" / "deliveries.md").read_text()


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.S | re.M)
    return str(text)


@pytest.fixture
def is_genuine() -> Callable[..., bool]:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    found: Callable[..., bool] = names["is_genuine"]
    return found


@pytest.mark.req("W-01")
@pytest.mark.parametrize("secret", ["whsec_c2VjcmV0", "plain-secret"])
def test_the_example_of_the_page_verifies_signatures(is_genuine: Callable[..., bool], secret: str) -> None:
    body = encode(received(message(), []))
    headers = dict(signed_headers(f"new-one {secret}", "msg_1", time.time(), body))
    assert is_genuine(secret, headers, body)
    assert is_genuine("new-one", headers, body)
    assert not is_genuine("another", headers, body)
    assert not is_genuine(secret, headers, body + b" ")
    assert not is_genuine(secret, {**headers, "webhook-id": "msg_2"}, body)
    assert not is_genuine(secret, {**headers, "webhook-timestamp": "x"}, body)
    assert not is_genuine(secret, {}, body)
    old = dict(signed_headers(secret, "msg_1", time.time() - 301, body))
    assert not is_genuine(secret, old, body)


@pytest.mark.req("S-045")
def test_the_json_of_the_page_is_the_json_that_is_sent() -> None:
    what = message(media=(Media("image/jpeg", "photo.jpg", 5, "TOKEN"),))
    sent = received(what, [("https://sms.example.net/media/TOKEN/photo.jpg", "image/jpeg")])
    assert json.loads(block("json")) == sent


@pytest.mark.req("W-03")
def test_the_schedule_of_the_page_is_the_schedule_of_the_code() -> None:
    words = "5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h"
    assert words in PAGE
    units = {"s": 1, "min": 60, "h": 3600}
    assert [int(n) * units[unit] for n, unit in re.findall(r"(\d+) (\w+)", words)] == list(PAUSES)
