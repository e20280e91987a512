"""People of a customer: the list, a new person, roles, DIDs, links, removal. Operators see everybody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from sipsms.accounts.users import GRANTS, Conflict, UserService
from sipsms.core.account import Did
from sipsms.core.errors import AdminError, BadValue
from sipsms.core.user import Role, User
from sipsms.web.centre.pages import Pages, Texts
from sipsms.web.centre.visit import Missing, Visit, whole


class PeoplePages:
    def __init__(self, users: UserService, pages: Pages, base: Callable[[], str | None]) -> None:
        """`base`: the URL with which links to set a password begin."""
        self._users = users
        self._pages = pages
        self._base = base

    # --- the list ---

    async def show(self, visit: Visit) -> Response:
        return await self._list(visit)

    async def _list(self, visit: Visit, status: int = 200, **more: Any) -> Response:
        people = await self._users.of_customer(None if visit.role is Role.OPERATOR else visit.customer)
        shown = {name: Texts(more.get(name, {})) for name in ("errors", "given")}
        return self._pages.render(
            visit, "people.html", status, people=people, roles=GRANTS[_role(visit)], dids=self._dids(visit), **shown
        )

    def _dids(self, visit: Visit) -> list[Did]:
        """Return the DIDs that the visitor may give; operators type the numbers."""
        return [] if visit.role is Role.OPERATOR else visit.directory.dids_of(visit.customer)

    async def add(self, visit: Visit) -> Response:
        role = _granted(visit, visit.text("role"))
        customer = visit.text("customer") if visit.role is Role.OPERATOR else visit.customer
        customer = "" if role is Role.OPERATOR else customer
        name, dids = visit.text("name"), _numbers(visit) if role is Role.USER else []
        try:
            token = await self._users.add(name, customer, role, visit.by, email=visit.text("email"), dids=dids)
        except AdminError as error:
            field, why = (error.field, error.why) if isinstance(error, BadValue) else ("customer", str(error))
            given = {key: visit.text(key) for key in ("name", "email", "customer", "role")}
            return await self._list(visit, 422, errors={field: _sentence(why)}, given={**given, "dids": dids})
        return self._link(visit, name.lower(), token)

    def _link(self, visit: Visit, name: str, token: str) -> Response:
        """Show a link, this once."""
        return self._pages.render(visit, "person_link.html", name=name, link=f"{self._base()}/password/{token}")

    # --- one person ---

    async def _person(self, visit: Visit) -> User:
        """Return the person of the path, if the visitor may change it. Raises Missing."""
        try:
            user = await self._users.by_id(whole(visit.request.path_params["id"]))
        except AdminError:
            raise Missing from None
        if visit.role is not Role.OPERATOR and user.customer != visit.customer:
            raise Missing
        if user.role not in GRANTS[_role(visit)]:
            raise Missing
        return user

    async def _other(self, visit: Visit) -> User:
        """Return the person of the path. Raises AdminError for the visitor: the profile asks for the password first."""
        person = await self._person(visit)
        if person.id == visit.who.id:
            raise AdminError("This is you: your own password and authenticator app are in your profile.")
        return person

    async def show_one(self, visit: Visit) -> Response:
        return await self._one(visit, await self._person(visit))

    async def _one(self, visit: Visit, person: User, status: int = 200, **more: Any) -> Response:
        shown: dict[str, Any] = {"error": "", **more, "errors": Texts(more.get("errors", {}))}
        sessions = await self._users.sessions(person)
        roles = [role for role in GRANTS[_role(visit)] if (role is Role.OPERATOR) == (person.role is Role.OPERATOR)]
        return self._pages.render(
            visit, "person.html", status, person=person, roles=roles, sessions=sessions,
            dids=visit.directory.dids_of(person.customer), **shown,
        )  # fmt: skip

    async def save(self, visit: Visit) -> Response:
        person = await self._person(visit)
        role = _granted(visit, visit.text("role"))
        if person.id == visit.who.id and role is not person.role:
            return await self._one(visit, person, 422, errors={"role": "You cannot change your own role."})
        try:
            await self._users.change(
                person, visit.whole("version"), visit.by, email=visit.text("email"), role=role, dids=_numbers(visit)
            )
        except BadValue as error:
            return await self._one(visit, person, 422, errors={error.field: _sentence(error.why)})
        except Conflict:
            why = "Somebody else has changed this person meanwhile. Here is how it is now; make your change again."
            return await self._one(visit, person, 409, error=why)
        return self._pages.see(visit, f"/people/{person.id}", "saved")

    async def make_link(self, visit: Visit) -> Response:
        person = await self._other(visit)
        return self._link(visit, person.name, await self._users.make_link(person, visit.by))

    async def end_sessions(self, visit: Visit) -> Response:
        person = await self._other(visit)
        await self._users.end_sessions(person, visit.by)
        return self._pages.see(visit, f"/people/{person.id}", "sessions-ended")

    async def reset_totp(self, visit: Visit) -> Response:
        person = await self._other(visit)
        await self._users.reset_totp(person, visit.by)
        return self._pages.see(visit, f"/people/{person.id}", "totp-reset")

    async def remove(self, visit: Visit) -> Response:
        person = await self._other(visit)
        await self._users.remove(person, visit.by)
        return self._pages.see(visit, "/people", "removed")


def _role(visit: Visit) -> Role:
    """Return the visitor's role. Raises Missing if nobody is signed in."""
    if visit.role is None:
        raise Missing
    return visit.role


def _granted(visit: Visit, text: str) -> Role:
    """Return the role of a form. Raises Missing if the visitor may not give it: the page does not offer it."""
    found = next((role for role in GRANTS[_role(visit)] if role == text), None)
    if found is None:
        raise Missing
    return found


def _numbers(visit: Visit) -> list[str]:
    return [number for text in visit.texts("did") for number in text.replace(",", " ").split()]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
