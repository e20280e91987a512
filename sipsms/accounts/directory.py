"""The directory: accounts, DIDs, blocks and tokens in memory, which every request asks for.

It is filled from the store and refreshed when the store's version changes. It must not read the store itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sipsms.core.account import Account, Did, Token
from sipsms.core.directory_rows import Block

EVERYBODY = "*"  # owner of a block for all DIDs


class Directory:
    def __init__(self) -> None:
        self.version = 0
        self._accounts: dict[str, Account] = {}
        self._own: dict[str, Account] = {}  # subaccounts as stored: not disabled together with the customer
        self._dids: dict[str, Did] = {}
        self._blocks: set[tuple[str, str, str]] = set()
        self._tokens: dict[str, Token] = {}  # by hash
        self._emails: dict[str, str] = {}  # e-mail address in lower case -> account
        self._family: dict[str, dict[str, None]] = {}  # customer -> its subaccounts
        self._numbers: dict[str, list[str]] = {}  # customer -> its DIDs; lists, since most customers have only one
        self._customers: dict[str, dict[str, None]] = {}  # reseller -> customers that it manages
        self._esmes: dict[str, dict[str, None]] = {}  # SMPP username -> DIDs with it
        self._bindable: dict[str, tuple[Did, ...]] = {}  # cache: SMPP username -> DIDs that may bind
        self.paused: frozenset[str] = frozenset()  # carriers that an operator has paused

    def __len__(self) -> int:
        return len(self._accounts)

    def update(
        self, version: int, whole: bool, accounts: Iterable[Account], dids: Iterable[Did], paused: frozenset[str],
        blocks: Iterable[Block] = (), tokens: Iterable[Token] = (),
    ) -> list[str]:  # fmt: skip
        """Apply changes; `whole`: forget all other rows. Return the names of removed accounts."""
        before = self._accounts
        if whole:
            self._accounts, self._own, self._dids, self._blocks, self._tokens = {}, {}, {}, set(), {}
            self._emails, self._family, self._numbers, self._customers, self._esmes = {}, {}, {}, {}, {}
        self._bindable = {}
        for account in accounts:
            self._put_account(account)
        for did in dids:
            self._put_did(did)
        for block in blocks:
            self.block(block)
        self._tokens.update((token.hash, token) for token in tokens)
        self.version = version
        self.paused = paused
        return [name for name in before if name not in self._accounts] if whole else []

    def _put_account(self, account: Account) -> None:
        old = self._accounts.get(account.name)
        if account.parent:
            self._own[account.name] = account
        self._accounts[account.name] = self._effective(account)
        if old is not None and old.email and self._emails.get(old.email.lower()) == account.name:
            del self._emails[old.email.lower()]
        if account.email:
            self._emails[account.email.lower()] = account.name
        if account.parent:
            self._family.setdefault(account.parent, {})[account.name] = None
        if old is not None and old.reseller:
            self._customers.get(old.reseller, {}).pop(account.name, None)
        if account.reseller:
            self._customers.setdefault(account.reseller, {})[account.name] = None
        if not account.parent and (old is None or old.enabled != account.enabled):
            for name in self._family.get(account.name, ()):
                self._accounts[name] = self._effective(self._own[name])

    def _effective(self, account: Account) -> Account:
        """Return the account, disabled if its customer is disabled."""
        customer = self._accounts.get(account.parent) if account.parent else None
        return replace(account, enabled=False) if customer is not None and not customer.enabled else account

    def _put_did(self, did: Did) -> None:
        old = self._dids.get(did.number)
        if old is not None and old.account != did.account:
            self._numbers[old.account].remove(did.number)
        if old is not None and old.smpp_username != did.smpp_username:
            self._esmes.get(old.smpp_username, {}).pop(did.number, None)
        self._dids[did.number] = did
        if old is None or old.account != did.account:
            self._numbers.setdefault(did.account, []).append(did.number)
        if did.smpp is not None:
            self._esmes.setdefault(did.smpp_username, {})[did.number] = None

    def block(self, block: Block) -> None:
        (self._blocks.add if block.active else self._blocks.discard)(block[:3])

    def disable_target(self, number: str, kind: str, why: str) -> None:
        """Mark a DID's callback or webhook as disabled."""
        self._bindable = {}
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

    def known_as(self, name: str) -> Account | None:
        """Return the account with this name or e-mail address."""
        return self._accounts.get(name) or self._accounts.get(self._emails.get(name.lower(), ""))

    def token(self, digest: str) -> Token | None:
        """Return the token with this SHA-256, in hex."""
        return self._tokens.get(digest)

    def subaccounts(self, customer: str) -> list[Account]:
        """Return the subaccounts of a customer, by name."""
        return [self._accounts[name] for name in sorted(self._family.get(customer, ()))]

    def dids_of(self, customer: str) -> list[Did]:
        """Return the DIDs of a customer, by number."""
        return [self._dids[number] for number in sorted(self._numbers.get(customer, ()))]

    def smpp_dids(self, username: str) -> tuple[Did, ...]:
        """Return the DIDs whose programs may bind under this username, by number."""
        if username not in self._esmes:  # unknown names must not fill the cache
            return ()
        found = self._bindable.get(username)
        if found is None:
            dids = [self._dids[number] for number in sorted(self._esmes[username])]
            found = self._bindable[username] = tuple(did for did in dids if self._may_bind(did))
        return found

    def _may_bind(self, did: Did) -> bool:
        owner = self._accounts.get(did.account)
        on = did.smpp is not None and did.smpp.enabled and bool(did.smpp.password)
        return on and did.sms and owner is not None and owner.enabled

    def customers_of(self, reseller: str) -> list[str]:
        """Return the names of the customers that a reseller manages, in order."""
        return sorted(self._customers.get(reseller, ()))

    def may_send_from(self, account: Account, number: str) -> bool:
        """Return whether the number is an SMS-enabled DID of the account's customer (S-081)."""
        did = self._dids.get(number)
        return did is not None and did.sms and did.account == account.customer

    def is_blocked(self, did: Did, number: str, direction: str) -> bool:
        """Return whether this DID, its customer or the operator blocks messages from (`in`) or to (`out`) a number."""
        if not self._blocks:
            return False
        return any((owner, number, direction) in self._blocks for owner in (did.number, did.account, EVERYBODY))
