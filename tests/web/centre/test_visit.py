"""What a visit may see: roles, DIDs, customers."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request

from sipsms.accounts.directory import Directory
from sipsms.accounts.sign_in import Place
from sipsms.core.account import Account, Did
from sipsms.core.user import Role, Session, User
from sipsms.web.centre.visit import Missing, Visit, whole

WORKSHOP, SALES, FOREIGN = "5550001111", "5550002222", "5550009999"


def visit(role: Role, customer: str = "acme", **more: Any) -> Visit:
    directory = Directory()
    accounts = [Account("acme", reseller="boss"), Account("other"), Account("boss"), Account("desk", "acme")]
    dids = [Did(WORKSHOP, "acme"), Did(SALES, "acme"), Did(FOREIGN, "other")]
    directory.update(1, True, accounts, dids, frozenset())
    user = User(1, "x", customer, role, dids=(WORKSHOP, FOREIGN) if role is Role.USER else ())
    request = Request({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"q=1"})
    given = {"user": user, "role": role, "customer": customer, "directory": directory, **more}
    return Visit(request, Place("192.0.2.1"), **given)


def test_dids_are_those_of_the_customer_and_those_that_were_given() -> None:
    assert [did.number for did in visit(Role.CUSTOMER).dids()] == [WORKSHOP, SALES]
    assert [did.number for did in visit(Role.USER).dids()] == [WORKSHOP]
    for role in (Role.OPERATOR, Role.RESELLER):
        assert visit(role).dids() == []
    seen = {role: [number for number in (WORKSHOP, SALES, FOREIGN, "x") if visit(role).sees(number)] for role in Role}
    assert seen == {Role.CUSTOMER: [WORKSHOP, SALES], Role.USER: [WORKSHOP], Role.OPERATOR: [], Role.RESELLER: []}


def test_customers_that_may_be_viewed() -> None:
    names = ("acme", "other", "boss", "desk", "nobody")
    assert [name for name in names if visit(Role.OPERATOR, "").manages(name)] == ["acme", "other", "boss"]
    assert [name for name in names if visit(Role.RESELLER, "boss").manages(name)] == ["acme"]
    assert [name for name in names if visit(Role.CUSTOMER, "boss").manages(name)] == []


def test_a_view_ends() -> None:
    session = Session("h", 1, 0, 0, 9e9, viewed="acme", view_ends=100.0)
    assert [visit(Role.OPERATOR, session=session, now=now).is_viewing for now in (99.0, 100.0)] == [True, False]


def test_the_token_of_forms_hides_that_of_the_session() -> None:
    one = visit(Role.USER, token="secret")
    assert len(one.csrf) == 64
    assert one.csrf != visit(Role.USER, token="other").csrf
    assert visit(Role.USER).csrf == ""


def test_fields_of_a_form() -> None:
    one = visit(Role.USER, form={"name": [" ana "], "did": ["1", b"file", "2"], "id": ["7"]})
    assert (one.text("name"), one.secret("name"), one.texts("did"), one.whole("id")) == ("ana", " ana ", ["1", "2"], 7)
    assert (one.text("none"), one.query["q"]) == ("", "1")


@pytest.mark.parametrize("text", ["", "-1", "1.5", "x", "٣", "9" * 19])
def test_what_is_no_whole_number_is_not_there(text: str) -> None:
    with pytest.raises(Missing):
        whole(text)


def test_nobody_has_neither_user_nor_session() -> None:
    nobody = Visit(Request({"type": "http", "headers": []}), Place("192.0.2.1"))
    assert (nobody.is_signed_in, nobody.is_viewing, nobody.sees(WORKSHOP)) == (False, False, False)
    for name in ("who", "here", "by"):
        with pytest.raises(Missing):
            getattr(nobody, name)
