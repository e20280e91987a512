"""Permissions of a caller: the only module that decides which resources a token may access.

Every question reads the directory anew, so that a number that moves to another customer is protected at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request

from sipsms.accounts.auth import Caller
from sipsms.accounts.directory import EVERYBODY, Directory
from sipsms.core import log
from sipsms.core.account import Account, Did, Scope, Token
from sipsms.core.e164 import normalise
from sipsms.store.tokens import digest
from sipsms.web.api.v1.problems import Problem, missing, wrong
from sipsms.web.request import bearer_of

ALL: Final = (Scope.OPERATOR, Scope.RESELLER, Scope.CUSTOMER, Scope.DID)
CUSTOMERS: Final = (Scope.OPERATOR, Scope.RESELLER, Scope.CUSTOMER)
RESELLERS: Final = (Scope.OPERATOR, Scope.RESELLER)
OPERATOR: Final = (Scope.OPERATOR,)


class Permissions:
    def __init__(self, caller: Caller, directory: Directory) -> None:
        self.caller = caller
        self._directory = directory
        self.is_operator = caller.scope is Scope.OPERATOR

    def need(self, scopes: Sequence[Scope]) -> Permissions:
        """Check that the token's scope is one of these. Raises Problem."""
        if self.caller.scope not in scopes:
            names = " or ".join(str(one) for one in scopes)
            raise Problem(403, "scope", f"This needs a token of scope {names}; this one has {self.caller.scope}.")
        return self

    def need_lasting(self) -> Permissions:
        """Check that the token does not expire: a secret that it makes would outlive it. Raises Problem."""
        if self.caller.expires_at is not None:
            raise Problem(403, "token-ends", "A token that ends sets no passwords: they would outlive it.")
        return self

    def note(self, what: str, account: str, **facts: str) -> None:
        """Log a change that the operator may have to trace. Secrets are never logged."""
        log.note("changed_by_api", by=self.caller.name, scope=str(self.caller.scope), what=what, of=account, **facts)

    # --- ownership ---

    @property
    def own(self) -> str:
        """The caller's customer; empty for the operator."""
        return self.caller.account.name if self.caller.account is not None else ""

    def customers(self) -> list[str] | None:
        """Return the customers the caller may access, by name; None for all."""
        if self.is_operator:
            return None
        managed = self._directory.customers_of(self.own) if self.caller.scope is Scope.RESELLER else []
        return sorted({self.own, *managed})

    def has_customer(self, name: str) -> bool:
        if self.is_operator or name == self.own:
            return True
        found = self._directory.account(name)
        return self.caller.scope is Scope.RESELLER and found is not None and found.reseller == self.own

    def has_account(self, account: Account) -> bool:
        return self.caller.scope is not Scope.DID and self.has_customer(account.customer)

    def has_did(self, did: Did) -> bool:
        if self.caller.scope is Scope.DID:
            return did.number == self.caller.did
        return self.has_customer(did.account)

    def sees(self, account: str, number: str, at: float) -> bool:
        """Return whether the caller may see a message of this account and DID received at `at`.

        Messages from before the account was made, or the DID moved to its customer, belong to others."""
        if self.is_operator:
            return True
        whose, did = self._directory.account(account), self._directory.did(number)
        if whose is None or at < whose.since or (did is not None and at < did.since):
            return False
        if not self.has_customer(whose.customer):
            return False
        if self.caller.scope is Scope.DID:
            return number == self.caller.did
        return did is None or self.has_did(did)

    # --- lists ---

    def accounts(self) -> list[str] | None:
        """Return the customers and subaccounts the caller may access, by name; None for all."""
        customers = self.customers()
        if customers is None:
            return None
        return sorted({*customers, *(one.name for name in customers for one in self._directory.subaccounts(name))})

    def dids(self) -> list[str] | None:
        """Return the numbers the caller may access, in order; None for all."""
        if self.caller.scope is Scope.DID:
            return [self.caller.did]
        customers = self.customers()
        if customers is None:
            return None
        return sorted({did.number for name in customers for did in self._directory.dids_of(name)})

    # --- by name; not permitted looks like not found ---

    def account(self, name: str) -> Account:
        """Return an account by name. Raises Problem (404) if unknown or not permitted."""
        found = self._directory.account(name)
        if found is None or not self.has_account(found):
            raise missing()
        return found

    def customer(self, name: str, field: str) -> Account:
        """Return a customer named in a body or query. Raises Problem that names `field`."""
        found = self._directory.account(name)
        if found is None or found.parent or not self.has_account(found):
            raise wrong(field, "there is no such customer")
        return found

    def did(self, number: str) -> Did:
        """Return a DID by its number in any spelling. Raises Problem (404) if unknown or not permitted."""
        found = self._directory.did(normalise(number) or "")
        if found is None or not self.has_did(found):
            raise missing()
        return found

    def named_did(self, number: str, field: str) -> Did:
        """Return a DID named in a body or query. Raises Problem that names `field`."""
        found = self._directory.did(normalise(number) or "")
        if found is None or not self.has_did(found):
            raise wrong(field, "there is no such DID")
        return found

    def owner(self, name: str) -> str:
        """Return the owner of a block: a customer, *, or a DID, which a number always means. Raises Problem."""
        if name == EVERYBODY and self.is_operator:
            return name
        number = normalise(name) or ""
        if (did := self._directory.did(number)) is not None:
            if not self.has_did(did):
                raise missing()
            return number
        found = self.account(name)
        if found.parent:
            raise missing()
        return found.name


def reach_of(request: Request) -> Permissions:
    found: Permissions = request.scope["sipsms.reach"]
    return found


def token_of(request: Request, directory: Directory) -> Token | None:
    return directory.token(digest(bearer_of(request)))
