"""Carrier for VoIP.ms: the REST API out, and three ways in with common deduplication.

A message may come in by URL callback, by JSON webhook and by our own `poll`; all three must make the same deduplication
key. The carrier signs nothing: the secret in the hook's path is the only authentication. The API answers 200 to every
request and gives the result in `status`, see the table below. Every request is a POST with multipart/form-data, as the
carrier's own application sends it, so that user and password are in no URL, where proxies would log them.

An attempt without a response is looked up in the carrier's records (`look_up`), which settles an unknown outcome.
Sources: voip.ms "SOAP and REST/JSON API", wiki "SMS-MMS".
"""

from __future__ import annotations

import math
import secrets
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from sipsms.carriers import payload, telnyx_events, voipms_records
from sipsms.carriers.outcomes import ask, by_meaning, by_status, is_cut, json_of, plain
from sipsms.carriers.settings import Meaning, VoipmsConfig
from sipsms.carriers.voipms_records import Row
from sipsms.core import log
from sipsms.core.charset import storable
from sipsms.core.clock import new_york
from sipsms.core.e164 import as_format, normalise
from sipsms.core.http_client import HttpReply, NoAnswer, NotSent
from sipsms.core.message import Accepted, Deferred, Delivery, Media, Outcome, Rejected, Scope, Unknown
from sipsms.messaging.base_carrier import BaseCarrier
from sipsms.messaging.carrier import CarrierTools, HookError, HookReply, HookRequest, InboundSms, NotThere, Parsed

MAX_SMS: Final = 160  # characters (S-001)
MAX_MMS: Final = 2048  # characters (S-024)
MAX_FILES: Final = 3  # files of an MMS (S-023)
MAX_RECORDS: Final = 8 * 1024 * 1024  # bytes of one response of getSMS; a larger range is halved
ROWS: Final = "1000000"  # `limit`; without a limit the carrier returns 50 rows

MAX_BACK: Final = 90 * 86400.0  # seconds; the oldest record that `poll` reads
OVERLAP: Final = 300.0  # seconds before `since` that are read again, because the carrier's clock may differ
YOUNG: Final = 300.0  # seconds until a message must be in the records
DAY: Final = 86400.0
SKEW: Final = 60.0  # seconds that a record may be older than our attempt
MAX_CLAIMED: Final = 10_000


class Said(NamedTuple):
    """Meaning of a status word, with the seconds to wait."""

    meaning: Meaning
    retry_after: float | None = None


# Status words (docs: "API status and error messages"). Any other word is a refusal of the message.
_WORDS: Final[Mapping[str, Said]] = {
    "missing_credentials": Said("down"),
    "invalid_credentials": Said("down"),
    "api_not_enabled": Said("down"),
    "ip_not_enabled": Said("down"),
    "non_sufficient_funds": Said("down"),
    "missing_method": Said("down"),  # something between us and the carrier removes the form
    "invalid_method": Said("down"),
    "method_maintenance": Said("down", 300.0),
    "limit_reached": Said("down", 900.0),  # daily limit of messages (S-006): the carrier is down, messages are kept
    "api_limit_exceeded": Said("down", 60.0),  # requests a minute
    "sms_wait_message": Said("later", 60.0),
}

_OK: Final = HookReply(200, "ok")  # exactly this text, else the carrier repeats the request every 30 minutes (S-044)


