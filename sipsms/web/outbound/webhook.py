"""JSON webhooks of DIDs (S-045): a POST for each message, signed if the DID has a secret.

Ten attempts in 76 hours, as Standard Webhooks suggests; any 2xx ends them. `webhook-id` is the same for all attempts,
so that a receiver whose answer was lost can detect the duplicate. An answer 410 switches the webhook off. So does a
message that fails for good if no message was delivered since it arrived.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from sipsms.core.account import Did, Webhook
from sipsms.core.clock import Clock
from sipsms.core.http_client import HttpClient, HttpReply, NoAnswer, NotSent
from sipsms.core.message import Deferred, Delivered, Delivery, Media, Outcome, Rejected, Scope
from sipsms.web.outbound.callback import Disable, switch_off
from sipsms.web.outbound.concurrency import BUSY, Busy, EndpointLimits, retry_after, told
from sipsms.web.outbound.webhook_payload import encode, received, signed_headers, status
from sipsms.web.settings import CallbackSettings

_H: Final = 3600.0
# seconds after the 1st, 2nd, ... attempt
PAUSES: Final = (5.0, 300.0, 1800.0, 2 * _H, 5 * _H, 10 * _H, 14 * _H, 20 * _H, 24 * _H)
TRIES: Final = len(PAUSES) + 1
JITTER: Final = 0.2
_REMEMBERED: Final = 100_000  # DIDs whose last delivered message is remembered
_WATCHED: Final = 20 * _H  # seconds; after a shorter time since the start we cannot say that no message is delivered


class WebhookCourier:
    def __init__(
        self,
        client: HttpClient,
        did_of: Callable[[str], Did | None],
        media_url: Callable[[Media], str],
        disable: Disable,
        endpoints: EndpointLimits,
        clock: Clock,
        settings: Callable[[], CallbackSettings] = CallbackSettings,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._did_of = did_of
        self._media_url = media_url
        self._disable = disable
        self._endpoints = endpoints
        self._clock = clock
        self._settings = settings
        self._jitter = jitter
        self._since = clock()
        self._worked_at: dict[str, float] = {}  # DID -> time of the last delivered message, in order of time

    async def deliver(self, delivery: Delivery) -> Outcome:
        did = self._did_of(delivery.message.did)
        webhook = did.webhook if did is not None else None
        if did is None or webhook is None or did.account != delivery.message.account:
            return Rejected(f"{delivery.message.did} has no webhook any more")
        if webhook.disabled:
            return Rejected(f"the webhook of {did.number} is off: {webhook.disabled}")
        body = self._body(delivery, did)
        try:
            async with self._endpoints.turn(webhook.url):
                headers = _headers(webhook, delivery, body, self._clock())
                reply = await self._client.request(
                    "POST", webhook.url, headers=headers, body=body, timeout=self._settings().timeout
                )
        except Busy:
            return BUSY
        except (NotSent, NoAnswer) as error:
            return await self._again(delivery, did.number, str(error))
        return await self._judge(delivery, did.number, reply)

    async def _judge(self, delivery: Delivery, number: str, reply: HttpReply) -> Outcome:
        if 200 <= reply.status < 300:
            self._note_worked(number)
            return Delivered()
        if reply.status == 410:
            await switch_off(self._disable, number, "webhook", "the server answered 410 Gone")
            return Rejected("the server answered 410: the webhook is switched off", "410")
        asked = retry_after(reply, self._clock()) if reply.status in (429, 503) else 0.0
        return await self._again(delivery, number, told(reply), asked)

    async def _again(self, delivery: Delivery, number: str, why: str, asked: float = 0.0) -> Outcome:
        tries = max(1, delivery.attempts)
        if tries < TRIES:
            pause = PAUSES[tries - 1] * (1 - JITTER + 2 * JITTER * self._jitter())
            return Deferred(why, retry=max(pause, asked), scope=Scope.MESSAGE)
        if self._is_dead(delivery, number):
            await switch_off(self._disable, number, "webhook", f"nothing got through in {TRIES} tries: {why}")
        return Rejected(f"gave up after {tries} tries: {why}")

    def _note_worked(self, number: str) -> None:
        self._worked_at.pop(number, None)
        self._worked_at[number] = self._clock()
        if len(self._worked_at) > _REMEMBERED:
            del self._worked_at[next(iter(self._worked_at))]

    def _is_dead(self, delivery: Delivery, number: str) -> bool:
        watched = self._clock() - self._since >= _WATCHED
        return watched and self._worked_at.get(number, 0.0) < delivery.created_at

    def _body(self, delivery: Delivery, did: Did) -> bytes:
        if delivery.message.kind:
            return encode(status(delivery.message.text, delivery.id, did.dialing_mode))
        media = [(url, one.content_type) for one in delivery.message.media if (url := self._media_url(one))]
        return encode(received(delivery.message, media, did.dialing_mode))


def _headers(webhook: Webhook, delivery: Delivery, body: bytes, now: float) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if webhook.bearer:
        headers["Authorization"] = f"Bearer {webhook.bearer}"
    if webhook.secret:
        headers.update(signed_headers(webhook.secret, f"msg_{delivery.id}", now, body))
    return headers
