"""The content policy: links to URL shorteners, and bulk messages."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.core.account import Account, Did
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.content_policy import SHORTENERS, Patterns, shortener_in
from sipsms.messaging.order import Sent
from sipsms.messaging.settings import PolicySettings
from tests.support.messaging.core import Core, ScriptedCourier, core
from tests.support.messaging.traffic import send
from tests.support.tools.weight import growth

LINKS = [
    ("see https://bit.ly/3xYz", "bit.ly"),
    ("bit.ly/3xYz", "bit.ly"),
    ("HTTP://BIT.LY/x", "bit.ly"),
    ("www.tinyurl.com/abc", "tinyurl.com"),
    ("(t.co/x)", "t.co"),
    ("go.bit.ly/x", "bit.ly"),
    ("a.b.c.d.e.f.g.h.i.j.bit.ly/x", "bit.ly"),
    ("look:goo.gl/maps.", "goo.gl"),
    ("is.gd", "is.gd"),
    ("ends with bit.ly.", "bit.ly"),
    ("bit.ly?x", "bit.ly"),
    ("https://bit.ly:443/x", "bit.ly"),
    ("example.com and ow.ly/x", "ow.ly"),
]
NO_LINKS = [
    "", "hello", "habit.ly", "rabbit.ly/x", "bit.lyon", "bit.ly.example.com", "me@bit.ly", "abit.ly", "bit-ly", "bitly",
    "t.com", "at.co/x", "x-t.co/", "https://example.com/bit.ly.html", "3.14", "Mr.Smith", "see t. co", "....",
    "bit.ly-x.com", "bit. ly",
]  # fmt: skip


@pytest.mark.req("S-016")
@pytest.mark.parametrize(("text", "domain"), LINKS)
def test_a_link_to_a_shortener_is_found(text: str, domain: str) -> None:
    assert shortener_in(text) == domain


@pytest.mark.req("S-016")
@pytest.mark.parametrize("text", NO_LINKS)
def test_other_texts_contain_no_shortener(text: str) -> None:
    assert shortener_in(text) == ""


@pytest.mark.req("S-016")
def test_the_list_of_the_operator_replaces_the_built_in_list() -> None:
    own = frozenset({"short.example.com", "x.yz"})
    assert shortener_in("https://short.example.com/1", own) == "short.example.com"
    assert shortener_in("bit.ly/x example.com/x", own) == ""
    assert shortener_in("bit.ly/x", frozenset()) == ""


def test_the_built_in_list_has_domain_names_in_lower_case() -> None:
    assert len(SHORTENERS) > 50
    assert all(name == name.lower() and "." in name for name in SHORTENERS)


@pytest.mark.parametrize("text", ["a." * 50_000, "a" * 100_000 + ".", "-." * 50_000, "bit." * 25_000, "." * 100_000])
def test_the_search_takes_linear_time(text: str) -> None:
    assert shortener_in(text) == ""
    assert growth(lambda count: shortener_in(text[:count]), len(text) // 4) < 9, "linear, not quadratic"


@given(st.text())
def test_any_text_gives_a_domain_of_the_list_or_nothing(text: str) -> None:
    assert shortener_in(text) in {"", *SHORTENERS}


# --- patterns ---------------------------------------------------------------------------------------------------------

AD = "Big sale today, 50% off!"


def numbers(count: int, start: int = 0) -> list[str]:
    return [f"555{n:07}" for n in range(start, start + count)]


@pytest.mark.req("S-018")
def test_the_same_text_to_more_numbers_than_allowed_is_refused() -> None:
    patterns = Patterns(same_text=20, destinations=100, window=3600)
    assert [patterns.check("acme", to, AD, 1.0) for to in numbers(20)] == [""] * 20
    assert patterns.check("acme", "2125550000", AD, 2.0) == "the same text to more than 20 numbers in an hour"
    assert patterns.check("acme", "2125550000", "BIG sale today: 70 % off", 2.0), "digits and case make no other text"
    assert patterns.check("acme", "2125550000", "See you at the station", 2.0) == ""
    assert patterns.check("acme", numbers(1)[0], AD, 2.0) == "", "one that had it already"
    assert patterns.check("other", "2125550000", AD, 2.0) == ""


@pytest.mark.req("S-018")
def test_messages_to_more_numbers_than_allowed_are_refused() -> None:
    patterns = Patterns(same_text=20, destinations=100, window=3600)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for n, to in enumerate(numbers(100)):
        assert patterns.check("acme", to, f"my dear {letters[n % 26] * 5}{letters[n // 26] * 5}", 1.0) == ""
    assert patterns.check("acme", "2125550000", "hello again", 2.0) == "more than 100 numbers in an hour"
    assert patterns.check("acme", numbers(1)[0], "hello again", 2.0) == ""


@pytest.mark.req("S-018")
def test_the_limits_count_within_a_sliding_window() -> None:
    patterns = Patterns(same_text=2, destinations=3, window=600)
    for n, to in enumerate(numbers(2)):
        assert patterns.check("acme", to, AD, 100.0 * n) == ""
    assert patterns.check("acme", "2125550000", AD, 599.0) == "the same text to more than 2 numbers in 10 minutes"
    assert patterns.check("acme", "2125550000", AD, 600.0) == ""
    assert patterns.check("acme", "2125550001", AD, 600.0) != ""


def test_short_texts_do_not_count_as_bulk() -> None:
    patterns = Patterns(same_text=1, destinations=1000, window=3600)
    assert all(patterns.check("acme", to, "ok 123!", 1.0) == "" for to in numbers(50))


def test_without_limits_nothing_is_refused_or_remembered() -> None:
    patterns = Patterns(same_text=0, destinations=0, window=3600)
    assert all(patterns.check("acme", to, AD, 1.0) == "" for to in numbers(2000))
    assert patterns._accounts == {}, "nothing is remembered"


def test_refused_messages_do_not_count() -> None:
    patterns = Patterns(same_text=1, destinations=2, window=3600)
    patterns.check("acme", "1", AD, 1.0)
    for to in numbers(10):
        assert patterns.check("acme", to, AD, 1.0)
    assert patterns.check("acme", "2", "another text", 1.0) == ""


@pytest.mark.req("S-018")
def test_memory_is_bounded_and_a_check_takes_constant_time() -> None:
    patterns = Patterns(same_text=20, destinations=100, window=3600)
    accounts = itertools.count()

    def check(times: int) -> None:
        for n in itertools.islice(accounts, times):
            patterns.check(f"account{n}", "2125550000", AD, 1.0)

    assert growth(check, 2000) < 9, "an account more costs what the first cost"
    check(30_000)
    assert len(patterns._accounts) == 10_000
    for n in range(5000):
        patterns.check("acme", "2125550000", AD + "x" * n, 1.0)
    assert len(patterns._accounts["acme"].texts) <= 64
    assert sys.getsizeof(patterns._accounts["acme"].reached) < 10_000


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("1234567"), st.text(max_size=20), st.floats(0, 10))))
def test_no_sequence_of_messages_exceeds_the_limits(calls: list[tuple[str, str, str, float]]) -> None:
    patterns = Patterns(same_text=2, destinations=3, window=100)
    let: dict[str, set[str]] = {}
    for account, to, text, step in calls:
        if patterns.check(account, to, text, step) == "":
            let.setdefault(account, set()).add(to)
    assert all(len(reached) <= 3 for reached in let.values())


@pytest.mark.req("S-016", "S-018")
async def test_the_gateway_refuses_shorteners_and_bulk_except_for_accounts_that_may_send_them(tmp_path: Path) -> None:
    people = [Account("demo"), Account("alice", "demo"), Account("free", "", bulk=True, shorteners=True)]

    def prepare(here: Core) -> None:
        numbers = [Did("5550003333", "free")]
        here.directory.update(2, False, people, numbers, frozenset())

    async with core(tmp_path, {"carrier:sim": ScriptedCourier()}, prepare=prepare, policy=PolicySettings()) as here:
        link = await send(here, "look: https://bit.ly/x")
        assert isinstance(link, Refusal)
        assert link.code is RefusalCode.POLICY
        assert "bit.ly" in link.reason
        for number in range(20):
            assert isinstance(await send(here, "Our big sale starts now!", f"21255502{number:02}"), Sent)
        bulk = await send(here, "Our big sale starts now!", "2125550299")
        assert isinstance(bulk, Refusal)
        assert bulk.code is RefusalCode.BULK
        assert isinstance(await send(here, "a word to you alone", "2125550299"), Sent)
        free = people[2]
        for number in range(30):
            text = "Our big sale: bit.ly/sale"
            to = f"21255502{number:02}"
            assert isinstance(await here.send(free, "5550003333", to, text, "test"), Sent)
