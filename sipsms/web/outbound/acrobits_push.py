"""Messages for accounts whose app fetches them: the messages wait, and a push wakes the app.

Acrobits' gateway learns that there is something to fetch, never the content
(https://doc.acrobits.net/api/server/http_push.html). A failed push is tried a few times more. Without a push the app
finds its messages when it is opened.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sipsms.core.errors import Unavailable
from sipsms.core.http_client import HttpClient, NoAnswer, NotSent
from sipsms.core.message import EVENT, Deferred, Delivered, Delivery, Outcome, Scope
from sipsms.core.queue_rows import PushToken
from sipsms.web.outbound.concurrency import told

TRIES: Final = 5
PAUSE: Final = 60.0  # seconds
TIMEOUT: Final = 10.0
_REMEMBERED: Final = 10_000
WAITS: Final = Deferred("waits for the app to fetch it", retry=EVENT, scope=Scope.MESSAGE)

TokensOf = Callable[[str], Awaitable[Sequence[PushToken]]]


class AppCourier:
    def __init__(self, client: HttpClient, tokens_of: TokensOf, url: Callable[[], str | None]) -> None:
        """Store the services. `url`: the push gateway; None to send no push."""
        self._client = client
        self._tokens_of = tokens_of
        self._url = url
        self._taken: dict[int, None] = {}  # fetched deliveries, perhaps during their push

    def taken(self, deliveries: Sequence[int]) -> None:
        """Remember deliveries that an app has fetched."""
        self._taken.update(dict.fromkeys(deliveries))
        while len(self._taken) > _REMEMBERED:
            del self._taken[next(iter(self._taken))]

    async def deliver(self, delivery: Delivery) -> Outcome:
        why = await self._push(delivery.destination)
        if delivery.id in self._taken:
            del self._taken[delivery.id]
            return Delivered("fetched")
        if why and delivery.attempts < TRIES:
            return Deferred(why, retry=PAUSE, scope=Scope.MESSAGE)
        return WAITS

    async def _push(self, account: str) -> str:
        """Wake the account's apps. Return the error; empty on success or if there is no app to wake."""
        url = self._url()
        if url is None:
            return ""
        try:
            tokens = await self._tokens_of(account)
        except Unavailable as error:
            return f"store: {error}"
        failures = [why for one in tokens if (why := await self._wake(url, one))]
        return failures[0] if failures and len(failures) == len(tokens) else ""

    async def _wake(self, url: str, one: PushToken) -> str:
        body = {"verb": "NotifyTextMessage", "AppId": one.app, "DeviceToken": one.token, "Selector": one.selector}
        headers = {"Content-Type": "application/json"}
        try:
            reply = await self._client.request(
                "POST", url, headers=headers, body=json.dumps(body).encode(), timeout=TIMEOUT
            )
        except (NotSent, NoAnswer) as error:
            return f"push: {error}"
        return "" if 200 <= reply.status < 300 or 400 <= reply.status < 500 else f"push: {told(reply)}"
