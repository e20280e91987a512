"""Customers of an operator and clients of a reseller, and the view of their pages."""

from __future__ import annotations

from starlette.responses import Response

from sipsms.accounts.sign_in import SignIn
from sipsms.accounts.users import UserService
from sipsms.core.account import Account
from sipsms.core.errors import BadValue
from sipsms.core.user import Role
from sipsms.web.centre.pages import Pages
from sipsms.web.centre.visit import Missing, Visit

_PAGE = 50


class Clients:
    def __init__(self, sign_in: SignIn, users: UserService, pages: Pages) -> None:
        self._sign_in = sign_in
        self._users = users
        self._pages = pages

    async def show(self, visit: Visit) -> Response:
        """Show customers by name. `q`: a part of the name; `after`: the last name of the page before."""
        query, after = visit.query.get("q", "").strip().lower(), visit.query.get("after", "")
        names = sorted(one.name for one in _customers(visit) if query in one.name.lower() and one.name > after)
        more = names[_PAGE - 1] if len(names) > _PAGE else ""
        names = names[:_PAGE]
        people = await self._users.counts(names)
        rows = [
            {
                "account": visit.directory.account(name), "dids": len(visit.directory.dids_of(name)),
                "people": people.get(name, 0),
            }
            for name in names
        ]  # fmt: skip
        return self._pages.render(visit, "clients.html", rows=rows, query=query, more=more)

    async def show_one(self, visit: Visit) -> Response:
        return self._one(visit)

    def _one(self, visit: Visit, status: int = 200, error: str = "") -> Response:
        name = visit.request.path_params["name"]
        if not visit.manages(name):
            raise Missing
        account, dids = visit.directory.account(name), visit.directory.dids_of(name)
        return self._pages.render(visit, "client.html", status, account=account, dids=dids, error=error)

    async def view(self, visit: Visit) -> Response:
        """Begin to view the pages of a customer, for the reason that the audit log keeps."""
        name = visit.request.path_params["name"]
        if not visit.manages(name):
            raise Missing
        try:
            await self._sign_in.view_as(visit.here, name, visit.text("reason"), visit.by)
        except BadValue as error:
            return self._one(visit, 422, error.why)
        return self._pages.see(visit, "/home")

    async def end_view(self, visit: Visit) -> Response:
        viewed = visit.here.viewed
        if not viewed:
            raise Missing
        await self._sign_in.end_view(visit.here, visit.by)
        return self._pages.see(visit, f"/clients/{viewed}", "view-ended")


def _customers(visit: Visit) -> list[Account]:
    if visit.role is Role.OPERATOR:
        return [one for one in visit.directory.accounts() if not one.parent]
    found = (visit.directory.account(name) for name in visit.directory.customers_of(visit.customer))
    return [one for one in found if one is not None]
