"""A phone without an instance id is known by its contact alone, and comes back under another: nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import MakePhone
from .site import Account, Site

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {"sip": {"min_expires": 1}, "queue": {"retry_min": "200ms", "retry_max": "1s"}}


@pytest.mark.req("G02", "F-17", "F-27")
def test_a_phone_that_left_comes_back_under_a_new_port(site: Site, account: Account, make_phone: MakePhone) -> None:
    before = make_phone(account)
    assert before.register().ok
    before.offline()
    for text in ("one", "two"):
        site.sms(account.did, text)
    after = make_phone(account)
    assert after.register().ok
    assert after.wait_texts(2, 1.0) == ["one", "two"]
    after.assert_nothing_more(2)
    assert len(site.rows(account.did)[0]["deliveries"]) == 1


@pytest.mark.req("G02", "F-27")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_phone_that_was_cut_off_comes_back_under_a_new_port(site: Site, make_phone: MakePhone, when: str) -> None:
    """The old binding lives on for a while. Messages from before and from after the return: all come, each once."""
    account = site.account()
    before = make_phone(account, expires=3)
    assert before.register().ok
    before.offline(abrupt=True)
    if when == "before":
        site.sms(account.did, "into the void")
        site.wait(lambda: site.rows(account.did)[0]["deliveries"][0]["last_error"])
    after = make_phone(account)
    assert after.register().ok
    if when == "after":
        site.sms(account.did, "into the void")
    site.sms(account.did, "hello again")
    assert sorted(after.wait_texts(2, 10.0)) == ["hello again", "into the void"]
    after.assert_nothing_more(2)
    site.wait(lambda: len(site.contacts(account)) == 1, 10.0)
    after.assert_nothing_more(2, 1.5)  # nor again, once the old binding is over


@pytest.mark.req("G02", "C-10")
def test_a_second_phone_is_not_the_first_one_come_back(site: Site, account: Account, make_phone: MakePhone) -> None:
    """While the first is registered, a new contact is another device and inherits nothing."""
    first = make_phone(account)
    assert first.register().ok
    site.sms(account.did, "for the first")
    assert first.wait_texts(1) == ["for the first"]
    second = make_phone(account)
    assert second.register().ok
    second.assert_nothing_more(0)
    site.sms(account.did, "for both")
    assert first.wait_texts(2) == ["for the first", "for both"]
    assert second.wait_texts(1) == ["for both"]
