"""Components of the API, and the operations it needs from the store as a Protocol.

The API must not know the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sipsms.accounts.auth import Access
from sipsms.accounts.directory import Directory
from sipsms.accounts.service import AccountService
from sipsms.core.clock import Clock
from sipsms.messaging.gateway import Gateway
from sipsms.messaging.media import MediaStore
from sipsms.messaging.outbound import Outbound

BY_HAND, BY_CUSTOMER = "by hand", "by the customer"  # who made a block; as in `store.blocks`
Sees = Callable[[str, str, float], bool]  # (account, DID, time received) of a message
Found = tuple[list[dict[str, Any]], Any]  # a page, and the start of the next page; None at the end
Names = Sequence[str] | None  # owners; None: all


class Records(Protocol):
    """Operations implemented by `queries.Queries`.

    All raise Unavailable; changes raise `Services.refused`."""

    async def messages(self, sees: Sees, **wanted: Any) -> Found:
        """Return a page of messages. `wanted`: the fields of `store.message_list.Wanted`."""

    async def message(self, message: int, sees: Sees) -> dict[str, Any] | None: ...
    async def conversations(self, number: str, sees: Sees) -> list[dict[str, Any]]: ...
    async def names(self, kind: str, after: str, limit: int) -> list[str]: ...
    async def with_endpoints(self, after: str, limit: int) -> list[str]: ...
    async def groups(self, owners: Names, after: str, limit: int) -> list[dict[str, Any]]: ...
    async def group(self, name: str) -> dict[str, Any] | None: ...
    async def tokens(self, owners: Names, after: str, limit: int) -> list[dict[str, Any]]: ...
    async def token(self, name: str) -> dict[str, Any] | None: ...
    async def devices(self, owners: Names, after: int, limit: int) -> list[dict[str, Any]]: ...
    async def registrations(self, owners: Names, after: Sequence[Any], limit: int) -> Found: ...
    async def blocks(self, owners: Names, after: Sequence[str], limit: int) -> Found: ...
    async def queue(self, after: Sequence[Any], limit: int, *, unknown: bool) -> Found: ...
    async def dead_letters(self, before: int | None, limit: int, sees: Sees) -> Found: ...
    async def is_dead_letter(self, delivery: int, sees: Sees) -> bool: ...
    async def state_of(self, delivery: int) -> str: ...
    async def carriers(self) -> list[dict[str, Any]]: ...
    async def binds(self) -> list[dict[str, Any]]: ...
    async def usage(self, account: str, days: int) -> list[dict[str, Any]]: ...
    async def add_customer(self, name: str, password: str, caller_id: str, reseller: str) -> None: ...
    async def put_blocks(self, owner: str, number: str, directions: Sequence[str], *, active: bool, by: str) -> int:
        """Switch blocks on or off.

        `by`: BY_HAND (operator) or BY_CUSTOMER, which cannot lift the operator's blocks."""

    async def count_groups(self, owner: str) -> int: ...
    async def provision(self, name: str, password: str | None, **options: Any) -> dict[str, Any]: ...
    def explain(self, source: str, target: str, text: str) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Services:
    access: Access
    directory: Directory
    gateway: Gateway
    sender: Outbound
    service: AccountService
    records: Records
    files: MediaStore
    clock: Clock
    max_text: Callable[[], int]  # characters of an SMS
    daily: Callable[[], int]  # messages a day of a customer without a limit of its own
    refused: type[Exception]  # error of a change that cannot be made; may have `field` and `why`
