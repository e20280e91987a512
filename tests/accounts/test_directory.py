"""Accounts and DIDs in memory."""

from __future__ import annotations

import pytest

from sipsms.accounts.directory import Directory
from sipsms.core.account import Account, Did, Smpp


@pytest.mark.req("S-081", "S-080")
def test_an_account_sends_only_from_dids_of_its_customer() -> None:
    directory = Directory()
    people = [Account("demo"), Account("alice", "demo"), Account("eve")]
    directory.update(3, True, people, [Did("5550001111", "demo"), Did("5550002222", "demo", sms=False)], frozenset())
    alice, demo, eve = (directory.account(name) for name in ("alice", "demo", "eve"))
    assert alice is not None
    assert demo is not None
    assert eve is not None
    assert directory.may_send_from(alice, "5550001111")
    assert directory.may_send_from(demo, "5550001111")
    assert not directory.may_send_from(alice, "5550002222")
    assert not directory.may_send_from(eve, "5550001111")
    assert not directory.may_send_from(alice, "5559999999")


def test_a_disabled_customer_disables_its_subaccounts() -> None:
    directory = Directory()
    on, off = Account("demo"), Account("demo", enabled=False)
    directory.update(1, True, [Account("alice", "demo"), Account("bob", "demo", enabled=False), off], [], frozenset())

    def state() -> list[bool]:
        return [one.enabled for name in ("alice", "bob", "demo") if (one := directory.account(name)) is not None]

    assert state() == [False, False, False]
    directory.update(2, False, [on], [], frozenset())
    assert state() == [True, False, True]
    directory.update(3, False, [off], [], frozenset())
    directory.update(4, False, [Account("alice", "demo", presence=False)], [], frozenset())
    assert state() == [False, False, False]


def test_an_update_changes_accounts_and_names_the_removed_ones() -> None:
    directory = Directory()
    directory.update(1, True, [Account("a"), Account("b")], [], frozenset())
    assert directory.update(2, False, [Account("a", caller_id="5550001111")], [], frozenset(("sim",))) == []
    changed = directory.account("a")
    assert changed is not None
    assert changed.caller_id == "5550001111"
    assert (len(directory), directory.paused, directory.version) == (2, {"sim"}, 2)
    assert directory.update(3, True, [Account("a")], [], frozenset()) == ["b"]
    assert directory.account("b") is None


def _numbers(directory: Directory, username: str) -> list[str]:
    return [did.number for did in directory.smpp_dids(username)]


@pytest.mark.req("S-066", "S-076", "S-077")
def test_an_smpp_username_binds_the_dids_that_have_it() -> None:
    """DIDs by their username; without one, by their customer's name."""
    directory = Directory()
    on = Smpp("", "p")
    several = [
        Did("5550001111", "demo", smpp=on), Did("5550002222", "demo", smpp=Smpp("user", "p")),
        Did("5550003333", "demo", smpp=Smpp("user", "q")), Did("5550004444", "demo", sms=False, smpp=on),
        Did("5550005555", "demo", smpp=Smpp("", "", "smpp://x")), Did("5550007777", "demo"),
        Did("5550006666", "demo", smpp=Smpp("", "p", "", False)),
    ]  # fmt: skip
    directory.update(1, True, [Account("demo"), Account("other")], several, frozenset())
    assert _numbers(directory, "demo") == ["5550001111"]
    assert _numbers(directory, "user") == ["5550002222", "5550003333"]
    assert _numbers(directory, "") == _numbers(directory, "nobody") == _numbers(directory, "other") == []
    directory.update(
        2, False, [], [Did("5550002222", "demo", smpp=on), Did("5550003333", "other", smpp=on)], frozenset()
    )
    assert _numbers(directory, "demo") == ["5550001111", "5550002222"]
    assert (_numbers(directory, "user"), _numbers(directory, "other")) == ([], ["5550003333"])
    directory.update(3, False, [Account("demo", enabled=False)], [], frozenset())
    assert (_numbers(directory, "demo"), _numbers(directory, "other")) == ([], ["5550003333"])
    directory.update(4, False, [Account("demo")], [Did("5550001111", "demo")], frozenset())
    assert _numbers(directory, "demo") == ["5550002222"]
    directory.update(5, True, [Account("demo")], [], frozenset())
    assert _numbers(directory, "demo") == []
