"""URL callbacks of DIDs: a GET of the customer's URL with the message in it (S-040 to S-044).

The URL is treated as text: values are inserted encoded, and the rest stays as the customer wrote it, because receivers
use `;` as well as `&` and choose their own parameter names. An answer `ok` means delivered. With retry, any other
answer causes another call in half an hour, until the delivery expires; every call has the same {ID}.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

from sipsms.core import log
from sipsms.core.account import Callback, Did
from sipsms.core.clock import Clock
from sipsms.core.errors import Unavailable
from sipsms.core.http_client import HttpClient, HttpReply, NoAnswer, NotSent
from sipsms.core.message import Deferred, Delivered, Delivery, Media, Message, MessageKind, Outcome, Rejected, Scope
from sipsms.web.outbound.concurrency import BUSY, Busy, EndpointLimits, retry_after, told
from sipsms.web.outbound.webhook_payload import number_in
from sipsms.web.settings import CallbackSettings

_ZONE: Final = ZoneInfo("America/New_York")  # the clock of VoIP.ms, whose callbacks these imitate
_PLACEHOLDER: Final = re.compile(r"\{(ID|TIMESTAMP|FROM|TO|MESSAGE|MEDIA)\}")
SOONEST: Final = 60.0  # seconds; the shortest pause, whatever a page asks for
_BOM: Final = b"\xef\xbb\xbf"  # some editors write it in front of PHP

Disable = Callable[[str, str, str], Awaitable[None]]  # (number of the DID, callback or webhook, reason)


class CallbackCourier:
    def __init__(
        self,
        client: HttpClient,
        did_of: Callable[[str], Did | None],
        media_url: Callable[[Media], str],
        settings: Callable[[], CallbackSettings],
        disable: Disable,
        endpoints: EndpointLimits,
        clock: Clock,
    ) -> None:
        """`client` refuses forbidden addresses. DIDs and settings are read anew for each delivery."""
        self._client = client
        self._did_of = did_of
        self._media_url = media_url
        self._settings = settings
        self._disable = disable
        self._endpoints = endpoints
        self._clock = clock

    async def deliver(self, delivery: Delivery) -> Outcome:
        message = delivery.message
        if message.kind is MessageKind.DLR:
            return await self._report(message.text)
        did = self._did_of(message.did)
        callback = did.callback if did is not None else None
        if did is None or callback is None or did.account != delivery.message.account:
            return Rejected(f"{message.did} has no callback any more")
        if callback.disabled:
            return Rejected(f"the callback of {message.did} is off: {callback.disabled}")
        settings = self._settings()
        values = fields(message, did.dialing_mode or "nanpa", self._media_url)
        try:
            async with self._endpoints.turn(callback.url):
                url = fill(callback.url, values)
                reply = await self._client.request("GET", url, headers={}, timeout=settings.timeout)
        except Busy:
            return BUSY
        # includes refused addresses: the operator may allow the address, or the name may change
        except (NotSent, NoAnswer) as error:
            return _failed(callback, settings, str(error))
        if reply.status == 410:
            return await self._gone(did.number)
        return self._judge(callback, settings, reply)

    async def _report(self, url: str) -> Outcome:
        """Send a delivery report to the URL that was given with the message; any 2xx means delivered."""
        settings = self._settings()
        try:
            async with self._endpoints.turn(url):
                reply = await self._client.request("GET", url, headers={}, timeout=settings.timeout)
        except Busy:
            return BUSY
        except (NotSent, NoAnswer) as error:
            return Deferred(str(error), retry=settings.retry_every, scope=Scope.MESSAGE)
        if 200 <= reply.status < 300:
            return Delivered()
        if 400 <= reply.status < 500 and reply.status not in (408, 425, 429):
            return Rejected(told(reply))
        return Deferred(told(reply), retry=settings.retry_every, scope=Scope.MESSAGE)

    def _judge(self, callback: Callback, settings: CallbackSettings, reply: HttpReply) -> Outcome:
        said_ok = reply.body.removeprefix(_BOM).strip().lower() == b"ok"
        if 200 <= reply.status < 300:
            if said_ok or not callback.retry:
                return Delivered()
            return _failed(callback, settings, "the page did not say ok")
        asked = retry_after(reply, self._clock()) if reply.status in (429, 503) else 0.0
        return _failed(callback, settings, told(reply), asked)

    async def _gone(self, number: str) -> Outcome:
        await switch_off(self._disable, number, "callback", "the server answered 410 Gone")
        return Rejected("the server answered 410: the callback is switched off", "410")


def _failed(callback: Callback, settings: CallbackSettings, why: str, asked: float = 0.0) -> Outcome:
    """Return the outcome of a failed call: refused without retry, else deferred."""
    if not callback.retry:
        return Rejected(why)
    return Deferred(why, retry=max(asked, SOONEST) if asked else settings.retry_every, scope=Scope.MESSAGE)


async def switch_off(disable: Disable, number: str, kind: str, why: str) -> None:
    try:
        await disable(number, kind, why)
    except Unavailable as error:  # the next message will try again to switch it off
        log.warning("not_switched_off", did=number, kind=kind, why=str(error))


def fields(message: Message, mode: str, media_url: Callable[[Media], str]) -> dict[str, str]:
    """Return the unencoded values of the placeholders. `mode`: nanpa or e164."""
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
    """Replace all placeholders in one pass, so that a {TO} inside a text stays text."""
    return _PLACEHOLDER.sub(lambda match: quote_plus(values[match[1]], errors="replace"), url)
