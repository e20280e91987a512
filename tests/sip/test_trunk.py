"""A trunk: the outcomes of its server's responses; interop/test_trunk has the rest."""

from __future__ import annotations

import pytest

from sipsms.core.message import Accepted, Deferred, Outcome, Rejected, Scope
from sipsms.sip.message import Response
from sipsms.sip.trunk import outcome_of


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),
    [
        (200, {}, Accepted("id")),
        (202, {}, Accepted("id")),
        (404, {}, Rejected("404 reason", "404")),
        (603, {}, Rejected("603 reason", "603")),
        (401, {}, Deferred("the server refuses our password", scope=Scope.COURIER)),
        (480, {}, Deferred("480 reason")),
        (480, {"retry-after": ["120"]}, Deferred("480 reason", retry=120.0)),
        (503, {"retry-after": ["999999"]}, Deferred("503 reason", retry=3600.0, scope=Scope.COURIER)),
    ],
)
def test_each_response_gives_its_outcome(status: int, headers: dict[str, list[str]], outcome: Outcome) -> None:
    assert outcome_of(Response(status, "reason", headers), "id") == outcome