class VoipmsCarrier(BaseCarrier):
    can_look_up = True

    def __init__(self, name: str, config: VoipmsConfig, tools: CarrierTools) -> None:
        super().__init__(name)
        self._config = config
        self._tools = tools
        self._claimed: OrderedDict[str, int] = OrderedDict()  # the carrier's id -> our delivery's id
        self._clocks_differ = math.inf  # seconds, from Date of the last response
        new_york()  # fail at the start if the time zone is missing
        self.poll_every = config.poll or 0.0
        self.secret = config.inbound.secret.get_secret_value() if config.inbound else ""

    # --- in ---

    def parse(self, request: HookRequest) -> Parsed:
        if self._config.inbound is None:
            raise HookError(404, f"carrier {self.name} has no hook")
        payload.check_size(request)
        if request.body and payload.is_json(request):
            return _webhook(request)
        return Parsed((self._callback(payload.fields(request)),), reply=_OK)

    def _callback(self, fields: Mapping[str, str]) -> InboundSms:
        assert self._config.inbound is not None
        names = self._config.inbound.fields_
        source = payload.number_of(fields.get(names.from_), names.from_)
        destination = payload.number_of(fields.get(names.to), names.to)
        remote_id = payload.number_of(fields.get(names.id), names.id)
        files = fields.get(names.files, "").split(",")  # with empty slots: `a,,`
        media = payload.media_of((url, None, None) for url in files)
        text = storable(fields.get(names.message, ""))
        key = voipms_records.dedupe(remote_id, source, destination)
        return InboundSms(source, destination, text, remote_id, media, dedupe=key)

    # --- out ---

    async def send(self, delivery: Delivery) -> Outcome:
        method = _method(delivery)
        if (problem := _problem(method, delivery)) is not None:
            return problem
        try:
            fields = await self._fields(method, delivery)
        except OSError:
            return Deferred("a part of the message cannot be read", scope=Scope.MESSAGE)
        boundary, body = _multipart(fields)
        answer = await ask(
            self._tools.client, "POST", self._config.url,
            headers=_headers(boundary), body=body, timeout=self._config.timeout,
        )  # fmt: skip
        if not isinstance(answer, HttpReply):
            return answer
        outcome = _outcome(method, answer)
        if isinstance(outcome, Accepted) and outcome.remote_id:
            self._claim(outcome.remote_id, delivery)
        return outcome

    async def _fields(self, method: str, delivery: Delivery) -> dict[str, str]:
        fields = {
            "did": as_format(delivery.source, "nanpa"),
            "dst": as_format(delivery.destination, "nanpa"),
            "message": delivery.text,
        }
        for number, media in enumerate(delivery.message.media, 1):
            fields[f"media{number}"] = await self._address(media)
        return self._request(method, fields)

    async def _address(self, media: Media) -> str:
        """Return the URL of an attachment, or a data URL with its stored content if media are inline."""
        if self._config.media == "link" or not media.token:
            return self._tools.media.url(media)
        try:
            data = b64encode(await self._tools.media.read(media)).decode()
        except FileNotFoundError:
            return self._tools.media.url(media)
        return f"data:{media.content_type};base64,{data}"

    def _request(self, method: str, fields: Mapping[str, str]) -> dict[str, str]:
        return {
            "api_username": self._config.username,
            "api_password": self._config.password.get_secret_value(),
            "method": method,
            "content_type": "json",
            **fields,
        }

    # --- the carrier's records ---

    async def poll(self, since: float) -> Sequence[InboundSms]:
        """Return the messages in the carrier's records since then. Raises NotSent and NoAnswer."""
        now = self._tools.clock()
        begin = max(since - OVERLAP, now - MAX_BACK)
        found = {}
        for method in ("getSMS", "getMMS"):
            for row in await self._rows(method, begin, now + SKEW, {"type": "1"}):
                if row.is_after(begin):
                    row = await self._with_media(row) if method == "getMMS" and not row.media else row
                    found[row.id, row.contact, row.did] = row
        return [voipms_records.inbound(row) for row in sorted(found.values(), key=lambda row: (row.at, row.id))]

    async def _with_media(self, row: Row) -> Row:
        """Add the media of an MMS; getMMS often lacks media that getMediaMMS has."""
        reply = await self._reply("getMediaMMS", {"id": row.id, "media_as_array": "1"})
        word = payload.word_of(payload.mapping(json_of(reply)).get("status"))
        if word and word != "success" and word not in _WORDS:
            return row  # no media: a long text is an MMS, too
        return replace(row, media=voipms_records.media_in(_body("getMediaMMS", reply)))

    async def look_up(self, delivery: Delivery, began: float) -> Outcome | None:
        """Look up an attempt without a response in the carrier's records; None if still unknown.

        Raises NotThere if there is certainly no record, or NotSent or NoAnswer if the records cannot be read."""
        method = _method(delivery)
        asked = {"sendSMS": "getSMS", "sendMMS": "getMMS"}[method]
        numbers = {"did": as_format(delivery.source, "nanpa"), "contact": as_format(delivery.destination, "nanpa")}
        now = self._tools.clock()
        rows = await self._rows(asked, began - DAY, now + SKEW, {"type": "0", **numbers})
        free = [row for row in rows if self._is_free(method, row, delivery)]
        candidates = [row for row in free if row.is_after(began - SKEW)]
        match = _closest(candidates, delivery.text, began)
        if match is not None:
            remote_id = _remote_id(method, match.id)
            self._claim(remote_id, delivery)
            return Accepted(remote_id)
        end = began + self._config.timeout + SKEW  # until then a record with a changed text may be ours
        if now - began < YOUNG or any(not row.is_after(end) for row in candidates):
            return None
        if any(voipms_records.letters(row.text) == voipms_records.letters(delivery.text) for row in free):
            return None  # our clock may have been wrong at the start of the attempt
        if abs(self._clocks_differ) > SKEW:  # with differing clocks a missing record proves nothing
            log.warning("carrier_clock", carrier=self.name, seconds=round(self._clocks_differ))
            return None
        raise NotThere

    def _is_free(self, method: str, row: Row, delivery: Delivery) -> bool:
        """Return True for a record between these numbers that is not another delivery's of the same text."""
        wanted = (normalise(delivery.source), normalise(delivery.destination))
        owner = self._claimed.get(_remote_id(method, row.id), delivery.id)
        return (normalise(row.did), normalise(row.contact)) == wanted and owner == delivery.id

    def _claim(self, remote_id: str, delivery: Delivery) -> None:
        self._claimed[remote_id] = delivery.id
        while len(self._claimed) > MAX_CLAIMED:
            self._claimed.popitem(last=False)

    async def _rows(self, method: str, first: float, last: float, fields: Mapping[str, str]) -> list[Row]:
        found: list[Row] = []
        ranges = voipms_records.days(first, last)
        while ranges:
            begin, end = ranges.pop()
            asked = {"from": begin, "to": end, "limit": ROWS, "timezone": voipms_records.TIMEZONE, **fields}
            reply = await self._reply(method, asked)
            if is_cut(reply, MAX_RECORDS):
                ranges += voipms_records.halves(begin, end) or _give_up(begin)
            else:
                found += voipms_records.rows(_body(method, reply))
        return found

    async def _reply(self, method: str, fields: Mapping[str, str]) -> HttpReply:
        boundary, body = _multipart(self._request(method, fields))
        reply = await self._tools.client.request(
            "POST", self._config.url,
            headers=_headers(boundary), body=body, timeout=self._config.timeout, limit=MAX_RECORDS,
        )  # fmt: skip
        self._clocks_differ = _seconds_between(reply.headers.get("date", ""), self._tools.clock())
        return reply


