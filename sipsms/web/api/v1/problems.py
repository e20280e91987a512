"""Errors of the API in one form (RFC 9457), from whichever layer they come."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

JSON: Final = "application/problem+json"
_KIND: Final = "urn:sipsms:problem:"


class Problem(Exception):
    """An error answer. `code`: a word for programs. `errors`: (field, problem with the field)."""

    def __init__(
        self, status: int, code: str, detail: str, errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        found: dict[str, Any] = {
            "type": _KIND + self.code, "title": HTTPStatus(self.status).phrase, "status": self.status,
            "detail": self.detail,
        }  # fmt: skip
        if self.errors:
            found["errors"] = [{"field": field, "message": message} for field, message in self.errors]
        return json.dumps(found).encode()

    def response(self) -> Response:
        return Response(self.body, self.status, self.headers, JSON)


def missing() -> Problem:
    """Return 404 for a resource that is missing or not permitted: callers must not see which."""
    return Problem(404, "not-found", "There is no such resource.")


def wrong(field: str, message: str, code: str = "invalid") -> Problem:
    return Problem(422, code, f"{field}: {message}", [(field, message)])


def conflict(detail: str) -> Problem:
    return Problem(409, "conflict", detail)


def unavailable() -> Problem:
    return Problem(503, "unavailable", "The store cannot be used now. Try again later.", headers={"Retry-After": "5"})
