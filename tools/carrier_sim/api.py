"""What VoIP.ms' REST API does, without a socket: fields in, a JSON object out.

Always an object with `status`; an empty list is an error word that begins with `no_`; values in lists are strings, the
id that a send returns is a number; times are New York's. Whether SMS and MMS have one sequence of ids is not known of
the real one: here they have one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

NEW_YORK: Final = ZoneInfo("America/New_York")
MAX_DAYS: Final = 92
Answer = dict[str, Any]


class Refused(Exception):
    """The status word is the text."""


@dataclass
class Record:
    """A message in the carrier's books. `type`: 1 received, 0 sent."""

    id: int
    at: float
    type: str
    did: str
    contact: str
    message: str
    media: list[str] = field(default_factory=list)
    mms: bool = False


@dataclass
class DidSettings:
    """As setSMS takes them: flags are "0" and "1"."""

    number: str
    values: dict[str, str] = field(default_factory=dict)

    def set_callback(self, url: str, *, retry: bool = True) -> None:
        self.values |= {
            "sms_url_callback": url,
            "sms_url_callback_enabled": "1" if url else "0",
            "sms_url_callback_retry": "1" if retry else "0",
        }

    def set_webhook(self, url: str) -> None:
        self.values |= {"webhook": url, "webhook_enabled": "1" if url else "0"}

    @property
    def e164(self) -> bool:
        return self.values.get("dialmode") == "2"

    def row(self) -> dict[str, str]:
        return {"did": self.number, "description": "SIMULATED", **_DID, **self.values}


_DID: Final = {
    "routing": "none:", "pop": "16", "dialmode": "1", "sms_available": "1", "mms_available": "1", "sms_enabled": "1",
    "sms_email": "", "sms_email_enabled": "0", "sms_forward": "", "sms_forward_enabled": "0", "sms_url_callback": "",
    "sms_url_callback_enabled": "0", "sms_url_callback_retry": "0", "webhook": "", "webhook_enabled": "0",
    "sms_sipaccount": "", "sms_sipaccount_enabled": "0", "smpp_enabled": "0",
}  # fmt: skip

# setSMS writes some flags under other names than getDIDsInfo shows them.
_SET: Final = {
    "enable": "sms_enabled", "url_callback_enable": "sms_url_callback_enabled", "url_callback": "sms_url_callback",
    "url_callback_retry": "sms_url_callback_retry", "webhook_enable": "webhook_enabled",
    "webhook_enabled": "webhook_enabled", "webhook": "webhook", "dialmode": "dialmode",
    "email_enabled": "sms_email_enabled", "email_address": "sms_email", "sms_forward": "sms_forward",
    "sms_forward_enable": "sms_forward_enabled", "sms_sipaccount": "sms_sipaccount",
    "sms_sipaccount_enabled": "sms_sipaccount_enabled",
}  # fmt: skip


