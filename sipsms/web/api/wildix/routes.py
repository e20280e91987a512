"""`/api/v1/originate/sms`, also in the older spelling `/api/v1/orginate/sms` (S-159..S-165).

GET or POST; query, form or JSON; HTTP Basic of the sending account, with its phone's password or its API password. The
account's caller ID is the sender. The status is 200 except for 401, 403, 413, 429 and 503, because a dial plan reads
only the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sipsms.accounts.auth import Access, DenialCode, Denied
from sipsms.core.account import Account
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.order import File, Order, Sent
from sipsms.messaging.outbound import Outbound
from sipsms.web.api.wildix.format import MAX_NUMBERS, SUCCESS, as_curl_sends_it, error, moment, numbers_in, warning
from sipsms.web.json_response import Json
from sipsms.web.request import SMALL_BODY, BadRequest, Fields, address_of, basic_of, fields_of, route, text
from sipsms.web.response_ack import when_heard

PATHS: Final = ("/api/v1/originate/sms", "/api/v1/orginate/sms", "/api/v1/originate/sms/", "/api/v1/orginate/sms/")
_AT_ONCE: Final = 50
_OF_ALL: Final = {  # errors of the message and not of one number
    RefusalCode.EMPTY: "Message should not be empty",
    RefusalCode.TEXT: "Message has characters that cannot be sent",
    RefusalCode.NO_SOURCE: "No number to send from: set the caller ID of the user",
    RefusalCode.SOURCE: "The caller ID of the user is not an SMS-enabled number",
    RefusalCode.MEDIA: "Unable to get a file of media",
    RefusalCode.MEDIA_SIZE: "A file of media is too large",
    RefusalCode.MEDIA_COUNT: "Too many files in media",
}


class WildixApi:
    def __init__(
        self, access: Access, outbound: Outbound, clock: Clock, longest: Callable[[], int], zone: Callable[[], str]
    ) -> None:
        """`longest`: maximum characters of a message. `zone`: name of the time zone of `postpone`."""
        self._access = access
        self._outbound = outbound
        self._clock = clock
        self._longest = longest
        self._zone = zone

    def routes(self) -> list[Route]:
        return [route(path, self.handle) for path in PATHS]

    async def handle(self, request: Request) -> Response:
        try:
            account, _ = self._access.user(*basic_of(request), address_of(request), "originate")
            # Dial plans write a space after the comma of CURL(): it arrives in front of the first name (S-164).
            fields = {name.strip(): values for name, values in (await fields_of(request, limit=SMALL_BODY)).items()}
            reply, sent = await self._send(account, fields, request.headers.get("user-agent", ""))
        except Denied as denied:
            return _denied(denied)
        except BadRequest as bad:
            return Json(error(bad.reason), bad.status if bad.status == 413 else 200)
        except Unavailable:
            return Json(error("Try again later"), 503, {"Retry-After": "5"})
        when_heard(request, lambda: self._outbound.answered(*sent))
        return Json(reply)

    async def _send(self, account: Account, fields: Fields, agent: str) -> tuple[dict[str, Any], list[Sent]]:
        """Return the reply and the sent messages. Raises Unavailable if none could be stored."""
        numbers = numbers_in(text({"number": [one]}, "number") for one in fields.get("number", ()))
        message = as_curl_sends_it(text(fields, "message"), agent)
        if not numbers:
            return error("Number should not be empty"), []
        if len(numbers) > MAX_NUMBERS:
            return error(f"At most {MAX_NUMBERS} numbers at once"), []
        if len(message) > self._longest():
            return error(f"Message should have at most {self._longest()} characters"), []
        when = text(fields, "postpone")
        try:
            due_at = moment(when, ZoneInfo(self._zone()), self._clock())
        except ValueError as wrong:
            return error(str(wrong)), []
        media = [one for one in fields.get("media", ()) if one not in (None, "")]
        if not all(isinstance(one, str) for one in media):  # without its file the message must not be sent silently
            return error("Media should be a list of URLs"), []
        files = [File(url=one) for one in media]
        if files and len(numbers) > 1:
            found = await self._outbound.attachments.fetched(files, account.customer)  # fetched once for all numbers
            if isinstance(found, Refusal):
                return error(_OF_ALL[found.code]), []
            files = found
        orders = [
            Order(
                account, "", number, message, "originate", files, max_text=self._longest(), due_at=due_at, when=when,
                counted=True,
            )
            for number in numbers
        ]  # fmt: skip
        return await self._send_all(orders)

    async def _send_all(self, orders: list[Order]) -> tuple[dict[str, Any], list[Sent]]:
        """Return an error only if no message was accepted: a client would repeat the whole request."""
        sent: list[Sent] = []
        failures: list[tuple[str, Refusal | Unavailable]] = []
        for start in range(0, len(orders), _AT_ONCE):
            chunk = orders[start : start + _AT_ONCE]
            results = await asyncio.gather(*(self._outbound.send(one) for one in chunk), return_exceptions=True)
            for order, result in zip(chunk, results, strict=True):
                if isinstance(result, Sent):
                    sent.append(result)
                elif isinstance(result, (Refusal, Unavailable)):
                    failures.append((order.destination, result))
                else:
                    raise result
            if not sent and isinstance(failures[0][1], Unavailable):
                break  # the store cannot write now
        if sent:
            return (warning([number for number, _ in failures]) if failures else SUCCESS), sent
        first = failures[0][1]
        if isinstance(first, Unavailable):
            raise first
        if first.code in _OF_ALL:
            return error(_OF_ALL[first.code]), []
        return warning([order.destination for order in orders]), []


def _denied(denied: Denied) -> Response:
    if denied.code in (DenialCode.MISSING, DenialCode.WRONG):
        return Json(error("Authentication failed"), 401, {"WWW-Authenticate": 'Basic realm="sipsms"'})
    if denied.code is DenialCode.TOO_MANY:
        return Json(error("Too many requests"), 429, {"Retry-After": "60"})
    where = "a page of another site" if denied.code is DenialCode.PAGE else "this address"
    return Json(error(f"Not allowed from {where}"), 403)
