"""The message centre: its parts, and the one table of its routes.

A page is a row of `table`: method, path, handler, the roles that may see it, and its link in the side bar. The guard
checks all that the row says before the handler is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sipsms.accounts.directory import Directory
from sipsms.accounts.sign_in import CODE, ENROL, SignIn
from sipsms.accounts.users import UserService
from sipsms.core.clock import Clock
from sipsms.web.centre.clients import Clients
from sipsms.web.centre.guard import Guard
from sipsms.web.centre.login import Login
from sipsms.web.centre.operator import Operator
from sipsms.web.centre.pages import Pages
from sipsms.web.centre.people import PeoplePages
from sipsms.web.centre.profile import Profile
from sipsms.web.centre.static_files import StaticFiles
from sipsms.web.centre.visit import ANYBODY, CUSTOMERS, OPERATORS, RESELLERS, SIGNED_IN, Nav, Row, Visit
from sipsms.web.settings import CentreSettings


class Parts(NamedTuple):
    """The parts of the server that pages work with."""

    sign_in: SignIn
    users: UserService
    directory: Directory
    clock: Clock
    settings: Callable[[], CentreSettings]
    public_url: Callable[[], str | None]  # None: the centre is off
    host: Callable[[], str]  # the SIP domain


class Centre:
    def __init__(self, parts: Parts) -> None:
        self._static = StaticFiles()
        self.pages = Pages(self._static, parts.host)
        self._guard = Guard(
            parts.sign_in, parts.directory, self.pages, parts.clock, parts.settings, parts.public_url
        )  # fmt: skip
        self.rows = self._table(parts)
        self.pages.know(self.rows)

    def _table(self, parts: Parts) -> tuple[Row, ...]:
        """Return the routes. Links of the side bar stand in this order."""
        pages, sign_in, users = self.pages, parts.sign_in, parts.users
        login = Login(sign_in, users, self._guard, pages)
        profile = Profile(sign_in, users, pages)
        people = PeoplePages(users, pages, parts.public_url)
        clients = Clients(sign_in, users, pages)
        operator = Operator(users, pages)
        code, enrol = frozenset({CODE}), frozenset({ENROL})
        any_stage = frozenset({"", CODE, ENROL})
        return (
            Row("GET", "/login", login.show, ANYBODY),
            Row("POST", "/login", login.enter, ANYBODY),
            Row("GET", "/login/code", login.show_code, SIGNED_IN, stages=code),
            Row("POST", "/login/code", login.enter_code, SIGNED_IN, stages=code),
            Row("GET", "/login/enrol", login.show_enrol, SIGNED_IN, stages=enrol),
            Row("POST", "/login/enrol", login.enrol, SIGNED_IN, stages=enrol),
            Row("POST", "/logout", login.leave, SIGNED_IN, stages=any_stage, while_viewing=True),
            Row("GET", "/password/{token}", login.show_link, ANYBODY),
            Row("POST", "/password/{token}", login.set_by_link, ANYBODY),
            Row("GET", "/home", self._home, SIGNED_IN),
            Row("GET", "/more", self._more, SIGNED_IN),
            Row("GET", "/clients", clients.show, RESELLERS, Nav("Business", "users", "Customers")),
            Row("GET", "/clients/{name}", clients.show_one, RESELLERS),
            Row("POST", "/clients/{name}/view-as", clients.view, RESELLERS),
            Row("POST", "/view-as/end", clients.end_view, SIGNED_IN, while_viewing=True),
            Row("GET", "/people", people.show, CUSTOMERS, Nav("Your service", "userplus", "People")),
            Row("POST", "/people", people.add, CUSTOMERS),
            Row("GET", "/people/{id}", people.show_one, CUSTOMERS),
            Row("POST", "/people/{id}", people.save, CUSTOMERS),
            Row("POST", "/people/{id}/link", people.make_link, CUSTOMERS),
            Row("POST", "/people/{id}/end-sessions", people.end_sessions, CUSTOMERS),
            Row("POST", "/people/{id}/reset-authenticator", people.reset_totp, CUSTOMERS),
            Row("POST", "/people/{id}/remove", people.remove, CUSTOMERS),
            Row("GET", "/op/audit", operator.audit, OPERATORS, Nav("Your service", "shield", "Audit log")),
            Row("GET", "/profile", profile.show, SIGNED_IN),
            Row("POST", "/profile/password", profile.set_password, SIGNED_IN),
            Row("POST", "/profile/authenticator", profile.begin_totp, SIGNED_IN),
            Row("GET", "/profile/authenticator.svg", profile.picture, SIGNED_IN, stages=frozenset({"", ENROL})),
            Row("POST", "/profile/authenticator/confirm", profile.confirm_totp, SIGNED_IN),
            Row("POST", "/profile/authenticator/off", profile.end_totp, SIGNED_IN),
            Row("POST", "/profile/recovery-codes", profile.new_codes, SIGNED_IN),
            Row("POST", "/profile/sessions/end", profile.end_session, SIGNED_IN),
            Row("POST", "/profile/sessions/end-others", profile.end_others, SIGNED_IN),
            Row("POST", "/profile/look", profile.set_look, SIGNED_IN),
        )

    async def _home(self, visit: Visit) -> Response:
        """Show the first page of the side bar."""
        links = self.pages.links(visit)
        return self.pages.see(visit, links[0].path if links else "/profile")

    async def _more(self, visit: Visit) -> Response:
        """Show the links of the side bar as a page, for phones."""
        return self.pages.render(visit, "more.html")

    def routes(self) -> list[BaseRoute]:
        """Return the routes for the HTTP server."""
        found: list[BaseRoute] = [
            Route(row.path, self._endpoint(row), methods=[row.method], include_in_schema=False) for row in self.rows
        ]
        return [*found, Route("/static/{hash}/{name:path}", self._static.handle, methods=["GET"])]

    def _endpoint(self, row: Row) -> Any:
        return self._guard.endpoint(row)
