"""Sign in and out over real sockets, as a browser without JavaScript does it."""

from __future__ import annotations

import pytest

from tests.support.centre.fixtures import MakeSomeone
from tests.support.centre.site import PASSWORD, CentreSite


def test_sign_in_opens_the_pages_and_sign_out_closes_them(centre: CentreSite) -> None:
    visitor = centre.visitor()
    assert visitor.get("/people").location == "/login?next=%2Fpeople"
    page = visitor.get("/login?next=%2Fpeople")
    assert page.all(r'name="next" value="([^"]*)"') == ["/people"]
    answer = visitor.post("/login", name="ana", password=PASSWORD, next="/people")
    assert (answer.status, answer.location) == (303, "/people")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("sms=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Max-Age" not in cookie
    assert visitor.get("/people").status == 200
    assert visitor.get("/login").location == "/home"
    kept = dict(visitor.cookies)
    answer = visitor.post("/logout")
    assert (answer.location, answer.headers["clear-site-data"]) == ("/login?said=signed-out", '"cache", "storage"')
    assert visitor.cookies == {}
    visitor.cookies = kept
    assert visitor.get("/people").status == 303, "the session has ended, and not the cookie alone"


def test_a_wrong_password_says_so_and_keeps_the_name(centre: CentreSite, someone: MakeSomeone) -> None:
    name = someone()
    visitor = centre.visitor()
    page = visitor.post("/login", name=name, password="wrong")
    assert page.status == 422
    assert "do not go together. 4 more tries, then a pause of one minute." in page.said
    assert f'value="{name}"' in page.text
    assert "wrong" not in page.text.replace("/wrong", "")
    assert visitor.cookies == {}


def test_staying_signed_in_lasts_a_month(centre: CentreSite) -> None:
    answer = centre.visitor().post("/login", name="ana@example.net", password=PASSWORD, stay="on")
    assert "Max-Age=2592000" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/login", "x", "/\tx"]
)
def test_no_link_leads_to_another_site_after_the_sign_in(centre: CentreSite, path: str) -> None:
    answer = centre.visitor().post("/login", name="ana", password=PASSWORD, next=path)
    assert answer.location == "/home"


def test_a_half_session_opens_only_its_step(centre: CentreSite) -> None:
    visitor = centre.visitor()
    answer = visitor.post("/login", name="op", password=PASSWORD, next="/op/audit")
    assert answer.location == "/login/code?next=%2Fop%2Faudit"
    for path in ("/home", "/people", "/op/audit", "/profile", "/login/enrol"):
        assert visitor.get(path).location == "/login/code", path
    half = visitor.cookies["sms"]
    visitor.get(answer.location)
    wrong = visitor.post("/login/code", code="000000")
    assert (wrong.status, "4 more tries" in wrong.said) == (422, True)
    answer = visitor.post("/login/code", code=centre.code(), next="/op/audit")
    assert answer.location == "/op/audit"
    assert visitor.cookies["sms"] != half
    assert visitor.get("/op/audit").status == 200


def test_a_new_operator_sets_up_an_app(centre: CentreSite, someone: MakeSomeone) -> None:
    import time

    import pyotp

    name = someone("operator", customer="")
    visitor = centre.visitor()
    assert visitor.sign_in(name, PASSWORD).location == "/login/enrol"
    page = visitor.get("/login/enrol")
    key = "".join(page.all(r'class="secret"><code>([A-Z2-7 ]+)<')[0].split())
    picture = visitor.get("/profile/authenticator.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.headers["cache-control"] == "no-store"
    assert visitor.post("/login/enrol", code="000000").status == 422
    page = visitor.post("/login/enrol", code=pyotp.TOTP(key).at(int(time.time())))
    assert len(page.all(r"<span>([a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4})</span>")) == 8
    assert visitor.get("/op/audit").status == 200


def test_a_link_sets_a_password_once(centre: CentreSite) -> None:
    made = centre.visitor("op").post("/people", name="linked", role="customer", customer="acme")
    (link,) = made.all(r"<code>http://[^/]+(/password/[^<]+)</code>")
    visitor = centre.visitor()
    assert "linked" in visitor.get(link).text
    for password, again, said in [("short", "short", "at least 10"), (PASSWORD, "another", "not the same")]:
        page = visitor.post(link, password=password, again=again)
        assert (page.status, said in page.said) == (422, True)
    assert visitor.post(link, password=PASSWORD, again=PASSWORD).location == "/login?said=password-set"
    assert "Your password is set" in visitor.get("/login?said=password-set").said
    assert visitor.get(link).status == visitor.post(link, password=PASSWORD, again=PASSWORD).status == 404
    assert visitor.sign_in("linked", PASSWORD).status == 303


def test_nothing_of_a_link_gets_into_a_page(centre: CentreSite) -> None:
    page = centre.visitor().get("/login?said=<b>hello</b>&next=<script>")
    assert "hello" not in page.text
    assert "<script>" not in page.text
