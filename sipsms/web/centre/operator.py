"""Pages of the operator: the audit log."""

from __future__ import annotations

from starlette.responses import Response

from sipsms.accounts.users import UserService
from sipsms.web.centre.pages import Pages
from sipsms.web.centre.visit import Visit, whole

_PAGE = 50


class Operator:
    def __init__(self, users: UserService, pages: Pages) -> None:
        self._users = users
        self._pages = pages

    async def audit(self, visit: Visit) -> Response:
        """Show who did what, newest first. `before`: the id of the last row of the page before."""
        before = visit.query.get("before", "")
        rows = list(await self._users.audit(whole(before) if before else None, _PAGE + 1))
        more = rows[_PAGE - 1]["id"] if len(rows) > _PAGE else 0
        return self._pages.render(visit, "audit.html", rows=rows[:_PAGE], more=more)
