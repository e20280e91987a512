"""Routes of /v1 for customers and subaccounts, their passwords, tokens and usage."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from sipsms.core.account import Account, Scope
from sipsms.core.e164 import normalise
from sipsms.web.api.v1 import schemas as m
from sipsms.web.api.v1.paging import Cursor, Limit, cut, name_after
from sipsms.web.api.v1.permissions import ALL, CUSTOMERS, RESELLERS, Permissions, page, reach_of
from sipsms.web.api.v1.problems import Problem, missing, wrong
from sipsms.web.api.v1.send import seconds
from sipsms.web.api.v1.services import Services

# Settings that a customer may change, and settings that its reseller may change. The operator may change all.
_CUSTOMERS: Final = {"caller_id", "presence", "copies", "app_messages", "email"}
_RESELLERS: Final = {*_CUSTOMERS, "api_daily_limit", "api_allow_ip"}
_TOKENS: Final = {  # scope of the caller -> scopes of the tokens that it may make, list and remove
    Scope.OPERATOR: ("operator", "reseller", "customer", "did"),
    Scope.RESELLER: ("reseller", "customer", "did"),
    Scope.CUSTOMER: ("customer", "did"),
}
_TOLD: Final = {"enabled", "api_daily_limit", "api_allow_ip", "reseller", "smpp_rate"}  # written to the log
Whose = Annotated[str, Query(max_length=64)]


def telephone_number(given: str, field: str) -> str:
    """Return ten digits, or + and digits; an empty text stays empty. Raises Problem."""
    number = normalise(given) if given else ""
    if number is None or (number and not (number.lstrip("+").isdigit() and len(number) >= 10)):
        raise wrong(field, "this is not a telephone number")
    return number


def router(parts: Services) -> APIRouter:
    routes = APIRouter(tags=["accounts"])
    records, service, directory = parts.records, parts.service, parts.directory

    @routes.get("/me", response_model=m.Me)
    async def whoami(request: Request) -> Any:
        """Return this token's name, scope and account. Every scope."""
        caller = reach_of(request).need(ALL).caller
        account = caller.account.name if caller.account is not None else ""
        return {"token": caller.name, "scope": str(caller.scope), "account": account, "did": caller.did}

    @routes.get("/accounts", response_model=m.Page[m.AccountShown])
    async def list_accounts(request: Request, customer: Whose = "", limit: Limit = 50, cursor: Cursor = "") -> Any:
        """List customers and subaccounts by name.

        `customer`: only this customer and its subaccounts."""
        reach = reach_of(request).need(CUSTOMERS)
        after, names = name_after(cursor), reach.accounts()
        if customer:
            owner = reach.customer(customer, "customer").name
            names = sorted([owner, *(one.name for one in directory.subaccounts(owner))])
        chosen = await records.names("accounts", after, limit + 1) if names is None else page(names, after, limit + 1)
        found = [account for name in chosen if (account := directory.account(name)) is not None]
        return cut([_shown(one) for one in found], limit, lambda row: row["name"])

    @routes.post("/accounts", response_model=m.AccountShown, status_code=201)
    async def add_account(request: Request, given: m.AccountGiven) -> Any:
        """Add a customer (operator, reseller), or a subaccount with `parent`.

        Not with an expiring token."""
        reach = reach_of(request).need(CUSTOMERS if given.parent else RESELLERS).need_lasting()
        caller_id = telephone_number(given.caller_id, "caller_id")
        if given.parent:
            parent = reach.customer(given.parent, "parent").name
            await service.add_account(given.name, given.password, parent=parent, caller_id=caller_id)
        else:
            await records.add_customer(given.name, given.password, caller_id, reach.own)
        return _shown(reach.account(given.name))

    @routes.get("/accounts/{name}", response_model=m.AccountShown)
    async def get_account(request: Request, name: str) -> Any:
        """Return a customer or a subaccount."""
        return _shown(reach_of(request).need(CUSTOMERS).account(name))

    @routes.patch("/accounts/{name}", response_model=m.AccountShown)
    async def change_account(request: Request, name: str, given: m.AccountChange) -> Any:
        """Change some settings.

        Only the operator may change `enabled`, `bulk`, `shorteners`, `legacy_digest`, `reseller` and `smpp_rate`."""
        reach = reach_of(request).need(CUSTOMERS)
        account = reach.account(name)
        values = {key: value for key, value in given.model_dump().items() if value is not None}
        _check_rights(reach, account, values)
        if "caller_id" in values:
            values["caller_id"] = telephone_number(values["caller_id"], "caller_id")
        for setting in ("api_daily_limit", "smpp_rate"):
            if values.get(setting) == -1:
                values[setting] = None
        if "api_daily_limit" in values and not reach.is_operator:
            _check_limit(parts, reach, values["api_daily_limit"])
        if values.get("reseller"):
            reach.customer(values["reseller"], "reseller")
        await service.set_account(account.name, **values)
        for setting in sorted(_TOLD & values.keys()):
            reach.note(
                f"{setting} set to {values[setting] if values[setting] is not None else 'default'}", account.name
            )
        return _shown(reach.account(name))

    @routes.delete("/accounts/{name}", status_code=204, response_class=Response)
    async def remove_account(request: Request, name: str) -> None:
        """Remove an account and its registrations; its messages stay.

        An account with subaccounts or DIDs, and the caller's own account, cannot be removed."""
        reach = reach_of(request).need(CUSTOMERS)
        account = reach.account(name)
        if account.name == reach.own:
            raise Problem(403, "own-account", "Your own account is removed by somebody else.")
        await service.remove_account(account.name)

    @routes.put("/accounts/{name}/password", status_code=204, response_class=Response)
    async def set_password(request: Request, name: str, given: m.PasswordGiven) -> None:
        """Set the password of an account's phones and end their registrations.

        Not with an expiring token."""
        account = reach_of(request).need(CUSTOMERS).need_lasting().account(name)
        await service.set_password(account.name, given.password)

    @routes.post("/accounts/{name}/api-password", response_model=m.SecretShown, status_code=201)
    async def make_api_password(request: Request, name: str) -> Any:
        """Make a new API password that replaces the old one. The answer shows it only once.

        Not with an expiring token."""
        reach = reach_of(request).need(CUSTOMERS).need_lasting()
        account = reach.account(name)
        secret = await service.make_api_password(account.name)
        reach.note("API password made", account.name)
        return {"name": account.name, "secret": secret}

    @routes.delete("/accounts/{name}/api-password", status_code=204, response_class=Response)
    async def drop_api_password(request: Request, name: str) -> None:
        """Remove the account's API password."""
        reach = reach_of(request).need(CUSTOMERS)
        account = reach.account(name)
        await service.drop_api_password(account.name)
        reach.note("API password dropped", account.name)

    @routes.post("/accounts/{name}/provision", response_model=m.Provisioned, status_code=201)
    async def provision(request: Request, name: str, given: m.ProvisionGiven) -> Any:
        """Make links by which a phone sets itself up. Without `password` the account gets a new one.

        Not with an expiring token."""
        account = reach_of(request).need(CUSTOMERS).need_lasting().account(name)
        return await records.provision(
            account.name, given.password, transport=given.transport, server=given.server, url=given.url,
            lasts=given.hours * 3600.0, fetches=given.fetches, cloud_id=given.cloud_id,
        )  # fmt: skip

    @routes.get("/usage", response_model=m.UsageShown)
    async def usage(request: Request, account: Whose = "", days: Annotated[int, Query(ge=1, le=31)] = 31) -> Any:
        """Return the messages a customer sent by the APIs, by day (UTC).

        In `days`, today's count may be one second old."""
        reach = reach_of(request).need(CUSTOMERS)
        customer = reach.customer(account or reach.own, "account")
        limit = _limit_of(parts, customer.api_daily_limit)
        return {
            "account": customer.name, "limit": limit, "today": await parts.sender.usage.sent(customer.name),
            "days": await records.usage(customer.name, days),
        }  # fmt: skip

    # --- tokens ---

    @routes.get("/tokens", response_model=m.Page[m.TokenShown], tags=["tokens"])
    async def list_tokens(request: Request, limit: Limit = 50, cursor: Cursor = "") -> Any:
        """List tokens by name, without their secrets."""
        reach = reach_of(request).need(CUSTOMERS)
        rows = await records.tokens(reach.customers(), name_after(cursor), limit + 1)
        found = cut(rows, limit, lambda row: row["name"])
        scopes = _TOKENS[reach.caller.scope]
        return {**found, "items": [one for one in found["items"] if one["scope"] in scopes]}

    @routes.post("/tokens", response_model=m.SecretShown, status_code=201, tags=["tokens"])
    async def add_token(request: Request, given: m.TokenGiven) -> Any:
        """Make a token. The answer shows its secret only once.

        A token's scope and expiry may not exceed those of the caller's token."""
        reach = reach_of(request).need(CUSTOMERS)
        if given.scope not in _TOKENS[reach.caller.scope]:
            raise Problem(403, "scope", f"A token of scope {reach.caller.scope} makes none of scope {given.scope}.")
        owner = "" if given.scope == "operator" else reach.customer(given.account or reach.own, "account").name
        if given.scope == "operator" and given.account:
            raise wrong("account", "a token for the operator has none")
        did = _did_of(reach, given, owner)
        until = seconds(given.expires_at, "expires_at") if given.expires_at else None
        if until is not None and until <= parts.clock():
            raise wrong("expires_at", "this is over already")
        _check_end(reach.caller.expires_at, until)
        secret = await service.add_token(given.name, Scope(given.scope), owner, did, until)
        reach.note(f"token made, scope {given.scope}", owner, name=given.name)
        return {"name": given.name, "secret": secret}

    @routes.delete("/tokens/{name}", status_code=204, response_class=Response, tags=["tokens"])
    async def remove_token(request: Request, name: str) -> None:
        """Remove a token. The token stops working at once, and its event streams end."""
        reach = reach_of(request).need(CUSTOMERS)
        found = await records.token(name)
        if found is None or found["scope"] not in _TOKENS[reach.caller.scope]:
            raise missing()
        if not (reach.is_operator or reach.has_customer(found["account"])):
            raise missing()
        await service.remove_token(name, found["account"])
        reach.note("token removed", found["account"], name=name)

    return routes


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


