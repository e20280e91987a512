"""`/v2/messages`: sending, and the state of a message, for programs written for Telnyx (S-099..S-101).

3CX sends by it as a generic SMS provider.

    Authorization: Bearer TOKEN
    {"from": "+18005550199", "to": "+18005550100", "text": "...", "media_urls": ["https://..."]}

    200 {"data": {"id": "12", "record_type": "message", "to": [{"phone_number": ..., "status": "queued"}], ...,
                  "payload": {"id": "12"}}}

Later states go to the DID's webhook: message.sent, then message.finalized (`outbound.webhook_payload`). Errors have
Telnyx's form: {"errors": [{"code", "title", "detail", "source": {"pointer": "/to"}}]}.
https://developers.telnyx.com/api/messaging/send-message

    GET /v2/messages/ID    the same record with the present status: what Telnyx's SDK calls `messages.retrieve`
https://developers.telnyx.com/api/messaging/get-message
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sipsms.accounts.auth import Access, Caller, DenialCode, Denied
from sipsms.accounts.directory import Directory
from sipsms.core.account import Account
from sipsms.core.e164 import as_format, is_digits, normalise
from sipsms.core.errors import Unavailable
from sipsms.core.message import State
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.core.report_request import WebhookRequest
from sipsms.core.segmentation import encoding_of, segments
from sipsms.messaging.order import MAX_LONG, File, Order, Sent
from sipsms.messaging.outbound import Outbound, not_yours
from sipsms.store import message_list
from sipsms.store.store import Store
from sipsms.web.api.v1.permissions import Permissions
from sipsms.web.json_response import Json
from sipsms.web.request import SMALL_BODY, BadRequest, address_of, bearer_of, body_of, charset_of, json_object
from sipsms.web.response_ack import when_heard

# code -> HTTP status, Telnyx's code, title, invalid field
_REFUSED: Final[dict[RefusalCode, tuple[int, str, str, str]]] = {
    RefusalCode.NO_SOURCE: (422, "40305", "Invalid 'from' address", "from"),
    RefusalCode.SOURCE: (422, "40305", "Invalid 'from' address", "from"),
    RefusalCode.NO_DESTINATION: (422, "40310", "Invalid 'to' address", "to"),
    RefusalCode.DESTINATION: (422, "40310", "Invalid 'to' address", "to"),
    RefusalCode.EMPTY: (422, "40316", "No content provided", "text"),
    RefusalCode.TEXT: (422, "40304", "Invalid text", "text"),
    RefusalCode.TOO_LONG: (422, "40302", "Message too large", "text"),
    RefusalCode.LIMIT: (429, "40318", "Limit reached", ""),
    RefusalCode.BLOCKED: (422, "40300", "Blocked as per recipient's request", "to"),
    RefusalCode.POLICY: (422, "40002", "Blocked as spam", "text"),
    RefusalCode.BULK: (429, "40333", "Too many recipients", "to"),
    RefusalCode.NO_ROUTE: (422, "40309", "No route to this number", "to"),
    RefusalCode.NO_MMS: (422, "40319", "Not MMS-capable", "from"),
    RefusalCode.MEDIA: (422, "40321", "Invalid media", "media_urls"),
    RefusalCode.MEDIA_SIZE: (422, "40302", "Media too large", "media_urls"),
    RefusalCode.MEDIA_COUNT: (422, "40320", "Too many media", "media_urls"),
    RefusalCode.CONFLICT: (409, "10007", "Idempotency key in use", ""),
}
_DENIED: Final[dict[DenialCode, tuple[int, str]]] = {
    DenialCode.MISSING: (401, "Authentication failed"),
    DenialCode.WRONG: (401, "Authentication failed"),
    DenialCode.ADDRESS: (403, "Not allowed from this address"),
    DenialCode.TOO_MANY: (429, "Too many requests"),
}


_LONGEST_ID: Final = 18  # digits


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class TelnyxApi:
    def __init__(self, access: Access, directory: Directory, outbound: Outbound, store: Store) -> None:
        self._access = access
        self._directory = directory
        self._outbound = outbound
        self._store = store

    def routes(self) -> list[Route]:
        return [
            Route("/v2/messages", self.send, methods=["POST"]),
            Route("/v2/messages/{id}", self.retrieve, methods=["GET"]),
        ]

    async def retrieve(self, request: Request) -> Response:
        """Return a message with its present status. Another customer's is answered as if it did not exist."""
        try:
            caller = self._access.bearer(bearer_of(request), address_of(request), "v2")
            number, sees = request.path_params["id"], Permissions(caller, self._directory).sees
            known = is_digits(number) and len(number) <= _LONGEST_ID
            row = await self._store.read(lambda db: message_list.message(db, int(number), sees)) if known else None
        except Denied as denied:
            return _denied(denied)
        except Unavailable:
            return _error(503, "10011", "Try again later", "the store does not answer")
        return Json({"data": _record(row)}) if row else _error(404, "10005", "Resource not found", "no such message")

    async def send(self, request: Request) -> Response:
        try:
            caller = self._access.bearer(bearer_of(request), address_of(request), "v2")
            order = self._order(caller, json_object(await body_of(request, SMALL_BODY), charset_of(request)))
            sent = await self._outbound.send(order)
            if isinstance(sent, Refusal):
                raise _Refused(sent)
        except Denied as denied:
            return _denied(denied)
        except BadRequest as error:
            return _error(error.status, "10015", "Bad request", error.reason)
        except _Refused as refused:
            status, code, title, field = _REFUSED[refused.refusal.in_short]
            return _error(status, code, title, refused.refusal.reason, field)
        except Unavailable:
            return _error(503, "10011", "Try again later", "nothing was stored")
        when_heard(request, partial(self._outbound.answered, sent))
        return Json({"data": _data(sent, order)})

    def _order(self, caller: Caller, body: Mapping[str, Any]) -> Order:
        """Return the checked order. Raises BadRequest or _Refused."""
        source, text = _string(body, "from"), _string(body, "text")
        urls = body.get("media_urls") or []
        if not isinstance(urls, list) or not all(isinstance(one, str) for one in urls):
            raise _Refused(Refusal(RefusalCode.MEDIA, "media_urls is not a list of URLs"))
        if not source and body.get("messaging_profile_id") and caller.account is not None:
            account, source = caller.account, caller.did
        else:
            account = self._owner(caller, source)
        return Order(
            account, source, _one_number(body.get("to")), text, "v2", [File(url=one) for one in urls],
            max_text=MAX_LONG, counted=caller.account is not None, report=WebhookRequest(),
        )  # fmt: skip

    def _owner(self, caller: Caller, source: str) -> Account:
        """Return the customer that owns `source`, if the token permits it. Raises _Refused for all other numbers."""
        did = self._directory.did(normalise(source) or "")
        owner = self._directory.account(did.account) if did is not None else None
        if did is None or owner is None or not self._access.opens(caller, did):
            if not source:
                raise _Refused(Refusal(RefusalCode.NO_SOURCE, "no sender"))
            raise _Refused(not_yours(source))
        return owner


