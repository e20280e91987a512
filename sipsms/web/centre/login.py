"""Sign in, the second step, sign out, and passwords set by a link."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from starlette.responses import Response

from sipsms.accounts.sign_in import CODE, ENROL, SignedIn, SignIn, SignInRefused
from sipsms.accounts.users import UserService
from sipsms.core.errors import AdminError, BadValue
from sipsms.web.centre import words
from sipsms.web.centre.guard import Guard
from sipsms.web.centre.pages import Pages
from sipsms.web.centre.visit import Missing, Visit

_WRONG = "That name and password do not go together."
_WRONG_CODE = "That code is wrong, or it was used already."


class Login:
    def __init__(self, sign_in: SignIn, users: UserService, guard: Guard, pages: Pages) -> None:
        self._sign_in = sign_in
        self._users = users
        self._guard = guard
        self._pages = pages

    async def show(self, visit: Visit) -> Response:
        if visit.is_signed_in:
            return self._pages.see(visit, _own_path(visit.query.get("next", "")) or "/home")
        return self._pages.render(visit, "login.html", name="", error="", next=_own_path(visit.query.get("next", "")))

    async def enter(self, visit: Visit) -> Response:
        name, later = visit.text("name"), _own_path(visit.text("next"))
        try:
            made = await self._sign_in.sign_in(
                name, visit.secret("password"), visit.place, stay=visit.text("stay") == "on"
            )
        except SignInRefused as refused:
            said = words.sign_in_refused(refused.pause, refused.tries, paused=refused.paused, what=_WRONG)
            status = 429 if refused.paused else 422
            return self._pages.render(visit, "login.html", status, name=name, error=said, next=later)
        if visit.session is not None:
            await self._sign_in.sign_out(visit.session)
        return self._go_on(visit, made, later)

    def _go_on(self, visit: Visit, made: SignedIn, later: str) -> Response:
        """Keep the session, and show its next step: the code, the app to set up, or the page that was asked for."""
        step = {CODE: "/login/code", ENROL: "/login/enrol"}.get(made.session.stage)
        if step is not None:
            where = f"{step}?next={quote(later, safe='')}" if later else step
        else:
            where = later or "/home"
        return self._guard.keep(visit, self._pages.see(visit, where), made)

    # --- the second step ---

    async def show_code(self, visit: Visit) -> Response:
        later = _own_path(visit.query.get("next", ""))
        return self._pages.render(visit, "login_code.html", error="", next=later)

    async def enter_code(self, visit: Visit) -> Response:
        later = _own_path(visit.text("next"))
        try:
            made = await self._sign_in.enter_code(visit.here, visit.text("code"), visit.place)
        except SignInRefused as refused:
            said = words.sign_in_refused(refused.pause, refused.tries, paused=refused.paused, what=_WRONG_CODE)
            status = 429 if refused.paused else 422
            return self._pages.render(visit, "login_code.html", status, error=said, next=later)
        return self._go_on(visit, made, later)

    async def show_enrol(self, visit: Visit) -> Response:
        """Show an operator the key of an authenticator app to set up."""
        user = await self._users.begin_totp(visit.who)
        return self._pages.render(visit, "login_enrol.html", key=user.totp_new, error="")

    async def enrol(self, visit: Visit) -> Response:
        try:
            codes = await self._users.confirm_totp(visit.who, visit.text("code"), visit.by)
        except BadValue as error:
            return self._pages.render(visit, "login_enrol.html", 422, key=visit.who.totp_new, error=error.why)
        made = await self._sign_in.enrolled(visit.here, visit.place)
        return self._guard.keep(visit, self._pages.render(visit, "login_codes.html", codes=codes), made)

    # --- out ---

    async def leave(self, visit: Visit) -> Response:
        await self._sign_in.sign_out(visit.here)
        return self._guard.drop(visit, self._pages.see(visit, "/login", "signed-out"))

    # --- a link to set a password ---

    async def show_link(self, visit: Visit) -> Response:
        user = await self._users.link_of(visit.request.path_params["token"])
        if user is None:
            return self._pages.render(visit, "password.html", 404, user=None, error="")
        return self._pages.render(visit, "password.html", user=user, error="")

    async def set_by_link(self, visit: Visit) -> Response:
        token = visit.request.path_params["token"]
        user = await self._users.link_of(token)
        if user is None:
            return self._pages.render(visit, "password.html", 404, user=None, error="")
        password = visit.secret("password")
        error = "" if password == visit.secret("again") else "The two passwords are not the same."
        if not error:
            try:
                await self._users.set_password_by_link(token, password, visit.place.address)
            except BadValue as refused:
                error = refused.why
            except AdminError:
                raise Missing from None
        if error:
            return self._pages.render(visit, "password.html", 422, user=user, error=error)
        return self._pages.see(visit, "/login", "password-set")


def _own_path(text: str) -> str:
    """Return a path of these pages to go on to; empty for anything else, so that no link leads to another site."""
    if not text.isprintable() or "\\" in text or len(text) > 1000:  # browsers read \ as /
        return ""
    url = urlsplit(text)
    is_own = not url.scheme and not url.netloc and text.startswith("/") and not text.startswith(("//", "/login"))
    return text if is_own else ""
