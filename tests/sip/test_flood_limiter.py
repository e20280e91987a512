"""A stranger that floods is muted, nobody else, and what is remembered is bounded."""

from __future__ import annotations

import pytest

from sipsms.sip.flood_limiter import FloodLimiter, Visit, is_scanner


def flooding(flood: FloodLimiter, address: str, now: float, count: int = 1000) -> int:
    """How many of `count` requests are answered."""
    return sum(flood.allows(address, 5060, now) for _ in range(count))


@pytest.mark.req("A-27")
def test_a_stranger_is_muted_above_the_limit() -> None:
    flood = FloodLimiter(16)
    assert flooding(flood, "192.0.2.1", 10.0) == 16
    assert flood.is_muted("192.0.2.1", 5060, 10.0)
    assert flooding(flood, "192.0.2.1", 309.0) == 0
    assert not flood.is_muted("192.0.2.2", 5060, 10.0)
    assert not flood.is_muted("192.0.2.1", 5060, 310.1)
    assert flooding(flood, "192.0.2.1", 310.1) == 16


@pytest.mark.req("A-27")
def test_a_slow_stranger_is_never_muted() -> None:
    flood = FloodLimiter(16)
    assert all(flood.allows("192.0.2.1", 5060, second / 8) for second in range(10_000))


@pytest.mark.req("A-27")
def test_one_authenticated_phone_unmutes_its_address() -> None:
    """Before the flood, or after the mute has begun; for as long as a registration lasts."""
    flood = FloodLimiter(16, trust=7200.0)
    flood.knows_password("192.0.2.1", 0.0)
    assert flooding(flood, "192.0.2.1", 7199.9) == 1000
    assert flooding(flood, "192.0.2.1", 7200.0) == 16
    flood.knows_password("192.0.2.1", 7201.0)
    assert not flood.is_muted("192.0.2.1", 5060, 7201.0)
    assert flooding(flood, "192.0.2.1", 7201.0) == 1000


@pytest.mark.req("A-27", "A-08")
def test_a_new_phone_behind_the_address_of_a_flooder_gets_its_challenge() -> None:
    """Its port had no answer yet: it gets its challenge, again if that is lost; all ports together five a second."""
    flood = FloodLimiter(16)
    flooding(flood, "192.0.2.1", 0.0)
    assert not flood.is_muted("192.0.2.1", 1024, 1.0)
    assert [flood.allows("192.0.2.1", 1024, 1.0 + n) for n in range(4)] == [True, True, True, False]
    assert flood.is_muted("192.0.2.1", 1024, 9.0)
    assert not flood.allows("192.0.2.1", 5060, 9.0)
    assert sum(flood.allows("192.0.2.1", 2000 + n, 10.0 + n / 1000) for n in range(10_000)) <= 60
    assert len(flood._muted["192.0.2.1"].answered) <= 64


def test_ipv6_is_counted_by_network() -> None:
    flood = FloodLimiter(16)
    assert sum(flood.allows(f"2001:db8:1:2::{n:x}", 5060, 0.0) for n in range(100)) == 16
    assert flood.is_muted("2001:db8:1:2:ffff::1", 5060, 0.0)
    assert flood.allows("2001:db8:1:3::1", 5060, 0.0)
    assert flood.allows("fe80::1%eth0", 5060, 0.0)
    flood.knows_password("2001:db8:1:2::7", 0.0)
    assert flood.allows("2001:db8:1:2::7", 5060, 0.0)


def test_a_limit_of_zero_switches_the_limiter_off() -> None:
    flood = FloodLimiter(16)
    flooding(flood, "192.0.2.1", 0.0)
    flood.limit = 0
    assert not flood.is_muted("192.0.2.1", 5060, 0.0)
    assert flooding(flood, "192.0.2.1", 0.0) == 1000


