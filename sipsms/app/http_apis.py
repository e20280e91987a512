"""The HTTP APIs, built from the parts of a node: authentication, sending, and a module of `web.api` each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sipsms.accounts.auth import Access
from sipsms.accounts.directory import Directory
from sipsms.accounts.service import AccountService
from sipsms.accounts.sign_in import SignIn
from sipsms.accounts.users import UserService
from sipsms.app.couriers import Couriers
from sipsms.app.settings import Config
from sipsms.core.clock import Clock
from sipsms.messaging.build import Messaging
from sipsms.messaging.location import Location
from sipsms.store.store import Store
from sipsms.web.api.acrobits.inbox import Inbox
from sipsms.web.api.acrobits.routes import AcrobitsApi
from sipsms.web.api.kannel.routes import KannelApi
from sipsms.web.api.telnyx import TelnyxApi
from sipsms.web.api.v1.app import V1Api
from sipsms.web.api.v1.dependencies import Services
from sipsms.web.api.voipms.accounts import Accounts, Place
from sipsms.web.api.voipms.dids import Dids
from sipsms.web.api.voipms.messages import Messages
from sipsms.web.api.voipms.routes import RestPhp
from sipsms.web.api.wildix.routes import WildixApi
from sipsms.web.centre.app import Centre, Parts


class HttpApis:
    def __init__(
        self, config: Callable[[], Config], store: Store, directory: Directory, messaging: Messaging,
        couriers: Couriers, clock: Clock, service: AccountService, location: Location, people: UserService,
        sign_in: SignIn,
    ) -> None:  # fmt: skip
        outbound = messaging.outbound
        access = Access(directory, clock, config().realm, lambda: config().api.per_minute)
        services = Services(
            directory, messaging, service, store, couriers.files, clock,
            lambda: config().messages.max_length, lambda: config().api.daily_sends, lambda: config().carriers,
        )  # fmt: skip
        self._v1 = V1Api(access, services)
        parts = Parts(
            sign_in, people, directory, clock, lambda: config().web.centre, lambda: config().centre_url,
            lambda: config().domain,
        )  # fmt: skip
        # those with few routes first: a request is compared with one route after the other
        self._apis: tuple[Any, ...] = (
            RestPhp(
                access,
                Messages(outbound, directory, store, couriers.files.url, clock).methods(),
                Dids(directory, service).methods(),
                Accounts(
                    directory, service, store, lambda account: location.bindings(account, clock()),
                    lambda: Place(config().domain, config().sip.advertised or ""), outbound.usage.sent,
                ).methods(),
            ),
            TelnyxApi(access, directory, outbound, store),
            WildixApi(
                access, outbound, clock, lambda: config().api.originate_length, lambda: config().api.timezone
            ),
            AcrobitsApi(
                access, directory, outbound, couriers.fetch, Inbox(store, messaging.feed, couriers.taken, clock),
                couriers.files.url, clock,
            ),
            KannelApi(access, outbound, clock, lambda: config().callbacks.allow_private),
            self._v1,
            *([Centre(parts)] if config().centre_url else []),
        )  # fmt: skip

    def close(self) -> None:
        """The server stops: event streams end."""
        self._v1.close()

    def routes(self) -> list[Any]:
        return [route for api in self._apis for route in api.routes()]
