"""Routes of /v1 for phones, the queue, dead letters and carriers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from sipsms.core import log
from sipsms.core.errors import AdminError
from sipsms.store import message_list, operator_lists, reassign, smpp_binds
from sipsms.web.api.v1 import schemas as m
from sipsms.web.api.v1.dependencies import Api, Reach, Services, Whose
from sipsms.web.api.v1.messages import Id, courier_shown
from sipsms.web.api.v1.middleware import ORIGIN
from sipsms.web.api.v1.paging import Cursor, Limit, cut, found_page, number_after, unpack
from sipsms.web.api.v1.permissions import CUSTOMERS, OPERATOR, Permissions
from sipsms.web.api.v1.problems import conflict, missing

router = APIRouter()


@router.get("/devices", response_model=m.Page[m.DeviceShown], tags=["phones"])
async def list_devices(api: Api, reach: Reach, account: Whose = "", limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List devices that have registered, with the number of waiting messages; oldest first."""
    owners = _phones(reach.need(CUSTOMERS), account)
    after, now = number_after(cursor), api.clock()
    rows = await api.store.read(lambda db: message_list.list_devices(db, owners, after, limit + 1, now))
    return cut(rows, limit, lambda row: row["device"])


@router.delete("/devices/{device}", status_code=204, response_class=Response, tags=["phones"])
async def remove_device(api: Api, reach: Reach, device: Id) -> None:
    """Remove a device that is gone. What waits for it fails, or waits for the account's next device if it was the last.

    A phone that registers again is a new device."""
    owners = reach.need(CUSTOMERS).accounts()
    try:
        owner = await api.store.read(lambda db: reassign.owner_of(db, device))
    except AdminError:
        raise missing() from None
    if owners is not None and owner not in owners:
        raise missing()
    await api.messaging.devices.remove(device)


@router.get("/registrations", response_model=m.Page[m.RegistrationShown], tags=["phones"])
async def list_registrations(
    api: Api, reach: Reach, account: Whose = "", limit: Limit = 50, cursor: Cursor = ""
) -> Any:
    """List current registrations by account."""
    owners = _phones(reach.need(CUSTOMERS), account)
    after, now = unpack(cursor, str, str, str, int), api.clock()
    return found_page(*await api.store.read(lambda db: message_list.list_bindings(db, owners, after, limit, now)))


# --- the queue ---


@router.get("/queue", response_model=m.Page[m.QueueShown], tags=["operator"])
async def list_queue(api: Api, reach: Reach, unknown: bool = False, limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List open deliveries by lane. `unknown`: list deliveries with an unknown outcome instead.

    Operator only."""
    reach.need(OPERATOR)
    after = unpack(cursor, str, int)
    return found_page(*await api.store.read(lambda db: message_list.list_queue(db, after, limit, unknown=unknown)))


@router.post("/deliveries/{delivery}/resend", response_model=m.Count, tags=["operator"])
async def resend(api: Api, reach: Reach, delivery: Id, may_be_sent_twice: Annotated[bool, Query()] = False) -> Any:
    """Send a delivery with an unknown outcome once more. Needs `may_be_sent_twice=true`.

    The recipient may get the message a second time, and the carrier may charge for it. Operator only."""
    reach.need(OPERATOR)
    if not (state := await api.store.read(lambda db: message_list.state_of(db, delivery))):
        raise missing()
    if state != "unknown":
        raise conflict(f"This delivery is {state}, not unknown.")
    if not may_be_sent_twice:
        raise conflict("It may have arrived: with may_be_sent_twice=true it is sent again all the same.")
    await api.service.resend_unknown(delivery)
    log.audit(ORIGIN, reach.caller.name, str(delivery), "an unknown delivery is sent again by hand")
    return {"count": 1}


@router.get("/dead-letters", response_model=m.Page[m.DeadShown], tags=["numbers"])
async def list_dead_letters(api: Api, reach: Reach, limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List deliveries to callbacks, webhooks and e-mail that failed for good, newest first."""
    reach.need(CUSTOMERS)
    before = number_after(cursor) or None
    rows, last = await api.store.read(lambda db: message_list.list_dead(db, before, limit, reach.sees))
    return found_page([{**row, "courier": courier_shown(row["courier"], reach)} for row in rows], last)


@router.post("/dead-letters/retry", response_model=m.Count, tags=["operator"])
async def retry_dead_letters(api: Api, reach: Reach) -> Any:
    """Retry all dead letters from the first attempt. Operator only."""
    reach.need(OPERATOR)
    return {"count": await api.service.retry_dead(None)}


@router.post("/dead-letters/{delivery}/retry", response_model=m.Count, tags=["numbers"])
async def retry_dead_letter(api: Api, reach: Reach, delivery: Id) -> Any:
    """Retry one dead letter from the first attempt."""
    reach.need(CUSTOMERS)
    if not await api.store.read(lambda db: message_list.dead_letter(db, delivery, reach.sees)):
        raise missing()
    return {"count": await api.service.retry_dead(delivery)}


# --- carriers ---


@router.get("/carriers", response_model=m.Page[m.CarrierShown], tags=["operator"])
async def list_carriers(api: Api, reach: Reach) -> Any:
    """List all configured carriers with their waiting messages. Operator only."""
    reach.need(OPERATOR)
    configured = [(name, one.kind, one.rate) for name, one in api.carriers().items()]
    rows = await api.store.read(lambda db: list(operator_lists.list_carriers(db, configured)))
    return {"items": rows, "next": None}


@router.get("/binds", response_model=m.Page[m.BindShown], tags=["operator"])
async def list_binds(api: Api, reach: Reach) -> Any:
    """List SMPP sessions: programs bound to us, and servers we are bound to. Operator only."""
    reach.need(OPERATOR)
    return {"items": await api.store.read(lambda db: list(smpp_binds.list_binds(db))), "next": None}


@router.post("/carriers/{name}/pause", status_code=204, response_class=Response, tags=["operator"])
async def pause_carrier(api: Api, reach: Reach, name: Annotated[str, Path(max_length=64)]) -> None:
    """Stop sending by this carrier; its messages wait. Operator only."""
    await _pause(api, reach, name, paused=True)


@router.post("/carriers/{name}/resume", status_code=204, response_class=Response, tags=["operator"])
async def resume_carrier(api: Api, reach: Reach, name: Annotated[str, Path(max_length=64)]) -> None:
    """Resume sending by this carrier. Operator only."""
    await _pause(api, reach, name, paused=False)


async def _pause(api: Services, reach: Permissions, name: str, *, paused: bool) -> None:
    reach.need(OPERATOR)
    if name not in api.carriers():
        raise missing()
    await api.service.pause_carrier(name, paused=paused)


def _phones(reach: Permissions, account: str) -> list[str] | None:
    """Return the accounts whose devices are listed; None for all."""
    return [reach.account(account).name] if account else reach.accounts()
