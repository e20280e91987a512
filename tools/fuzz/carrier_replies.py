"""Answers of carriers to a sent message: the first octet chooses the carrier, the second the status."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from sipsms.core.http_client import HttpReply
from sipsms.core.message import Accepted, Deferred, Rejected, Unknown
from tools.fuzz.carriers_under_test import CLIENT, carriers, delivery

_STATUSES: Final = (200, 201, 202, 204, 301, 400, 401, 403, 404, 422, 429, 500, 503)
_ANSWERS: Final[list[object]] = [
    {"status": "success", "sms": 5},
    {"data": {"id": "7", "errors": []}},
    {"errors": [{"code": "40300", "title": "Blocked"}]},
    {"sid": "SM1", "status": "queued", "error_code": None},
    {"code": 21610, "message": "unsubscribed"},
    {"messages": [{"status": "0", "message-id": "7"}]},
    {"RefId": "7", "Results": [{"Status": "SUCCESS"}]},
    {"message_uuid": ["u"]},
    {"id": "7", "segmentCount": 1},
]
_CALL: Final = delivery()


def seeds() -> list[bytes]:
    bodies = [json.dumps(one).encode() for one in _ANSWERS] + [b"Sending,L1 Send SMS to:5551234567; ID:0000006d", b""]
    return [bytes([number, at]) + body for number in range(len(carriers())) for body in bodies for at in (0, 5)]


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    status = _STATUSES[data[1] % len(_STATUSES)]
    body, _, after = data[2:].partition(b"\xff\xff")
    headers = {"retry-after": after.decode("latin-1")} if after else {}
    CLIENT.answer = HttpReply(status, headers, body)
    outcome = asyncio.run(carriers()[data[0] % len(carriers())].send(_CALL))
    assert isinstance(outcome, Accepted | Deferred | Rejected | Unknown)
    if isinstance(outcome, Accepted):
        assert isinstance(outcome.remote_id, str)
    else:
        assert outcome.reason.isprintable()
    if isinstance(outcome, Deferred) and outcome.retry is not None:
        assert 0 <= outcome.retry <= 7 * 86400
