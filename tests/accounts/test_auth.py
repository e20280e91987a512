"""Who may come in by an HTTP API."""

from __future__ import annotations

import time
from dataclasses import replace
from hashlib import md5, sha256
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.accounts.auth import FAILURES, GUESSES, Access, DenialCode, Denied
from sipsms.accounts.directory import Directory
from sipsms.core.account import Account, Did, Scope, Smpp, Token

HERE = "192.0.2.1"


def digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def sip(name: str, password: str) -> str:
    return md5(f"{name}:realm:{password}".encode()).hexdigest()


ACME = Account("acme", api_hash=digest("key"), ha1_md5=sip("acme", "pw"), email="Boss@Example.net")
DESK = Account("desk", "acme", api_hash=digest("desk-key"), ha1_md5=sip("desk", "pw"))
KID = Account("kid", reseller="acme")
OTHER = Account("other", api_hash=digest("other-key"))
TOKENS = [
    Token("op", digest("t-op"), "", Scope.OPERATOR),
    Token("re", digest("t-re"), "acme", Scope.RESELLER),
    Token("cu", digest("t-cu"), "acme", Scope.CUSTOMER),
    Token("di", digest("t-di"), "acme", Scope.DID, "5550001111"),
    Token("old", digest("t-old"), "acme", Scope.CUSTOMER, expires_at=2000.0),
]
DIDS = [Did("5550001111", "acme"), Did("5550002222", "acme"), Did("5550003333", "kid"), Did("5550004444", "other")]


def esme(owner: Account, address: str) -> DenialCode | int:
    """Why it may not bind, or for how many DIDs it is bound."""
    directory = Directory()
    did = Did("5550001111", owner.name, smpp=Smpp(username="u", password="pw"))
    directory.update(1, True, [owner], [did], frozenset(), [], [])
    try:
        return len(Access(directory, Clock(), "realm", lambda: 600).esme("u", "pw", address))
    except Denied as denied:
        return denied.code


@pytest.mark.req("S-103", "S-069")
def test_an_esme_binds_only_from_the_networks_of_its_customer() -> None:
    limited = replace(ACME, api_allow_ip="192.0.2.0/24 2001:db8::/32")
    assert esme(limited, "192.0.2.9") == 1
    assert esme(limited, "2001:db8::7") == 1
    assert esme(limited, "::ffff:192.0.2.9") == 1
    assert esme(limited, "198.51.100.1") == DenialCode.ADDRESS
    assert esme(ACME, "198.51.100.1") == 1


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def directory() -> Directory:
    directory = Directory()
    directory.update(1, True, [ACME, DESK, KID, OTHER], DIDS, frozenset(), [], TOKENS)
    return directory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(directory: Directory, clock: Clock) -> Access:
    return Access(directory, clock, "realm", lambda: 0)


def denied(call: object, *arguments: str) -> Denied:
    with pytest.raises(Denied) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


@pytest.mark.req("S-103", "S-105")
def test_a_customer_authenticates_with_the_api_password(access: Access) -> None:
    assert access.api("acme", "key", HERE, "t").name == "acme"
    assert access.api("boss@example.NET", "key", HERE, "t").name == "acme"
    assert denied(access.api, "desk", "desk-key", HERE, "t").code is DenialCode.OFF
    assert denied(access.api, "acme", "pw", HERE, "t").code is DenialCode.WRONG, "what a phone registers with is no key"
    assert denied(access.api, "", "", HERE, "t").code is DenialCode.MISSING


def test_every_wrong_name_or_password_gets_the_same_answer(access: Access, directory: Directory) -> None:
    directory.update(2, False, [replace(OTHER, enabled=False)], [], frozenset(), [])
    answers = {
        (one.code, one.reason)
        for one in (
            denied(access.api, "acme", "no", HERE, "t"), denied(access.api, "nobody", "no", HERE, "t"),
            denied(access.api, "kid", "no", HERE, "t"), denied(access.api, "other", "other-key", HERE, "t"),
            denied(access.user, "desk", "no", HERE, "t"), denied(access.user, "nobody", "pw", HERE, "t"),
        )
    }  # fmt: skip
    assert answers == {(DenialCode.WRONG, "wrong name or password")}


def test_an_account_without_api_password_cannot_authenticate(access: Access) -> None:
    """Nor may the hash itself, or what stands for "none", open it."""
    for password in ("0" * 64, "0" * 32, digest("key"), "\0", " "):
        assert denied(access.api, "kid", password, HERE, "t").code is DenialCode.WRONG
        assert denied(access.user, "kid", password, HERE, "t").code is DenialCode.WRONG


def test_a_user_authenticates_with_the_sip_or_the_api_password(access: Access) -> None:
    assert access.user("desk", "pw", HERE, "t") == (DESK, True)
    assert access.user("desk", "desk-key", HERE, "t") == (DESK, False), "what it sends is a program's"
    assert denied(access.user, "desk", "key", HERE, "t").code is DenialCode.WRONG


