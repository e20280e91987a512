"""Pages: Jinja2 templates, with autoescape, and the answers that go with them.

A template extends `layout`: the whole page, or for htmx its content alone. After a change the browser is sent on with
303, or by HX-Redirect; what the next page says stands as a word of `words.SAID` in the address, so that no text of a
link gets into a page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sipsms.core.user import Role
from sipsms.web.centre import words
from sipsms.web.centre.static_files import StaticFiles
from sipsms.web.centre.visit import Row, Visit

_VARY: Final = "Cookie, HX-Request, HX-Request-Type"

# Status and reason -> heading and sentence of a page that cannot be shown.
PROBLEMS: Final[Mapping[int | str, tuple[str, str]]] = {
    401: ("You are signed out", "Sign in again to go on."),
    403: ("This form is refused", "Go back and try again."),
    404: ("There is no such page", "The address is wrong, or the page is not for you."),
    408: ("This took too long", "Your connection may be slow. Go back and try again."),
    409: ("This was not possible", "Go back to see how it is now."),
    413: ("That is too much", "Go back and send less."),
    500: ("Something is wrong here", "The operator can find it in the log."),
    503: ("The server cannot do this now", "Nothing was changed. Try again in a minute."),
    "csrf": ("This form is too old", "You have signed in again since. Go back, reload the page and try again."),
    "origin": ("This form is of another page", "Only pages of this server may change anything here."),
    "viewing": ("You are only looking", "While you view the pages of a customer, you cannot change anything."),
    "insecure": (
        "Use an encrypted connection",
        "This server keeps a sign-in only over https://, because others could read your password and messages. "
        "The operator sets web.centre.url to the address of a proxy with TLS.",
    ),
}


class Texts(dict[str, Any]):
    """Texts by the name of a field; a field without one has an empty text."""

    def __missing__(self, name: str) -> str:
        return ""


class Pages:
    def __init__(self, static: StaticFiles, host: Callable[[], str]) -> None:
        """`host`: the name of this server that operators see."""
        self._host = host
        self._rows: Sequence[Row] = ()
        self._environment = Environment(
            loader=PackageLoader("sipsms.web.centre"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._environment.globals.update(static=static.url, words=words, Role=Role)

    def know(self, rows: Sequence[Row]) -> None:
        """Take the route table: the links of the side bar come from it."""
        self._rows = [row for row in rows if row.nav is not None]

    def links(self, visit: Visit) -> list[Row]:
        """Return the rows of the side bar that this visitor may open."""
        return [row for row in self._rows if visit.is_signed_in and visit.may(row.who)]

    def render(self, visit: Visit, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page. `values`: those of its template."""
        headers = visit.request.headers
        part = bool(headers.get("hx-request")) and headers.get("hx-request-type") == "partial"
        zone = visit.user.tz if visit.user is not None else ""
        html = self._environment.get_template(template).render(
            layout="_part.html" if part else "_base.html", visit=visit, links=self.links(visit), host=self._host(),
            path=visit.request.url.path, said=words.SAID.get(visit.query.get("said", ""), ""),
            when=partial(words.moment, zone=zone, now=visit.now), **values,
        )  # fmt: skip
        return HTMLResponse(html, status, {"Vary": _VARY})

    def see(self, visit: Visit, path: str, said: str = "") -> Response:
        """Send the browser to another page after a change. `said`: a word of `words.SAID`."""
        where = f"{path}{'&' if '?' in path else '?'}said={said}" if said else path
        if visit.request.headers.get("hx-request"):
            return Response(status_code=204, headers={"HX-Redirect": where, "Vary": _VARY})
        return RedirectResponse(where, 303, {"Vary": _VARY})

    def problem(self, visit: Visit, status: int, why: str = "") -> Response:
        """Return a page that says why another one cannot be shown, and keeps what was typed.

        `why`: a reason of PROBLEMS, or a text of our own; for 500 the id of the error."""
        heading, sentence = PROBLEMS.get(why) or PROBLEMS.get(status) or PROBLEMS[500]
        detail = why if why not in PROBLEMS else ""
        typed = [value for name in _KEPT for value in visit.texts(name) if value]
        response = self.render(
            visit, "problem.html", status, heading=heading, sentence=sentence, detail=detail, typed=typed,
            is_error=status == 500,
        )  # fmt: skip
        if status == 503:
            response.headers["Retry-After"] = "60"
        return response


_KEPT: Final = ("text", "note", "reason")  # fields that people would not like to type again
