"""An order to send a message, and its result: values that every way in gives to `Outbound`, and gets from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from sipsms.core.account import Account
from sipsms.core.report_request import ReportRequest
from sipsms.core.segmentation import LengthUnit
from sipsms.messaging.carrier import Part

MAX_LONG: Final = 1600  # characters of a long text: some ten segments, as carriers' own APIs take


class File(NamedTuple):
    """A part of an MMS as the client gives it: its bytes, or where they are."""

    data: bytes = b""
    url: str = ""
    name: str = ""


class Order(NamedTuple):
    """A message that an account wants to send, to a number or to another account."""

    account: Account
    source: str  # as the client wrote it; empty: `Outbound` chooses the account's caller ID
    destination: str  # as the client wrote it; empty if `to_account`
    text: str
    origin: str  # the message's origin: sip, smpp, cli, or one of `HTTP_APIS`
    files: Sequence[File] = ()
    max_text: int = 160  # without files
    unit: LengthUnit = "characters"
    due_at: float | None = None  # not before
    expires_at: float | None = None
    when: str = ""  # `due_at` as the client wrote it: another moment is another message
    idempotency: str = ""  # the client's own name for this request: durable, for ever
    dedupe_key: bytes | None = None  # the duplicate key, where the protocol itself names the request
    counted: bool = False  # against the daily limit of the HTTP APIs
    report: ReportRequest | None = None  # who is told what becomes of it
    device: int = 0  # the account's device that wrote it
    to_account: str = ""  # instead of a number
    instance: str = ""  # only this device of `to_account`
    part: Part | None = None  # `text` is this part of a long text
    from_thread: bool = False  # `Outbound` chose the source by the thread: a retry may find another one


@dataclass(slots=True)
class Sent:
    """An accepted message, durable in the store."""

    message: int  # 0: a part of a long text whose other parts are missing
    source: str
    destination: str
    duplicate: bool = False
    repeat: bytes = b""  # by which `Outbound.answered` knows it


class Fetch(Protocol):
    async def __call__(self, url: str, customer: str = "") -> tuple[bytes, str]:
        """Return the bytes, at most MAX_FILE + 1, and the name. Raises MediaRefused with what is wrong, or
        Unavailable: this customer has too many under way."""
