"""Presence agent (RFC 3856) and event state compositor (RFC 3903) for accounts of this server.

Pure. `now`, tags and etags come in as arguments. Publications and subscriptions are soft state in memory only: after a
restart a phone's refresh gets 412 or 481 and the phone starts anew, as these RFCs specify. All state is bounded. A
request above a bound is refused, and no other state is removed to make space.

Invariant: an account's state is sent only to accounts of the same customer, while presence is switched on for both. A
watcher without permission must not be able to tell another customer's account from a missing or switched-off account.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sipsms.core.account import Account
from sipsms.core.e164 import is_ten_digits, normalise
from sipsms.sip import pidf
from sipsms.sip.expiry_heap import ExpiryHeap
from sipsms.sip.headers import TOKEN, parse_media_type, parse_name_addr, parse_params
from sipsms.sip.message import Request
from sipsms.sip.uri import ParseError

EVENT = "presence"
_USER_SAFE = "-_.!~*'()&=+$,;?/"
_TAG = re.compile(f"(?:{TOKEN})?\\Z")
_ADMITTING = frozenset((pidf.TYPE, "application/*", "*/*"))
_MAX_EXPIRES = 3600  # seconds
_MAX_DIALOG = 4096  # most bytes of URIs and routes in a subscription
_RETRY_AFTER = ("Retry-After", "60")
_ALLOW_EVENTS = ("Allow-Events", EVENT)

Find = Callable[[str], Account | None]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and intervals: counts, bytes and seconds."""

    subscriptions_per_account: int = 100
    subscriptions: int = 20_000
    publications_per_account: int = 10
    publications: int = 20_000
    max_body: int = 8 * 1024
    published_bytes: int = 32 * 1024 * 1024
    interval: float = 5.0  # seconds between notifications of changes (RFC 3856 section 6.10)
    burst: int = 5  # notifications of changes at once


@dataclass(slots=True, eq=False)
class Subscription:
    """Subscription with its dialog (RFC 6665).

    `watched` is empty for a telephone number, which is always open.
    """

    id: int
    watcher: str
    watched: str
    entity: str
    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    contact: str
    routes: list[str]
    event: str  # Event value of NOTIFY, with the subscriber's id parameter
    remote_cseq: int
    expires_at: float
    cseq: int = 0
    ended: str = ""  # reason of the end (RFC 6665 section 4.1.3); empty while active
    shown: bytes | None = None  # the last document sent
    paced: float = 0.0  # time at which the rate limit has recovered

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.watcher, self.call_id, self.local_tag, self.remote_tag


@dataclass(slots=True, eq=False)
class Publication:
    id: int
    account: str
    etag: str
    expires_at: float
    body: bytes
    is_open: bool
    is_own: bool  # the document's entity is the account


@dataclass(frozen=True, slots=True)
class Result:
    """Response to build and its effect.

    `subscription`: must be notified at once. `changed`: the account's state may have changed.
    """

    status: int
    why: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    subscription: Subscription | None = None
    changed: bool = False


class _Refused(Exception):
    def __init__(self, status: int, why: str, *headers: tuple[str, str]) -> None:
        super().__init__(why)
        self.result = Result(status, why, headers)


def may_watch(watcher: Account | None, watched: Account | None) -> bool:
    """Return True if the watcher may see the presence of the watched account."""
    return (
        watcher is not None and watched is not None
        and watcher.enabled and watched.enabled
        and watcher.presence and watched.presence
        and watcher.customer == watched.customer
    )  # fmt: skip


def is_number(user: str) -> bool:
    """Return True for a telephone number, which is always open.

    A number is reachable by SMS at any time.
    """
    number = normalise(user)
    return number is not None and (is_ten_digits(number) or number[0] == "+")


