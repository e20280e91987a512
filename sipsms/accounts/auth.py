"""Authentication for the APIs: passwords, tokens, SMPP users, networks, and limits.

An unknown name, a wrong password and a disabled account get the same answer after the same work (decision D4).

API passwords and tokens have 192 random bits and cannot be guessed, so they are always checked: an attacker behind the
same proxy or NAT cannot lock their owners out. People choose the passwords of phones and SMPP users. After too many
wrong credentials from one network, or too many wrong passwords of a phone's name from any networks by HTTP, such a
password is checked until the minute ends only for a name that logged in from that network before.
"""

from __future__ import annotations

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import md5
from ipaddress import ip_network
from typing import NamedTuple

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.account import Account, Did, Scope, Token
from sipsms.core.clock import Clock
from sipsms.core.network import Network, is_in, network_of, networks_of
from sipsms.store.tokens import digest

FAILURES = 60  # wrong credentials in a minute from one address or IPv6 /64
_OF_SITE = 10  # times as many from an IPv6 /48
GUESSES = 100  # wrong passwords for one name in a minute, from all addresses
_MOST = 10_000  # addresses or accounts that are remembered at once
_NAMES = 65_536  # counters of guesses; names share them, so that asking for many names resets none
_NOBODY = "0" * 64
_TOO_MANY = "too many wrong passwords"


class DenialCode(StrEnum):
    MISSING = "missing"  # no credentials
    WRONG = "wrong"
    OFF = "off"  # a subaccount, where a customer's API password is required
    ADDRESS = "address"  # a correct password from a network that may not use it
    PAGE = "page"  # a web page of another site made the browser ask
    TOO_MANY = "too_many"  # too many requests of this account, or failures from this address, in a minute


