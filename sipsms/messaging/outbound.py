"""Sending for all HTTP APIs: sender, destination, files, quota, and protection against blind retries.

The APIs differ in words only: each turns `SendRefused.code` into its own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

from sipsms.accounts.directory import Directory
from sipsms.accounts.quota import Usage
from sipsms.core.account import Account
from sipsms.core.clock import Clock
from sipsms.core.e164 import normalise
from sipsms.core.errors import Unavailable
from sipsms.core.media_types import MAX_FILE, MAX_FILES, MAX_TEXT
from sipsms.core.message import Media
from sipsms.core.queue_rows import Past
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.media import MediaRefused, MediaStore

REPEAT: Final = 30.0  # seconds in which the same message again may be a retry of one whose answer was lost
MAX_LONG: Final = 1600  # characters of a long text: some ten segments, as carriers' own APIs take
_REMEMBERED: Final = 10_000
_SAME_MOMENT: Final = 2 * REPEAT + 5  # seconds: "in five minutes", said again after a restart, is a little later


class SendCode(StrEnum):
    NO_SOURCE = "no_source"
    SOURCE = "source"  # none of the account's SMS-enabled DIDs
    NO_DESTINATION = "no_destination"
    DESTINATION = "destination"
    EMPTY = "empty"
    TEXT = "text"  # not a text: NUL, half a surrogate pair
    TOO_LONG = "too_long"
    LIMIT = "limit"  # of a day
    BLOCKED = "blocked"
    POLICY = "policy"
    BULK = "bulk"
    NO_ROUTE = "no_route"
    NO_MMS = "no_mms"
    MEDIA = "media"  # a file that cannot be had, or is none of the kinds of files that an MMS may have
    MEDIA_SIZE = "media_size"
    MEDIA_COUNT = "media_count"
    CONFLICT = "conflict"  # this idempotency key was used for another request


_OF_REFUSAL: Final = {
    RefusalCode.BLOCKED: SendCode.BLOCKED,
    RefusalCode.POLICY: SendCode.POLICY,
    RefusalCode.BULK: SendCode.BULK,
    RefusalCode.NO_ROUTE: SendCode.NO_ROUTE,
    RefusalCode.NO_MMS: SendCode.NO_MMS,
}


class SendRefused(Exception):
    """Nothing was stored. `reason` is for the person who wrote the request."""

    def __init__(self, code: SendCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class File(NamedTuple):
    """A part of an MMS as the client gives it: its bytes, or where they are."""

    data: bytes = b""
    url: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """`source` and `destination` as the client wrote them. `source` empty: the account's caller ID, or its only DID."""

    account: Account
    source: str
    destination: str
    text: str
    origin: str  # the message's origin: rest, v1, v2, originate, acrobits, kannel
    files: Sequence[File] = ()
    max_text: int = 160  # characters, without files
    due_at: float | None = None  # not before
    when: str = ""  # the same as the client wrote it: another moment is another message
    idempotency: str = ""  # the client's own name for this request: durable, for ever
    counted: bool = True  # against the limit of a day
    notify: str = ""  # who hears what becomes of it: `reports.BY_WEBHOOK`, `reports.by_url`
    expires_at: float | None = None


@dataclass(slots=True)
class Sent:
    message: int
    source: str
    destination: str
    duplicate: bool = False
    repeat: bytes = b""

    def __post_init__(self) -> None:
        assert self.message


class Fetch(Protocol):
    async def __call__(self, url: str, customer: str = "") -> tuple[bytes, str]:
        """Return the bytes, at most MAX_FILE + 1, and the name. Raises MediaRefused with what is wrong, or
        Unavailable: this customer has too many under way."""


class _Repeat:
    """A message whose retry may come."""

    __slots__ = ("at", "message", "result")

    def __init__(self, at: float, result: asyncio.Future[Sent]) -> None:
        self.at = at
        self.result = result
        self.message = 0