class Presence:
    def __init__(self, domain: str, min_expires: int, max_expires: int, limits: Limits | None = None) -> None:
        """Create the state. Subscriptions and publications last as long as registrations may, an hour at most."""
        self._domain = domain
        self._limits = limits or Limits()
        self._max_expires = min(_MAX_EXPIRES, max_expires)
        self._min_expires = min(min_expires, self._max_expires)
        self._last = 0
        self._subscriptions: dict[int, Subscription] = {}
        self._dialogs: dict[tuple[str, str, str, str], Subscription] = {}
        self._by_watcher: dict[str, dict[int, Subscription]] = {}  # includes those whose last NOTIFY is in progress
        self._by_watched: dict[str, dict[int, Subscription]] = {}
        self._subscription_ends = ExpiryHeap()
        self._publications: dict[int, Publication] = {}
        self._published: dict[str, dict[str, Publication]] = {}  # account -> etag -> publication
        self._publication_ends = ExpiryHeap()
        self._published_bytes = 0

    def __len__(self) -> int:
        return len(self._subscriptions)

    # --- SUBSCRIBE (RFC 6665 section 4.2.1) ---

    def subscribe(self, request: Request, watcher: Account, find: Find, now: float, tag: str) -> Result:
        """Handle SUBSCRIBE.

        `tag`: a fresh local tag, used if the request starts a dialog.
        """
        try:
            _check_switch(watcher)
            event = _event(request)
            if request.to is not None and request.to.tag:
                return self._refresh(request, watcher, event, now)
            return self._begin(request, watcher, find, event, now, tag)
        except ParseError as error:
            return Result(400, str(error))
        except _Refused as refused:
            return refused.result

    def _begin(self, request: Request, watcher: Account, find: Find, event: str, now: float, tag: str) -> Result:
        _check_accept(request)
        watched = self._watched(request, watcher, find)
        seconds = self._seconds(request)
        contact, routes = _contact(request), _routes(request)
        if not contact:
            return Result(400, "SUBSCRIBE needs a Contact")
        assert request.to is not None
        assert request.from_ is not None
        if not _TAG.match(request.from_.tag):
            return Result(400, "the From tag is no token")
        self._check_room(watcher)
        assert request.target is not None
        subscription = Subscription(
            self._next(), watcher.name, watched, self._entity(request.target.username), request.call_id, tag,
            request.from_.tag, request.to.uri, request.from_.uri, contact, routes, event, request.cseq, now + seconds,
        )  # fmt: skip
        if _size(subscription) > _MAX_DIALOG:
            return Result(400, f"more than {_MAX_DIALOG} bytes of addresses")
        self._keep(subscription)
        return self._granted(subscription, seconds)

    def _watched(self, request: Request, watcher: Account, find: Find) -> str:
        """Return the watched account's name, or "" for a number. Raises _Refused.

        An account that must not be watched is refused like a missing account.
        """
        assert request.target is not None
        user = request.target.username
        account = find(user)
        if account is not None and may_watch(watcher, account):
            return account.name
        if is_number(user):
            return ""
        raise _Refused(403, "there is nobody of this name whom this account may watch")

    def _entity(self, user: str) -> str:
        return f"sip:{quote(user, safe=_USER_SAFE, errors='surrogateescape')}@{self._domain}"

    def _check_room(self, watcher: Account) -> None:
        if len(self._by_watcher.get(watcher.name, ())) >= self._limits.subscriptions_per_account:
            count = self._limits.subscriptions_per_account
            raise _Refused(480, f"an account may have {count} subscriptions", _RETRY_AFTER)
        if len(self._subscriptions) >= self._limits.subscriptions:
            raise _Refused(503, "too many subscriptions", _RETRY_AFTER)

    def _refresh(self, request: Request, watcher: Account, event: str, now: float) -> Result:
        assert request.to is not None
        assert request.from_ is not None
        found = self._dialogs.get((watcher.name, request.call_id, request.to.tag, request.from_.tag))
        if found is None or found.event != event:
            return Result(481, "there is no such subscription")
        if request.cseq <= found.remote_cseq:  # RFC 3261 section 12.2.2
            return Result(500, f"CSeq {request.cseq} is not above the last one, {found.remote_cseq}")
        found.remote_cseq = request.cseq
        if found.expires_at <= now:
            return Result(481, "the subscription is over")
        _check_accept(request)
        seconds = self._seconds(request)
        contact = _contact(request)
        if len(contact) > _MAX_DIALOG:
            return Result(400, f"more than {_MAX_DIALOG} bytes of addresses")
        found.contact = contact or found.contact
        found.expires_at = now + seconds
        self._subscription_ends.set(found.id, found.expires_at)
        return self._granted(found, seconds)

    def _granted(self, subscription: Subscription, seconds: int) -> Result:
        """Grant a subscription of `seconds`.

        Expires 0 ends a subscription or fetches the state once: one NOTIFY in both cases (section 4.4.3).
        """
        if seconds == 0:
            self._end(subscription, "timeout")
        return Result(200, headers=(("Expires", str(seconds)),), subscription=subscription)

    # --- subscriptions ---

    def watchers(self, account: str) -> list[Subscription]:
        """Return the active subscriptions to an account."""
        return list(self._by_watched.get(account, {}).values())

    def forget(self, subscription: Subscription) -> None:
        """Remove a subscription whose last NOTIFY is done or whose subscriber is unreachable."""
        self._end(subscription, subscription.ended or "noresource")
        self._subscriptions.pop(subscription.id, None)
        _remove(self._by_watcher, subscription.watcher, subscription.id)

    def review(self, names: Iterable[str] | None, find: Find) -> list[Subscription]:
        """End and return the subscriptions that are no longer permitted after a change of accounts.

        `names`: the changed accounts; None: any account.
        """
        if names is None:
            names = [*self._by_watcher, *self._published]
        ended = [one for name in dict.fromkeys(names) for one in self._review(name, find)]
        return list(dict.fromkeys(ended))

    def _review(self, name: str, find: Find) -> list[Subscription]:
        account = find(name)
        if not may_watch(account, account):
            for publication in list(self._published.get(name, {}).values()):
                self._remove(publication)
        concerned = {**self._by_watcher.get(name, {}), **self._by_watched.get(name, {})}
        ended = [one for one in concerned.values() if not one.ended and not self._permitted(one, find)]
        for one in ended:
            self._end(one, "rejected")
        return ended

    def _permitted(self, subscription: Subscription, find: Find) -> bool:
        watcher = find(subscription.watcher)
        watched = find(subscription.watched) if subscription.watched else watcher
        return may_watch(watcher, watched)

    def expire(self, now: float) -> tuple[list[Subscription], list[str]]:
        """Return the expired subscriptions, and the accounts with an expired publication."""
        over = [self._subscriptions[key] for key in self._subscription_ends.due(now)]
        for subscription in over:
            self._end(subscription, "timeout")
        gone = [self._publications[key] for key in self._publication_ends.due(now)]
        for publication in gone:
            self._remove(publication)
        return over, list(dict.fromkeys(publication.account for publication in gone))

    def _keep(self, subscription: Subscription) -> None:
        key = subscription.id
        self._subscriptions[key] = subscription
        self._dialogs[subscription.key] = subscription
        self._by_watcher.setdefault(subscription.watcher, {})[key] = subscription
        if subscription.watched:
            self._by_watched.setdefault(subscription.watched, {})[key] = subscription
        self._subscription_ends.set(key, subscription.expires_at)

    def _end(self, subscription: Subscription, reason: str) -> None:
        """End a subscription: no refreshes, no changes.

        It counts against the limits until its last NOTIFY is done.
        """
        subscription.ended = reason
        self._dialogs.pop(subscription.key, None)
        _remove(self._by_watched, subscription.watched, subscription.id)
        self._subscription_ends.drop(subscription.id)

    def _next(self) -> int:
        self._last += 1
        return self._last

    # --- PUBLISH (RFC 3903 section 6) ---

    def publish(self, request: Request, account: Account, now: float, etag: str) -> Result:
        """Handle PUBLISH.

        `etag`: a fresh entity-tag for the state after this request.
        """
        try:
            return self._publish(request, account, now, etag)
        except ParseError as error:
            return Result(400, str(error))
        except _Refused as refused:
            return refused.result

    def _publish(self, request: Request, account: Account, now: float, etag: str) -> Result:
        _check_switch(account)
        assert request.target is not None
        if request.target.username != account.name:
            return Result(403, "an account publishes its own presence only")
        _event(request)
        old = self._matching(request, account)
        seconds = self._seconds(request)
        headers = (("Expires", str(seconds)), ("SIP-ETag", etag))
        if seconds == 0:
            if old is not None:
                self._remove(old)
            return Result(200, headers=headers, changed=old is not None)
        fresh = self._read(request, account, now + seconds, etag, old)
        if old is not None:
            self._remove(old)
        self._add(fresh)
        changed = old is None or old.body != fresh.body
        return Result(200, headers=headers, changed=changed)

    def _matching(self, request: Request, account: Account) -> Publication | None:
        """Return the publication that SIP-If-Match names (steps 3 and 4); None without SIP-If-Match.

        Raises _Refused.
        """
        values = request.headers.get("sip-if-match", [])
        if not values:
            return None
        if len(values) > 1:
            raise _Refused(400, "more than one SIP-If-Match")
        found = self._published.get(account.name, {}).get(values[0])
        if found is None:
            raise _Refused(412, "there is no publication with this entity-tag")
        return found

    def _read(
        self, request: Request, account: Account, expires_at: float, etag: str, old: Publication | None
    ) -> Publication:
        """Return the new publication (steps 5 and 6); a request without a body refreshes `old`.

        Raises _Refused and ParseError.
        """
        if not request.body:
            if old is None:
                raise _Refused(400, "an initial PUBLISH needs a body")
            return Publication(self._next(), account.name, etag, expires_at, old.body, old.is_open, old.is_own)
        self._check_body(request)
        published = pidf.read(request.body)
        if old is None:
            self._check_shelf(account)
        freed = len(old.body) if old is not None else 0
        if self._published_bytes - freed + len(request.body) > self._limits.published_bytes:
            raise _Refused(503, "too much is published", _RETRY_AFTER)
        is_own = _user_of(published.entity) == account.name
        return Publication(self._next(), account.name, etag, expires_at, request.body, published.is_open, is_own)

    def _check_body(self, request: Request) -> None:
        if len(request.body) > self._limits.max_body:
            raise _Refused(413, f"the document is larger than {self._limits.max_body} bytes")
        if request.get("content-encoding", "identity").strip().lower() != "identity":
            raise _Refused(415, "the document must not be encoded", ("Accept-Encoding", "identity"))
        content_type = request.get("content-type")
        if not content_type or parse_media_type(content_type)[0] != pidf.TYPE:
            raise _Refused(415, f"a presence document is {pidf.TYPE}", ("Accept", pidf.TYPE))

    def _check_shelf(self, account: Account) -> None:
        if len(self._published.get(account.name, ())) >= self._limits.publications_per_account:
            count = self._limits.publications_per_account
            raise _Refused(480, f"an account may have {count} publications", _RETRY_AFTER)
        if len(self._publications) >= self._limits.publications:
            raise _Refused(503, "too many publications", _RETRY_AFTER)

    def _add(self, publication: Publication) -> None:
        self._publications[publication.id] = publication
        self._published.setdefault(publication.account, {})[publication.etag] = publication
        self._publication_ends.set(publication.id, publication.expires_at)
        self._published_bytes += len(publication.body)

    def _remove(self, publication: Publication) -> None:
        if self._publications.pop(publication.id, None) is not None:
            self._published_bytes -= len(publication.body)
        _remove(self._published, publication.account, publication.etag)
        self._publication_ends.drop(publication.id)

    def _seconds(self, request: Request) -> int:
        """Return the granted Expires; a malformed value counts as absent.

        Raises _Refused with 423 below the minimum (RFC 6665 section 4.2.1.1).
        """
        text = request.get("expires")
        if not (text.isascii() and text.isdigit()) or len(text) > 10:
            return self._max_expires
        if 0 < int(text) < self._min_expires:
            least = str(self._min_expires)
            raise _Refused(423, f"Expires below {least}", ("Min-Expires", least))
        return min(int(text), self._max_expires)

    # --- NOTIFY ---

    def document(self, subscription: Subscription, now: float, room: int, *, bound: bool) -> bytes:
        """Return the document for a subscriber.

        `bound`: the watched account has a live binding. `room`: most bytes of a published document to send unchanged.
        """
        if not subscription.watched:
            return pidf.compose(subscription.entity, is_open=True)
        published = self._published.get(subscription.watched, {}).values()
        alive = [publication for publication in published if publication.expires_at > now]
        if len(alive) == 1 and alive[0].is_own and len(alive[0].body) <= room:
            return alive[0].body
        return pidf.compose(subscription.entity, is_open=bound or any(one.is_open for one in alive))

    def may_notify(self, subscription: Subscription, now: float) -> bool:
        """Return True if the rate limit allows a notification of a change now (RFC 3856 section 6.10)."""
        return subscription.paced - now <= self._limits.interval * (self._limits.burst - 1)

    def notify(self, subscription: Subscription, now: float, contact: str, body: bytes) -> Request:
        """Return the next NOTIFY of the dialog (RFC 6665 section 4.2.2).

        A rejected subscriber must get no state.
        """
        subscription.cseq += 1
        subscription.shown = body
        subscription.paced = max(subscription.paced, now) + self._limits.interval
        left = max(0, round(subscription.expires_at - now))
        state = f"terminated;reason={subscription.ended}" if subscription.ended else f"active;expires={left}"
        headers = {
            "route": subscription.routes,
            "max-forwards": ["70"],
            "from": [_tagged(subscription.local_uri, subscription.local_tag)],
            "to": [_tagged(subscription.remote_uri, subscription.remote_tag)],
            "call-id": [subscription.call_id],
            "cseq": [f"{subscription.cseq} NOTIFY"],
            "contact": [f"<{contact}>"],
            "event": [subscription.event],
            "subscription-state": [state],
        }
        if subscription.ended == "rejected":
            return Request("NOTIFY", subscription.contact, headers)
        return Request("NOTIFY", subscription.contact, {**headers, "content-type": [pidf.TYPE]}, body)


