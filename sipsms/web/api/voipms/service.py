"""Adapter of the VoIP.ms-compatible API to the store and the account service.

Errors become VoIP.ms' status words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sipsms.accounts.auth import Access
from sipsms.accounts.directory import Directory
from sipsms.accounts.service import AccountService, Full
from sipsms.core.clock import Clock
from sipsms.core.message import Media, Message
from sipsms.core.registration import Binding
from sipsms.messaging.outbound import Sender
from sipsms.store import message_list_voipms, voipms_fields
from sipsms.store.accounts import AdminError, BadValue
from sipsms.store.store import Store
from sipsms.web.api.voipms import dids as rest_dids
from sipsms.web.api.voipms.accounts import Accounts, Place
from sipsms.web.api.voipms.dids import Dids
from sipsms.web.api.voipms.messages import Messages, Wanted
from sipsms.web.api.voipms.params import Refused
from sipsms.web.api.voipms.routes import RestPhp

_FIELDS: Final = {
    **rest_dids.BAD, "callback_retry": "invalid_callback_retry", "dialing_mode": "invalid_dialmode",
    "sms_by_customer": "sms_apply_regulations", "internal_extension": "used_extension",
}  # fmt: skip


class Records:
    """Stored messages, one list at a time.

    A long list takes half a second of a reader thread, and the queue needs the readers too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Semaphore(1)

    async def past(self, wanted: Wanted, render: Callable[[Message], bytes | None]) -> list[bytes]:
        async with self._turn:
            return await self._store.read(
                lambda db: message_list_voipms.past(
                    db, wanted.dids, wanted.since, wanted.until, render, limit=wanted.limit,
                    direction=wanted.direction, contact=wanted.contact, mms=wanted.mms,
                )
            )  # fmt: skip

    async def one(self, message: int, dids: Mapping[str, float]) -> Message | None:
        return await self._store.read(lambda db: message_list_voipms.one(db, message, dids))

    async def hide(self, message: int, dids: Mapping[str, float]) -> bool:
        if await self.one(message, dids) is None:  # a client that guesses ids must not occupy the writer
            return False
        return await self._store.write(lambda db: message_list_voipms.hide(db, message, dids))


class VoipmsService:
    """The account service for VoIP.ms' methods. Errors become VoIP.ms' status words."""

    def __init__(self, service: AccountService, store: Store) -> None:
        self._service = service
        self._store = store

    async def change_did(self, number: str, given: Mapping[str, Any]) -> None:
        await _in_words(self._service.change_did(number, given), "invalid_did")

    async def add_subaccount(
        self, name: str, password: str, *, parent: str, caller_id: str, fields: Mapping[str, str]
    ) -> None:
        work = self._service.add_account(name, password, parent=parent, caller_id=caller_id, fields=fields)
        await _in_words(work, "used_username")

    async def change_subaccount(
        self, name: str, *, caller_id: str | None, password: str | None, fields: Mapping[str, str]
    ) -> None:
        work = self._service.change_subaccount(name, caller_id=caller_id, password=password, fields=fields)
        await _in_words(work, "invalid_account")

    async def written(self, customer: str) -> Mapping[str, Mapping[str, str]]:
        return await self._store.read(lambda db: voipms_fields.written(db, customer))

    async def remove_account(self, name: str) -> None:
        await _in_words(self._service.remove_account(name), "invalid_account")


async def _in_words(work: Awaitable[None], otherwise: str) -> None:
    try:
        await work
    except BadValue as error:
        raise Refused(_FIELDS.get(error.field, otherwise), error.why) from None
    except Full as error:
        raise Refused("limit_reached", str(error)) from None
    except AdminError as error:
        raise Refused(otherwise, str(error)) from None


def voipms_api(
    access: Access, store: Store, service: AccountService, directory: Directory, sender: Sender,
    url: Callable[[Media], str],
    bindings: Callable[[str], Sequence[Binding]], place: Callable[[], Place], clock: Clock,
) -> RestPhp:  # fmt: skip
    """Build the API.

    `url` returns the URL of an MMS part; `bindings` an account's current bindings."""
    changes = VoipmsService(service, store)
    return RestPhp(
        access,
        Messages(sender, directory, Records(store), url, clock).methods(),
        Dids(directory, changes).methods(),
        Accounts(directory, changes, bindings, place, sender.usage.sent).methods(),
    )
