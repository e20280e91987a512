"""Accounts, DIDs and blocks in memory: what every request asks for. Filled from the store, refreshed when its version
moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sipsms.model import Account, Did
from sipsms.ports import Block

EVERYBODY = "*"  # owner of a block that holds for all DIDs


class Directory:
    def __init__(self) -> None:
        self.version = 0
        self._accounts: dict[str, Account] = {}
        self._dids: dict[str, Did] = {}
        self._blocks: set[tuple[str, str, str]] = set()
        self.paused: frozenset[str] = frozenset()  # carriers an operator has stopped

    def __len__(self) -> int:
        return len(self._accounts)

    def update(
        self, version: int, whole: bool, accounts: Iterable[Account], dids: Iterable[Did], paused: frozenset[str],
        blocks: Iterable[Block] = (),
    ) -> list[str]:  # fmt: skip
        """Take over what changed; `whole`: forget the rest. The names of accounts that are gone."""
        before = self._accounts
        if whole:
            self._accounts, self._dids, self._blocks = {}, {}, set()
        self._accounts.update((account.name, account) for account in accounts)
        self._dids.update((did.number, did) for did in dids)
        for block in blocks:
            self.block(block)
        self.version = version
        self.paused = paused
        return [name for name in before if name not in self._accounts] if whole else []

    def block(self, block: Block) -> None:
        """Take over one block, or its end."""
        (self._blocks.add if block.active else self._blocks.discard)(block[:3])

    def disable_target(self, number: str, kind: str, why: str) -> None:
        """A DID's callback or webhook is off."""
        did = self._dids.get(number)
        if did is not None and kind == "callback" and did.callback is not None:
            self._dids[number] = replace(did, callback=replace(did.callback, disabled=why))
        if did is not None and kind == "webhook" and did.webhook is not None:
            self._dids[number] = replace(did, webhook=replace(did.webhook, disabled=why))

    def account(self, name: str) -> Account | None:
        return self._accounts.get(name)

    def did(self, number: str) -> Did | None:
        return self._dids.get(number)

    def accounts(self) -> Iterable[Account]:
        return self._accounts.values()

    def may_send_from(self, account: Account, number: str) -> bool:
        """Is this number an SMS-enabled DID of the account's customer? (S-081)"""
        did = self._dids.get(number)
        return did is not None and did.sms and did.account == account.customer

    def is_blocked(self, did: Did, number: str, direction: str) -> bool:
        """Does this DID, its customer or the operator want nothing from (`in`) or to (`out`) a number?"""
        if not self._blocks:
            return False
        return any((owner, number, direction) in self._blocks for owner in (did.number, did.account, EVERYBODY))
