"""Errors of the API: RFC 9457, one shape for all, whoever finds the fault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response

JSON: Final = "application/problem+json"
_KIND: Final = "urn:sipsms:problem:"


class Problem(Exception):
    """`code`: a word for programs. `errors`: (field, what is wrong with it)."""

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
    """It is not there, or none of the caller's business: which of the two, nobody learns."""
    return Problem(404, "not-found", "There is no such resource.")


def wrong(field: str, message: str, code: str = "invalid") -> Problem:
    return Problem(422, code, f"{field}: {message}", [(field, message)])


def conflict(detail: str) -> Problem:
    return Problem(409, "conflict", detail)


def unavailable() -> Problem:
    return Problem(503, "unavailable", "The store cannot be used now. Try again later.", headers={"Retry-After": "5"})