class Denied(Exception):
    """A caller that is not admitted, with the reason."""

    def __init__(self, code: DenialCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. `account`: None for the operator."""

    account: Account | None
    scope: Scope
    name: str  # name of the token or of the account
    did: str = ""  # the only number, for a token of scope DID
    expires_at: float | None = None  # expiry of the token


class User(NamedTuple):
    """An account that logged in by name and password."""

    account: Account
    is_phone: bool  # used its phone's password and not the API password


class Access:
    def __init__(
        self, directory: Directory, clock: Clock, realm: str, per_minute: Callable[[], int],
        failures: int = FAILURES, guesses: int = GUESSES,
    ) -> None:  # fmt: skip
        """Set the limits per minute: requests of a customer or operator's token (0: unlimited), `failures` from one
        address, and `guesses` for one name."""
        self._directory = directory
        self._clock = clock
        self._realm = realm
        self._per_minute = per_minute
        self._most_failures = failures
        self._most_guesses = guesses
        self._minute = 0
        self._failed: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()  # bounded by the number of customers and operator's tokens
        self._guessed: Counter[int] = Counter()  # by counter of a name
        self._familiar: OrderedDict[tuple[str, str], None] = OrderedDict()  # (name, network) of successful logins

    # --- login ---

    def api(self, name: str, password: str, address: str, api: str) -> Account:
        """Return the customer with this name or e-mail address and API password. Raises Denied."""
        if not name or not password:
            raise Denied(DenialCode.MISSING, "no credentials")
        account = self._directory.known_as(name)
        right = hmac.compare_digest(digest(password), (account.api_hash if account else "") or _NOBODY)
        if account is None or not right or not account.enabled:
            raise self._failure(api, name, address, "wrong name or password")
        if account.parent:
            raise Denied(DenialCode.OFF, "this API is for customers, not for their subaccounts")
        self._check_network(account, address)
        self._count(account.name)  # counted together with the customer's tokens
        return account

    def user(self, name: str, password: str, address: str, api: str) -> User:
        """Return the account with this name and its phone's password or its API password. Raises Denied."""
        if not name or not password:
            raise Denied(DenialCode.MISSING, "no credentials")
        account = self._directory.account(name)
        ha1 = md5(f"{name}:{self._realm}:{password}".encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
        as_phone = hmac.compare_digest(ha1, (account.ha1_md5 if account else "") or _NOBODY[:32])
        as_program = hmac.compare_digest(digest(password), (account.api_hash if account else "") or _NOBODY)
        if not as_program and not self._may_guess(name, account.name if account else "", address):
            raise Denied(DenialCode.TOO_MANY, _TOO_MANY)
        if account is None or not (as_phone or as_program) or not account.enabled:
            self._guessed[_counter(name)] += 1
            raise self._failure(api, name, address, "wrong name or password")
        self._remember(account.name, address)
        self._check_network(self._directory.account(account.customer) or account, address)
        self._count(account.name)
        return User(account, as_phone)

    def bearer(self, token: str, address: str, api: str) -> Caller:
        """Return the caller that a token stands for. Raises Denied."""
        if not token:
            raise Denied(DenialCode.MISSING, "no token")
        # a digest: the time of the comparison reveals nothing of the token
        found = self._directory.token(digest(token))
        caller = self._caller(found) if found is not None else None
        if found is None or caller is None:
            raise self._failure(api, found.name if found else "", address, "wrong token")
        if caller.account is not None:
            self._check_network(caller.account, address)
        self._count(f"token {found.name}" if caller.account is None else caller.account.name)
        return caller

    def esme(self, username: str, password: str, address: str) -> tuple[Did, ...]:
        """Return the DIDs of the one customer with this SMPP username and password. Raises Denied."""
        login = f"{username} (SMPP)"  # no account's name has a space
        if self._has_failed_too_often(address) and not self._is_familiar(login, address):
            raise Denied(DenialCode.TOO_MANY, _TOO_MANY)
        known = self._directory.smpp_dids(username)
        given = digest(password)
        right = [did for did in known if did.smpp and hmac.compare_digest(digest(did.smpp.password), given)]
        if not known:
            hmac.compare_digest(_NOBODY, given)
        if len({did.account for did in right}) != 1:
            raise self._failure("smpp", username, address, "wrong name or password")
        self._remember(login, address)
        owner = self._directory.account(right[0].account)
        if owner is not None:
            self._check_network(owner, address)
        return tuple(right)

    def _caller(self, token: Token) -> Caller | None:
        """Return the caller of a token; None if it has expired or its account or DID is gone."""
        if token.expires_at is not None and token.expires_at <= self._clock():
            return None
        if token.scope is Scope.OPERATOR:
            return Caller(None, token.scope, token.name, expires_at=token.expires_at)
        account = self._directory.account(token.account)
        if account is None or not account.enabled:
            return None
        if token.scope is Scope.DID:
            did = self._directory.did(token.did)
            if did is None or did.account != account.name:
                return None
        return Caller(account, token.scope, token.name, token.did, token.expires_at)

    def opens(self, caller: Caller, did: Did) -> bool:
        """Return whether a caller may send from a DID and see its messages."""
        if caller.did:
            return did.number == caller.did and caller.account is not None and did.account == caller.account.name
        return self.manages(caller, did.account)

    def manages(self, caller: Caller, customer: str) -> bool:
        """Return whether a customer is the caller's own or one that the caller manages."""
        if caller.account is None or caller.account.name == customer:
            return True
        owner = self._directory.account(customer) if caller.scope is Scope.RESELLER else None
        return owner is not None and owner.reseller == caller.account.name

    # --- checks ---

    def may_stay(self, customer: str, address: str) -> bool:
        """Return whether a session may continue under the customer's present networks."""
        owner = self._directory.account(customer)
        return owner is None or not owner.api_allow_ip or is_in(address, _networks(owner.api_allow_ip))

    def _check_network(self, account: Account, address: str) -> None:
        if account.api_allow_ip and not is_in(address, _networks(account.api_allow_ip)):
            raise Denied(DenialCode.ADDRESS, "not from this address")

    def _turn(self) -> None:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute = minute
            self._guessed.clear()
            self._failed.clear()
            self._asked.clear()
        elif len(self._failed) > _MOST:
            self._failed.clear()

    def _may_guess(self, name: str, account: str, address: str) -> bool:
        """Return whether a password that people choose may be checked; guesses never lock out the owner."""
        if not self._has_failed_too_often(address) and self._guessed[_counter(name)] < self._most_guesses:
            return True
        return self._is_familiar(account, address)

    def _is_familiar(self, name: str, address: str) -> bool:
        return (name, network_of(address)) in self._familiar

    def _has_failed_too_often(self, address: str) -> bool:
        self._turn()
        limits = zip(networks_of(address), (self._most_failures, _OF_SITE * self._most_failures), strict=False)
        return any(self._failed[network] >= most for network, most in limits)

    def _remember(self, name: str, address: str) -> None:
        place = (name, network_of(address))
        self._familiar[place] = None
        self._familiar.move_to_end(place)
        if len(self._familiar) > _MOST:
            self._familiar.popitem(last=False)

    def _failure(self, api: str, name: str, address: str, reason: str) -> Denied:
        """Count wrong credentials and return the refusal."""
        is_over = self._has_failed_too_often(address)
        for network in networks_of(address):
            self._failed[network] += 1
        log.auth_failure(api, name, address, 0, reason)
        return Denied(DenialCode.TOO_MANY, _TOO_MANY) if is_over else Denied(DenialCode.WRONG, reason)

    def _count(self, who: str) -> None:
        limit = self._per_minute()
        if not limit:
            return
        self._turn()
        self._asked[who] += 1
        if self._asked[who] > limit:
            raise Denied(DenialCode.TOO_MANY, f"more than {limit} requests in a minute")


def _counter(name: str) -> int:
    """Return the number of a name's counter; the secret in Python's hash hides who shares it."""
    return hash(name.casefold()) % _NAMES


@lru_cache(maxsize=4096)
def _networks(written: str) -> tuple[Network, ...]:
    return tuple(ip_network(one) for one in written.split())
