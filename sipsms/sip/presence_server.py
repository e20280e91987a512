"""Presence server: answers to SUBSCRIBE and PUBLISH, and the NOTIFYs of `presence`.

A NOTIFY must go by the flow of its SUBSCRIBE, whatever the Contact says, so that nobody can make us send to a third
party. Each subscription has at most one NOTIFY in progress; changes meanwhile go into the next NOTIFY. A NOTIFY that is
not accepted ends the subscription (RFC 6665 section 4.2.2), and so does a closed flow. Subscriptions live in memory:
after a restart a phone's refresh gets 481 and the phone subscribes anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.account import Account
from sipsms.core.clock import Clock
from sipsms.messaging.location import Location
from sipsms.sip.endpoint import Endpoint, NoResponse
from sipsms.sip.message import Request
from sipsms.sip.presence import Presence, Result, Subscription
from sipsms.sip.transport import Flow

_ROOM_DATAGRAM, _ROOM_STREAM = 600, 8 * 1024  # bytes; a NOTIFY over UDP should stay below 1,300 bytes


@dataclass(slots=True, eq=False)
class _Dialog:
    """Subscription with its flow and the state of its NOTIFY.

    `wanted`: a NOTIFY is due. `at_once`: notify even if the state has not changed. `busy`: a NOTIFY is in progress.
    """

    subscription: Subscription
    flow: Flow
    wanted: bool = False
    at_once: bool = False
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """Response to build.

    `tag`: our tag of a dialog; empty means any tag.
    """

    status: int
    why: str
    headers: tuple[tuple[str, str], ...]
    tag: str = ""
    after: Callable[[], None] | None = None


class PresenceServer:
    def __init__(
        self,
        presence: Presence,
        endpoint: Endpoint,
        directory: Directory,
        location: Location,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, Any]], None],
    ) -> None:
        self._presence = presence
        self._endpoint = endpoint
        self._directory = directory
        self._location = location
        self._clock = clock
        self._spawn = spawn
        self._dialogs: dict[int, _Dialog] = {}
        self._held: set[int] = set()  # subscriptions over the rate limit, notified by a later sweep

    # --- requests ---

    def subscribe(self, request: Request, flow: Flow, account: Account) -> Reply:
        """Handle SUBSCRIBE.

        No NOTIFY may leave before the 200 (RFC 6665 section 4.2.1.1): see `Reply.after`.
        """
        tag = os.urandom(8).hex()
        result = self._presence.subscribe(request, account, self._directory.account, self._clock(), tag)
        subscription = result.subscription
        if subscription is None:
            return Reply(result.status, result.why, result.headers)
        dialog = self._dialogs.setdefault(subscription.id, _Dialog(subscription, flow))
        dialog.flow = flow
        routes = tuple(("Record-Route", value) for value in request.headers.get("record-route", ()))
        headers = (*routes, ("Contact", f"<{_contact(flow)}>"), *result.headers)
        return Reply(200, "", headers, subscription.local_tag, partial(self._tell, subscription, at_once=True))

    def publish(self, request: Request, account: Account) -> Reply:
        """Handle PUBLISH."""
        result: Result = self._presence.publish(request, account, self._clock(), os.urandom(8).hex())
        after = partial(self.changed, account.name) if result.changed else None
        return Reply(result.status, result.why, result.headers, after=after)

    # --- changes ---

    def changed(self, account: str) -> None:
        """Notify the watchers after a change of the account's bindings or publications."""
        for subscription in self._presence.watchers(account):
            self._tell(subscription)

    def review(self, accounts: Iterable[str] | None) -> None:
        """Apply changes of these accounts (None: any account): switched on, switched off, deleted."""
        names = None if accounts is None else list(accounts)
        for subscription in self._presence.review(names, self._directory.account):
            self._tell(subscription)
        for name in names or ():
            self.changed(name)

    def sweep(self) -> None:
        """End expired subscriptions and publications, and send held notifications. Call it regularly."""
        over, published = self._presence.expire(self._clock())
        held, self._held = self._held, set()
        for subscription in over:
            self._tell(subscription)
        for name in published:
            self.changed(name)
        for key in held & self._dialogs.keys():
            self._tell(self._dialogs[key].subscription)
        log.SUBSCRIPTIONS.set(len(self._presence))

    # --- NOTIFY ---

    def _tell(self, subscription: Subscription, *, at_once: bool = False) -> None:
        dialog = self._dialogs.get(subscription.id)
        if dialog is None:
            return
        dialog.wanted = True
        dialog.at_once = dialog.at_once or at_once
        if not dialog.busy:
            dialog.busy = True
            self._spawn(self._send(dialog))

    async def _send(self, dialog: _Dialog) -> None:
        try:
            while dialog.wanted:
                dialog.wanted = False
                last = bool(dialog.subscription.ended)
                request = self._next(dialog)
                if request is not None and (not await self._accepted(dialog, request) or last):
                    self._forget(dialog)
                    return
        except BaseException:
            self._forget(dialog)
            raise
        finally:
            dialog.busy = False

    def _next(self, dialog: _Dialog) -> Request | None:
        """Return the next NOTIFY; None if the state has not changed or the rate limit is reached."""
        subscription, now = dialog.subscription, self._clock()
        bound = bool(self._location.bindings(subscription.watched, now)) if subscription.watched else True
        room = _ROOM_STREAM if dialog.flow.reliable else _ROOM_DATAGRAM
        body = self._presence.document(subscription, now, room, bound=bound)
        if not dialog.at_once and not subscription.ended:
            if body == subscription.shown:
                return None
            if not self._presence.may_notify(subscription, now):
                self._held.add(subscription.id)
                return None
        dialog.at_once = False
        return self._presence.notify(subscription, now, _contact(dialog.flow), body)

    async def _accepted(self, dialog: _Dialog, request: Request) -> bool:
        why = ""
        try:
            response = await self._endpoint.request(request, dialog.flow)
            if response.status >= 300:
                why = str(response.status)
        except NoResponse as error:
            why = str(error)
        if why:
            subscription = dialog.subscription
            log.note("notify_failed", watcher=subscription.watcher, watched=subscription.watched, why=why)
        return not why

    def _forget(self, dialog: _Dialog) -> None:
        self._presence.forget(dialog.subscription)
        self._dialogs.pop(dialog.subscription.id, None)


def _contact(flow: Flow) -> str:
    """Return the Contact URI of this server for the subscriber."""
    name = "ws" if flow.name == "wss" else flow.name  # RFC 7118 section 5.2: one name for both
    suffix = "" if name == "udp" else f";transport={name}"
    return f"sip:{flow.sent_by()}{suffix}"
