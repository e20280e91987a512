"""Who may come in by an API: API passwords, tokens, phones' own passwords, SMPP users, networks, and how often.

One answer for an unknown name, a wrong password and an account that is off, after the same work (decision D4). Who
fails too often from one address is not looked at for the rest of the minute, so a password is not guessed here; API
passwords and tokens have 192 random bits and could not be. Nor is a phone's password guessed from many addresses: of a
name for which too many were wrong, it is looked at only from networks where a right one has come from, until the minute
is over.
"""

from __future__ import annotations

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import md5, sha256
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from sipsms.accounts.directory import Directory
from sipsms.core import log
from sipsms.core.account import Account, Did, Scope, Token
from sipsms.core.clock import Clock

FAILURES = 60  # from one address in a minute
GUESSES = 100  # at one name in a minute, from all addresses
_MOST = 10_000  # addresses or accounts that are counted at once
_NAMES = 65_536  # counters of guesses; names share them, so that nobody is forgotten by asking for many others
_NOBODY = "0" * 64
_TOO_MANY = "too many wrong passwords"


class DenialCode(StrEnum):
    MISSING = "missing"  # no credentials
    WRONG = "wrong"
    OFF = "off"  # a right SIP password, or a subaccount, where an API password of a customer is asked for
    ADDRESS = "address"  # a right password from a network that may not use it
    TOO_MANY = "too_many"  # requests of this account, or failures from this address, in a minute