def _limit_of(parts: Services, own: int | None) -> int:
    """Return the messages a day an account may send by the APIs; 0: unlimited."""
    return parts.daily() if own is None else own


def _check_limit(parts: Services, reach: Permissions, given: int | None) -> None:
    """Check that a reseller grants no higher limit than its own. Raises Problem."""
    account = parts.directory.account(reach.own)
    most = _limit_of(parts, account.api_daily_limit if account is not None else None)
    limit = _limit_of(parts, given)
    if most and not 0 < limit <= most:
        raise wrong("api_daily_limit", f"at most your own, {most}")


def _check_rights(reach: Permissions, account: Account, values: dict[str, Any]) -> None:
    """Check that the caller may change these settings.

    Raises Problem with the first forbidden setting."""
    if reach.is_operator:
        return
    managed = reach.caller.scope is Scope.RESELLER and account.customer != reach.own
    allowed = _RESELLERS if managed else _CUSTOMERS
    for name in values:
        if name not in allowed:
            raise Problem(403, "scope", f"{name} is not for a token of this scope.", [(name, "not for this token")])


def _shown(account: Account) -> dict[str, Any]:
    return {
        "name": account.name, "customer": account.customer, "subaccount": bool(account.parent),
        "caller_id": account.caller_id, "enabled": account.enabled, "legacy_digest": account.legacy_digest,
        "presence": account.presence, "copies": account.copies, "bulk": account.bulk,
        "shorteners": account.shorteners, "app_messages": account.app_messages, "api": bool(account.api_hash),
        "api_daily_limit": account.api_daily_limit, "smpp_rate": account.smpp_rate,
        "api_allow_ip": account.api_allow_ip, "email": account.email, "reseller": account.reseller,
    }  # fmt: skip