def test_a_subaccount_and_a_token_of_a_disabled_customer_are_denied(access: Access, directory: Directory) -> None:
    directory.update(2, False, [replace(ACME, enabled=False)], [], frozenset(), [])
    assert denied(access.user, "desk", "pw", HERE, "t").code is DenialCode.WRONG
    assert denied(access.bearer, "t-cu", HERE, "t").code is DenialCode.WRONG


@pytest.mark.req("W-07", "A-37")
@pytest.mark.parametrize(
    ("token", "opens", "manages"),
    [
        ("t-op", "1234", {"acme", "kid", "other"}),
        ("t-re", "123", {"acme", "kid"}),
        ("t-cu", "12", {"acme"}),
        ("t-di", "1", {"acme"}),
    ],
)
def test_each_token_opens_its_own_dids_and_accounts(access: Access, token: str, opens: str, manages: set[str]) -> None:
    caller = access.bearer(token, HERE, "t")
    assert "".join(did.number[-1] for did in DIDS if access.opens(caller, did)) == opens
    assert {name for name in ("acme", "kid", "other") if access.manages(caller, name)} == manages


def test_an_expired_token_is_denied(access: Access, directory: Directory, clock: Clock) -> None:
    assert access.bearer("t-old", HERE, "t").name == "old"
    clock.now = 2000.0
    assert denied(access.bearer, "t-old", HERE, "t").code is DenialCode.WRONG
    assert denied(access.bearer, "no", HERE, "t").code is DenialCode.WRONG
    assert denied(access.bearer, "", HERE, "t").code is DenialCode.MISSING
    directory.update(2, False, [], [Did("5550001111", "other")], frozenset(), [])
    assert denied(access.bearer, "t-di", HERE, "t").code is DenialCode.WRONG, "its number is another's now"


def test_an_account_is_used_only_from_its_networks(access: Access, directory: Directory) -> None:
    directory.update(2, False, [replace(ACME, api_allow_ip="192.0.2.0/24 2001:db8::/32")], [], frozenset(), [])
    for address in (HERE, "::ffff:192.0.2.9", "2001:db8::1"):
        assert access.api("acme", "key", address, "t").name == "acme"
    for address in ("192.0.3.1", "2001:db9::1", "", "nonsense", "::ffff:192.0.3.9"):
        assert denied(access.api, "acme", "key", address, "t").code is DenialCode.ADDRESS
        assert denied(access.bearer, "t-cu", address, "t").code is DenialCode.ADDRESS
        assert denied(access.user, "desk", "pw", address, "t").code is DenialCode.ADDRESS, "its customer's networks"
    assert denied(access.api, "acme", "no", "192.0.3.1", "t").code is DenialCode.WRONG, "says nothing to who guesses"


@pytest.mark.req("S-006")
def test_requests_above_the_limit_of_a_minute_are_denied(directory: Directory, clock: Clock) -> None:
    access = Access(directory, clock, "realm", lambda: 3)
    for _ in range(3):
        access.api("acme", "key", HERE, "t")
    assert denied(access.api, "acme", "key", HERE, "t").code is DenialCode.TOO_MANY
    access.api("other", "other-key", HERE, "t")
    access.bearer("t-op", HERE, "t")
    assert denied(access.bearer, "t-cu", HERE, "t").code is DenialCode.TOO_MANY, "it is counted, too"
    clock.now += 60
    access.api("acme", "key", HERE, "t")


def test_wrong_passwords_from_one_address_are_limited(access: Access, clock: Clock) -> None:
    """Also with a right password in between; another address is not concerned."""
    for _ in range(FAILURES):
        assert denied(access.user, "desk", "no", HERE, "t").code is DenialCode.WRONG
    assert denied(access.user, "desk", "pw", HERE, "t").code is DenialCode.TOO_MANY
    assert access.user("desk", "pw", "192.0.2.2", "t").account == DESK
    clock.now += 60
    assert access.user("desk", "pw", HERE, "t").account == DESK
    for n in range(FAILURES):
        denied(access.user, "desk", "no", f"2001:db8::{n:x}", "t")
    assert denied(access.user, "desk", "pw", "2001:db8::ffff", "t").code is DenialCode.TOO_MANY, "a /64 is one host"


@pytest.mark.req("A-08")
def test_failures_of_one_address_do_not_lock_out_others_behind_it(directory: Directory, clock: Clock) -> None:
    """All customers come from the address of an untrusted proxy: the right credentials get in, guesses do not."""
    directory.update(2, True, [ACME, DESK], [Did("5550001111", "acme", smpp=Smpp("u", "pw"))], frozenset(), [], TOKENS)
    access = Access(directory, clock, "realm", lambda: 0)
    access.user("desk", "pw", HERE, "t")
    access.esme("u", "pw", HERE)
    for n in range(10 * FAILURES):
        denied((access.user, access.api)[n % 2], f"name{n}", "no", HERE, "t")
    assert denied(access.api, "acme", "no", HERE, "t").code is DenialCode.TOO_MANY
    assert denied(access.bearer, "no", HERE, "t").code is DenialCode.TOO_MANY
    assert access.api("acme", "key", HERE, "t") == ACME
    assert access.bearer("t-cu", HERE, "t").account == ACME
    assert access.user("desk", "desk-key", HERE, "t").account == DESK
    assert access.user("desk", "pw", HERE, "t").account == DESK, "it logged in from here before"
    assert len(access.esme("u", "pw", HERE)) == 1
    assert denied(access.user, "acme", "pw", HERE, "t").code is DenialCode.TOO_MANY, "a guess, for all that is known"
    assert access.user("acme", "pw", "192.0.2.2", "t").account == ACME