def test_memory_is_bounded() -> None:
    flood = FloodLimiter(1)
    for n in range(11_000):
        flooding(flood, f"10.{n >> 8}.{n & 255}.2", 0.0, 1)
    assert len(flood._counted) == 10_000
    for n in range(11_000):
        flooding(flood, f"10.{n >> 8}.{n & 255}.2", 0.0, 2)
    assert len(flood._muted) == 10_000
    for n in range(100_100):
        flood.knows_password(f"{n >> 16}.{n >> 8 & 255}.{n & 255}.1", 0.0)
    assert len(flood._trusted) == 100_000


@pytest.mark.req("A-28")
@pytest.mark.parametrize(
    ("user_agent", "scanner"),
    [
        ("friendly-scanner", True), ("sipcli/v1.8", True), ("VaxSIPUserAgent/3.1", True), ("pplsip", True),
        ("Friendly-Request", True), ("", False), ("Linphone/5.2 (smap)", False), ("sipsak 0.9.8", False),
    ],
)  # fmt: skip
def test_known_scanners_are_recognised(user_agent: str, scanner: bool) -> None:
    assert is_scanner(user_agent) is scanner


@pytest.mark.req("A-27")
def test_connections_are_counted_with_the_datagrams_of_their_address() -> None:
    flood, visit = FloodLimiter(16), Visit()
    assert flooding(flood, "192.0.2.1", 10.0, 10) == 10
    assert sum(flood.tolerates("192.0.2.1", 4000, 10.0, visit) for _ in range(100)) == 6
    assert flood.is_muted("192.0.2.1", 4000, 10.0)
    assert [flood.tolerates("192.0.2.1", 4001, 20.0, Visit()) for _ in range(4)] == [True, True, True, False]
    assert flood.tolerates("192.0.2.2", 4000, 10.0, Visit())


@pytest.mark.req("A-27")
def test_a_connection_from_a_trusted_address_has_a_limit_of_its_own() -> None:
    flood, visit, other = FloodLimiter(16), Visit(), Visit()
    flood.knows_password("192.0.2.1", 0.0)
    assert sum(flood.tolerates("192.0.2.1", 4000, 10.0, visit) for _ in range(1000)) == 160
    assert flood.tolerates("192.0.2.1", 4001, 10.0, other), "its neighbours notice nothing"
    assert not flood.is_muted("192.0.2.1", 4000, 10.0)
    assert flood.tolerates("192.0.2.1", 4000, 12.0, visit), "the next window"
    assert all(FloodLimiter(0).tolerates("192.0.2.1", 4000, 10.0, visit) for _ in range(1000))


@pytest.mark.req("A-17")
def test_answers_to_strangers_do_not_amplify() -> None:
    """Beyond the first few of a minute, an address gets at most 1.5 times what it sends, whatever it sends."""
    flood = FloodLimiter(1_000_000)
    for received, sent in ((100, 500), (20, 32), (20, 44)):
        address, got = f"192.0.2.{sent % 250}", 0
        for _ in range(1000):
            got += sent if flood.affords(address, 10.0, received, sent) else 0
        assert got <= 1.5 * 1000 * received + 2048
        assert flood.affords("198.51.100.1", 10.0, received, sent)
    assert all(flood.affords("192.0.2.9", 10.0, 400, 600) for _ in range(1000)), "a phone's REGISTER and its challenge"
    assert not flood.affords(f"192.0.2.{500 % 250}", 10.0, 100, 500)
    assert flood.affords(f"192.0.2.{500 % 250}", 71.0, 100, 500), "the next minute"
    flood.knows_password("192.0.2.9", 10.0)
    assert all(flood.affords("192.0.2.9", 11.0, 100, 500) for _ in range(1000))
    assert FloodLimiter(0).affords("192.0.2.1", 10.0, 1, 10_000)


def test_the_memory_of_balances_is_bounded() -> None:
    flood = FloodLimiter(100)
    for n in range(20_000):
        flood.affords(f"10.0.{n >> 8}.{n & 255}", 10.0, 100, 500)
    assert len(flood._balance) <= 10_000
