"""`/cgi-bin/sendsms` as in Kannel's smsbox, because many tools can send by it.

    GET /cgi-bin/sendsms?username=desk&password=...&from=5550001111&to=5551234567&text=hello
    202 0: Accepted for delivery

`username` is an account or subaccount; `password` is its phone's password or its API password. Delivery reports
(dlr-mask, dlr-url) are sent as Kannel sends them. Several receivers are separated by spaces. The request is accepted if
at least one receiver is; the answer names the rejected receivers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sipsms.accounts.auth import Access, DenialCode, Denied
from sipsms.core.account import Account
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import RefusalCode
from sipsms.core.report_request import MAX_URL, UrlRequest
from sipsms.core.ssrf import check_url
from sipsms.messaging.order import MAX_LONG, Order
from sipsms.messaging.outbound import Outbound
from sipsms.web.api.kannel import format as kannel
from sipsms.web.api.multi_recipient import Result, send_all
from sipsms.web.request import SMALL_BODY, BadRequest, address_of, body_of, charset_of, route
from sipsms.web.response_ack import when_heard

PATHS: Final = ("/cgi-bin/sendsms", "/sendsms")
_ANSWERS: Final = {
    RefusalCode.NO_SOURCE: "Outbound missing and no global set, rejected",
    RefusalCode.SOURCE: "Outbound is not a number of this account, rejected",
    RefusalCode.DESTINATION: "Number(s) has/have been denied by white- and/or black-lists.",
    RefusalCode.BLOCKED: "Number(s) has/have been denied by white- and/or black-lists.",
    RefusalCode.EMPTY: "Empty text not allowed, rejected",
}


class KannelApi:
    def __init__(self, access: Access, outbound: Outbound, clock: Clock, allow_private: Callable[[], bool]) -> None:
        """`allow_private` returns whether a dlr-url may lead to a private address."""
        self._access = access
        self._outbound = outbound
        self._clock = clock
        self._allow_private = allow_private

    def routes(self) -> list[Route]:
        return [route(path, self.handle) for path in PATHS]

    async def handle(self, request: Request) -> Response:
        try:
            found = await _parameters(request)
            account, _ = self._access.user(*kannel.credentials(found), address_of(request), "sendsms")
            orders = self._orders(account, kannel.read(found))
            result = await send_all(self._outbound, orders)
        except Denied as denied:
            if denied.code is DenialCode.TOO_MANY:
                return PlainTextResponse("Temporal failure, try again later.", 429, {"Retry-After": "60"})
            return PlainTextResponse("Authorization failed for sendsms", 403)
        except (BadRequest, ValueError) as bad:
            return PlainTextResponse("The request cannot be read, rejected", getattr(bad, "status", 400))
        except kannel.Rejected as rejected:
            return PlainTextResponse(str(rejected), 400)
        except Unavailable:
            return PlainTextResponse("Temporal failure, try again later.", 503, {"Retry-After": "5"})
        when_heard(request, lambda: self._outbound.answered(*result.sent))
        return _answer(result, later=bool(orders[0].due_at))

    def _orders(self, account: Account, asked: kannel.Request) -> list[Order]:
        """Return one order per receiver. Raises Rejected."""
        if asked.url and (why := check_url(asked.url, self._allow_private(), MAX_URL)):
            raise kannel.Rejected(f"Invalid dlr-url ({why}), rejected")
        now = self._clock()
        due_at = now + asked.deferred * 60 if asked.deferred else None
        expires_at = (due_at or now) + asked.validity * 60 if asked.validity else None
        report = UrlRequest(asked.mask, asked.url) if asked.mask else None
        return [
            Order(
                account, asked.source, number, asked.text, "sendsms", max_text=MAX_LONG, due_at=due_at,
                when=f"{asked.deferred} {asked.validity}" if asked.deferred else "", report=report,
                expires_at=expires_at, counted=True,
            )
            for number in asked.numbers
        ]  # fmt: skip


async def _parameters(request: Request) -> dict[str, str]:
    """Return the parameters of a GET or POST. Raises BadRequest or ValueError."""
    query = request.scope["query_string"].decode("latin-1")
    if request.method != "POST":
        return kannel.parameters(query)
    body = (await body_of(request, SMALL_BODY)).decode("latin-1")
    kind, _ = parse_options_header(request.headers.get("content-type"))
    charset = charset_of(request)
    if kind == b"text/plain":
        return kannel.with_text(query, body, charset)
    found = kannel.parameters(query, body)
    return found if found.get("coding") == "2" else {"charset": charset, **found}


def _answer(result: Result, *, later: bool) -> Response:
    if not result.sent:
        refused = result.refused[0][1]
        status = 429 if refused.code is RefusalCode.LIMIT else 400
        return PlainTextResponse(_ANSWERS.get(refused.in_short, f"{refused.reason}, rejected"), status)
    text = kannel.QUEUED if later else kannel.ACCEPTED
    if result.others:
        text += "\nDenied receivers are: " + " ".join(number[:32] for number in result.others)
    return PlainTextResponse(text, 202)
