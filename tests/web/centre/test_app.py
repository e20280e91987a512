"""The route table: roles x pages, and the token of every form."""

from __future__ import annotations

from typing import Any

import pytest

from sipsms.accounts.directory import Directory
from sipsms.core.user import Role
from sipsms.web.centre.app import Centre, Parts
from sipsms.web.centre.visit import ANYBODY, Row
from sipsms.web.settings import CentreSettings
from tests.support.centre.site import ROLES, CentreSite

NOTHING: Any = None
ROWS = Centre(
    Parts(NOTHING, NOTHING, Directory(), lambda: 0.0, CentreSettings, lambda: "http://localhost", lambda: "example.net")
).rows
GETS = [row for row in ROWS if row.method == "GET"]
POSTS = [row for row in ROWS if row.method == "POST"]
PERSON = {"operator": "luis", "reseller": "rita", "customer": "luis", "user": "luis"}  # whom each may change


def path_of(row: Row, centre: CentreSite, role: str) -> str:
    values = {"{name}": "acme", "{id}": str(centre.ids[PERSON[role]]), "{token}": "unknown"}
    path = row.path
    for name, value in values.items():
        path = path.replace(name, value)
    assert "{" not in path, f"say here what stands for the braces of {row.path}"
    return path


def ids(row: Row) -> str:
    return f"{row.method} {row.path}"


def test_no_path_stands_twice_and_links_lead_to_pages() -> None:
    assert len({(row.method, row.path) for row in ROWS}) == len(ROWS)
    assert all(row.method == "GET" and "{" not in row.path for row in ROWS if row.nav is not None)
    assert {row.method for row in ROWS} == {"GET", "POST"}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("row", GETS, ids=ids)
def test_every_page_is_for_its_roles_alone(centre: CentreSite, row: Row, role: str) -> None:
    answer = centre.visitor(ROLES[role]).get(path_of(row, centre, role))
    if row.who == ANYBODY:
        assert answer.status in (200, 303, 404)
    elif Role(role) not in row.who:
        assert answer.status == 404
    elif "" not in row.stages:
        assert answer.location == "/home", "the step is done"
    elif row.path.endswith(".svg"):
        assert answer.status == 404, "there is no new key"
    else:
        assert answer.status == (303 if row.path == "/home" else 200)


@pytest.mark.parametrize("row", [row for row in ROWS if row.who != ANYBODY], ids=ids)
def test_nobody_sees_or_changes_anything_without_a_sign_in(centre: CentreSite, row: Row) -> None:
    visitor = centre.visitor()
    path = path_of(row, centre, "user")
    answer = visitor.get(path) if row.method == "GET" else visitor.post(path)
    assert answer.status == 303
    assert answer.location.partition("?")[0] == "/login"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("row", [row for row in POSTS if row.who != ANYBODY], ids=ids)
def test_every_change_needs_the_role_and_the_token_of_the_session(centre: CentreSite, row: Row, role: str) -> None:
    visitor = centre.visitor(ROLES[role])
    path = path_of(row, centre, role)
    for token in ("", "0" * 64):
        answer = visitor.post(path, csrf=token)
        if Role(role) not in row.who:
            assert answer.status == 404
        elif "" not in row.stages:
            assert answer.location == "/home"
        else:
            assert answer.status == 403
    assert visitor.get("/more").status == 200, "and the session is as it was"


@pytest.mark.parametrize("row", POSTS, ids=ids)
def test_every_change_is_refused_to_other_sites(centre: CentreSite, row: Row) -> None:
    visitor = centre.visitor("ana") if row.who != ANYBODY else centre.visitor()
    answer = visitor.post(path_of(row, centre, "customer"), {"Origin": "https://evil.example"})
    assert answer.status in (403, 404) or answer.location == "/home"
    assert "set-cookie" not in answer.headers


def test_the_paths_of_the_server_are_as_they_were(centre: CentreSite) -> None:
    visitor = centre.visitor()
    assert [visitor.get(path).status for path in ("/", "/healthz", "/readyz", "/v1/openapi.json", "/docs")] == [200] * 5
    assert "missing_credentials" in visitor.get("/api/v1/rest.php").text
