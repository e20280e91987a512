"""Passwords of people: hashes, and what is refused."""

from __future__ import annotations

import asyncio

import pytest
from argon2 import PasswordHasher

from sipsms.accounts import passwords
from sipsms.accounts.passwords import _NOBODY, AT_ONCE, MOST_WAITING, Passwords, Verdict, problem
from sipsms.core.errors import Unavailable

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


async def test_a_hash_is_argon2id_with_the_defaults_and_verifies() -> None:
    hasher = Passwords()
    hashed = await hasher.hash("three plain words")
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await hasher.verify(hashed, "three plain words") is Verdict.RIGHT
    assert await hasher.verify(hashed, "three plain wordz") is Verdict.WRONG
    hasher.close()


async def test_an_old_hash_is_right_and_due_for_a_new_one() -> None:
    hasher = Passwords()
    assert await hasher.verify(QUICK.hash("three plain words"), "three plain words") is Verdict.OLD
    hasher.close()


@pytest.mark.parametrize("hashed", ["", "no hash", "$argon2id$broken"])
async def test_without_a_hash_no_password_is_right(hashed: str) -> None:
    hasher = Passwords()
    for password in ("", "nobody has this password"):
        assert await hasher.verify(hashed, password) is Verdict.WRONG
    hasher.close()


def test_an_unknown_user_costs_what_a_known_one_does() -> None:
    assert not PasswordHasher().check_needs_rehash(_NOBODY)


async def test_at_most_two_hashes_at_once_and_a_bounded_queue() -> None:
    hasher = Passwords(QUICK)
    assert hasher._threads._max_workers == AT_ONCE == 2
    results = await asyncio.gather(
        *(hasher.hash("three plain words") for _ in range(MOST_WAITING + 3)), return_exceptions=True
    )
    assert sum(isinstance(result, Unavailable) for result in results) == 3
    assert await hasher.verify(str(results[0]), "three plain words") is Verdict.RIGHT, "the queue is free again"
    hasher.close()


async def test_any_text_can_be_a_password() -> None:
    hasher = Passwords(QUICK)
    for password in ("ünïcödé 文字 🙂 word", "half \ud83d pair", "x" * 5000, "nul \0 inside"):
        assert await hasher.verify(await hasher.hash(password), password) is Verdict.RIGHT
    hasher.close()


@pytest.mark.parametrize(
    "password",
    ["", "short", "ninechars", "password123", "PASSWORD1234!", "qwertyuiop", "1234567890", "9876543210", "aaaaaaaaaaaa",
     "abababababab", "abcdefghijkl", "iloveyou2026", "ana.okafor12", "12ana.okafor", "maplepine2026", "x1" * 600],
)  # fmt: skip
def test_passwords_that_are_easy_to_guess_are_refused(password: str) -> None:
    assert problem(password, "ana", "ana.okafor@example.net", "ana.okafor", "maplepine").endswith(".")


@pytest.mark.parametrize(
    "password", ["three plain words", "banana-tractor-9", "文字文字の長い合言葉です", "xK3!vv0pQz"]
)
def test_good_passwords_are_accepted(password: str) -> None:
    assert problem(password, "ana", "ana.okafor@example.net", "ana.okafor", "maplepine") == ""


def test_the_list_of_common_passwords_is_in_lower_case_and_found() -> None:
    assert len(passwords._COMMON) > 100
    assert all(word == word.casefold() for word in passwords._COMMON)