# --- in --------------------------------------------------------------------------------------------------------------


def _webhook(request: HookRequest) -> Parsed:
    """Parse a webhook; it has messages only, because VoIP.ms has no receipts."""
    messages, _ = telnyx_events.read(request)
    keys = (voipms_records.dedupe(sms.remote_id, sms.source, sms.destination) for sms in messages)
    return Parsed(tuple(replace(sms, dedupe=key) for sms, key in zip(messages, keys, strict=True)), reply=_OK)


# --- out -------------------------------------------------------------------------------------------------------------


def _method(delivery: Delivery) -> str:
    return "sendMMS" if delivery.message.media or len(delivery.text) > MAX_SMS else "sendSMS"


def _problem(method: str, delivery: Delivery) -> Rejected | None:
    """Return the refusal of a message that the carrier would refuse, without using its daily limit."""
    if method == "sendMMS" and len(delivery.text) > MAX_MMS:
        return Rejected(f"the text is longer than {MAX_MMS} characters", "sms_toolong")
    if len(delivery.message.media) > MAX_FILES:
        return Rejected(f"more than {MAX_FILES} files", "invalid_file")
    return None


def _outcome(method: str, answer: HttpReply) -> Outcome:
    if not 200 <= answer.status < 300:
        return by_status(answer)
    data = payload.mapping(json_of(answer))
    word = data.get("status")
    if not isinstance(word, str) or not word:
        return Unknown(f"answered {answer.status} with a body that is not understood")
    if word != "success":
        said = _WORDS.get(word, Said("refused"))
        return by_meaning(said.meaning, f"answered {plain(word)}", plain(word), said.retry_after)
    number = payload.word_of(data.get("mms" if method == "sendMMS" else "sms"))
    return Accepted(_remote_id(method, number) if number else "")


def _remote_id(method: str, number: str) -> str:
    """Return the id with its kind, because SMS and MMS may be counted in two sequences."""
    return f"{'mms' if method == 'sendMMS' else 'sms'}:{number}"


def _multipart(fields: Mapping[str, str]) -> tuple[str, bytes]:
    """Encode a form (RFC 7578) without file names, which the carrier treats as uploads."""
    boundary = f"sipsms-{secrets.token_hex(16)}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return boundary, "".join([*parts, f"--{boundary}--\r\n"]).encode("utf-8", "replace")


def _headers(boundary: str) -> dict[str, str]:
    return {"Accept": "application/json", "Content-Type": f"multipart/form-data; boundary={boundary}"}


def _seconds_between(date: str, now: float) -> float:
    """Return Date of a response (RFC 9110 section 6.6.1) minus our clock; infinity without Date."""
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return math.inf


# --- the carrier's records -------------------------------------------------------------------------------------------


def _body(method: str, reply: HttpReply) -> Mapping[str, Any]:
    """Return the data of a response, none for words like `no_sms`. Raises NotSent and NoAnswer: try later."""
    data = payload.mapping(json_of(reply)) if reply.status == 200 else {}
    word = payload.word_of(data.get("status"))
    if word == "success":
        return data
    if word.startswith("no_"):
        return {}
    if word:
        raise NotSent(f"{method} answered {plain(word)}")
    raise NoAnswer(f"{method} answered {reply.status} with a body that is not understood")


def _give_up(date: str) -> list[tuple[str, str]]:
    raise NoAnswer(f"the records of {date} are larger than {MAX_RECORDS} bytes")


def _closest(rows: Sequence[Row], text: str, began: float) -> Row | None:
    same = [row for row in rows if row.text == text]
    return min(same, key=lambda row: (row.distance(began), row.at, row.id), default=None)
