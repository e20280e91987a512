"""People of a customer: who may add, change and remove whom."""

from __future__ import annotations

import pytest

from tests.support.centre.fixtures import MakeSomeone
from tests.support.centre.site import FOREIGN, SALES, WORKSHOP, CentreSite


def test_a_person_is_added_with_numbers_changed_and_removed(centre: CentreSite) -> None:
    ana = centre.visitor("ana")
    page = ana.post("/people", name="Pat", email="pat@example.net", role="user", did=[SALES])
    assert (page.status, "works once" in page.said) == (200, True)
    (number,) = ana.get("/people").all(r'/people/(\d+)">pat<')
    page = ana.get(f"/people/{number}")
    assert f'value="{SALES}" checked' in page.text
    (version,) = page.all(r'name="version" value="(\d+)"')
    saved = ana.post(f"/people/{number}", version=version, role="user", email="", did=[SALES, WORKSHOP])
    assert saved.location == f"/people/{number}?said=saved"
    late = ana.post(f"/people/{number}", version=version, role="customer", email="")
    assert (late.status, "Somebody else has changed" in late.said) == (409, True)
    assert "works once" in ana.post(f"/people/{number}/link").said
    assert ana.post(f"/people/{number}/remove").location == "/people?said=removed"
    assert ana.get(f"/people/{number}").status == 404


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "a b", "role": "user"}, "letters, digits"),
        ({"name": "luis", "role": "user"}, "there is a user luis already"),
        ({"name": "new", "role": "user", "email": "luis@example.net"}, "another user has this e-mail"),
        ({"name": "new", "role": "user", "email": "nonsense"}, "not an e-mail address"),
        ({"name": "new", "role": "user", "did": [FOREIGN]}, f"no DID {FOREIGN}"),
    ],
)
def test_what_is_wrong_stands_at_its_field(centre: CentreSite, fields: dict[str, str], said: str) -> None:
    page = centre.visitor("ana").post("/people", **fields)
    assert page.status == 422
    assert said.lower() in page.said.lower()
    assert f'value="{fields["name"]}"' in page.text, "what was typed stays"


@pytest.mark.parametrize(
    ("who", "role"), [("ana", "operator"), ("ana", "reseller"), ("rita", "operator"), ("ana", "king"), ("ana", "")]
)
def test_nobody_gives_a_role_above_their_own(centre: CentreSite, who: str, role: str) -> None:
    assert centre.visitor(who).post("/people", name="newcomer", role=role).status == 404


def test_people_of_another_customer_are_not_there(centre: CentreSite) -> None:
    for who, target in [("ana", "kim"), ("ana", "op"), ("ana", "rita"), ("rita", "ana"), ("kim", "luis")]:
        visitor, number = centre.visitor(who), centre.ids[target]
        assert visitor.get(f"/people/{number}").status == 404
        for action in ("", "/link", "/remove", "/end-sessions", "/reset-authenticator"):
            answer = visitor.post(f"/people/{number}{action}", version="1", role="user", email="")
            assert answer.status == 404, (who, target, action)
    for path in ("/people/0", "/people/x", "/people/99999999999999999999", "/people/-1", "/people/%D9%A1"):
        assert centre.visitor("ana").get(path).status == 404


def test_a_customer_cannot_name_another_customer(centre: CentreSite) -> None:
    centre.visitor("ana").post("/people", name="intruder", role="user", customer="other")
    assert "intruder" in centre.visitor("ana").get("/people").text
    assert "intruder" not in centre.visitor("kim").get("/people").text


def test_changes_to_oneself_go_by_the_profile(centre: CentreSite) -> None:
    ana, number = centre.visitor("ana"), centre.ids["ana"]
    for action in ("link", "remove", "end-sessions", "reset-authenticator"):
        assert ana.post(f"/people/{number}/{action}").status == 409
    (version,) = ana.get(f"/people/{number}").all(r'name="version" value="(\d+)"')
    assert ana.post(f"/people/{number}", version=version, role="user", email="").status == 422


def test_a_person_is_signed_out_everywhere(centre: CentreSite, someone: MakeSomeone) -> None:
    name = someone()
    theirs = centre.visitor(name, fresh=True)
    ana, number = centre.visitor("ana"), centre.ids[name]
    assert "1 browser signed in" in ana.get(f"/people/{number}").said
    assert ana.post(f"/people/{number}/end-sessions").location == f"/people/{number}?said=sessions-ended"
    assert theirs.get("/profile").status == 303


def test_a_changed_role_counts_at_once(centre: CentreSite, someone: MakeSomeone) -> None:
    name = someone()
    theirs = centre.visitor(name, fresh=True)
    assert theirs.get("/people").status == 200
    number = centre.ids[name]
    (version,) = centre.visitor("ana").get(f"/people/{number}").all(r'name="version" value="(\d+)"')
    centre.visitor("ana").post(f"/people/{number}", version=version, role="user", email="")
    assert theirs.get("/people").status == 404
