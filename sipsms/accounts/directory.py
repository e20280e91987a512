"""Accounts, DIDs, blocks and tokens in memory: what every request asks for. Filled from the store, refreshed when its
version moves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sipsms.core.account import Account, Did, Token
from sipsms.core.directory_rows import Block

EVERYBODY = "*"  # owner of a block that holds for all DIDs


class Directory:
    def __init__(self) -> None:
        self.version = 0
        self._accounts: dict[str, Account] = {}
        self._own: dict[str, Account] = {}  # the same, whether or not their customers are switched off
        self._dids: dict[str, Did] = {}
        self._blocks: set[tuple[str, str, str]] = set()
        self._tokens: dict[str, Token] = {}  # by hash
        self._emails: dict[str, str] = {}  # in lower case -> account
        self._family: dict[str, dict[str, None]] = {}  # customer -> its subaccounts
        self._numbers: dict[str, dict[str, None]] = {}  # customer -> its DIDs
        self._customers: dict[str, dict[str, None]] = {}  # reseller -> customers that it manages
        self._esmes: dict[str, dict[str, None]] = {}  # SMPP username -> DIDs that have it
        self._bindable: dict[str, tuple[Did, ...]] = {}  # the same, those that work, as far as they were asked for
        self.paused: frozenset[str] = frozenset()  # carriers an operator has stopped

    def __len__(self) -> int:
        return len(self._accounts)

    def update(
        self, version: int, whole: bool, accounts: Iterable[Account], dids: Iterable[Did], paused: frozenset[str],
        blocks: Iterable[Block] = (), tokens: Iterable[Token] = (),
    ) -> list[str]:  # fmt: skip
        """Take over what changed; `whole`: forget the rest. The names of accounts that are gone."""
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
        """Switched off with its customer."""
        customer = self._own.get(account.parent) if account.parent else None
        return replace(account, enabled=False) if customer is not None and not customer.enabled else account

    def _put_did(self, did: Did) -> None:
        old = self._dids.get(did.number)
        if old is not None and old.account != did.account:
            self._numbers.get(old.account, {}).pop(did.number, None)
        if old is not None and old.smpp_username != did.smpp_username:
            self._esmes.get(old.smpp_username, {}).pop(did.number, None)
        self._dids[did.number] = did
        self._numbers.setdefault(did.account, {})[did.number] = None
        if did.smpp is not None:
            self._esmes.setdefault(did.smpp_username, {})[did.number] = None

    def block(self, block: Block) -> None:
        """Take over one block, or its end."""
        (self._blocks.add if block.active else self._blocks.discard)(block[:3])

    def disable_target(self, number: str, kind: str, why: str) -> None:
        """A DID's callback or webhook is off."""
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
        """The account of this name or with this e-mail address."""
        return self._accounts.get(name) or self._accounts.get(self._emails.get(name.lower(), ""))

    def token(self, digest: str) -> Token | None:
        """By the SHA-256 of the token, in hex."""
        return self._tokens.get(digest)

    def subaccounts(self, customer: str) -> list[Account]:
        """In order of name."""
        return [self._accounts[name] for name in sorted(self._family.get(customer, ()))]

    def dids_of(self, customer: str) -> list[Did]:
        """In order of number."""
        return [self._dids[number] for number in sorted(self._numbers.get(customer, ()))]

    def smpp_dids(self, username: str) -> tuple[Did, ...]:
        """Those by which programs may bind under this name, each with its password, in order of number."""
        if username not in self._esmes:  # strangers' names are not kept
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
        """Those that it manages, in order of name."""
        return sorted(self._customers.get(reseller, ()))

    def may_send_from(self, account: Account, number: str) -> bool:
        """Is this number an SMS-enabled DID of the account's customer? (S-081)"""
        did = self._dids.get(number)
        return did is not None and did.sms and did.account == account.customer

    def is_blocked(self, did: Did, number: str, direction: str) -> bool:
        """Does this DID, its customer or the operator want nothing from (`in`) or to (`out`) a number?"""
        if not self._blocks:
            return False
        return any((owner, number, direction) in self._blocks for owner in (did.number, did.account, EVERYBODY))
