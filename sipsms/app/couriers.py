"""Couriers to customers: their servers and apps, e-mail, forwards, and the fetching of media."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sipsms.accounts.directory import Directory
from sipsms.app.settings import Config
from sipsms.core.clock import Clock
from sipsms.core.courier_id import APP, CALLBACK, FORWARD, MAIL, MEDIA, SMPP, WEBHOOK
from sipsms.core.http_client import HttpClient
from sipsms.core.lane_key import LaneKey
from sipsms.core.ssrf import check_address
from sipsms.mail.courier import MailCourier
from sipsms.messaging.build import Messaging
from sipsms.messaging.forward import ForwardCourier
from sipsms.messaging.media_store import Fetcher, MediaCourier, MediaFiles
from sipsms.messaging.queue.courier_state import CourierLimits
from sipsms.store import app_messages
from sipsms.store.store import Store
from sipsms.web.client import AiohttpClient
from sipsms.web.outbound.acrobits_push import AppCourier
from sipsms.web.outbound.callback import CallbackCourier
from sipsms.web.outbound.concurrency import EndpointLimits
from sipsms.web.outbound.webhook import WebhookCourier

# Couriers to which an attempt may be repeated although it may have got through: the receiver knows a copy by its id.
IDEMPOTENT = (CALLBACK, WEBHOOK, MAIL, FORWARD, MEDIA, APP, SMPP)
_TO_CUSTOMERS = CourierLimits(concurrency=1000)  # each endpoint has its own, much smaller limit
_FEW = CourierLimits(concurrency=16)


class Couriers:
    def __init__(
        self, config: Callable[[], Config], store: Store, directory: Directory, messaging: Messaging,
        clock: Clock, files: MediaFiles, client: HttpClient, media_headers: Callable[[str, str], Mapping[str, str]],
    ) -> None:  # fmt: skip
        """Build the couriers once, because they remember each server's state. `client`: for the push server."""
        self.files = files
        self._messaging = messaging
        self._queue = queue = messaging.queue
        self._guarded = AiohttpClient(lambda address: check_address(address, config().callbacks.allow_private))
        self.fetch = Fetcher(self._guarded)
        self._apps = AppCourier(
            client, lambda account: store.read(lambda db: app_messages.tokens_of(db, account)),
            lambda: config().api.acrobits_push,
        )  # fmt: skip
        endpoints, guarded, disable = EndpointLimits(), self._guarded, messaging.alarms.disable_target
        callback = CallbackCourier(
            guarded, directory.did, files.url, lambda: config().callbacks, disable, endpoints, clock
        )
        webhook = WebhookCourier(
            guarded, directory.did, files.url, disable, endpoints, clock, lambda: config().callbacks
        )
        queue.set_courier(CALLBACK, callback, _TO_CUSTOMERS)
        queue.set_courier(WEBHOOK, webhook, _TO_CUSTOMERS)
        queue.set_courier(MEDIA, MediaCourier(files, guarded, media_headers, messaging.gateway.complete), _FEW)
        queue.set_courier(APP, self._apps, _TO_CUSTOMERS)
        queue.set_courier(FORWARD, ForwardCourier(messaging.gateway, messaging.alarms, directory, clock), _FEW)

    def configure(self, config: Config) -> None:
        """Apply the settings that the couriers do not read themselves."""
        self._messaging.limits.patience[CALLBACK] = config.callbacks.give_up_after
        self._messaging.router.operator = config.smtp.alarms if config.smtp is not None and config.smtp.alarms else ""
        if config.smtp is None:
            self._queue.remove_courier(MAIL)
        else:
            self._queue.set_courier(MAIL, MailCourier(config.smtp, config.domain, self.files), _FEW)

    def taken(self, account: str, deliveries: Sequence[int]) -> None:
        """Handle the fetch of deliveries by an account's app: each delivery had a lane of its own."""
        self._apps.taken(deliveries)
        for one in deliveries:
            self._queue.forget(LaneKey.to(APP, account).aside(one))

    async def close(self) -> None:
        await self._guarded.close()
