"""Customers, and the view of their pages: with a reason, in the audit log, without changes."""

from __future__ import annotations

import pytest

from tests.support.centre.fixtures import MakeSomeone
from tests.support.centre.site import CentreSite


def test_operators_see_all_customers_and_resellers_their_own(centre: CentreSite) -> None:
    names = r'<a href="/clients/([a-z]+)">'
    assert centre.visitor("op").get("/clients").all(names) == ["acme", "other", "reseller"]
    assert centre.visitor("rita").get("/clients").all(names) == ["acme"]
    assert centre.visitor("op").get("/clients?q=OTH").all(names) == ["other"]
    assert centre.visitor("op").get("/clients?after=acme").all(names) == ["other", "reseller"]
    assert "No customer has this" in centre.visitor("op").get("/clients?q=nobody").said


@pytest.mark.parametrize(("who", "customer"), [("rita", "other"), ("rita", "reseller"), ("op", "nobody")])
def test_customers_of_others_are_not_there(centre: CentreSite, who: str, customer: str) -> None:
    visitor = centre.visitor(who)
    assert visitor.get(f"/clients/{customer}").status == 404
    assert visitor.post(f"/clients/{customer}/view-as", reason="curiosity").status == 404


def test_a_view_shows_the_pages_of_the_customer_and_changes_nothing(centre: CentreSite, someone: MakeSomeone) -> None:
    name = someone("reseller", customer="reseller")
    visitor = centre.visitor(name, fresh=True)
    assert visitor.post("/clients/acme/view-as", reason=" ").status == 422
    assert visitor.post("/clients/acme/view-as", reason="ticket 4711").location == "/home"
    page = visitor.get("/people")
    assert "You see the pages of acme until" in page.said
    assert "luis" in page.text
    assert visitor.get("/clients").status == 404, "the customer has no such page"
    for path in ("/people", "/profile/look", "/profile/password", f"/people/{centre.ids['luis']}/remove"):
        answer = visitor.post(path, name="x", role="user")
        assert (answer.status, "only looking" in answer.said) == (403, True), path
    assert visitor.post("/view-as/end").location == "/clients/acme?said=view-ended"
    assert visitor.get("/clients").status == 200
    assert visitor.post("/view-as/end").status == 404
    log = centre.visitor("op").get("/op/audit").said
    assert f"{name} began to view the pages of acme ticket 4711 127.0.0.1" in log
    assert f"{name} ended the view of acme" in log


def test_a_visitor_can_sign_out_during_a_view(centre: CentreSite, someone: MakeSomeone) -> None:
    visitor = centre.visitor(someone("reseller", customer="reseller"), fresh=True)
    visitor.post("/clients/acme/view-as", reason="ticket 4711")
    assert visitor.post("/logout").status == 303
