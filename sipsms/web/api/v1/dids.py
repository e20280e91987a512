"""Routes of /v1 for DIDs and their destinations, groups, block lists, and customers' servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from sipsms.accounts.directory import EVERYBODY
from sipsms.core.account import Did
from sipsms.core.e164 import normalise
from sipsms.store import message_list
from sipsms.store.blocks import BY_CUSTOMER, BY_HAND
from sipsms.store.dids import did_row, endpoint_rows
from sipsms.web.api.v1 import schemas as m
from sipsms.web.api.v1.accounts import telephone_number
from sipsms.web.api.v1.dependencies import Api, Reach, Services, Whose, names_after
from sipsms.web.api.v1.paging import Cursor, Limit, cut, found_page, name_after, unpack
from sipsms.web.api.v1.permissions import CUSTOMERS, OPERATOR, Permissions
from sipsms.web.api.v1.problems import Problem, conflict, missing, wrong

GROUPS: Final = 1000  # groups per customer
_WAYS: Final = {"in": ("in",), "out": ("out",), "both": ("in", "out")}
Direction = Literal["in", "out", "both"]

router = APIRouter(tags=["numbers"])


@router.get("/dids", response_model=m.Page[m.DidShown])
async def list_dids(api: Api, reach: Reach, account: Whose = "", limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List DIDs by number. `account`: only those of one customer."""
    reach.need(CUSTOMERS)
    after, numbers = name_after(cursor), reach.dids()
    if account:
        numbers = [did.number for did in api.directory.dids_of(reach.customer(account, "account").name)]
    chosen = await names_after(api, "dids", numbers, after, limit + 1)
    found = [did for number in chosen if (did := api.directory.did(number)) is not None]
    return cut([_shown(one) for one in found], limit, lambda row: row["number"])


@router.post("/dids", response_model=m.DidShown, status_code=201)
async def add_did(api: Api, reach: Reach, given: m.DidGiven) -> Any:
    """Add a DID. Operator only."""
    reach.need(OPERATOR)
    number = telephone_number(given.number, "number")
    owner = reach.customer(given.account, "account").name
    target = owner if given.sip_account is None else given.sip_account
    _check_account(api, owner, target)
    await api.service.add_did(number, owner, sip_account=target, sms=given.sms)
    return _shown(reach.did(number))


@router.get("/dids/{number}", response_model=m.DidShown)
async def get_did(reach: Reach, number: str) -> Any:
    """Return a DID and its destinations. The number may be in any spelling."""
    return _shown(reach.need(CUSTOMERS).did(number))


@router.patch("/dids/{number}", response_model=m.DidShown)
async def change_did(api: Api, reach: Reach, number: str, given: m.DidChange) -> Any:
    """Change a DID's destinations or its owner (operator; reseller between its own customers).

    Only the operator may change `sms` and `mms`."""
    did = reach.need(CUSTOMERS).did(number)
    await api.service.change_did(did.number, await _changes(api, reach, did, given))
    return _shown(reach.did(did.number))


@router.delete("/dids/{number}", status_code=204, response_class=Response)
async def remove_did(api: Api, reach: Reach, number: str) -> None:
    """Remove a DID; its messages stay. Operator only."""
    reach.need(OPERATOR)
    await api.service.remove_did(reach.did(number).number)


