"""Routes of /v1 for phones, the queue, dead letters and carriers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from sipsms.core import log
from sipsms.web.api.v1 import schemas as m
from sipsms.web.api.v1.messages import Id, courier_shown
from sipsms.web.api.v1.middleware import ORIGIN
from sipsms.web.api.v1.paging import Cursor, Limit, cut, found_page, number_after, unpack
from sipsms.web.api.v1.permissions import CUSTOMERS, OPERATOR, Permissions, reach_of
from sipsms.web.api.v1.problems import conflict, missing
from sipsms.web.api.v1.services import Services

Whose = Annotated[str, Query(max_length=64)]


def router(parts: Services) -> APIRouter:
    routes = APIRouter()
    records, service = parts.records, parts.service

    @routes.get("/devices", response_model=m.Page[m.DeviceShown], tags=["phones"])
    async def list_devices(request: Request, account: Whose = "", limit: Limit = 50, cursor: Cursor = "") -> Any:
        """List devices that have registered, with the number of waiting messages; oldest first."""
        owners = _phones(reach_of(request).need(CUSTOMERS), account)
        rows = await records.devices(owners, number_after(cursor), limit + 1)
        return cut(rows, limit, lambda row: row["device"])

    @routes.get("/registrations", response_model=m.Page[m.RegistrationShown], tags=["phones"])
    async def list_registrations(request: Request, account: Whose = "", limit: Limit = 50, cursor: Cursor = "") -> Any:
        """List current registrations by account."""
        owners = _phones(reach_of(request).need(CUSTOMERS), account)
        rows, last = await records.registrations(owners, unpack(cursor, str, str, str, int), limit)
        return found_page(rows, last)

    # --- the queue ---

    @routes.get("/queue", response_model=m.Page[m.QueueShown], tags=["operator"])
    async def list_queue(request: Request, unknown: bool = False, limit: Limit = 50, cursor: Cursor = "") -> Any:
        """List open deliveries by lane. `unknown`: list deliveries with an unknown outcome instead.

        Operator only."""
        reach_of(request).need(OPERATOR)
        rows, last = await records.queue(unpack(cursor, str, int), limit, unknown=unknown)
        return found_page(rows, last)

    @routes.post("/deliveries/{delivery}/resend", response_model=m.Count, tags=["operator"])
    async def resend(request: Request, delivery: Id, may_be_sent_twice: Annotated[bool, Query()] = False) -> Any:
        """Send a delivery with an unknown outcome once more. Needs `may_be_sent_twice=true`.

        The recipient may get the message a second time, and the carrier may charge for it. Operator only."""
        reach = reach_of(request).need(OPERATOR)
        if not (state := await records.state_of(delivery)):
            raise missing()
        if state != "unknown":
            raise conflict(f"This delivery is {state}, not unknown.")
        if not may_be_sent_twice:
            raise conflict("It may have arrived: with may_be_sent_twice=true it is sent again all the same.")
        await service.resend_unknown(delivery)
        log.audit(ORIGIN, reach.caller.name, str(delivery), "an unknown delivery is sent again by hand")
        return {"count": 1}

    @routes.get("/dead-letters", response_model=m.Page[m.DeadShown], tags=["numbers"])
    async def list_dead_letters(request: Request, limit: Limit = 50, cursor: Cursor = "") -> Any:
        """List deliveries to callbacks, webhooks and e-mail that failed for good, newest first."""
        reach = reach_of(request).need(CUSTOMERS)
        rows, last = await records.dead_letters(number_after(cursor) or None, limit, reach.sees)
        return found_page([{**row, "courier": courier_shown(row["courier"], reach)} for row in rows], last)

    @routes.post("/dead-letters/retry", response_model=m.Count, tags=["operator"])
    async def retry_dead_letters(request: Request) -> Any:
        """Retry all dead letters from the first attempt. Operator only."""
        reach_of(request).need(OPERATOR)
        return {"count": await service.retry_dead(None)}

    @routes.post("/dead-letters/{delivery}/retry", response_model=m.Count, tags=["numbers"])
    async def retry_dead_letter(request: Request, delivery: Id) -> Any:
        """Retry one dead letter from the first attempt."""
        reach = reach_of(request).need(CUSTOMERS)
        if not await records.is_dead_letter(delivery, reach.sees):
            raise missing()
        return {"count": await service.retry_dead(delivery)}

    # --- carriers ---

    @routes.get("/carriers", response_model=m.Page[m.CarrierShown], tags=["operator"])
    async def list_carriers(request: Request) -> Any:
        """List all configured carriers with their waiting messages. Operator only."""
        reach_of(request).need(OPERATOR)
        return {"items": await records.carriers(), "next": None}

    @routes.get("/binds", response_model=m.Page[m.BindShown], tags=["operator"])
    async def list_binds(request: Request) -> Any:
        """List SMPP sessions: programs bound to us, and servers we are bound to. Operator only."""
        reach_of(request).need(OPERATOR)
        return {"items": await records.binds(), "next": None}

    @routes.post("/carriers/{name}/pause", status_code=204, response_class=Response, tags=["operator"])
    async def pause_carrier(request: Request, name: Annotated[str, Path(max_length=64)]) -> None:
        """Stop sending by this carrier; its messages wait. Operator only."""
        await _pause(parts, reach_of(request), name, paused=True)

    @routes.post("/carriers/{name}/resume", status_code=204, response_class=Response, tags=["operator"])
    async def resume_carrier(request: Request, name: Annotated[str, Path(max_length=64)]) -> None:
        """Resume sending by this carrier. Operator only."""
        await _pause(parts, reach_of(request), name, paused=False)

    return routes


async def _pause(parts: Services, reach: Permissions, name: str, *, paused: bool) -> None:
    reach.need(OPERATOR)
    if name not in {one["name"] for one in await parts.records.carriers()}:
        raise missing()
    await parts.service.pause_carrier(name, paused=paused)


def _phones(reach: Permissions, account: str) -> list[str] | None:
    """Return the accounts whose devices are listed; None for all."""
    return [reach.account(account).name] if account else reach.accounts()
