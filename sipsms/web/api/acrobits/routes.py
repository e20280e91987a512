"""Acrobits' web services for messages.

Paths: /acrobits/send, /acrobits/fetch, /acrobits/push, /acrobits/balance.

A caller needs an account's credentials: in the fields (username or from, and password) or as HTTP Basic. Names of
fields are those of doc.acrobits.net and of URL templates in use. Answers are JSON, or XML for `format=xml` or an Accept
header with XML; errors are {"message": "..."} with a status of 4xx.

With `account set NAME --app-messages`, incoming messages wait until the app fetches them and are not sent to the
account's phones by SIP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sipsms.accounts.auth import Access, DenialCode, Denied, User
from sipsms.accounts.directory import Directory
from sipsms.core.account import Account
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.message import Media
from sipsms.core.queue_rows import PushToken
from sipsms.core.refusal import RefusalCode
from sipsms.messaging.media import MediaRefused
from sipsms.messaging.order import MAX_LONG, Fetch, File, Order
from sipsms.messaging.outbound import Outbound
from sipsms.web.api.acrobits import format as acrobits
from sipsms.web.api.acrobits.inbox import Inbox
from sipsms.web.api.multi_recipient import send_all
from sipsms.web.json_response import Json
from sipsms.web.request import BadRequest, Fields, address_of, basic_of, fields_of, route, text
from sipsms.web.response_ack import when_heard

MAX_BODY: Final = 64 * 1024
AT_ONCE: Final = 100  # messages in one answer
HISTORY: Final = 30 * 86400.0  # seconds of history for an app that asks without an id
_DIDS: Final = 100
_STATUS: Final = {RefusalCode.LIMIT: 429, RefusalCode.BULK: 429, RefusalCode.BLOCKED: 403, RefusalCode.POLICY: 403}


class AcrobitsApi:
    def __init__(
        self, access: Access, directory: Directory, outbound: Outbound, fetch: Fetch, inbox: Inbox,
        media_url: Callable[[Media], str], clock: Clock,
    ) -> None:  # fmt: skip
        self._access = access
        self._directory = directory
        self._outbound = outbound
        self._fetch = fetch
        self._inbox = inbox
        self._media_url = media_url
        self._clock = clock

    def routes(self) -> list[Route]:
        routes = {"send": self._send, "fetch": self._fetch_messages, "push": self._push, "balance": self._balance}
        return [route(f"/acrobits/{name}", self._guarded(handler)) for name, handler in routes.items()]

    def _guarded(
        self, handler: Callable[[Request, User, Fields], Awaitable[dict[str, Any]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            fields: Fields = {}
            try:
                fields = await fields_of(request, limit=MAX_BODY)
                user, password = basic_of(request)
                user = user or text(fields, "username", "from", "user", "account")
                password = password or text(fields, "password", "pass")
                who = self._access.user(user, password, address_of(request), "acrobits")
                return _answer(request, fields, 200, await handler(request, who, fields))
            except Denied as denied:
                status = {DenialCode.TOO_MANY: 429, DenialCode.ADDRESS: 403, DenialCode.PAGE: 403}.get(denied.code, 401)
                return _answer(request, fields, status, {"message": denied.reason})
            except BadRequest as bad:
                return _answer(request, fields, bad.status, {"message": bad.reason})
            except Unavailable:
                return _answer(request, fields, 503, {"message": "try again later"})

        return handle

    # --- send ---

    async def _send(self, request: Request, who: User, fields: Fields) -> dict[str, Any]:
        """Send a message. It counts against the daily limit only if sent with the API password."""
        kind = text(fields, "content_type", "contentType").partition(";")[0].strip().lower()
        if kind == acrobits.NOTICE:
            return {"sms_id": "0"}  # the telephone network has no such notifications
        if kind not in ("", "text/plain", acrobits.FILES):
            raise BadRequest(f"{kind[:64]} is not sent", 415)
        body = text(fields, "sms_body", "body", "message", "text")
        try:
            to = acrobits.recipients(text({"to": [one]}, "to") for one in _values(fields, "sms_to", "to"))
            body, files = await self._files(who.account, body) if kind == acrobits.FILES else (body, [])
        except (acrobits.Malformed, MediaRefused) as wrong:
            raise BadRequest(str(wrong)) from None
        orders = [
            Order(who.account, "", number, body, "acrobits", files, max_text=MAX_LONG, counted=not who.is_phone)
            for number in to or [""]
        ]
        sent, refused, failed = await send_all(self._outbound, orders)
        if not sent:
            first = refused[0][1]
            raise BadRequest(first.reason, _STATUS.get(first.code, 400))
        when_heard(request, lambda: self._outbound.answered(*sent))
        answer: dict[str, Any] = {"sms_id": str(acrobits.sent_id(sent[0].message))}
        reasons = [one.reason for _, one in refused] + [
            f"{number[:32]}: not sent, try again later" for number in failed
        ]
        return {**answer, "message": "; ".join(reasons)} if reasons else answer

    async def _files(self, account: Account, body: str) -> tuple[str, list[File]]:
        """Return the caption and the files, which apps may store encrypted at Acrobits' own server."""
        caption, listed = acrobits.attachments(body)
        if len(listed) > 3:
            raise acrobits.Malformed("at most 3 files")
        files = []
        for one in listed:
            data, name = await self._fetch(one.url, account.customer)
            files.append(File(acrobits.decrypted(data, one), name=one.name or name))
        return caption, files

    # --- fetch ---

    async def _fetch_messages(self, request: Request, who: User, fields: Fields) -> dict[str, Any]:
        account = who.account
        if not account.app_messages:
            raise BadRequest("its messages go to its phones by SIP: account set --app-messages", 403)
        since, url = self._clock() - HISTORY, self._media_url
        last, last_sent = (_id(fields, *names) // 2 for names in (_LAST, _LAST_SENT))
        received = await self._inbox.received(account, last, since, AT_ONCE)
        dids = [did.number for did in self._directory.dids_of(account.customer)][:_DIDS]
        sent = await self._inbox.sent(account, dids, last_sent, since, AT_ONCE)
        answer = {
            "date": acrobits.moment(self._clock()),
            "received_smss": [acrobits.row(acrobits.received_id(id_), one, url) for id_, one in received],
            "sent_smss": [acrobits.row(acrobits.sent_id(one.id), one, url) for one in sent],
        }
        if received and not await request.is_disconnected():
            await self._inbox.fetched(account.name, received)
        return answer

    async def _push(self, request: Request, who: User, fields: Fields) -> dict[str, Any]:
        one = PushToken(
            text(fields, "selector") or who.account.name, text(fields, "appid_msgs", "pushappid", "app_id"),
            text(fields, "token_msgs", "pushToken", "push_token", "token"),
        )  # fmt: skip
        if len(one.selector) > 255 or len(one.app) > 255 or len(one.token) > 1024 or (one.token and not one.app):
            raise BadRequest("selector, token_msgs and appid_msgs are wanted")
        if any("\0" in value or not value.isprintable() for value in one):
            raise BadRequest("a control character")
        await self._inbox.report_token(who.account.name, one)
        return {"message": "ok"}

    async def _balance(self, request: Request, who: User, fields: Fields) -> dict[str, Any]:
        """Return an unlimited balance: sipsms charges nothing and limits no messages from phones."""
        return {"balanceString": "unlimited", "balance": 0, "currency": ""}


_LAST: Final = ("last_id", "last_known_sms_id", "last_sms_id")
_LAST_SENT: Final = ("last_sent_id", "last_known_sent_sms_id", "last_sent_sms_id")


def _values(fields: Fields, *names: str) -> list[Any]:
    return next((fields[name] for name in names if fields.get(name)), [])


def _id(fields: Fields, *names: str) -> int:
    value = text(fields, *names).strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else 0


def _answer(request: Request, fields: Fields, status: int, body: dict[str, Any]) -> Response:
    headers = {429: {"Retry-After": "60"}, 503: {"Retry-After": "5"}}.get(status)
    if text(fields, "format") == "xml" or "xml" in request.headers.get("accept", "").partition(",")[0]:
        error = 0 if status == 200 else status  # what apps look at (doc.acrobits.net, web service for SMS)
        return Response(acrobits.as_xml({"error": error, **body}), status, headers, "application/xml")
    return Json(body, status, headers)
