"""Accounts, DIDs with their destinations, and API tokens: the values that the directory holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Account:
    """A customer (`parent` is empty) or one of its subaccounts; both may register."""

    name: str
    parent: str = ""
    ha1_md5: str = ""
    ha1_sha256: str = ""
    caller_id: str = ""
    enabled: bool = True
    legacy_digest: bool = False
    presence: bool = True  # other accounts of its customer may subscribe to its presence
    copies: bool = False  # messages sent by one of its devices are copied to the others
    bulk: bool = False  # may send similar texts to many numbers
    shorteners: bool = False  # may send links of public shorteners
    api_hash: str = ""  # SHA-256 of the API password in hex; empty: no API password
    api_daily_limit: int | None = None  # messages a day by the APIs, for a whole customer; None: as configured
    api_allow_ip: str = ""  # networks that may use its API password and tokens, separated by spaces; empty: all
    email: str = ""  # another name of the account where an API asks for a name
    reseller: str = ""  # the customer that manages this one
    app_messages: bool = False  # an app fetches its messages (Acrobits), instead of SIP to its phones
    since: float = 0.0  # time of creation; older messages were for an earlier account of this name
    smpp_rate: int | None = None  # messages a second by SMPP, for a whole customer; None: as configured
    reply_from_thread: bool = False  # without a stated caller ID it sends from the DID that the peer last wrote to

    @property
    def customer(self) -> str:
        """The customer who owns this account's DIDs and pays for its messages."""
        return self.parent or self.name


class Scope(StrEnum):
    """Scopes of API tokens: the resources that a token may access."""

    OPERATOR = "operator"  # all resources
    RESELLER = "reseller"  # a customer and the customers it manages
    CUSTOMER = "customer"  # a customer with its subaccounts and DIDs
    DID = "did"  # the messages of one DID, nothing else


@dataclass(frozen=True, slots=True)
class Token:
    """An API token, as stored: its hash and not its secret."""

    name: str
    hash: str  # SHA-256 of the token, in hex
    account: str  # the customer; empty: the operator
    scope: Scope
    did: str = ""  # the number, for scope DID
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """A DID's URL callback (S-040..S-044): a GET with {ID} {TIMESTAMP} {FROM} {TO} {MESSAGE} {MEDIA} filled in."""

    url: str
    retry: bool = True  # call again until the page answers `ok`
    disabled: str = ""  # reason if switched off; empty: on


@dataclass(frozen=True, slots=True)
class Webhook:
    """A DID's JSON webhook in the 3CX/Telnyx format (S-045)."""

    url: str
    bearer: str = ""
    secret: str = ""  # secret of Standard Webhooks that signs the events
    disabled: str = ""


@dataclass(frozen=True, slots=True)
class Smpp:
    """SMPP settings of a DID, for programs that receive and send its messages (S-071 to S-076)."""

    username: str = ""  # empty: the customer's name
    password: str = field(default="", repr=False)  # empty: no program can bind
    url: str = field(default="", repr=False)  # the customer's server that we bind to; empty: the customer binds to us
    enabled: bool = True

    @property
    def delivers(self) -> bool:
        return self.enabled and bool(self.url or self.password)


@dataclass(frozen=True, slots=True)
class Did:
    """A number and all its destinations, any number of them at once (S-047)."""

    number: str
    account: str  # the customer
    sip_account: str = ""  # account that gets incoming SMS; empty: none by SIP
    sms: bool = True
    mms: bool = True
    dialing_mode: str = ""  # number format of callback and webhook: nanpa or e164; empty: their default
    group: str = ""  # name of a group of accounts
    members: tuple[str, ...] = ()  # accounts of that group
    emails: tuple[str, ...] = ()
    forward: str = ""  # a number
    callback: Callback | None = None
    webhook: Webhook | None = None
    since: float = 0.0  # start of the present customer's ownership
    smpp: Smpp | None = None

    @property
    def smpp_username(self) -> str:
        """Username by which the customer's programs bind; empty without SMPP settings."""
        return self.smpp.username or self.account if self.smpp is not None else ""