def test_guesses_of_an_smpp_password_from_many_addresses_lock_out_nobody(directory: Directory, clock: Clock) -> None:
    """Each guess costs a second and each third one a connection (P-02): no name is limited over all addresses."""
    directory.update(2, True, [ACME], [Did("5550001111", "acme", smpp=Smpp("u", "pw"))], frozenset(), [], [])
    access = Access(directory, clock, "realm", lambda: 0)
    for n in range(2 * GUESSES):
        assert denied(access.esme, "u", "no", f"192.0.2.{n}").code is DenialCode.WRONG
    assert len(access.esme("u", "pw", "198.51.100.1")) == 1


def test_failures_of_an_ipv6_site_are_counted_together(access: Access) -> None:
    for n in range(10 * FAILURES):
        assert denied(access.user, f"name{n}", "no", f"2001:db8:0:{n:x}::1", "t").code is DenialCode.WRONG
    assert denied(access.user, "desk", "pw", "2001:db8:0:ffff::1", "t").code is DenialCode.TOO_MANY
    assert access.user("desk", "pw", "2001:db8:1::1", "t").account == DESK


def test_the_memory_of_failed_addresses_is_bounded(access: Access) -> None:
    for n in range(30_000):
        denied(access.user, "no", "no", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "t")
    assert len(access._failed) <= 10_001


def guess(access: Access, name: str, begin: int = 0) -> None:
    """As often as is allowed, each time from another /64."""
    for n in range(begin, begin + GUESSES):
        assert denied(access.user, name, "no", f"2001:db8:0:{n:x}::1", "t").code is DenialCode.WRONG


def test_wrong_passwords_from_many_addresses_are_limited_for_each_name(access: Access, clock: Clock) -> None:
    """A known name and an unknown one alike; neither the owner at his usual address nor his programs are concerned."""
    access.user("desk", "pw", HERE, "t")
    answers = set()
    for name in ("desk", "nobody"):
        guess(access, name)
        denial = denied(access.user, name, "pw", "2001:db8:1::1", "t")
        answers.add((denial.code, denial.reason))
    assert answers == {(DenialCode.TOO_MANY, "too many wrong passwords")}
    assert access.user("desk", "pw", HERE, "t").account == DESK
    assert denied(access.user, "desk", "no", HERE, "t").code is DenialCode.WRONG, "his own mistakes are told"
    assert access.user("desk", "desk-key", "2001:db8:2::1", "t").account == DESK, "192 bits are not guessed"
    assert access.user("acme", "pw", "2001:db8:1::1", "t").account == ACME
    clock.now += 60
    assert access.user("desk", "pw", "2001:db8:1::1", "t").account == DESK


def test_a_limited_name_stays_limited_among_many_others(access: Access) -> None:
    guess(access, "desk")
    for n in range(30_000):
        denied(access.user, f"nobody{n}", "no", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "t")
    assert denied(access.user, "desk", "pw", "2001:db8:1::1", "t").code is DenialCode.TOO_MANY


def test_the_memory_of_familiar_addresses_is_bounded(access: Access) -> None:
    for n in range(12_000):
        access.user("desk", "pw", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "t")
    assert len(access._familiar) == 10_000
    guess(access, "desk")
    assert access.user("desk", "pw", "10.0.46.223", "t").account == DESK, "the last one"
    assert denied(access.user, "desk", "pw", "10.0.0.1", "t").code is DenialCode.TOO_MANY, "the first one"


@given(st.text(), st.text(), st.text())
def test_any_credentials_raise_only_denied(name: str, password: str, address: str) -> None:
    directory = Directory()
    directory.update(1, True, [ACME, DESK], DIDS, frozenset(), [], TOKENS)
    access = Access(directory, lambda: 0.0, "realm", lambda: 0)
    denied(access.api, name, password, address, "t")
    denied(access.user, name, password, address, "t")
    denied(access.bearer, password, address, "t")


def test_an_unknown_name_takes_as_long_as_a_known_one(directory: Directory, clock: Clock) -> None:
    """Within a factor of the noise of such a machine: no look into the store, no hash, is done for one of them only."""
    access = Access(directory, clock, "realm", lambda: 0, failures=10**9, guesses=10**9)

    def once(name: str) -> float:
        began = time.perf_counter()
        denied(access.user, name, "wrong", HERE, "t")
        return time.perf_counter() - began

    pairs = [(once("desk"), once("nobody")) for _ in range(500)]
    known, unknown = (median(column) for column in zip(*pairs, strict=True))
    assert 0.5 < known / unknown < 2.0
