"""The carriers of the configuration, each with its courier in the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sipsms.app.settings import Config
from sipsms.carriers.loopback import LoopbackCarrier
from sipsms.carriers.registry import build
from sipsms.carriers.settings import LoopbackConfig
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.courier_id import CourierId, carrier_of
from sipsms.core.errors import Unavailable
from sipsms.core.http_client import HttpClient
from sipsms.core.message import Deferred, Delivery, Media, Outcome, Rejected
from sipsms.core.segmentation import sender_name
from sipsms.messaging import carrier_options
from sipsms.messaging.build import Messaging
from sipsms.messaging.carrier import Carrier, CarrierTools, InboundSms
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.inbound import sms_key
from sipsms.messaging.media_store import MediaFiles
from sipsms.messaging.opt_out import SendingPolicy
from sipsms.messaging.queue.courier_state import CourierLimits
from sipsms.sip.trunk import Trunks
from sipsms.sip.trunk_settings import SipConfig
from sipsms.smpp.carrier import SmppCarrier, SmppCarriers
from sipsms.smpp.settings import SmppConfig


@dataclass(frozen=True, slots=True)
class CarrierCourier:
    """A carrier as the queue sees it."""

    carrier: Carrier
    options: CarrierOptions
    consent: SendingPolicy

    async def deliver(self, delivery: Delivery) -> Outcome:
        if why := self.consent.objection_to(delivery):
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
                await self.consent.opted_out(delivery)
            except Unavailable as error:  # the carrier will say so again
                log.warning("store_unavailable", why=str(error))
        return outcome


class CarrierSet:
    def __init__(
        self, client: HttpClient, files: MediaFiles, messaging: Messaging, clock: Clock, trunks: Trunks,
        smscs: SmppCarriers,
    ) -> None:  # fmt: skip
        """Create an empty set. `client`: for the carriers' URLs, which the operator has configured."""
        self.by_name: dict[str, Carrier] = {}
        self._client = client
        self._files = files
        self._messaging = messaging
        self._queue = messaging.queue
        self._clock = clock
        self._trunks = trunks
        self._smscs = smscs

    def configure(self, config: Config) -> None:
        """Build all carriers anew; deliveries of removed carriers stay in the store."""
        fresh = {name: self._build(name, one, config.base_url) for name, one in config.carriers.items()}
        for name in self.by_name.keys() - fresh.keys():
            self._queue.remove_courier(CourierId.of_carrier(name))
        for name, carrier in fresh.items():
            options = config.carriers[name]
            courier = CarrierCourier(carrier, options, self._messaging.consent)
            limits = limits_of(carrier, options, config.queue.carrier_concurrency)
            self._queue.set_courier(CourierId.of_carrier(name), courier, limits)
        self.by_name.clear()
        self.by_name.update(fresh)
        carrier_options.apply(config.carriers, self._messaging.limits)
        self._trunks.keep(fresh)
        self._smscs.keep(fresh)

    def _build(self, name: str, config: Any, url: str) -> Carrier:
        if isinstance(config, LoopbackConfig):
            return LoopbackCarrier(name, partial(self._looped_back, name))
        if isinstance(config, SipConfig):
            return self._trunks.make(name, config)
        if isinstance(config, SmppConfig):
            return self._smscs.make(name, config)
        return build(name, config, CarrierTools(self._client, self._files, self._clock, f"{url}/hooks/{name}"))

    async def _looped_back(self, name: str, sms: InboundSms, media: tuple[Media, ...]) -> bool:
        inbound = self._messaging.inbound
        return await inbound.receive(sms, CourierId.of_carrier(name), sms_key(name, sms), media) is not None

    def media_headers(self, origin: str, url: str) -> Mapping[str, str]:
        """Return the headers for a part of an MMS whose carrier asks for credentials."""
        carrier = self.by_name.get(carrier_of(origin))
        return carrier.media_headers(url) if carrier is not None else {}

    def idempotent(self) -> list[str]:
        """Return couriers to which an attempt that a kill cut off may be sent again."""
        return [CourierId.of_carrier(name) for name, one in self.by_name.items() if one.drops_duplicates]


def limits_of(carrier: Carrier, options: CarrierOptions, usual: int) -> CourierLimits:
    """Return the limits of a carrier's courier. `usual`: deliveries at once, if nothing else is configured."""
    rate = options.rate or 0.0
    if isinstance(carrier, SmppCarrier):
        windows = carrier.config.binds * carrier.config.window
        return CourierLimits(options.concurrency or windows, rate, breaker=True, room=carrier.room, pace=carrier.rate)
    return CourierLimits(options.concurrency or usual, rate, breaker=True)
