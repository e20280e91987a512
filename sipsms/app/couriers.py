"""All couriers and carriers, built from the configuration and given to the queue.

`Couriers` owns the HTTP clients, the media folder, the carriers and what follows up on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

from sipsms.accounts.directory import Directory
from sipsms.app.settings import Config
from sipsms.carriers.loopback import LoopbackCarrier
from sipsms.carriers.registry import build
from sipsms.carriers.settings import LoopbackConfig
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_name import courier_name
from sipsms.core.errors import Unavailable
from sipsms.core.message import Deferred, Delivery, Media, Outcome, Rejected
from sipsms.core.segmentation import sender_name
from sipsms.core.ssrf import check_address
from sipsms.mail.courier import MailCourier
from sipsms.messaging.carrier import Carrier, CarrierLimits, CarrierTools, InboundSms
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.forward import ForwardCourier
from sipsms.messaging.gateway import APP, CALLBACK, FORWARD, MAIL, MEDIA, SMPP, WEBHOOK, Gateway, sms_key
from sipsms.messaging.media_store import Fetcher, MediaCourier, MediaFiles
from sipsms.messaging.queue.courier_state import CourierLimits
from sipsms.messaging.queue.queue import Queue
from sipsms.messaging.reconciliation import Reconciler
from sipsms.sip.trunk_settings import SipConfig
from sipsms.smpp.settings import SmppConfig
from sipsms.store import app_messages, carrier_state
from sipsms.store.store import Store
from sipsms.web.client import AiohttpClient
from sipsms.web.outbound.acrobits_push import AppCourier
from sipsms.web.outbound.callback import CallbackCourier, CallbackOptions
from sipsms.web.outbound.concurrency import EndpointLimits
from sipsms.web.outbound.webhook import WebhookCourier

# What may be tried again although it may have got through: the receiver knows a second copy by its id.
IDEMPOTENT = (CALLBACK, WEBHOOK, MAIL, FORWARD, MEDIA, APP, SMPP)
_TO_CUSTOMERS = CourierLimits(concurrency=1000)  # each endpoint has its own, much smaller limit
_FEW = CourierLimits(concurrency=16)

_REPORT_EVERY = 10.0  # seconds


class Paced(Protocol):
    """A carrier that says itself how much it can take."""

    def room(self) -> int: ...
    def rate(self, now: float) -> float: ...


MakeTrunk = Callable[[str, SipConfig], Carrier]
MakeSmsc = Callable[[str, SmppConfig], Carrier]


@dataclass(frozen=True, slots=True)
class CarrierCourier:
    """A carrier as the queue sees it."""

    carrier: Carrier
    options: CarrierOptions
    gateway: Gateway

    async def deliver(self, delivery: Delivery) -> Outcome:
        if why := self.gateway.objection(delivery):
            return Rejected(why, opt_out=True, unsent=True)
        if self.options.sender_name:
            name = sender_name(self.options.sender_name, self.options.sender_length)
            delivery = delivery._replace(source=name)
        try:
            outcome = await self.carrier.send(delivery)
        except Unavailable as error:  # loopback: our own store
            return Deferred(f"store: {error}")
        if isinstance(outcome, Rejected) and outcome.opt_out:
            try:
                await self.gateway.opted_out(delivery)
            except Unavailable as error:  # the carrier will say so again
                log.warning("store_unavailable", why=str(error))
        return outcome


def limits_of(options: CarrierOptions) -> CarrierLimits:
    return CarrierLimits(options.max_text, options.text_unit, options.long_texts == "mms", options.mms)


def line_of(options: CarrierOptions, config: Config) -> CourierLimits:
    usual = config.queue.carrier_concurrency
    if isinstance(options, SmppConfig):
        usual = options.binds * options.window
    return CourierLimits(options.concurrency or usual, options.rate or 0.0, breaker=True)


def base_url(config: Config) -> str:
    """Return the URL by which this server is reached from outside."""
    if config.web.url is not None:
        return config.web.url.rstrip("/")
    port = config.listen.http.port if config.listen.http is not None else 80
    return f"http://{config.domain}:{port}"


def media_folder(config: Config) -> Path:
    """Return the folder for parts of MMS: beside an SQLite store, unless the configuration names one."""
    if config.media.directory is not None:
        return config.media.directory
    if config.store_url.startswith("sqlite:///"):
        return Path(config.store_url.removeprefix("sqlite:///")).parent / "media"
    return Path("/var/lib/sipsms/media")


def media_files(config: Callable[[], Config]) -> MediaFiles:
    return MediaFiles(media_folder(config()), lambda: base_url(config()))


class Couriers:
    def __init__(
        self, config: Config, store: Store, directory: Directory, gateway: Gateway, queue: Queue, files: MediaFiles,
        clock: Clock, trunk: MakeTrunk, smsc: MakeSmsc, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        """`changed`: the directory is to be read again."""
        self._changed = changed
        self._config = config
        self._store = store
        self._directory = directory
        self._gateway = gateway
        self._queue = queue
        self._clock = clock
        self._trunk = trunk
        self._smsc = smsc
        self._client = AiohttpClient()  # for carriers: the operator named their URLs
        self._guarded = AiohttpClient(self._refuses)  # for URLs of customers, and of media
        self.fetch = Fetcher(self._guarded)
        self.apps = AppCourier(
            self._client, lambda account: store.read(lambda db: app_messages.tokens_of(db, account)),
            lambda: self._config.api.acrobits_push,
        )  # fmt: skip
        self._endpoints = EndpointLimits()
        self._report_at = 0.0
        self._told = (0, 0.0)  # doubts that the operator knows of, and when he may hear of the next
        self._sent: dict[str, int] = {}
        self._reported: dict[str, dict[str, Any]] = {}
        self.files = files
        self.carriers: dict[str, Carrier] = {}
        self._add_customer_couriers()
        self.follower = Reconciler(
            store, gateway, queue, self.carriers, clock,
            lambda name: store.read(lambda db: carrier_state.polled_at(db, name)),
            lambda name, when: store.write(lambda db: carrier_state.set_polled(db, name, when)),
        )  # fmt: skip

    def _refuses(self, address: str) -> str:
        return check_address(address, self._config.callbacks.allow_private)

    async def close(self) -> None:
        await self._client.close()
        await self._guarded.close()

    async def follow(self) -> None:
        """Poll carriers and report; called once a second. Raises Unavailable."""
        await self.follower.step()
        now = self._clock()
        if now >= self._report_at:
            self._report_at = now + _REPORT_EVERY
            await self._gateway.parts.give_up_waiting()
            if await self._store.directory_version() > self._directory.version:
                self._changed()
            await self._report(now)
            try:
                await self.files.forget(time.time() - self._config.media.keep)
            except OSError as error:
                log.warning("media_not_removed", why=error.strerror or str(error))

    async def _report(self, now: float) -> None:
        """For `sipsms carriers`, which runs in a process of its own."""
        health = {name: one for name, one in self._queue.health().items() if name.startswith("carrier:")}
        fresh = {}
        for name, one in health.items():
            sent = sum(one.counts.values())
            rate = (sent - self._sent.get(name, sent)) / _REPORT_EVERY
            self._sent[name] = sent
            carrier = self.carriers.get(name.partition(":")[2])
            why = one.why or (carrier.status if carrier is not None else "")
            state = "down" if one.state == "up" and carrier is not None and carrier.is_down else one.state
            status = {"state": state, "why": why, "rate": round(rate, 2), "counts": one.counts}
            if self._reported.get(name) != status:
                self._reported[name] = fresh[name.partition(":")[2]] = status
        await self._tell_of_doubts(sum(one.counts.get("unknown", 0) for one in health.values()), now)
        if fresh:
            await self._store.write(
                lambda db: carrier_state.set_status(db, {n: {**s, "at": now} for n, s in fresh.items()})
            )

    async def _tell_of_doubts(self, unknown: int, now: float) -> None:
        """The operator, once an hour at most (decision D6): nobody sends those again by himself."""
        if unknown > self._told[0] and now >= self._told[1]:
            count, self._told = unknown - self._told[0], (unknown, now + 3600.0)
            await self._gateway.alarm(
                f"{count} messages were sent and nobody knows whether they arrived: queue --unknown"
            )

    def taken(self, account: str, deliveries: Sequence[int]) -> None:
        """An account's app has fetched these: each has stood aside in a lane of its own."""
        self.apps.taken(deliveries)
        for one in deliveries:
            self._queue.forget(f"{APP}/{account}#{one}")

    def idempotent(self) -> list[str]:
        """Return couriers to which an attempt that a kill cut off may be sent again."""
        same = [name for name, one in self.carriers.items() if one.drops_duplicates]
        return [*IDEMPOTENT, *map(courier_name, same)]

    # --- building ---

    def _add_customer_couriers(self) -> None:
        """Build the couriers to customers' servers, once: they remember how each server fares."""
        did, disable, url = self._directory.did, self._gateway.disable_target, self.files.url
        callback = CallbackCourier(
            self._guarded, did, url, self._callback_options, disable, self._endpoints, self._clock
        )
        webhook = WebhookCourier(
            self._guarded, did, url, disable, self._endpoints, self._clock, lambda: self._config.callbacks.timeout
        )
        media = MediaCourier(self.files, self._guarded, self._media_headers, self._gateway.complete)
        self._queue.set_courier(CALLBACK, callback, _TO_CUSTOMERS)
        self._queue.set_courier(WEBHOOK, webhook, _TO_CUSTOMERS)
        self._queue.set_courier(MEDIA, media, _FEW)
        self._queue.set_courier(APP, self.apps, _TO_CUSTOMERS)
        self._queue.set_courier(FORWARD, ForwardCourier(self._gateway, self._directory, self._clock), _FEW)

    def _callback_options(self) -> CallbackOptions:
        return CallbackOptions(self._config.callbacks.timeout, self._config.callbacks.retry_every)

    def configure(self, config: Config) -> None:
        """Build all anew; carriers that are gone keep what waits for them in the store."""
        fresh = {name: self._carrier(name, one, base_url(config)) for name, one in config.carriers.items()}
        self._config = config
        for name in self.carriers.keys() - fresh.keys():
            self._queue.remove_courier(courier_name(name))
        for name, carrier in fresh.items():
            options = config.carriers[name]
            courier = CarrierCourier(carrier, options, self._gateway)
            line = line_of(options, config)
            if isinstance(options, SmppConfig):
                smsc = cast(Paced, carrier)
                line = line._replace(room=smsc.room, pace=smsc.rate)
            self._queue.set_courier(courier_name(name), courier, line)
        self.carriers.clear()
        self.carriers.update(fresh)
        self._gateway.limits = {courier_name(name): limits_of(one) for name, one in config.carriers.items()}
        self._gateway.patience[CALLBACK] = config.callbacks.give_up_after
        self._gateway.operator = config.smtp.alarms if config.smtp is not None and config.smtp.alarms else ""
        if config.smtp is None:
            self._queue.remove_courier(MAIL)
        else:
            self._queue.set_courier(MAIL, MailCourier(config.smtp, config.domain, self.files), _FEW)

    def _carrier(self, name: str, config: Any, url: str) -> Carrier:
        if isinstance(config, LoopbackConfig):
            return LoopbackCarrier(name, partial(self._looped_back, name))
        if isinstance(config, SipConfig):
            return self._trunk(name, config)
        if isinstance(config, SmppConfig):
            return self._smsc(name, config)
        hook_url = f"{url}/hooks/{name}"
        return build(name, config, CarrierTools(self._client, self.files, self._clock, hook_url))

    async def _looped_back(self, name: str, sms: InboundSms, media: tuple[Media, ...]) -> bool:
        return await self._gateway.receive(sms, f"carrier:{name}", sms_key(name, sms), media) is not None

    def _media_headers(self, origin: str, url: str) -> Any:
        """Return the headers for a part of an MMS whose carrier asks for credentials."""
        carrier = self.carriers.get(origin.partition(":")[2])
        return carrier.media_headers(url) if carrier is not None else {}
