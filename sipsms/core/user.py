"""People who sign in to the message centre: users and their roles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Roles of users: what they may see and change."""

    OPERATOR = "operator"  # the whole server; belongs to no customer
    RESELLER = "reseller"  # a customer and the customers that it manages
    CUSTOMER = "customer"  # a customer with its subaccounts, DIDs and people
    USER = "user"  # the messages of the DIDs that were given


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored, with hashes and without any password."""

    id: int
    name: str
    customer: str  # the account; empty for operators
    role: Role
    email: str = ""  # another name at sign-in; empty: none
    hash: str = ""  # argon2id of the password; empty: no password was set yet
    totp: str = ""  # key of the authenticator app, in base32; empty: off
    totp_step: int = 0  # step of the last code that was used (RFC 6238: a code is accepted once)
    totp_new: str = ""  # key that is shown and not yet confirmed by a code
    recovery: str = ""  # hashes of unused recovery codes, by spaces
    tz: str = ""  # time zone; empty: that of the server
    lang: str = "en"
    theme: str = ""  # light or dark; empty: as the device
    version: int = 1
    created_at: float = 0.0
    dids: tuple[str, ...] = ()  # for role USER: its DIDs
    has_link: bool = False  # a one-time link to set a password is open


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser. The store has only the hash of its token."""

    hash: str
    user: int
    made_at: float
    seen_at: float
    ends_at: float
    stay: bool = False
    stage: str = ""  # step that is missing: `code` (of the authenticator) or `enrol` (set one up); empty: signed in
    agent: str = ""  # User-Agent of the browser
    address: str = ""
    viewed: str = ""  # customer whose pages are shown (view as); empty: the user's own
    view_ends: float = 0.0
