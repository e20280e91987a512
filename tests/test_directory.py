"""Accounts and DIDs in memory."""

from __future__ import annotations

import pytest

from sipsms.directory import Directory
from sipsms.model import Account, Did


@pytest.mark.req("S-081", "S-080")
def test_who_may_send_from_what() -> None:
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


def test_updates() -> None:
    directory = Directory()
    directory.update(1, True, [Account("a"), Account("b")], [], frozenset())
    assert directory.update(2, False, [Account("a", caller_id="5550001111")], [], frozenset(("sim",))) == []
    changed = directory.account("a")
    assert changed is not None
    assert changed.caller_id == "5550001111"
    assert (len(directory), directory.paused, directory.version) == (2, {"sim"}, 2)
    assert directory.update(3, True, [Account("a")], [], frozenset()) == ["b"]
    assert directory.account("b") is None