Likeness = tuple[str, str, str, str, str]  # origin, account, source, destination, text
Recent = Callable[[float, float], Awaitable[dict[Likeness, list[Past]]]]
Named = Callable[[bytes], Awaitable[tuple[int, bytes] | None]]


async def _nothing() -> None:
    pass


class Sender:
    def __init__(
        self, gateway: Gateway, directory: Directory, media: MediaStore, fetch: Fetch, usage: Usage, clock: Clock,
        daily: Callable[[], int], recent: Recent, named: Named, look: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:  # fmt: skip
        """`daily`: sends a day of who has no limit of its own, 0: any number. `recent(span, until)`: messages that
        the APIs sent in the last `span` seconds of the run before. `named(start)`: the message whose key begins so,
        and the key. `look`: call `answered` for messages whose answers have been received meanwhile.
        """
        self._gateway = gateway
        self._directory = directory
        self._media = media
        self._fetch = fetch
        self.usage = usage
        self._clock = clock
        self._daily = daily
        self._recent = recent
        self._named = named
        self._look = look
        self._started = clock()
        self._before: dict[Likeness, list[Past]] | None = None  # what was sent just before the start
        self._repeats: OrderedDict[bytes, _Repeat] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Future[None]] = {}  # by idempotency key

    async def send(self, order: Order) -> Sent:
        """Durable when it returns. Raises SendRefused or Unavailable, with nothing stored.

        The same again within 30 seconds, while the first is under way or before `answered` was called for it, is the
        same message: the client may not have heard the answer. So it is just after a start of the server.
        Who gives up while it is under way changes nothing: what is stored then goes its way.
        """
        return await asyncio.shield(asyncio.ensure_future(self._send(order)))

    async def _send(self, order: Order) -> Sent:
        source, destination = self._source(order), self._destination(order)
        self._check_text(order)
        if order.idempotency:
            return await self._take_once(order, source, destination)
        key = _repeat_key(order, source, destination)
        known = self._known(key)
        if known is not None and known.result.done():
            await self._look()
            known = self._known(key)
        if known is not None:
            sent = await asyncio.shield(known.result)
            known.at = self._clock()  # the answer to this retry may be lost, too
            if self._repeats.get(key) is known:
                self._repeats.move_to_end(key)
            return Sent(sent.message, source, destination, True, key)
        return await self._first(key, order, source, destination)

    async def _first(self, key: bytes, order: Order, source: str, destination: str) -> Sent:
        repeat = _Repeat(self._clock(), asyncio.get_running_loop().create_future())
        self._repeats[key] = repeat
        try:
            before, order = await self._sent_before(source, destination, order)
            if before is not None:
                sent = Sent(before, source, destination, duplicate=True)
            else:
                sent = await self._take(order, source, destination)
        except BaseException as error:
            if self._repeats.get(key) is repeat:
                del self._repeats[key]
            _fail(repeat.result, error)
            raise
        sent.repeat, repeat.message, repeat.at = key, sent.message, self._clock()  # its files may have taken a while
        if self._repeats.get(key) is repeat:
            self._repeats.move_to_end(key)
        repeat.result.set_result(sent)
        return sent

    async def _take_once(self, order: Order, source: str, destination: str) -> Sent:
        """Take one request at a time for an idempotency key: later ones find the first in the store."""
        key = self._idempotency_key(order)
        while (ahead := self._under_way.get(key)) is not None:
            await asyncio.wait((ahead,))
        self._under_way[key] = done = asyncio.get_running_loop().create_future()
        try:
            return await self._take(order, source, destination, key)
        finally:
            del self._under_way[key]
            done.set_result(None)

    async def _sent_before(self, source: str, destination: str, order: Order) -> tuple[int | None, Order]:
        """The same message, if it was taken within the last seconds of the server's run before this one; and the order,
        with the files if they were fetched for that."""
        if self._clock() - self._started >= REPEAT:
            self._before = {}
            return None, order
        if self._before is None:
            found = await self._recent(2 * REPEAT, self._started)  # retries of before have moved the half minute
            if self._before is None:  # another request may have been quicker
                self._before = found
        alike = self._before.get((order.origin, order.account.name, source, destination, _plain(order.text)), [])
        for past in list(alike):
            if not self._same_moment(past, order) or len(past.sizes) != len(order.files):
                continue
            order = replace(order, files=await self.fetched(order.files, order.account.customer))
            if past.sizes == tuple(sorted(len(one.data) for one in order.files)) and past in alike:
                alike.remove(past)  # once: what comes then is another
                return past.message, order
        return None, order

    def _same_moment(self, past: Past, order: Order) -> bool:
        """A moment that is over is none any more for who asks again."""
        if order.due_at is not None:
            return abs(past.due_at - order.due_at) < _SAME_MOMENT
        return not past.due_at or (bool(order.when) and past.due_at <= self._clock())

    def _idempotency_key(self, order: Order) -> bytes:
        """For ever, but not for who comes after the customer under its name."""
        customer = self._directory.account(order.account.customer)
        since = customer.since if customer is not None else 0.0
        return _digest(20, "idempotency", order.account.customer, repr(since), order.idempotency)

    def _known(self, key: bytes) -> _Repeat | None:
        now = self._clock()
        while self._repeats:
            first = next(iter(self._repeats))
            old = self._repeats[first]
            if not old.result.done() or (now - old.at < REPEAT and len(self._repeats) <= _REMEMBERED):
                break
            del self._repeats[first]
        found = self._repeats.get(key)
        return found if found is not None and (not found.result.done() or now - found.at < REPEAT) else None

    def answered(self, *sent: Sent) -> None:
        """The client has its answer: the same again is another message."""
        for one in sent:
            known = self._repeats.get(one.repeat)
            if known is not None and known.message == one.message:
                del self._repeats[one.repeat]

    # --- checks ---

    def _source(self, order: Order) -> str:
        given = order.source.strip() or order.account.caller_id
        if not given:
            enabled = [did for did in self._directory.dids_of(order.account.customer) if did.sms]
            given = enabled[0].number if len(enabled) == 1 else ""
        if not given:
            raise SendRefused(SendCode.NO_SOURCE, "no sender: name one of the account's numbers")
        number = normalise(given)
        if number is None or not self._directory.may_send_from(order.account, number):
            raise SendRefused(SendCode.SOURCE, f"{given[:32]} is not an SMS-enabled number of this account")
        return number

    def _destination(self, order: Order) -> str:
        if not order.destination.strip():
            raise SendRefused(SendCode.NO_DESTINATION, "no destination")
        number = normalise(order.destination)
        if number is None:
            raise SendRefused(SendCode.DESTINATION, f"{order.destination[:32]!r} is not a telephone number")
        if (refusal := self._gateway.dialplan.numbering.policy(number)) is not None:
            raise SendRefused(SendCode.DESTINATION, refusal.reason)
        return number

    def _check_text(self, order: Order) -> None:
        if len(order.files) > MAX_FILES:
            raise SendRefused(SendCode.MEDIA_COUNT, f"{len(order.files)} files, an MMS has at most {MAX_FILES}")
        if not order.files and not order.text.strip():
            raise SendRefused(SendCode.EMPTY, "the text is empty")
        most = MAX_TEXT if order.files else order.max_text
        if len(order.text) > most:
            raise SendRefused(SendCode.TOO_LONG, f"the text has {len(order.text)} characters, at most {most}")
        if "\0" in order.text or not _is_text(order.text):
            raise SendRefused(SendCode.TEXT, "the text has a character that is none (NUL, half a surrogate pair)")

    # --- what is done ---

    async def _take(self, order: Order, source: str, destination: str, name: bytes | None = None) -> Sent:
        key = name + _request_digest(order, source, destination) if name is not None else None
        if name is not None and (known := await self._named(name)) is not None:
            message, found = known
            if found != key:
                raise SendRefused(SendCode.CONFLICT, "this Idempotency-Key was used for another request")
            return Sent(message, source, destination, duplicate=True)
        customer = order.account.customer
        self._check_consent(order, source, destination)
        day = ""
        if order.counted:
            await self._check_limit(order)
            day = self.usage.add(customer)
        media: list[Media] = []
        try:
            await self._save_files(order, media)
            result = await self._gateway.send(
                order.account, source, destination, _plain(order.text), order.origin, dedupe_key=key,
                media=media, due_at=order.due_at, notify=order.notify,
                expires_at=order.expires_at,
            )  # fmt: skip
            if isinstance(result, Refusal):
                raise SendRefused(_OF_REFUSAL.get(result.code, SendCode.DESTINATION), result.reason)
        except (SendRefused, Unavailable):  # nothing is stored
            if day:
                self.usage.add(customer, -1, day)
            await self._discard(media)
            raise
        if result.duplicate:
            if day:
                self.usage.add(customer, -1, day)
            await self._discard(media)
        return Sent(result.message_id, source, destination, result.duplicate)

    async def _check_limit(self, order: Order) -> None:
        customer = self._directory.account(order.account.customer) or order.account
        limit = self._daily() if customer.api_daily_limit is None else customer.api_daily_limit
        if limit and await self.usage.sent(customer.name) >= limit:
            raise SendRefused(SendCode.LIMIT, f"{customer.name} has sent {limit} messages by the APIs today, its limit")

    def _check_consent(self, order: Order, source: str, destination: str) -> None:
        """Before anything is fetched or saved for it. Raises SendRefused."""
        did = self._directory.did(source)
        if order.files and did is not None and not did.mms:
            raise SendRefused(SendCode.NO_MMS, f"{source} is not enabled for MMS")
        refusal = self._gateway.consent.objection(order.account, source, destination, _plain(order.text))
        if refusal is not None:
            raise SendRefused(_OF_REFUSAL.get(refusal.code, SendCode.DESTINATION), refusal.reason)

    async def _save_files(self, order: Order, saved: list[Media]) -> None:
        """All of them into `saved`. Raises SendRefused or Unavailable; some may be there then."""
        for one in await self.fetched(order.files, order.account.customer):
            try:
                saved.append(await self._media.save(one.data, one.name))
            except MediaRefused as error:
                raise SendRefused(SendCode.MEDIA, str(error)) from None
            except OSError as error:
                raise Unavailable(f"a file cannot be saved: {error.strerror or error}") from None

    async def fetched(self, files: Sequence[File], customer: str) -> list[File]:
        """With their bytes. Raises SendRefused or Unavailable."""
        found = []
        for one in files:
            try:
                data, name = await self._fetch(one.url, customer) if one.url else (one.data, one.name)
            except MediaRefused as error:
                raise SendRefused(SendCode.MEDIA, str(error)) from None
            if len(data) > MAX_FILE:
                raise SendRefused(SendCode.MEDIA_SIZE, f"a file is larger than {MAX_FILE // 1024} KB")
            found.append(File(data, name=one.name or name))
        return found

    async def _discard(self, media: Sequence[Media]) -> None:
        for one in media:
            await self._media.discard(one)


def _fail(future: asyncio.Future[Sent], error: BaseException) -> None:
    """Give the same error to all that wait for this message; without any, drop it."""
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)
        future.exception()


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _digest(size: int, *parts: str, files: Sequence[File] = ()) -> bytes:
    digest = blake2b(digest_size=size)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    for one in files:
        digest.update(one.url.encode("utf-8", "surrogatepass") + b"\0" + blake2b(one.data, digest_size=16).digest())
    return digest.digest()


def _repeat_key(order: Order, source: str, destination: str) -> bytes:
    parts = (order.origin, order.account.name, source, destination, order.text, order.when)
    return _digest(16, *parts, files=order.files)


def _request_digest(order: Order, source: str, destination: str) -> bytes:
    """Return a digest by which a request differs from another one under the same idempotency key."""
    return _digest(12, source, destination, _plain(order.text), order.when, order.notify, files=order.files)
