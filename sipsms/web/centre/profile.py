"""The visitor's own profile: password, authenticator app, browsers, time zone, language, theme."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any
from zoneinfo import available_timezones

import segno
from starlette.responses import Response

from sipsms.accounts.sign_in import SignIn, SignInRefused
from sipsms.accounts.users import UserService
from sipsms.core.errors import BadValue
from sipsms.web.centre import words
from sipsms.web.centre.pages import Pages, Texts
from sipsms.web.centre.visit import Missing, Visit

_WRONG = "That is not your password."


class Profile:
    def __init__(self, sign_in: SignIn, users: UserService, pages: Pages) -> None:
        self._sign_in = sign_in
        self._users = users
        self._pages = pages

    async def _page(self, visit: Visit, status: int = 200, **more: Any) -> Response:
        """Return the page. `more`: errors by field, and the one thing that is shown once (`key`, `codes`)."""
        shown: dict[str, Any] = {"codes": (), "key": "", **more, "errors": Texts(more.get("errors", {}))}
        sessions = await self._users.sessions(visit.who)
        return self._pages.render(visit, "profile.html", status, sessions=sessions, zones=zones(), **shown)

    async def show(self, visit: Visit) -> Response:
        return await self._page(visit)

    async def _has_said(self, visit: Visit, field: str) -> Response | None:
        """Check the present password. Return the page that says why not; None: it is right."""
        try:
            await self._sign_in.check_password(visit.who, visit.secret(field), visit.place)
        except SignInRefused as refused:
            said = words.sign_in_refused(refused.pause, refused.tries, paused=refused.paused, what=_WRONG)
            return await self._page(visit, 429 if refused.paused else 422, errors={field: said})
        return None

    async def set_password(self, visit: Visit) -> Response:
        if (refused := await self._has_said(visit, "old")) is not None:
            return refused
        fresh = visit.secret("password")
        if fresh != visit.secret("again"):
            return await self._page(visit, 422, errors={"again": "The two passwords are not the same."})
        try:
            await self._users.set_password(visit.who, visit.here, fresh, visit.by)
        except BadValue as error:
            return await self._page(visit, 422, errors={"password": error.why})
        return self._pages.see(visit, "/profile", "password")

    # --- the authenticator app ---

    async def begin_totp(self, visit: Visit) -> Response:
        if visit.who.totp:
            raise Missing
        if (refused := await self._has_said(visit, "totp_password")) is not None:
            return refused
        user = await self._users.begin_totp(visit.who)
        return await self._page(visit, key=user.totp_new)

    async def picture(self, visit: Visit) -> Response:
        """Return the QR code of the key that no code has confirmed yet."""
        if not visit.who.totp_new:
            raise Missing
        out = BytesIO()
        segno.make(self._users.totp_uri(visit.who), error="m").save(out, kind="svg", scale=4, border=2, xmldecl=False)
        return Response(out.getvalue(), media_type="image/svg+xml")

    async def confirm_totp(self, visit: Visit) -> Response:
        if not visit.who.totp_new:
            raise Missing
        try:
            codes = await self._users.confirm_totp(visit.who, visit.text("code"), visit.by)
        except BadValue as error:
            return await self._page(visit, 422, key=visit.who.totp_new, errors={"code": error.why})
        return await self._page(visit, codes=codes)

    async def end_totp(self, visit: Visit) -> Response:
        if (refused := await self._has_said(visit, "totp_password")) is not None:
            return refused
        await self._users.end_totp(visit.who, visit.by)
        return self._pages.see(visit, "/profile", "totp-off")

    async def new_codes(self, visit: Visit) -> Response:
        if (refused := await self._has_said(visit, "totp_password")) is not None:
            return refused
        return await self._page(visit, codes=await self._users.new_recovery_codes(visit.who, visit.by))

    # --- browsers ---

    async def end_session(self, visit: Visit) -> Response:
        if not await self._sign_in.end_session(visit.who, visit.text("session")):
            raise Missing
        return self._pages.see(visit, "/profile", "ended")

    async def end_others(self, visit: Visit) -> Response:
        await self._sign_in.end_others(visit.who, visit.here)
        return self._pages.see(visit, "/profile", "ended-others")

    # --- how pages look ---

    async def set_look(self, visit: Visit) -> Response:
        tz, lang, theme = visit.text("tz"), visit.text("lang"), visit.text("theme")
        if (tz and tz not in zones()) or lang not in words.LANGUAGES or theme not in words.THEMES:
            return await self._page(visit, 422, errors={"tz": "Choose one of the list."})
        await self._users.set_look(visit.who, tz=tz, lang=lang, theme=theme)
        return self._pages.see(visit, "/profile", "look")


@cache
def zones() -> tuple[str, ...]:
    """Return the names of places with a time zone."""
    return tuple(sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/")))
