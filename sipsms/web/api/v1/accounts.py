"""Routes of /v1 for customers and subaccounts, their passwords, tokens and usage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from sipsms.accounts.provisioning_link import Order
from sipsms.core import e164
from sipsms.core.account import Account, Scope
from sipsms.store import api_usage, message_list
from sipsms.store.accounts import shown_account
from sipsms.web.api.v1 import schemas as m
from sipsms.web.api.v1.dependencies import Api, Reach, Services, Whose, names_after
from sipsms.web.api.v1.paging import Cursor, Limit, cut, name_after
from sipsms.web.api.v1.permissions import ALL, CUSTOMERS, RESELLERS, Permissions
from sipsms.web.api.v1.problems import Problem, missing, wrong
from sipsms.web.api.v1.send import seconds

# Settings that a customer may change, and settings that its reseller may change. The operator may change all.
_CUSTOMERS: Final = {"caller_id", "presence", "copies", "reply_from_thread", "app_messages", "email"}
_RESELLERS: Final = {*_CUSTOMERS, "api_daily_limit", "api_allow_ip"}
_TOKENS: Final = {  # scope of the caller -> scopes of the tokens that it may make, list and remove
    Scope.OPERATOR: ("operator", "reseller", "customer", "did"),
    Scope.RESELLER: ("reseller", "customer", "did"),
    Scope.CUSTOMER: ("customer", "did"),
}
_TOLD: Final = {"enabled", "api_daily_limit", "api_allow_ip", "reseller", "smpp_rate"}  # written to the log

router = APIRouter(tags=["accounts"])


def telephone_number(given: str, field: str) -> str:
    """Return ten digits, or + and digits; an empty text stays empty. Raises Problem."""
    number = e164.telephone_number(given) if given else ""
    if number is None:
        raise wrong(field, "this is not a telephone number")
    return number


@router.get("/me", response_model=m.Me)
async def whoami(reach: Reach) -> Any:
    """Return this token's name, scope and account. Every scope."""
    caller = reach.need(ALL).caller
    account = caller.account.name if caller.account is not None else ""
    return {"token": caller.name, "scope": str(caller.scope), "account": account, "did": caller.did}


