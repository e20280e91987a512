"""VoIP.ms' methods for messages.

Methods: sendSMS, sendMMS, getSMS, getMMS, getMediaMMS, deleteSMS, deleteMMS. SMS and MMS share one sequence of ids,
because clients recognise a message by its id alone. In lists all values are texts; a send returns a number. A message
from an alphanumeric sender must not appear in a list: the Android application rejects a whole list with such a row.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Final

from sipsms.accounts.directory import Directory
from sipsms.core.charset import decode_or_mark
from sipsms.core.clock import Clock
from sipsms.core.media_types import MAX_FILE, MAX_FILES, MAX_TEXT
from sipsms.core.message import Direction, Media, Message
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.order import File, Order
from sipsms.messaging.outbound import Outbound
from sipsms.store import message_list_voipms
from sipsms.store.store import Store
from sipsms.web.api.voipms.params import Answer, Call, Days, Method, Params, Refused, Row, days_of, shift_of, wall
from sipsms.web.json_response import compact

ORIGIN: Final = "rest"
MAX_SMS: Final = 160  # characters
LIMIT: Final = 50  # rows, unless the client asks for more ...
MAX_ROWS: Final = 20_000  # ... which are at most these, ...
MAX_LIST: Final = 16 * 2**20  # ... and about these bytes
MAX_LISTS: Final = 2  # lists of one customer at once
_MAX_URL: Final = 2048
_MAX_ID: Final = 2**63 - 1
_SLOTS: Final = 3  # columns for media in a row, including empty ones

_WORDS: Final[Mapping[RefusalCode, str]] = {
    RefusalCode.NO_SOURCE: "missing_did",
    RefusalCode.SOURCE: "invalid_did",
    RefusalCode.NO_DESTINATION: "invalid_dst",
    RefusalCode.DESTINATION: "invalid_dst",
    RefusalCode.EMPTY: "message_empty",
    RefusalCode.TEXT: "invalid_sms",
    RefusalCode.TOO_LONG: "sms_toolong",
    RefusalCode.LIMIT: "limit_reached",
    RefusalCode.MEDIA: "invalid_file",
    RefusalCode.MEDIA_SIZE: "exceeds_file_size",
    RefusalCode.MEDIA_COUNT: "invalid_file",
}  # any other code is `sms_failed`

_TYPES: Final = {"": None, "1": Direction.IN, "0": Direction.OUT}


class Messages:
    def __init__(
        self, outbound: Outbound, directory: Directory, store: Store, url: Callable[[Media], str], clock: Clock
    ) -> None:
        """Store the services. `url` returns the URL of an MMS part."""
        self._outbound = outbound
        self._directory = directory
        self._store = store
        self._url = url
        self._clock = clock
        self._listing: Counter[str] = Counter()  # customer -> lists running or waiting
        # A long list takes half a second of a reader thread, and the queue needs the readers too.
        self._turn = asyncio.Semaphore(1)

    def methods(self) -> dict[str, Method]:
        return {
            "sendSMS": self._send_sms, "sendMMS": self._send_mms,
            "getSMS": partial(self._list, mms=False), "getMMS": partial(self._list, mms=True),
            "getMediaMMS": self._get_media, "deleteSMS": self._delete, "deleteMMS": self._delete,
        }  # fmt: skip

    # --- sending ---

    async def _send_sms(self, call: Call) -> Answer:
        return {"sms": await self._send(call, (), MAX_SMS)}

    async def _send_mms(self, call: Call) -> Answer:
        """Send an MMS; without a file a long text, which the carrier may send in any form."""
        return {"mms": await self._send(call, tuple(_files(call.params)), MAX_TEXT)}

    async def _send(self, call: Call, files: Sequence[File], longest: int) -> int:
        params = call.params
        did, destination = params.whole("invalid_did", "did"), params.whole("invalid_dst", "dst")
        if not did:
            raise Refused("missing_did")
        if not destination:
            raise Refused("invalid_dst", "dst is not there")
        text = _text(params)
        if not files and not text.strip():
            raise Refused("message_empty" if params.given("message") else "missing_sms", "the text is empty")
        sent = await self._outbound.send(
            Order(call.account, did, destination, text, ORIGIN, files, longest, counted=True)
        )
        if isinstance(sent, Refusal):
            raise Refused(_WORDS.get(sent.in_short, "sms_failed"), sent.reason)
        call.answered = lambda: self._outbound.answered(sent)
        return sent.message

    # --- lists ---

    async def _list(self, call: Call, *, mms: bool) -> Answer:
        """List SMS or MMS, both under the key `sms`."""
        params, shift = call.params, shift_of(call.params)
        kind = None if params.flag("missing_params", "all_messages") else mms
        named = params.text("mms" if mms else "sms", "id").lstrip("0")  # 0: any
        if named:
            rows = await self._one(call, named, kind, shift)
        else:
            with self._place(call.account.name):
                rows = await self._days(call, kind)
        if not rows:
            raise Refused("no_sms")
        return b'{"status":"success","sms":[' + b",".join(rows) + b"]}"

    @contextmanager
    def _place(self, customer: str) -> Iterator[None]:
        """Count a list in progress, since lists run one after the other. Raises Refused above `MAX_LISTS`."""
        if self._listing[customer] >= MAX_LISTS:
            raise Refused("api_limit_exceeded", f"{MAX_LISTS} lists are under way already")
        self._listing[customer] += 1
        try:
            yield
        finally:
            self._listing[customer] -= 1
            self._listing += Counter()  # removes customers without lists

    async def _one(self, call: Call, named: str, mms: bool | None, shift: timedelta) -> list[bytes]:
        message = await self._stored(_id(named), call)
        if message is None or (mms is not None and bool(message.media) != mms):
            return []
        rendered = _encoded(message, wall(message.received_at, shift), self._url)
        return [rendered] if rendered is not None else []

    async def _days(self, call: Call, mms: bool | None) -> list[bytes]:
        params = call.params
        days = days_of(params, self._clock())
        kind = params.text("type")
        if kind not in _TYPES:
            raise Refused("invalid_type", "type is 1 (received) or 0 (sent)")
        did, contact = params.number("invalid_did", "did"), params.number("invalid_contact", "contact")
        numbers = self._numbers(call)
        if did and did not in numbers:
            raise Refused("invalid_did", f"{did} is none of the account's numbers")
        since, until = days.bounds()
        limit = _limit(params.text("limit"))
        asked = {did: numbers[did]} if did else numbers
        async with self._turn:
            return await self._store.read(
                lambda db: message_list_voipms.past(
                    db, asked, since, until, Pen(days, self._url), limit=limit, direction=_TYPES[kind],
                    contact=contact, mms=mms,
                )
            )  # fmt: skip

    async def _stored(self, message: int, call: Call) -> Message | None:
        dids = self._numbers(call)
        return await self._store.read(lambda db: message_list_voipms.one(db, message, dids))

    async def _get_media(self, call: Call) -> Answer:
        message = await self._stored(self._asked(call), call)
        if message is None:
            raise Refused("invalid_id", "no such message")
        links = [self._url(one) for one in message.media]
        as_list = call.params.flag("missing_params", "media_as_array")
        media = links if as_list else {str(number): link for number, link in enumerate(links, 1)}
        return {"id": str(message.id), "date": wall(message.received_at, shift_of(call.params)), "media": media}

    async def _delete(self, call: Call) -> Answer:
        message, dids = self._asked(call), self._numbers(call)
        if await self._stored(message, call) is None:  # a client that guesses ids must not occupy the writer
            raise Refused("invalid_id", "no such message")
        if not await self._store.write(lambda db: message_list_voipms.hide(db, message, dids)):
            raise Refused("invalid_id", "no such message")
        return {}

    def _asked(self, call: Call) -> int:
        named = call.params.text("id", "sms", "mms")
        if not named:
            raise Refused("missing_id")
        return _id(named)

    def _numbers(self, call: Call) -> dict[str, float]:
        """Return the caller's DIDs, each with the start of the caller's ownership."""
        return {did.number: did.since for did in self._directory.dids_of(call.account.name)}


def _text(params: Params) -> str:
    value = params.raw("message")
    text = decode_or_mark(value) if isinstance(value, bytes) else value
    return text.replace("\r\n", "\n")


def _id(named: str) -> int:
    """Return the id as a number. Raises Refused."""
    if not (named.isascii() and named.isdigit()) or len(named) > 19 or int(named) > _MAX_ID:
        raise Refused("invalid_id", f"{named[:32]} is no id")
    return int(named)


def _limit(text: str) -> int:
    asked = int(text[:9]) if text.isascii() and text.isdigit() else 0
    return min(asked, MAX_ROWS) or LIMIT


# --- rows ------------------------------------------------------------------------------------------------------------


class Pen:
    """A writer of the rows of one list, up to `MAX_LIST` bytes."""

    def __init__(self, days: Days, url: Callable[[Media], str]) -> None:
        self._days = days
        self._url = url
        self._left = MAX_LIST

    def __call__(self, message: Message) -> bytes | None:
        shown = wall(message.received_at, self._days.shift)
        if self._left <= 0 or not self._days.has(shown):
            return None
        row = _encoded(message, shown, self._url)
        self._left -= len(row or b"")
        return row


def _encoded(message: Message, shown: str, url: Callable[[Media], str]) -> bytes | None:
    """Return a message as a row of JSON; None for a message that must not be listed."""
    contact = message.source if message.direction is Direction.IN else message.destination
    digits = contact.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        return None
    media = [url(one) for one in message.media]
    row: Row = {
        "id": str(message.id),
        "date": shown,
        "type": "1" if message.direction is Direction.IN else "0",
        "did": message.did,
        "contact": contact,
        "carrier_status": "Information not available",
        "message": message.text,
    }
    for index in range(max(_SLOTS, len(media))):
        row[f"col_media{index + 1}"] = media[index] if index < len(media) else ""
    row["media"] = media
    return compact(row)


# --- files -----------------------------------------------------------------------------------------------------------


def _files(params: Params) -> Iterator[File]:
    """Yield the files of the request. Raises Refused."""
    for number in range(1, MAX_FILES + 1):
        given = params.raw(f"media{number}")
        if given:
            yield _file(given)
    if params.given(f"media{MAX_FILES + 1}"):
        raise Refused("invalid_file", f"an MMS has at most {MAX_FILES} files")


def _file(given: str | bytes) -> File:
    """Return a file from a URL, a `data:` URI (RFC 2397), bare base64, or bytes."""
    if isinstance(given, bytes):
        return File(_checked(given))
    given = given.strip()
    if given[:8].lower().startswith(("http://", "https://")):
        if len(given) > _MAX_URL or not given.isprintable():
            raise Refused("invalid_file", "this is no URL")
        return File(url=given)
    if given[:5].lower() == "data:":
        kind, comma, given = given.partition(",")
        if not comma or not kind.lower().endswith(";base64"):
            raise Refused("no_base64file", "a data: URI has its data in base64")
    return File(_checked(_decoded(given)))


def _decoded(text: str) -> bytes:
    """Decode base64 of either alphabet, with line breaks, and spaces for unencoded pluses. Raises Refused."""
    if len(text) > MAX_FILE * 3 // 2:
        raise Refused("exceeds_file_size", f"a file is larger than {MAX_FILE // 1024} KB")
    lines = text.replace("\r", "").replace("\n", "").replace(" ", "+").translate(_URL_SAFE)
    padded = lines.rstrip("=") + "=" * (-len(lines.rstrip("=")) % 4)
    try:
        return base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("no_base64file", "a file is a URL, a data: URI or base64") from None


_URL_SAFE: Final = str.maketrans("-_", "+/")


def _checked(data: bytes) -> bytes:
    if not data:
        raise Refused("invalid_file", "a file is empty")
    if len(data) > MAX_FILE:
        raise Refused("exceeds_file_size", f"a file is larger than {MAX_FILE // 1024} KB")
    return data
