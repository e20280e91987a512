"""The checks when a queued message leaves; the message may have waited for a year."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sipsms.core.account import Account, Did
from sipsms.core.directory_rows import Block
from tests.support.messaging.core import Core, ScriptedCourier, core

ALICE = Account("alice", "demo", caller_id="5550001111")
PEER = "2125550123"


def change(accounts: list[Account], dids: list[Did]) -> Callable[[Core], None]:
    return lambda here: here.directory.update(2, False, accounts, dids, frozenset())


def blocked(here: Core) -> None:
    block = [Block("5550001111", PEER, "out")]
    here.directory.update(2, True, [Account("demo"), ALICE], [Did("5550001111", "demo", "alice")], frozenset(), block)


@pytest.mark.req("S-011")
@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (change([Account("alice", "demo", enabled=False)], []), "its account is off or removed"),
        (change([], [Did("5550001111", "eve", "eve")]), "5550001111 is another customer's now"),
        (change([], [Did("5550001111", "demo", "alice", sms=False)]), "5550001111 is switched off for SMS"),
        (blocked, "the recipient has answered STOP meanwhile, or is blocked"),
        (lambda here: None, ""),
    ],
)
async def test_a_queued_message_is_checked_again(tmp_path: Path, happens: Callable[[Core], None], why: str) -> None:
    sim = ScriptedCourier()
    async with core(tmp_path, {"carrier:sim": sim}) as here:
        await here.send(ALICE, "5550001111", PEER, "remember", "v1")
        await sim.wait(1)
        assert here.messaging.consent.objection_to(sim.seen[0]) == ""
        happens(here)
        assert here.messaging.consent.objection_to(sim.seen[0]) == why
