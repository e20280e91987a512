"""Listener for carriers' webhooks: /hooks/<carrier>/<secret>.

The secret is the only protection for a carrier that signs nothing. It is compared in constant time, and a wrong secret
gets the same answer as an unknown carrier. The answer is sent after the commit. A message id that a carrier sends twice
is one message.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sipsms.core import log
from sipsms.core.charset import callback_form
from sipsms.core.clock import Clock
from sipsms.core.courier_id import CourierId, hook_origin
from sipsms.core.errors import Unavailable
from sipsms.core.refusal import Refusal
from sipsms.messaging.carrier import Carrier, HookError, HookRequest, InboundSms, Parsed
from sipsms.messaging.inbound import Inbound, sms_key
from sipsms.messaging.reporter import Reporter
from sipsms.web.request import BadRequest, body_of

MAX_BODY = 256 * 1024


class Hooks:
    def __init__(
        self, inbound: Inbound, reporter: Reporter, carriers: Mapping[str, Carrier], base_url: Callable[[], str],
        wall_clock: Clock,
    ) -> None:  # fmt: skip
        """`base_url`: our URL as carriers call it, because some sign it. `wall_clock`: the real time, for signed
        timestamps."""
        self._inbound = inbound
        self._reporter = reporter
        self.carriers = carriers
        self._base_url = base_url
        self._wall_clock = wall_clock

    async def handle(self, request: Request) -> Response:
        carrier = self._carrier(request.path_params["carrier"], request.path_params["secret"])
        if carrier is None:
            return _problem(404, "no such hook")
        try:
            body = await body_of(request, MAX_BODY)
        except BadRequest as bad:
            return _problem(bad.status, bad.reason)
        headers = {name.lower(): value for name, value in request.headers.items()}
        hook = HookRequest(
            request.method,
            dict(callback_form(request.scope["query_string"])),
            headers,
            body,
            self._url(request),
            self._wall_clock(),
        )
        try:
            parsed = carrier.parse(hook)
            await self._take_all(carrier, parsed)
        except HookError as error:
            log.warning("hook_refused", carrier=carrier.name, status=error.status, why=error.reason)
            return _problem(error.status, error.reason)
        except Unavailable:
            return Response("the store cannot write now\n", 503, {"Retry-After": "5"}, "text/plain")
        return Response(parsed.reply.body, parsed.reply.status, media_type=parsed.reply.content_type)

    def _url(self, request: Request) -> str:
        """Return the URL as the carrier called it, before any proxy."""
        query = f"?{request.url.query}" if request.url.query else ""
        return f"{self._base_url()}{request.scope.get('raw_path', b'').decode('ascii', 'replace')}{query}"

    def _carrier(self, name: str, secret: str) -> Carrier | None:
        carrier = self.carriers.get(name)
        expected = carrier.secret if carrier is not None else ""
        matches = hmac.compare_digest(expected.encode(), secret.encode("utf-8", "replace"))
        return carrier if matches and expected else None

    async def _take_all(self, carrier: Carrier, parsed: Parsed) -> None:
        """Store all valid messages and receipts. Raises Unavailable, and HookError if the only entry is invalid."""
        wrong: HookError | None = None
        for sms in parsed.messages:
            try:
                await self._take(carrier, sms)
            except HookError as error:
                wrong = error
                log.warning("hook_refused", carrier=carrier.name, status=error.status, why=error.reason)
        for receipt in parsed.receipts:
            await self._reporter.receipt(CourierId.of_carrier(carrier.name), receipt)
        if wrong is not None and len(parsed.messages) + len(parsed.receipts) == 1:
            raise wrong

    async def _take(self, carrier: Carrier, sms: InboundSms) -> None:
        result = await self._inbound.receive(sms, hook_origin(carrier.name), sms_key(carrier.name, sms))
        if result is None:
            raise HookError(404, f"{sms.destination[:32]} is not a number of this server")
        if isinstance(result, Refusal):
            raise HookError(422, result.reason)


def _problem(status: int, why: str) -> Response:
    return PlainTextResponse(f"{why}\n", status_code=status)
