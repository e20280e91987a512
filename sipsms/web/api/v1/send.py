"""POST /v1/messages, the hot path: the body is validated once, here and not by the framework."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from sipsms.core.account import Account
from sipsms.core.e164 import normalise
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.report_request import WebhookRequest
from sipsms.core.segmentation import encoding_of, segments
from sipsms.messaging.order import File, Order
from sipsms.messaging.outbound import not_yours
from sipsms.web.api.v1.dependencies import Services
from sipsms.web.api.v1.middleware import ORIGIN
from sipsms.web.api.v1.permissions import ALL, Permissions, reach_of
from sipsms.web.api.v1.problems import Problem, wrong
from sipsms.web.api.v1.schemas import MediaGiven, MessageGiven
from sipsms.web.response_ack import when_heard

_BODY: Final = TypeAdapter(MessageGiven)
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_YEAR: Final = 366 * 86400.0
_DAY: Final = 86400

# Codes of refusals -> HTTP status, invalid field.
_REFUSALS: Final = {
    RefusalCode.NO_SOURCE: (422, "from"),
    RefusalCode.SOURCE: (422, "from"),
    RefusalCode.NO_DESTINATION: (422, "to"),
    RefusalCode.DESTINATION: (422, "to"),
    RefusalCode.EMPTY: (422, "text"),
    RefusalCode.TEXT: (422, "text"),
    RefusalCode.TOO_LONG: (422, "text"),
    RefusalCode.LIMIT: (429, ""),
    RefusalCode.BLOCKED: (422, "to"),
    RefusalCode.POLICY: (422, "text"),
    RefusalCode.BULK: (422, "text"),
    RefusalCode.NO_ROUTE: (422, "to"),
    RefusalCode.NO_MMS: (422, "media"),
    RefusalCode.MEDIA: (422, "media"),
    RefusalCode.MEDIA_SIZE: (422, "media"),
    RefusalCode.MEDIA_COUNT: (422, "media"),
    RefusalCode.CONFLICT: (409, "Idempotency-Key"),
}


async def send(parts: Services, request: Request) -> Response:
    """Store a message durably, then answer. Raises Problem or Unavailable."""
    reach = reach_of(request).need(ALL)
    given = _read(request.scope["sipsms.body"])
    account = _sender(parts, reach, given)
    order = Order(
        account, given.from_ or reach.caller.did, given.to, given.text, ORIGIN,
        files=[_file(one, index) for index, one in enumerate(given.media)],
        max_text=parts.max_text(), due_at=_due(given.send_at, parts.clock()), when=str(given.send_at or ""),
        idempotency=_key(request),
        counted=not reach.is_operator, report=_report(parts, account, given),
    )  # fmt: skip
    sent = await parts.messaging.outbound.send(order)
    if isinstance(sent, Refusal):
        raise refused(sent, parts.clock())
    when_heard(request, lambda: parts.messaging.outbound.answered(sent))
    body = {
        "id": sent.message, "state": "accepted", "from": sent.source, "to": sent.destination,
        "encoding": encoding_of(given.text), "segments": segments(given.text),
    }  # fmt: skip
    location = f"{request.scope.get('root_path', '')}/messages/{sent.message}"
    return Response(json.dumps(body), 202, {"Location": location}, "application/json")


def _read(body: bytes) -> MessageGiven:
    try:
        return _BODY.validate_json(body)
    except ValidationError as error:
        raise unreadable(error.errors(include_url=False, include_context=False, include_input=False)) from None


def unreadable(errors: list[Any]) -> Problem:
    """Return a problem with pydantic's errors, without the values of the body."""
    found = [(".".join(map(str, one["loc"])) or "body", one["msg"]) for one in errors[:20]]
    return Problem(422, "invalid", f"{found[0][0]}: {found[0][1]}", found)


def refused(refusal: Refusal, now: float) -> Problem:
    code, reason = refusal.in_short, refusal.reason
    status, field = _REFUSALS[code]
    headers = {"Retry-After": str(_DAY - int(now % _DAY))} if status == 429 else {}
    return Problem(status, code.replace("_", "-"), reason, [(field, reason)] if field else (), headers)


def _sender(parts: Services, reach: Permissions, given: MessageGiven) -> Account:
    """Return the account that sends. Raises one Problem for all numbers that are not its own."""
    if given.account:
        account = parts.directory.account(given.account)
        if account is None or not reach.has_account(account):
            raise wrong("account", "there is no such account")
        return account
    if reach.caller.did and normalise(given.from_ or reach.caller.did) != reach.caller.did:
        raise _not_yours(given.from_)
    if reach.caller.account is not None and not given.from_:
        return reach.caller.account
    did = parts.directory.did(normalise(given.from_) or "")
    if did is None or not reach.has_did(did):
        raise _not_yours(given.from_)
    owner = parts.directory.account(did.account)
    if owner is None:
        raise _not_yours(given.from_)
    return owner


def _report(parts: Services, account: Account, given: MessageGiven) -> WebhookRequest | None:
    """Return a request for a report, unless the number has no webhook to receive it: reports cost work."""
    chosen_later = account.reply_from_thread and not given.from_
    did = None if chosen_later else parts.directory.did(normalise(given.from_ or account.caller_id) or "")
    return WebhookRequest() if did is None or did.webhook is not None else None


def _not_yours(number: str) -> Problem:
    if not number:
        return wrong("from", "name one of the numbers", "no-source")
    return wrong("from", not_yours(number).reason, "source")


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key")
    if key is None:
        return ""
    if not _KEY.fullmatch(key):
        raise wrong("Idempotency-Key", "1 to 255 visible ASCII characters")
    return key


def _file(given: MediaGiven, index: int) -> File:
    field = f"media.{index}"
    if bool(given.url) == bool(given.data):
        raise wrong(field, "either url or data", "media")
    if given.url:
        return File(url=given.url, name=given.name)
    try:
        return File(base64.b64decode(given.data, validate=True), name=given.name)
    except (binascii.Error, ValueError):
        raise wrong(f"{field}.data", "this is not base64", "media") from None


def seconds(text: str, field: str) -> float:
    """Return an RFC 3339 time in seconds since the epoch. Raises Problem."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise wrong(field, "there is no such time") from None


def _due(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    due = seconds(text, "send_at")
    if due > now + _YEAR:
        raise wrong("send_at", "at most a year from now")
    return due if due > now else None
