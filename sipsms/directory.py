"""Accounts and DIDs in memory: what every request asks for. Filled from the store, refreshed when its version moves."""

from __future__ import annotations

from collections.abc import Iterable

from sipsms.model import Account, Did


class Directory:
    def __init__(self) -> None:
        self.version = 0
        self._accounts: dict[str, Account] = {}
        self._dids: dict[str, Did] = {}
        self.paused: frozenset[str] = frozenset()  # carriers an operator has stopped

    def __len__(self) -> int:
        return len(self._accounts)

    def update(
        self, version: int, whole: bool, accounts: Iterable[Account], dids: Iterable[Did], paused: frozenset[str]
    ) -> list[str]:
        """Take over what changed; `whole`: forget the rest. The names of accounts that are gone."""
        before = self._accounts
        if whole:
            self._accounts, self._dids = {}, {}
        self._accounts.update((account.name, account) for account in accounts)
        self._dids.update((did.number, did) for did in dids)
        self.version = version
        self.paused = paused
        return [name for name in before if name not in self._accounts] if whole else []

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