@router.get("/accounts", response_model=m.Page[m.AccountShown])
async def list_accounts(api: Api, reach: Reach, customer: Whose = "", limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List customers and subaccounts by name.

    `customer`: only this customer and its subaccounts."""
    reach.need(CUSTOMERS)
    after, names = name_after(cursor), reach.accounts()
    if customer:
        owner = reach.customer(customer, "customer").name
        names = sorted([owner, *(one.name for one in api.directory.subaccounts(owner))])
    chosen = await names_after(api, "accounts", names, after, limit + 1)
    found = [account for name in chosen if (account := api.directory.account(name)) is not None]
    return cut([shown_account(one) for one in found], limit, lambda row: row["name"])


@router.post("/accounts", response_model=m.AccountShown, status_code=201)
async def add_account(api: Api, reach: Reach, given: m.AccountGiven) -> Any:
    """Add a customer (operator, reseller), or a subaccount with `parent`.

    Not with an expiring token."""
    reach.need(CUSTOMERS if given.parent else RESELLERS).need_lasting()
    caller_id = telephone_number(given.caller_id, "caller_id")
    parent = reach.customer(given.parent, "parent").name if given.parent else ""
    reseller = "" if parent else reach.own
    await api.service.add_account(given.name, given.password, parent=parent, caller_id=caller_id, reseller=reseller)
    return shown_account(reach.account(given.name))


@router.get("/accounts/{name}", response_model=m.AccountShown)
async def get_account(reach: Reach, name: str) -> Any:
    """Return a customer or a subaccount."""
    return shown_account(reach.need(CUSTOMERS).account(name))


@router.patch("/accounts/{name}", response_model=m.AccountShown)
async def change_account(api: Api, reach: Reach, name: str, given: m.AccountChange) -> Any:
    """Change some settings.

    Only the operator may change `enabled`, `bulk`, `shorteners`, `legacy_digest`, `reseller` and `smpp_rate`."""
    account = reach.need(CUSTOMERS).account(name)
    values = _changes(api, reach, account, given)
    await api.service.set_account(account.name, **values)
    for setting in sorted(_TOLD & values.keys()):
        reach.note(f"{setting} set to {values[setting] if values[setting] is not None else 'default'}", account.name)
    return shown_account(reach.account(name))


@router.delete("/accounts/{name}", status_code=204, response_class=Response)
async def remove_account(api: Api, reach: Reach, name: str) -> None:
    """Remove an account and its registrations; its messages stay.

    An account with subaccounts or DIDs, and the caller's own account, cannot be removed."""
    account = reach.need(CUSTOMERS).account(name)
    if account.name == reach.own:
        raise Problem(403, "own-account", "Your own account is removed by somebody else.")
    await api.service.remove_account(account.name)


@router.put("/accounts/{name}/password", status_code=204, response_class=Response)
async def set_password(api: Api, reach: Reach, name: str, given: m.PasswordGiven) -> None:
    """Set the password of an account's phones and end their registrations.

    Not with an expiring token."""
    account = reach.need(CUSTOMERS).need_lasting().account(name)
    await api.service.set_password(account.name, given.password)


@router.post("/accounts/{name}/api-password", response_model=m.SecretShown, status_code=201)
async def make_api_password(api: Api, reach: Reach, name: str) -> Any:
    """Make a new API password that replaces the old one. The answer shows it only once.

    Not with an expiring token."""
    account = reach.need(CUSTOMERS).need_lasting().account(name)
    secret = await api.service.make_api_password(account.name)
    reach.note("API password made", account.name)
    return {"name": account.name, "secret": secret}


@router.delete("/accounts/{name}/api-password", status_code=204, response_class=Response)
async def drop_api_password(api: Api, reach: Reach, name: str) -> None:
    """Remove the account's API password."""
    account = reach.need(CUSTOMERS).account(name)
    await api.service.drop_api_password(account.name)
    reach.note("API password dropped", account.name)


@router.post("/accounts/{name}/provision", response_model=m.Provisioned, status_code=201)
async def provision(api: Api, reach: Reach, name: str, given: m.ProvisionGiven) -> Any:
    """Make links by which a phone sets itself up. Without `password` the account gets a new one.

    Not with an expiring token."""
    account = reach.need(CUSTOMERS).need_lasting().account(name)
    options = given.model_dump(exclude={"hours"})
    return await api.service.provision(Order(account.name, lasts=given.hours * 3600.0, **options))


@router.get("/usage", response_model=m.UsageShown)
async def usage(api: Api, reach: Reach, account: Whose = "", days: Annotated[int, Query(ge=1, le=31)] = 31) -> Any:
    """Return the messages a customer sent by the APIs, by day (UTC).

    In `days`, today's count may be one second old."""
    customer = reach.need(CUSTOMERS).customer(account or reach.own, "account")
    limit = _limit_of(api, customer.api_daily_limit)
    today = await api.messaging.outbound.usage.sent(customer.name)
    by_day = await api.store.read(lambda db: api_usage.show(db, customer.name, days))
    return {"account": customer.name, "limit": limit, "today": today, "days": by_day}


# --- tokens ---


@router.get("/tokens", response_model=m.Page[m.TokenShown], tags=["tokens"])
async def list_tokens(api: Api, reach: Reach, limit: Limit = 50, cursor: Cursor = "") -> Any:
    """List tokens by name, without their secrets."""
    reach.need(CUSTOMERS)
    owners, after = reach.customers(), name_after(cursor)
    rows = await api.store.read(lambda db: message_list.list_tokens(db, owners, after, limit + 1))
    found = cut(rows, limit, lambda row: row["name"])
    scopes = _TOKENS[reach.caller.scope]
    return {**found, "items": [one for one in found["items"] if one["scope"] in scopes]}


@router.post("/tokens", response_model=m.SecretShown, status_code=201, tags=["tokens"])
async def add_token(api: Api, reach: Reach, given: m.TokenGiven) -> Any:
    """Make a token. The answer shows its secret only once.

    A token's scope and expiry may not exceed those of the caller's token."""
    reach.need(CUSTOMERS)
    if given.scope not in _TOKENS[reach.caller.scope]:
        raise Problem(403, "scope", f"A token of scope {reach.caller.scope} makes none of scope {given.scope}.")
    owner = "" if given.scope == "operator" else reach.customer(given.account or reach.own, "account").name
    if given.scope == "operator" and given.account:
        raise wrong("account", "a token for the operator has none")
    did = _did_of(reach, given, owner)
    until = seconds(given.expires_at, "expires_at") if given.expires_at else None
    if until is not None and until <= api.clock():
        raise wrong("expires_at", "this is over already")
    _check_end(reach.caller.expires_at, until)
    secret = await api.service.add_token(given.name, Scope(given.scope), owner, did, until)
    reach.note(f"token made, scope {given.scope}", owner, name=given.name)
    return {"name": given.name, "secret": secret}


@router.delete("/tokens/{name}", status_code=204, response_class=Response, tags=["tokens"])
async def remove_token(api: Api, reach: Reach, name: str) -> None:
    """Remove a token. The token stops working at once, and its event streams end."""
    reach.need(CUSTOMERS)
    found = await api.store.read(lambda db: message_list.token(db, name))
    if found is None or found["scope"] not in _TOKENS[reach.caller.scope]:
        raise missing()
    if not (reach.is_operator or reach.has_customer(found["account"])):
        raise missing()
    await api.service.remove_token(name, found["account"])
    reach.note("token removed", found["account"], name=name)


def _did_of(reach: Permissions, given: m.TokenGiven, owner: str) -> str:
    if (given.scope == "did") != bool(given.did):
        raise wrong("did", "a token of scope did names its number, others do not")
    if not given.did:
        return ""
    did = reach.named_did(given.did, "did")
    if did.account != owner:
        raise wrong("did", "there is no such DID")
    return did.number


def _check_end(own: float | None, until: float | None) -> None:
    """Check that a token does not outlive the expiring token that makes it. Raises Problem."""
    if own is not None and (until is None or until > own):
        at = datetime.fromtimestamp(own, UTC).isoformat(timespec="seconds")
        raise wrong("expires_at", f"the token that makes it ends at {at}: not later than that")


def _limit_of(api: Services, own: int | None) -> int:
    """Return the messages a day an account may send by the APIs; 0: unlimited."""
    return api.daily() if own is None else own


def _changes(api: Services, reach: Permissions, account: Account, given: m.AccountChange) -> dict[str, Any]:
    """Return the settings to change. Raises Problem."""
    values = {key: value for key, value in given.model_dump().items() if value is not None}
    _check_rights(reach, account, values)
    if "caller_id" in values:
        values["caller_id"] = telephone_number(values["caller_id"], "caller_id")
    for setting in ("api_daily_limit", "smpp_rate"):
        if values.get(setting) == -1:
            values[setting] = None
    if "api_daily_limit" in values and not reach.is_operator:
        _check_limit(api, reach, values["api_daily_limit"])
    if values.get("reseller"):
        reach.customer(values["reseller"], "reseller")
    return values


def _check_limit(api: Services, reach: Permissions, given: int | None) -> None:
    """Check that a reseller grants no higher limit than its own. Raises Problem."""
    account = api.directory.account(reach.own)
    most = _limit_of(api, account.api_daily_limit if account is not None else None)
    limit = _limit_of(api, given)
    if most and not 0 < limit <= most:
        raise wrong("api_daily_limit", f"at most your own, {most}")


def _check_rights(reach: Permissions, account: Account, values: dict[str, Any]) -> None:
    """Check that the caller may change these settings. Raises Problem with the first forbidden one."""
    if reach.is_operator:
        return
    managed = reach.caller.scope is Scope.RESELLER and account.customer != reach.own
    allowed = _RESELLERS if managed else _CUSTOMERS
    for name in values:
        if name not in allowed:
            raise Problem(403, "scope", f"{name} is not for a token of this scope.", [(name, "not for this token")])