@router.get("/webhooks", response_model=m.Page[m.WebhookShown])
async def list_webhooks(api: Api, reach: Reach, limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List callbacks and webhooks of DIDs, with those disabled. A page covers `limit` DIDs."""
    reach.need(CUSTOMERS)
    after, numbers = name_after(cursor), reach.dids()
    if numbers is not None:
        numbers = [one for one in numbers if _has_endpoint(api.directory.did(one))]
    chosen = await names_after(api, "endpoints", numbers, after, limit + 1)
    found = cut(chosen, limit, lambda number: number)
    dids = [did for number in found["items"] if (did := api.directory.did(number)) is not None]
    return {**found, "items": [row for did in dids for row in endpoint_rows(did)]}


# --- groups ---


@router.get("/groups", response_model=m.Page[m.GroupShown], tags=["groups"])
async def list_groups(api: Api, reach: Reach, limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List groups of accounts that a DID can deliver to, by name."""
    reach.need(CUSTOMERS)
    owners, after = reach.customers(), name_after(cursor)
    rows = await api.store.read(lambda db: message_list.list_groups(db, owners, after, limit + 1))
    return cut(rows, limit, lambda row: row["name"])


@router.get("/groups/{name}", response_model=m.GroupShown, tags=["groups"])
async def get_group(api: Api, reach: Reach, name: str) -> Any:
    """Return a group with its members."""
    return await _group(api, reach.need(CUSTOMERS), name)


@router.put("/groups/{name}", response_model=m.GroupShown, tags=["groups"])
async def put_group(api: Api, reach: Reach, name: m.Name, given: m.GroupGiven) -> Any:
    """Create a group or replace its members. All members must be accounts of one customer."""
    reach.need(CUSTOMERS)
    found = await api.store.read(lambda db: message_list.group(db, name))
    if found is not None and not reach.has_customer(found["account"]):
        raise missing()
    owners = {_member(api, reach, one, index) for index, one in enumerate(given.members)}
    if len(owners) > 1 or (found is not None and owners != {found["account"]}):
        raise wrong("members", "they are not all of one customer, the group's")
    if found is None and await api.store.read(lambda db: message_list.count_groups(db, *owners)) >= GROUPS:
        raise conflict(f"This customer has {GROUPS} groups already.")
    await api.service.put_group(name, given.members)
    return await _group(api, reach, name)


@router.delete("/groups/{name}", status_code=204, response_class=Response, tags=["groups"])
async def remove_group(api: Api, reach: Reach, name: str) -> None:
    """Remove a group. A group that a DID delivers to cannot be removed."""
    found = await _group(api, reach.need(CUSTOMERS), name)
    await api.service.remove_group(found["name"])


# --- blocks ---


@router.get("/blocks", response_model=m.Page[m.BlockShown], tags=["blocks"])
async def list_blocks(api: Api, reach: Reach, owner: Whose = "", limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List active blocks, from STOP messages and block lists.

    `owner`: a DID, a customer, or * (operator)."""
    reach.need(CUSTOMERS)
    owners: Sequence[str] | None = [reach.owner(owner)] if owner else _owners(reach)
    after = unpack(cursor, str, str, str)
    return found_page(*await api.store.read(lambda db: message_list.list_blocks(db, owners, after, limit)))


@router.post("/blocks", response_model=m.Count, status_code=201, tags=["blocks"])
async def add_block(api: Api, reach: Reach, given: m.BlockGiven) -> Any:
    """Block a number. `count`: directions that were not blocked before."""
    reach.need(CUSTOMERS)
    return {"count": await _put_blocks(api, reach, given.owner, given.number, given.direction, active=True)}


@router.delete("/blocks", response_model=m.Count, tags=["blocks"])
async def remove_block(
    api: Api,
    reach: Reach,
    owner: Annotated[str, Query(min_length=1, max_length=64)],
    number: Annotated[str, Query(min_length=1, max_length=64)],
    direction: Direction = "both",
) -> Any:
    """Remove a block, also one made by a STOP message.

    Only the operator may remove the operator's blocks."""
    reach.need(CUSTOMERS)
    count = await _put_blocks(api, reach, owner, number, direction, active=False)
    if not count:
        raise missing()
    return {"count": count}


# --- checks ---


async def _changes(api: Services, reach: Permissions, did: Did, given: m.DidChange) -> dict[str, Any]:
    """Return the settings to change. Raises Problem."""
    values = {key: value for key, value in given.model_dump().items() if value is not None}
    _check_rights(reach, did, values)
    if not reach.is_operator:
        values.pop("sms", None)  # unchanged (checked above); writing it back would make it the operator's setting
    if values.get("smpp_password"):
        reach.need_lasting()
    owner = did.account
    if "account" in values:
        owner = reach.customer(values["account"], "account").name
    _check_account(api, owner, values.get("sip_account", ""))
    await _check_group(api, owner, values.get("group", ""))
    if "forward" in values:
        values["forward"] = telephone_number(values["forward"], "forward")
    for name in ("callback", "webhook"):
        if not values.get(name, "").isprintable():
            raise wrong(name, "it has a control character")
    return values


def _check_rights(reach: Permissions, did: Did, values: dict[str, Any]) -> None:
    """Check that the caller may change these settings. Raises Problem with the first forbidden one."""
    for name, now in (("sms", did.sms), ("mms", did.mms)):
        if not reach.is_operator and values.get(name, now) != now:
            raise Problem(403, "scope", f"{name} is not for a token of this scope.", [(name, "not for this token")])


def _check_account(api: Services, owner: str, name: str) -> None:
    """Check that `name` is an account of `owner`. Raises the same Problem for all other names."""
    account = api.directory.account(name) if name else None
    if name and (account is None or account.customer != owner):
        raise wrong("sip_account", f"there is no such account of {owner}")


async def _check_group(api: Services, owner: str, name: str) -> None:
    if not name:
        return
    found = await api.store.read(lambda db: message_list.group(db, name))
    if found is None or found["account"] != owner:
        raise wrong("group", f"there is no such group of {owner}")


def _member(api: Services, reach: Permissions, name: str, index: int) -> str:
    """Return the customer of a group member. Raises Problem."""
    account = api.directory.account(name)
    if account is None or not reach.has_account(account):
        raise wrong(f"members.{index}", "there is no such account")
    return account.customer


async def _group(api: Services, reach: Permissions, name: str) -> dict[str, Any]:
    found = await api.store.read(lambda db: message_list.group(db, name))
    if found is None or not reach.has_customer(found["account"]):
        raise missing()
    return found


def _owners(reach: Permissions) -> list[str] | None:
    customers, dids = reach.customers(), reach.dids()
    return None if customers is None or dids is None else sorted({*customers, *dids})


async def _put_blocks(
    api: Services, reach: Permissions, owner: str, number: str, direction: Direction, *, active: bool
) -> int:
    """Switch blocks on or off. Return how many changed. Raises Problem."""
    if owner == EVERYBODY and not reach.is_operator:
        raise Problem(403, "scope", "Blocks for everybody are the operator's.")
    if (found := normalise(number)) is None:
        raise wrong("number", "not a number, short code or sender name")
    by = BY_HAND if reach.is_operator else BY_CUSTOMER
    return await api.service.put_blocks(reach.owner(owner), found, _WAYS[direction], active=active, by=by)


# --- how they are shown ---


def _shown(did: Did) -> dict[str, Any]:
    webhook, smpp = did.webhook, did.smpp
    return {
        **did_row(did), "webhook_bearer": bool(webhook and webhook.bearer),
        "webhook_signed": bool(webhook and webhook.secret), "smpp_has_password": bool(smpp and smpp.password),
    }  # fmt: skip


def _has_endpoint(did: Did | None) -> bool:
    return did is not None and (did.callback is not None or did.webhook is not None)
