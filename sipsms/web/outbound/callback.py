"""A DID's URL callback: a GET with the message filled into the customer's URL (S-040 to S-044).

The URL is text to us: values go in encoded, and whatever the customer has around them stays as it is, since receivers
take `;` as well as `&` and name their parameters as they like. A page that says `ok` has the message. With retry on,
any other answer means again in half an hour, until the delivery expires; the page gets the same {ID} each time.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

from sipsms.core import log
from sipsms.core.account import Callback, Did
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.http_client import HttpClient, HttpReply, NoAnswer, NotSent
from sipsms.core.message import Deferred, Delivered, Delivery, Media, Message, Outcome, Rejected
from sipsms.messaging.delivery_reports import DLR
from sipsms.web.outbound.concurrency import Busy, Endpoints, retry_after, told
from sipsms.web.outbound.webhook_payload import number_in

_ZONE: Final = ZoneInfo("America/New_York")  # the wall clock of VoIP.ms, whose callbacks these are
_PLACEHOLDER: Final = re.compile(r"\{(ID|TIMESTAMP|FROM|TO|MESSAGE|MEDIA)\}")
SOONEST: Final = 60.0  # seconds, whatever a page asks for
_BOM: Final = b"\xef\xbb\xbf"  # what some editors put before PHP

Disable = Callable[[str, str, str], Awaitable[None]]  # the DID's number, callback or webhook, why


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """Seconds; `dialing_mode` is for DIDs that say none."""

    timeout: float = 15.0
    retry_every: float = 1800.0
    dialing_mode: str = "nanpa"


class CallbackCourier:
    def __init__(
        self,
        client: HttpClient,
        did_of: Callable[[str], Did | None],
        media_url: Callable[[Media], str],
        options: Callable[[], CallbackOptions],
        disable: Disable,
        endpoints: Endpoints,
        clock: Clock,
    ) -> None:
        """`client` guards against addresses that it must not call; the rest is asked anew for each delivery."""
        self._client = client
        self._did_of = did_of
        self._media_url = media_url
        self._options = options
        self._disable = disable
        self._endpoints = endpoints
        self._clock = clock

    async def deliver(self, delivery: Delivery) -> Outcome:
        message = delivery.message
        if message.content_type == DLR:
            return await self._report(message.text)
        did = self._did_of(message.did)
        callback = did.callback if did is not None else None
        if did is None or callback is None or did.account != delivery.message.account:
            return Rejected(f"{message.did} has no callback any more")
        if callback.disabled:
            return Rejected(f"the callback of {message.did} is off: {callback.disabled}")
        options = self._options()
        values = fields(message, did.dialing_mode or options.dialing_mode, self._media_url)
        try:
            async with self._endpoints.turn(callback.url):
                url = fill(callback.url, values)
                reply = await self._client.request("GET", url, headers={}, timeout=options.timeout)
        except Busy as busy:
            return busy.outcome()
        except (NotSent, NoAnswer) as error:  # a refused address too: the operator may yet allow it, or the name change
            return _failed(callback, options, str(error))
        if reply.status == 410:
            return await self._gone(did.number)
        return self._judge(callback, options, reply)

    async def _report(self, url: str) -> Outcome:
        """What became of a message, to the URL that came with it; any 2xx is an answer."""
        options = self._options()
        try:
            async with self._endpoints.turn(url):
                reply = await self._client.request("GET", url, headers={}, timeout=options.timeout)
        except Busy as busy:
            return busy.outcome()
        except (NotSent, NoAnswer) as error:
            return Deferred(str(error), retry_after=options.retry_every, aside=True)
        if 200 <= reply.status < 300:
            return Delivered()
        if 400 <= reply.status < 500 and reply.status not in (408, 425, 429):
            return Rejected(told(reply))
        return Deferred(told(reply), retry_after=options.retry_every, aside=True)

    def _judge(self, callback: Callback, options: CallbackOptions, reply: HttpReply) -> Outcome:
        said_ok = reply.body.removeprefix(_BOM).strip().lower() == b"ok"
        if 200 <= reply.status < 300:
            if said_ok or not callback.retry:
                return Delivered()
            return _failed(callback, options, "the page did not say ok")
        asked = retry_after(reply, self._clock()) if reply.status in (429, 503) else 0.0
        return _failed(callback, options, told(reply), asked)

    async def _gone(self, number: str) -> Outcome:
        await switch_off(self._disable, number, "callback", "the server answered 410 Gone")
        return Rejected("the server answered 410: the callback is switched off", "410")


def _failed(callback: Callback, options: CallbackOptions, why: str, asked: float = 0.0) -> Outcome:
    """Without retry there was one try. With it, the page must know by {ID} what it has already."""
    if not callback.retry:
        return Rejected(why)
    return Deferred(why, retry_after=max(asked, SOONEST) if asked else options.retry_every, aside=True)


async def switch_off(disable: Disable, number: str, kind: str, why: str) -> None:
    try:
        await disable(number, kind, why)
    except Unavailable as error:  # the next answer of that sort comes with the next message
        log.warning("not_switched_off", did=number, kind=kind, why=str(error))


def fields(message: Message, mode: str, media_url: Callable[[Media], str]) -> dict[str, str]:
    """The values of the placeholders, not encoded. `mode`: nanpa or e164."""
    local = datetime.fromtimestamp(message.received_at, _ZONE)
    return {
        "ID": str(message.id),
        "TIMESTAMP": local.strftime("%Y-%m-%d %H:%M:%S"),
        "FROM": number_in(message.source, mode, "nanpa"),
        "TO": number_in(message.destination, mode, "nanpa"),
        "MESSAGE": message.text,
        "MEDIA": ",".join(filter(None, map(media_url, message.media))),
    }


def fill(url: str, values: Mapping[str, str]) -> str:
    """In one pass: a text that has {TO} in it stays a text."""
    return _PLACEHOLDER.sub(lambda match: quote_plus(values[match[1]], errors="replace"), url)