class Api:
    """`hide_media`: getMMS with empty columns, as the real one often answers. `daily_limit`: messages a day."""

    def __init__(self, username: str, password: str, dids: list[str], clock: Callable[[], float]) -> None:
        self.username = username
        self.password = password
        self.clock = clock
        self.dids = {number: DidSettings(number) for number in dids}
        self.records: list[Record] = []
        self.daily_limit: int | None = None
        self.hide_media = False
        self.allowed: set[str] | None = None  # addresses; None: any
        self._next = int(clock())  # rising from run to run: by its id a message is known again
        self._methods: Mapping[str, Callable[[Mapping[str, str]], Answer]] = {
            "sendSMS": self._send_sms, "sendMMS": self._send_mms, "getSMS": self._get_sms, "getMMS": self._get_mms,
            "getMediaMMS": self._get_media, "deleteSMS": self._delete, "deleteMMS": self._delete,
            "setSMS": self._set_sms, "getDIDsInfo": self._get_dids, "getBalance": self._get_balance,
            "getIP": lambda fields: {"ip": "127.0.0.1"},
        }  # fmt: skip

    def call(self, fields: Mapping[str, str], address: str = "127.0.0.1") -> Answer:
        try:
            self._let_in(fields, address)
            method = self._methods.get(fields.get("method", ""))
            if method is None:
                raise Refused("invalid_method" if fields.get("method") else "missing_method")
            return {"status": "success", **method(fields)}
        except Refused as word:
            return {"status": str(word)}

    def _let_in(self, fields: Mapping[str, str], address: str) -> None:
        if not fields.get("api_username") or not fields.get("api_password"):
            raise Refused("missing_credentials")
        if (fields["api_username"], fields["api_password"]) != (self.username, self.password):
            raise Refused("invalid_credentials")
        if self.allowed is not None and address not in self.allowed:
            raise Refused("ip_not_enabled")

    @property
    def sent(self) -> list[Record]:
        return [record for record in self.records if record.type == "0"]

    def add(self, kind: str, did: str, contact: str, message: str, media: list[str], *, mms: bool) -> Record:
        self._next += 1
        record = Record(self._next, self.clock(), kind, did, contact, message, media, mms)
        self.records.append(record)
        return record

    # --- sending ---

    def _send_sms(self, fields: Mapping[str, str]) -> Answer:
        message = self._message(fields, 160)
        if not message:
            raise Refused("missing_sms")
        return {"sms": self._send(fields, message, [], mms=False).id}

    def _send_mms(self, fields: Mapping[str, str]) -> Answer:
        media = [fields[f"media{n}"] for n in (1, 2, 3) if fields.get(f"media{n}")]
        message = self._message(fields, 2048)
        if not message and not media:
            raise Refused("missing_sms")
        return {"mms": self._send(fields, message, media, mms=True).id}

    def _message(self, fields: Mapping[str, str], longest: int) -> str:
        message = fields.get("message", "")
        if len(message) > longest:
            raise Refused("sms_toolong")
        return message

    def _send(self, fields: Mapping[str, str], message: str, media: list[str], *, mms: bool) -> Record:
        did, dst = fields.get("did", ""), fields.get("dst", "")
        if not did:
            raise Refused("missing_did")
        if did not in self.dids or self.dids[did].row()["sms_enabled"] != "1":
            raise Refused("invalid_did")
        if not re.fullmatch(r"[2-9][0-9]{9}", dst):
            raise Refused("invalid_dst")
        if self.daily_limit is not None and self._sent_today() >= self.daily_limit:
            raise Refused("limit_reached")
        return self.add("0", did, dst, message, media, mms=mms)

    def _sent_today(self) -> int:
        today = wall(self.clock()).date()
        return sum(wall(record.at).date() == today for record in self.sent)

    # --- the books ---

    def _get_sms(self, fields: Mapping[str, str]) -> Answer:
        return self._list(fields, fields.get("sms", ""), None if fields.get("all_messages") == "1" else False)

    def _get_mms(self, fields: Mapping[str, str]) -> Answer:
        return self._list(fields, fields.get("mms", ""), None if fields.get("all_messages") == "1" else True)

    def _list(self, fields: Mapping[str, str], number: str, mms: bool | None) -> Answer:
        """Newest first. MMS are listed under `sms` too."""
        first, last = self._days(fields)
        shift = _shift(fields.get("timezone", ""))
        rows = [
            self._row(record, shift)
            for record in reversed(self.records)
            if (mms is None or record.mms == mms)
            and (not number or str(record.id) == number)
            and (number or first <= (wall(record.at) + shift).date().isoformat() <= last)
            and all(fields.get(key, "") in ("", getattr(record, key)) for key in ("type", "did", "contact"))
        ][: int(fields.get("limit") or 50)]
        if not rows:
            raise Refused("no_sms")
        return {"sms": rows}

    def _days(self, fields: Mapping[str, str]) -> tuple[str, str]:
        today = wall(self.clock()).date().isoformat()
        first, last = fields.get("from") or today, fields.get("to") or today
        try:
            length = (datetime.fromisoformat(last) - datetime.fromisoformat(first)).days
        except ValueError:
            raise Refused("invalid_date") from None
        if not 0 <= length <= MAX_DAYS:
            raise Refused("invalid_daterange")
        return first, last

    def _row(self, record: Record, shift: timedelta) -> Answer:
        row: Answer = {
            "id": str(record.id),
            "date": (wall(record.at) + shift).strftime("%Y-%m-%d %H:%M:%S"),
            "type": record.type,
            "did": record.did,
            "contact": record.contact,
            "message": record.message or None,
        }
        if record.mms:
            shown = [] if self.hide_media else record.media
            slots = max(3, len(shown))
            row |= {f"col_media{n + 1}": shown[n] if n < len(shown) else "" for n in range(slots)}
            row |= {"carrier_status": "Information not available", "media": shown}
        return row

    def _get_media(self, fields: Mapping[str, str]) -> Answer:
        record = self._by_id(fields)
        media: Any = record.media
        if fields.get("media_as_array") != "1":
            media = {str(n): url for n, url in enumerate(record.media, 1)}
        return {"id": str(record.id), "date": wall(record.at).strftime("%Y-%m-%d %H:%M:%S"), "media": media}

    def _delete(self, fields: Mapping[str, str]) -> Answer:
        self.records.remove(self._by_id(fields))
        return {}

    def _by_id(self, fields: Mapping[str, str]) -> Record:
        number = fields.get("id", "")
        if not number:
            raise Refused("missing_id")
        found = next((record for record in self.records if str(record.id) == number), None)
        if found is None:
            raise Refused("invalid_id")
        return found

    # --- the account ---

    def _set_sms(self, fields: Mapping[str, str]) -> Answer:
        did = self.dids.get(fields.get("did", ""))
        if did is None:
            raise Refused("invalid_did" if fields.get("did") else "missing_did")
        if fields.get("enable", "") == "":
            raise Refused("missing_enable")
        did.values |= {_SET[key]: value for key, value in fields.items() if key in _SET}
        return {}

    def _get_dids(self, fields: Mapping[str, str]) -> Answer:
        rows = [one.row() for number, one in self.dids.items() if fields.get("did", "") in ("", number)]
        if not rows:
            raise Refused("no_did")
        return {"dids": rows}

    def _get_balance(self, fields: Mapping[str, str]) -> Answer:
        return {"balance": {"current_balance": "112.192790"}}


def wall(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, NEW_YORK)


def _shift(timezone: str) -> timedelta:
    """`timezone=N` shifts by N+5 hours: -5 is Eastern, daylight saving included."""
    return timedelta(hours=float(timezone) + 5) if re.fullmatch(r"-?[0-9]{1,2}(\.[0-9])?", timezone) else timedelta()
