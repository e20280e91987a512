"""The native API as one ASGI application: routes, OpenAPI document, errors, page /docs."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route

from sipsms import __version__
from sipsms.accounts.auth import Access
from sipsms.core.errors import AdminError, Unavailable
from sipsms.web.api.v1 import accounts, dids, events, messages, operator
from sipsms.web.api.v1.dependencies import Services
from sipsms.web.api.v1.middleware import Middleware, problem_of
from sipsms.web.api.v1.permissions import reach_of
from sipsms.web.api.v1.problems import JSON, Problem, conflict, missing, wrong
from sipsms.web.api.v1.schemas import MediaGiven, MessageGiven, ProblemBody
from sipsms.web.api.v1.send import unreadable

PREFIX: Final = "/v1"
_MODULES: Final = (messages, events, accounts, dids, operator)  # in the order of the OpenAPI document
_PROBLEM: Final = {"content": {JSON: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}}
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"description": "Not like this", **_PROBLEM},
    "5XX": {"description": "Not now", **_PROBLEM},
}
_ABOUT: Final = (
    "Messages, numbers and accounts of a sipsms server. `Authorization: Bearer TOKEN`; what is outside the token's "
    "scope answers as what does not exist. Errors are problem+json (RFC 9457)."
)


class V1Api:
    def __init__(self, access: Access, services: Services) -> None:
        self.application = app = FastAPI(
            title="sipsms", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None,
            openapi_url=None, redirect_slashes=False, responses=_ERRORS,
        )  # fmt: skip
        self._streams = events.Streams(services.messaging.feed)
        app.state.services, app.state.streams = services, self._streams
        for module in _MODULES:
            app.include_router(module.router)
        for error, handler in _HANDLERS.items():
            app.add_exception_handler(error, handler)
        app.add_route("/openapi.json", _shown(app), include_in_schema=False)
        self._guarded = Middleware(app, access, services.directory, services.clock)

    def routes(self) -> list[BaseRoute]:
        mount = Mount(PREFIX, app=self._guarded)
        mount.path_regex = re.compile(mount.path_regex.pattern, re.DOTALL)  # we answer paths with a line feed
        return [mount, *docs()]

    def close(self) -> None:
        """End all event streams when the server stops."""
        self._streams.close()


# --- errors ----------------------------------------------------------------------------------------------------------


async def _failed(request: Request, error: Any) -> Response:
    return problem_of(error, request.scope).response()


async def _told(_: Request, error: Any) -> Response:
    response: Response = error.response()
    return response


async def _invalid(_: Request, error: Any) -> Response:
    found = [{"loc": one["loc"][1:] or one["loc"], "msg": one["msg"]} for one in error.errors()]
    return unreadable(found).response()


def _allowed(request: Request) -> list[str]:
    """Return all methods of a path. Each method is a route of its own."""
    routes = [one for module in _MODULES for one in module.router.routes if isinstance(one, Route)]
    found = [one for one in routes if one.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in found for method in route.methods or ()})


_WORDS: Final = {
    400: ("malformed", "The request cannot be read."),
    405: ("method", "This resource has no such method."),
    415: ("media-type", "The body has to be application/json."),
}


async def _http(request: Request, error: Any) -> Response:
    if error.status_code == 404:
        return missing().response()
    if error.status_code == 405:
        error.headers = {"Allow": ", ".join(_allowed(request))}
    code, detail = _WORDS.get(error.status_code, ("refused", "This cannot be done."))
    return Problem(error.status_code, code, detail, headers=error.headers).response()


async def _refused(request: Request, error: Any) -> Response:
    """Answer a change that cannot be made with the invalid setting or the conflict."""
    field = getattr(error, "field", "")
    if field == "email" and not reach_of(request).is_operator and "belongs" in error.why:
        return wrong(field, "somebody has this address").response()
    return (wrong(field, error.why) if field else conflict(str(error))).response()


_HANDLERS: Final[dict[type[Exception], Any]] = {
    Problem: _told, RequestValidationError: _invalid, HTTPException: _http, AdminError: _refused,
    Unavailable: _failed, Exception: _failed,
}  # fmt: skip


# --- the document ----------------------------------------------------------------------------------------------------


def _document(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for methods in found["paths"].values():
        for operation in methods.values():
            operation["tags"] = operation["tags"][-1:]  # the narrowest group: in two, the page would list it twice
    schemas = found["components"]["schemas"]
    for model in (MessageGiven, MediaGiven, ProblemBody):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{"token": []}]
    found["servers"] = [{"url": PREFIX}]
    return found


def _shown(app: FastAPI) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of the OpenAPI document. The document is public and built once."""

    @cache
    def document() -> bytes:
        return json.dumps(_document(app), ensure_ascii=False).encode()

    async def show(request: Request) -> Response:
        return Response(document(), media_type="application/json")

    return show


# --- the page for people ---------------------------------------------------------------------------------------------

_FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>sipsms API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="/docs/favicon-32x32.png">
</head><body><div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
"""
_START: Final = """SwaggerUIBundle({
  url: "/v1/openapi.json", dom_id: "#ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset].filter(Boolean)
})
"""
# Swagger UI sets style attributes and has its pictures in data: URLs.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@cache
def _file(name: str) -> bytes:
    return (files("fastapi_swagger") / "resources" / name).read_bytes()


def docs() -> list[BaseRoute]:
    """Return the routes of Swagger UI, served from our own disk: no other server learns who reads it."""

    async def show(request: Request) -> Response:
        name = request.path_params.get("name", "")
        if name == "start.js":
            return Response(_START, headers=_HEADERS, media_type="text/javascript")
        if name in _FILES:
            headers = {**_HEADERS, "Cache-Control": "max-age=86400"}
            return Response(_file(name), headers=headers, media_type=_FILES[name])
        return missing().response() if name else Response(_PAGE, headers=_HEADERS, media_type="text/html")

    async def slash(request: Request) -> Response:
        return RedirectResponse("/docs")

    return [Route("/docs", show), Route("/docs/", slash), Route("/docs/{name}", show)]
