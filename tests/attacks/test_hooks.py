"""Carriers' hooks over real sockets: a captured request, a wrong clock, another body, another place: A-41, A-42."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from .conftest import Account
from .fort import HANDSET, Fort
from .test_doors import ask

KEY = "key-of-the-carrier"
HOOK = "/hooks/acme/s3cret"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """One whose carrier signs body and time."""
    signature = {"kind": "hmac-sha256", "key": KEY, "timestamp": "X-Time"}
    inbound = {"secret": "s3cret", "fields": {"id": "id"}, "signature": signature}
    acme = {"type": "http", "url": "http://127.0.0.1:9/", "ok": {"id": "data.id"}, "inbound": inbound}
    with Fort(tmp_path_factory.mktemp("hooks"), 20, carriers={"acme": acme}) as fort:
        yield fort


def _signed(body: bytes, *, late: int = 0, key: str = KEY) -> dict[str, str]:
    stamp = str(int(time.time()) - late)
    made = hmac.digest(key.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hex()
    return {"Content-Type": "application/json", "X-Time": stamp, "X-Signature": made}


def _sms(account: Account, text: str, **more: str) -> bytes:
    return json.dumps({"from": HANDSET, "to": account.did, "text": text, "id": text, **more}).encode()


@pytest.mark.req("A-41", "A-42", "W-05")
def test_a_captured_request_is_one_message_and_no_other(lab: Fort, account: Account) -> None:
    body = _sms(account, "good")
    headers = _signed(body)
    for _ in range(5):  # within five minutes it is valid, and the same message
        assert ask(lab, HOOK, body, headers)[0] == 200
    other = _sms(account, "stolen")
    query = "?" + urllib.parse.urlencode(json.loads(other))
    late = headers | {"X-Time": str(int(headers["X-Time"]) + 1)}
    for path, sent, signed in (
        (HOOK, other, headers),
        (HOOK, body + b" ", headers),
        (HOOK, body, late),
        (HOOK, body, {"Content-Type": "application/json"}),
        (HOOK + query, None, _signed(b"")),
        (HOOK + query, b"", _signed(b"")),
        (HOOK, other, _signed(other, late=301)),
        (HOOK, other, _signed(other, late=-301)),
        (HOOK, other, _signed(other, key="guess")),
        (HOOK, other, _signed(other, key="")),
    ):
        assert ask(lab, path, sent, signed)[0] == 401, (path, sent, signed)
    assert ask(lab, HOOK + query, body, headers)[0] == 200, "the query beside a signed body is not read"
    for path in ("/hooks/acme/", "/hooks/acme/S3CRET", "/hooks/acme/s3cret%00", "/hooks/other/s3cret", "/hooks/sim/"):
        assert ask(lab, path, other, _signed(other))[0] == 404, path
    assert lab.texts(account.did) == ["good"]