class Denied(Exception):
    def __init__(self, code: DenialCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request this is. `account`: None for the operator."""

    account: Account | None
    scope: Scope
    name: str  # of the token, or of the account
    did: str = ""  # the only number, for a token of one
    expires_at: float | None = None  # of the token


class User(NamedTuple):
    account: Account
    is_phone: bool  # by the password that its phone registers with, not by an API password


class Access:
    def __init__(
        self, directory: Directory, clock: Clock, realm: str, per_minute: Callable[[], int],
        failures: int = FAILURES, guesses: int = GUESSES,
    ) -> None:  # fmt: skip
        """In a minute: `per_minute` requests of a customer or token (0: any number), `failures` of an address,
        `guesses` at a name."""
        self._directory = directory
        self._clock = clock
        self._realm = realm
        self._per_minute = per_minute
        self._most_failures = failures
        self._most_guesses = guesses
        self._minute = 0
        self._failed: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._guessed: Counter[int] = Counter()  # by a name's counter
        self._familiar: OrderedDict[tuple[str, str], None] = OrderedDict()  # accounts and where they have come from

    # --- the ways in ---

    def api(self, name: str, password: str, address: str, door: str) -> Account:
        """A customer by its name or e-mail address and its API password. Raises Denied."""
        self._check_address(address)
        if not name or not password:
            raise Denied(DenialCode.MISSING, "no credentials")
        account = self._directory.known_as(name)
        right = hmac.compare_digest(_digest(password), (account.api_hash if account else "") or _NOBODY)
        if account is None or not right or not account.enabled:
            raise self._failure(door, name, address, "wrong name or password")
        if account.parent:
            raise Denied(DenialCode.OFF, "this API is for customers, not for their subaccounts")
        self._check_network(account, address)
        self._count(account.name)  # with its tokens
        return account

    def user(self, name: str, password: str, address: str, door: str) -> User:
        """An account by the password that its phone registers with, or by its API password. Raises Denied."""
        self._check_address(address)
        if not name or not password:
            raise Denied(DenialCode.MISSING, "no credentials")
        account = self._directory.account(name)
        ha1 = md5(f"{name}:{self._realm}:{password}".encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
        as_phone = hmac.compare_digest(ha1, (account.ha1_md5 if account else "") or _NOBODY[:32])
        as_program = hmac.compare_digest(_digest(password), (account.api_hash if account else "") or _NOBODY)
        if not as_program and not self._may_guess(name, account, address):
            raise Denied(DenialCode.TOO_MANY, _TOO_MANY)
        if account is None or not (as_phone or as_program) or not account.enabled:
            self._guessed[_counter(name)] += 1
            raise self._failure(door, name, address, "wrong name or password")
        self._remember(account, address)
        self._check_network(self._directory.account(account.customer) or account, address)
        self._count(account.name)
        return User(account, as_phone)

    def bearer(self, token: str, address: str, door: str) -> Caller:
        """Raises Denied."""
        self._check_address(address)
        if not token:
            raise Denied(DenialCode.MISSING, "no token")
        found = self._directory.token(_digest(token))  # a digest: where the comparison ends says nothing of the token
        caller = self._caller(found) if found is not None else None
        if found is None or caller is None:
            raise self._failure(door, found.name if found else "", address, "wrong token")
        if caller.account is not None:
            self._check_network(caller.account, address)
        self._count(f"token {found.name}" if caller.account is None else caller.account.name)
        return caller

    def esme(self, username: str, password: str, address: str) -> tuple[Did, ...]:
        """The DIDs of one customer for which this is the SMPP user and password. Raises Denied."""
        self._check_address(address)
        known = self._directory.smpp_dids(username)
        given = _digest(password)
        right = [did for did in known if did.smpp and hmac.compare_digest(_digest(did.smpp.password), given)]
        if not known:
            hmac.compare_digest(_NOBODY, given)
        if len({did.account for did in right}) != 1:
            raise self._failure("smpp", username, address, "wrong name or password")
        owner = self._directory.account(right[0].account)
        if owner is not None:
            self._check_network(owner, address)
        return tuple(right)

    def _caller(self, token: Token) -> Caller | None:
        """None: it is over, or its account or DID is gone."""
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
        """May this caller send from a DID, and see its messages?"""
        if caller.did:
            return did.number == caller.did and caller.account is not None and did.account == caller.account.name
        return self.manages(caller, did.account)

    def manages(self, caller: Caller, customer: str) -> bool:
        """Is this customer the caller's own, or one that it manages?"""
        if caller.account is None:
            return True
        if caller.account.name == customer:
            return True
        owner = self._directory.account(customer) if caller.scope is Scope.RESELLER else None
        return owner is not None and owner.reseller == caller.account.name

    # --- checks ---

    def may_stay(self, customer: str, address: str) -> bool:
        """Who has got in earlier, by what its account says now."""
        owner = self._directory.account(customer)
        return owner is None or not owner.api_allow_ip or _is_in(address, owner.api_allow_ip)

    def _check_network(self, account: Account, address: str) -> None:
        if account.api_allow_ip and not _is_in(address, account.api_allow_ip):
            raise Denied(DenialCode.ADDRESS, "not from this address")

    def _turn(self) -> None:
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self._minute = minute
            self._guessed.clear()
        elif len(self._failed) <= _MOST:
            return
        self._failed.clear()
        self._asked.clear()  # by customer: as many as there are

    def _check_address(self, address: str) -> None:
        self._turn()
        if self._failed[_network(address)] >= self._most_failures:
            raise Denied(DenialCode.TOO_MANY, _TOO_MANY)

    def _may_guess(self, name: str, account: Account | None, address: str) -> bool:
        """The owner, where he usually is, is never kept out by others' guesses."""
        if self._guessed[_counter(name)] < self._most_guesses:
            return True
        return account is not None and (account.name, _network(address)) in self._familiar

    def _remember(self, account: Account, address: str) -> None:
        place = (account.name, _network(address))
        self._familiar[place] = None
        self._familiar.move_to_end(place)
        if len(self._familiar) > _MOST:
            self._familiar.popitem(last=False)

    def _failure(self, door: str, name: str, address: str, reason: str) -> Denied:
        self._failed[_network(address)] += 1
        log.auth_failure(door, name, address, 0, reason)
        return Denied(DenialCode.WRONG, reason)

    def _count(self, who: str) -> None:
        limit = self._per_minute()
        if not limit:
            return
        self._asked[who] += 1
        if self._asked[who] > limit:
            raise Denied(DenialCode.TOO_MANY, f"more than {limit} requests in a minute")


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "replace")).hexdigest()


def _counter(name: str) -> int:
    """Python's hash of a text has a secret in it: nobody knows who shares a counter."""
    return hash(name.casefold()) % _NAMES


def _network(address: str) -> str:
    """An IPv6 host has a /64 to itself."""
    address = address.removeprefix("::ffff:")
    if ":" not in address:
        return address
    try:
        return str(int(IPv6Address(address.partition("%")[0])) >> 64)
    except ValueError:
        return address


@lru_cache(maxsize=4096)
def _is_in(address: str, networks: str) -> bool:
    try:
        here = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(here, IPv6Address) and here.ipv4_mapped is not None:
        here = here.ipv4_mapped
    found: list[IPv4Network | IPv6Network] = [ip_network(one) for one in networks.split()]
    return any(here in network for network in found)