def _string(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadRequest(f"{name} is not a text")
    return value


def _one_number(value: Any) -> str:
    """Return the recipient. `to` is a number or a list with one number."""
    if isinstance(value, list):
        if len(value) > 1:
            raise _Refused(Refusal(RefusalCode.DESTINATION, "one recipient a message"))
        value = value[0] if value else ""
    if isinstance(value, dict):
        value = value.get("phone_number", "")
    return _string({"to": value}, "to")


def _data(sent: Sent, order: Order) -> dict[str, Any]:
    media = [{"url": one.url, "content_type": None} for one in order.files]
    now = datetime.now(UTC)
    return _shown("outbound", sent.message, sent.source, sent.destination, "queued", order.text, media, now)


# The field `status` of a recipient, as Telnyx documents it.
_STATUS: Final = {
    State.QUEUED: "queued", State.SENDING: "sending", State.ACCEPTED: "sent", State.DELIVERED: "delivered",
    State.UNKNOWN: "delivery_unconfirmed", State.FAILED: "sending_failed", State.EXPIRED: "expired",
}  # fmt: skip


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored message (see `store.message_list.message`)."""
    media = [{"url": one["url"], "content_type": one["content_type"]} for one in row["media"]]
    status = _STATUS[State(row["state"])]
    if status == "sending_failed" and row["carrier_id"]:  # a carrier had it
        status = "delivery_failed"
    direction = "inbound" if row["direction"] == "in" else "outbound"
    if direction == "inbound":
        status = "webhook_delivered"
    at = datetime.fromisoformat(row["created_at"])
    return _shown(direction, row["id"], row["from"], row["to"], status, row["text"], media, at)


def _shown(
    direction: str, number: int, source: str, to: str, status: str, text: str, media: list[dict[str, Any]],
    received_at: datetime,
) -> dict[str, Any]:  # fmt: skip
    return {
        "record_type": "message",
        "direction": direction,
        "id": str(number),
        "type": "MMS" if media else "SMS",
        "from": {"phone_number": as_format(source, "e164")},
        "to": [{"phone_number": as_format(to, "e164"), "status": status}],
        "text": text,
        "media": media,
        "encoding": "GSM-7" if encoding_of(text) == "gsm7" else "UCS-2",
        "parts": max(segments(text), 1),
        "received_at": received_at.strftime("%Y-%m-%dT%H:%M:%S.000+00:00"),
        "sent_at": None,
        "completed_at": None,
        "errors": [],
        "payload": {"id": str(number)},
    }


def _denied(denied: Denied) -> Response:
    status, title = _DENIED[denied.code]
    return _error(status, "10009" if status == 401 else "10010", title, denied.reason)


def _error(status: int, code: str, title: str, detail: str, field: str = "") -> Response:
    error: dict[str, Any] = {"code": code, "title": title, "detail": detail}
    if field:
        error["source"] = {"pointer": f"/{field}"}
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "60"}, 503: {"Retry-After": "5"}}
    return Json({"errors": [error]}, status, headers.get(status))
