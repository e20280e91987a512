"""Accounts, DIDs with their destinations, and API tokens: the values that the directory holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Account:
    """A customer (parent is empty) or one of its subaccounts; both may register."""

    name: str
    parent: str = ""
    ha1_md5: str = ""
    ha1_sha256: str = ""
    caller_id: str = ""
    enabled: bool = True
    legacy_digest: bool = False
    presence: bool = True  # others of its customer may watch whether it is there
    copies: bool = False  # what one of its devices sends is shown on the others
    bulk: bool = False  # may write alike to many numbers
    shorteners: bool = False  # may send links of public shorteners
    api_hash: str = ""  # SHA-256 of its API password, in hex; empty: it has none
    api_daily_limit: int | None = None  # sends a day by the APIs, for all of a customer; None: as configured
    api_allow_ip: str = ""  # networks that may use its API password and tokens, by spaces; empty: all
    email: str = ""  # another name for it where an API asks for one
    reseller: str = ""  # the customer that manages this one
    app_messages: bool = False  # an app fetches its messages (Acrobits); they do not go to its phones by SIP
    since: float = 0.0  # made then: what is older was for another of its name
    smpp_rate: int | None = None  # messages a second by SMPP, for all of a customer; None: as configured

    @property
    def customer(self) -> str:
        """The customer who owns this account's DIDs and pays for its messages."""
        return self.parent or self.name


class Scope(StrEnum):
    """What an API token opens."""

    OPERATOR = "operator"  # everything
    RESELLER = "reseller"  # a customer and those that it manages
    CUSTOMER = "customer"  # a customer with its subaccounts and DIDs
    DID = "did"  # one DID: its messages, nothing else


@dataclass(frozen=True, slots=True)
class Token:
    name: str
    hash: str  # SHA-256 of the token, in hex
    account: str  # the customer; empty: the operator
    scope: Scope
    did: str = ""  # of a token for one DID
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Callback:
    """A DID's URL callback (S-040..S-044): GET with {ID} {TIMESTAMP} {FROM} {TO} {MESSAGE} {MEDIA} filled in."""

    url: str
    retry: bool = True  # again until the page says `ok`
    disabled: str = ""  # why nothing is sent there any more


@dataclass(frozen=True, slots=True)
class Webhook:
    """A DID's JSON webhook in the 3CX/Telnyx shape (S-045)."""

    url: str
    bearer: str = ""
    secret: str = ""  # of Standard Webhooks: signs what is sent
    disabled: str = ""


@dataclass(frozen=True, slots=True)
class Smpp:
    """How a customer's SMPP programs get and send a DID's messages (S-071 to S-076)."""

    username: str = ""  # empty: the customer's name
    password: str = field(default="", repr=False)  # empty: none can bind
    url: str = field(default="", repr=False)  # the customer's server, which is bound to; empty: it binds to us
    enabled: bool = True

    @property
    def delivers(self) -> bool:
        """Do incoming messages go by SMPP?"""
        return self.enabled and bool(self.url or self.password)


@dataclass(frozen=True, slots=True)
class Did:
    """A number and all the places it delivers to, any number of them at once (S-047)."""

    number: str
    account: str  # the customer
    sip_account: str = ""  # where an incoming SMS is delivered; empty: kept, not delivered
    sms: bool = True
    mms: bool = True
    dialing_mode: str = ""  # how callback, webhook and APIs write numbers: nanpa or e164; empty: as usual there
    group: str = ""  # name of a group of accounts
    members: tuple[str, ...] = ()  # of that group
    emails: tuple[str, ...] = ()
    forward: str = ""  # a number
    callback: Callback | None = None
    webhook: Webhook | None = None
    since: float = 0.0  # its customer has it since then
    smpp: Smpp | None = None

    @property
    def smpp_username(self) -> str:
        """By which its customer's programs bind; empty: they cannot have SMPP."""
        return self.smpp.username or self.account if self.smpp is not None else ""
