"""The guard of the centre: every request of every page passes here first.

It finds the session, checks the role, the DID and, for changes, that the form is ours (token and origin). It gives
every answer the security headers. What a visitor may not see is answered with 404, as in /v1.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sipsms.accounts.directory import Directory
from sipsms.accounts.sign_in import CODE, ENROL, SignedIn, SignIn
from sipsms.core import log
from sipsms.core.clock import Clock
from sipsms.core.errors import AdminError, Unavailable
from sipsms.core.network import LOOPBACK, is_in
from sipsms.core.user import Role
from sipsms.web.centre.pages import Pages
from sipsms.web.centre.visit import ANYBODY, Missing, Row, Stop, Visit, place_of
from sipsms.web.request import BadRequest, Held, Room, address_of, fields_of, is_from_another_site
from sipsms.web.settings import CentreSettings

COOKIE: Final = "__Host-sms"  # RFC 6265bis section 4.1.3.2: only over TLS, for this host alone
PLAIN_COOKIE: Final = "sms"  # without TLS, on loopback or with `insecure`
MAX_FORM: Final = 64 * 1024  # bytes
MEMORY: Final = 16 * 2**20  # bytes for all forms being read
_STEPS: Final = {CODE: "/login/code", ENROL: "/login/enrol"}
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_HSTS: Final = "max-age=31536000"


class Guard:
    def __init__(
        self, sign_in: SignIn, directory: Directory, pages: Pages, clock: Clock,
        settings: Callable[[], CentreSettings], public_url: Callable[[], str | None],
    ) -> None:  # fmt: skip
        self._sign_in = sign_in
        self._directory = directory
        self._pages = pages
        self._clock = clock
        self._settings = settings
        self._public_url = public_url
        self._room = Room(MEMORY)

    def endpoint(self, row: Row) -> Callable[[Request], object]:
        """Return the endpoint of a row of the route table."""

        async def handle(request: Request) -> Response:
            with self._room.held(address_of(request)) as held:
                response = await self._answer(row, request, held)
            return self._sealed(request, response)

        return handle

    async def _answer(self, row: Row, request: Request, held: Held) -> Response:
        visit = Visit(request, place_of(request), directory=self._directory, now=self._clock())
        try:
            visit = await self._visit(row, visit, held)
            return await row.handler(visit)
        except Stop as stop:
            return stop.response
        except Missing:
            return self._pages.problem(visit, 404)
        except AdminError as error:  # a change that came too late: somebody else was quicker
            return self._pages.problem(visit, 409, str(error))
        except BadRequest as error:
            return self._pages.problem(visit, error.status, error.reason)
        except Unavailable as error:
            log.warning("store_unavailable", why=str(error))
            return self._pages.problem(visit, 503)
        except ClientDisconnect:
            raise
        except Exception as error:
            name = secrets.token_hex(4)
            log.crash("page_failed", error, id=name, method=request.method, path=row.path)
            return self._pages.problem(visit, 500, name)

    # --- the checks, in their order ---

    async def _visit(self, row: Row, visit: Visit, held: Held) -> Visit:
        if not self._may_keep_cookies(visit.request):
            raise Stop(self._pages.problem(visit, 403, "insecure"))
        visit = await self._signed_in(visit)
        if row.who != ANYBODY:
            self._check_session(row, visit)
        if row.method == "POST":
            visit = replace(visit, form=await fields_of(visit.request, limit=MAX_FORM, held=held))
            self._check_form(row, visit)
        return visit

    async def _signed_in(self, visit: Visit) -> Visit:
        """Return the visit with its session, if it has one."""
        token = visit.request.cookies.get(self._cookie(visit.request), "")
        found = await self._sign_in.find(token, visit.place)
        if found is None:
            return visit
        session, user = found
        visit = replace(visit, token=token, session=session, user=user, role=user.role, customer=user.customer)
        if visit.is_viewing and visit.manages(session.viewed):
            return replace(visit, role=Role.CUSTOMER, customer=session.viewed)
        return visit

    def _check_session(self, row: Row, visit: Visit) -> None:
        """Check that the session and its role may ask for this page. Raises Stop and Missing."""
        if visit.session is None:
            raise Stop(self._to_login(visit))
        if visit.session.stage not in row.stages:
            raise Stop(self._pages.see(visit, _STEPS.get(visit.session.stage, "/home")))
        if not visit.may(row.who):
            raise Missing
        number = visit.request.path_params.get("did")
        if number is not None and not visit.sees(number):
            raise Missing

    def _check_form(self, row: Row, visit: Visit) -> None:
        """Check that a form comes from a page of ours, and changes nothing in another's name. Raises Stop."""
        if not self._is_own(visit.request):
            raise Stop(self._pages.problem(visit, 403, "origin"))
        if visit.token and row.who != ANYBODY:
            given = visit.request.headers.get("x-csrf", "") or visit.text("csrf")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), visit.csrf.encode()):
                raise Stop(self._pages.problem(visit, 403, "csrf"))
        if visit.is_viewing and not row.while_viewing:
            raise Stop(self._pages.problem(visit, 403, "viewing"))

    def _is_own(self, request: Request) -> bool:
        """Return whether a browser says that the form is of this site (Fetch Metadata, or Origin of RFC 6454).

        All browsers of today send at least one of both with a form; a request with neither is refused."""
        if "sec-fetch-site" not in request.headers and "origin" not in request.headers:
            return False
        return not is_from_another_site(request)

    def _to_login(self, visit: Visit) -> Response:
        if visit.request.headers.get("hx-request"):
            return self._pages.problem(visit, 401)
        path = visit.request.url.path
        query = f"?{visit.request.url.query}" if visit.request.url.query else ""
        later = f"?next={quote(path + query, safe='')}" if visit.request.method == "GET" and path != "/home" else ""
        return self._pages.see(visit, f"/login{later}")

    # --- TLS and cookies ---

    def _is_secure(self, request: Request) -> bool:
        """Return whether the browser uses TLS: as the proxy says, or because this is the public https address."""
        url = urlsplit(self._public_url() or "")
        return request.url.scheme == "https" or (
            url.scheme == "https" and request.headers.get("host", "").lower() == url.netloc.lower()
        )

    def _may_keep_cookies(self, request: Request) -> bool:
        if self._is_secure(request) or self._settings().insecure:
            return True
        return is_in(address_of(request), LOOPBACK) and request.url.hostname in _LOCAL_NAMES

    def _cookie(self, request: Request) -> str:
        return COOKIE if self._is_secure(request) else PLAIN_COOKIE

    def keep(self, visit: Visit, response: Response, made: SignedIn) -> Response:
        """Give the browser the cookie of a session."""
        session = made.session
        lasts = int(session.ends_at - session.made_at) if session.stay and not session.stage else None
        response.set_cookie(
            self._cookie(visit.request), made.token, max_age=lasts, path="/", secure=self._is_secure(visit.request),
            httponly=True, samesite="lax",
        )  # fmt: skip
        return response

    def drop(self, visit: Visit, response: Response) -> Response:
        """Take the cookie from the browser, with all that it keeps of these pages."""
        response.delete_cookie(
            self._cookie(visit.request), path="/", secure=self._is_secure(visit.request), httponly=True, samesite="lax"
        )
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response

    def _sealed(self, request: Request, response: Response) -> Response:
        """Add the security headers."""
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-store")
        if self._is_secure(request):
            response.headers.setdefault("Strict-Transport-Security", _HSTS)
        return response
