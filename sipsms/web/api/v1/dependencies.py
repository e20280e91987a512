"""Parameters that the routes of /v1 share: the parts of the server, and the caller's permissions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query
from starlette.requests import Request

from sipsms.accounts.directory import Directory
from sipsms.accounts.service import AccountService
from sipsms.core.clock import Clock
from sipsms.messaging.build import Messaging
from sipsms.messaging.carrier_options import CarrierOptions
from sipsms.messaging.media import MediaStore
from sipsms.store import message_list
from sipsms.store.store import Store
from sipsms.web.api.v1.permissions import Permissions, reach_of


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the server that routes use; in the application's state as `services`."""

    directory: Directory
    messaging: Messaging
    service: AccountService
    store: Store
    files: MediaStore
    clock: Clock
    max_text: Callable[[], int]  # characters of an SMS
    daily: Callable[[], int]  # messages a day of a customer without a limit of its own
    carriers: Callable[[], Mapping[str, CarrierOptions]]


def services_of(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


# FastAPI runs other functions than coroutines in a thread.
async def _services(request: Request) -> Services:
    return services_of(request)


async def _reach(request: Request) -> Permissions:
    return reach_of(request)


Api = Annotated[Services, Depends(_services)]
Reach = Annotated[Permissions, Depends(_reach)]
Whose = Annotated[str, Query(max_length=64)]  # an account or another owner; empty: all


async def names_after(api: Services, kind: str, names: list[str] | None, after: str, limit: int) -> list[str]:
    """Return at most `limit` of these names after `after`; None: of all names of this kind in the store."""
    if names is None:
        return await api.store.read(lambda db: message_list.names(db, kind, after, limit))
    return [name for name in names if name > after][:limit]