def _check_switch(account: Account) -> None:
    if not account.presence:
        raise _Refused(403, "presence is switched off for this account")


def _event(request: Request) -> str:
    """Return the Event value to repeat in NOTIFY.

    Raises _Refused with 489 for other event packages and for a missing Event (RFC 6665 section 7.3).
    """
    package, _, rest = request.get("event").partition(";")
    if package.strip().lower() != EVENT:
        raise _Refused(489, "presence is the only event package here", _ALLOW_EVENTS)
    name = parse_params(";" + rest).get("id") if rest.strip() else None
    if name and (len(name) > 64 or not name.isascii() or not name.isprintable() or set(name) & set(' ;,"\\')):
        raise _Refused(400, "malformed id of Event")
    return f"{EVENT};id={name}" if name else EVENT


def _check_accept(request: Request) -> None:
    wanted = request.listed("accept")
    if wanted and not any(one.partition(";")[0].strip().lower() in _ADMITTING for one in wanted):
        raise _Refused(406, f"presence is told as {pidf.TYPE}", ("Accept", pidf.TYPE))


def _contact(request: Request) -> str:
    """Return the only Contact as Request-URI; empty if there is none. Raises ParseError."""
    contacts = request.listed("contact")
    if not contacts:
        return ""
    if len(contacts) > 1 or contacts[0] == "*":
        raise ParseError("SUBSCRIBE has one Contact")
    contact = parse_name_addr(contacts[0])
    uri = contact.parsed()
    return str(uri._replace(headers="")) if uri.headers else contact.uri


def _routes(request: Request) -> list[str]:
    """Return the Record-Route values. Raises ParseError."""
    routes = request.listed("record-route")
    for route in routes:
        parse_name_addr(route).parsed()
    return routes


def _size(subscription: Subscription) -> int:
    texts = (subscription.call_id, subscription.remote_tag, subscription.local_uri, subscription.remote_uri)
    return sum(map(len, (*texts, subscription.entity, subscription.contact, *subscription.routes)))


def _tagged(uri: str, tag: str) -> str:
    return f"<{uri}>;tag={tag}" if tag else f"<{uri}>"


def _user_of(entity: str) -> str:
    """Return the user part of `sip:user@host` or `pres:user@host`."""
    return entity.partition(":")[2].partition("@")[0]


def _remove(table: dict[str, dict[Any, Any]], name: str, key: Any) -> None:
    row = table.get(name)
    if row is not None:
        row.pop(key, None)
        if not row:
            del table[name]
