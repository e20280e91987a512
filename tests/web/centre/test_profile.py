"""The own profile: password, authenticator app, browsers, look."""

from __future__ import annotations

import time

import pyotp

from tests.support.centre.fixtures import MakeSomeone
from tests.support.centre.site import PASSWORD, CentreSite


def test_a_new_password_signs_the_other_browsers_out(centre: CentreSite, someone: MakeSomeone) -> None:
    name = someone()
    here, there = centre.visitor(name, fresh=True), centre.visitor(name, fresh=True)
    for fields, said in [
        (
            {"old": "wrong", "password": "other plain words", "again": "other plain words"},
            "not your password",
        ),
        ({"old": PASSWORD, "password": "short", "again": "short"}, "at least 10"),
        ({"old": PASSWORD, "password": "other plain words", "again": "four"}, "not the same"),
    ]:
        page = here.post("/profile/password", **fields)
        assert (page.status, said in page.said) == (422, True)
    fields = {"old": PASSWORD, "password": "other plain words", "again": "other plain words"}
    assert here.post("/profile/password", **fields).location == "/profile?said=password"
    assert here.get("/profile").status == 200
    assert there.get("/profile").status == 303
    assert centre.visitor().sign_in(name, PASSWORD).status == 422


def test_browsers_are_listed_and_signed_out(centre: CentreSite, someone: MakeSomeone) -> None:
    name = someone()
    here, there, third = [centre.visitor(name, fresh=True) for _ in range(3)]
    others = here.get("/profile").all(r'name="session" value="([0-9a-f]{64})"')
    assert len(others) == 2
    stranger = centre.visitor("luis")
    assert stranger.post("/profile/sessions/end", session=others[0]).status == 404
    assert here.post("/profile/sessions/end", session=others[0]).location == "/profile?said=ended"
    assert sorted([there.get("/profile").status, third.get("/profile").status]) == [200, 303]
    assert here.post("/profile/sessions/end-others").status == 303
    assert [there.get("/profile").status, third.get("/profile").status] == [303, 303]


def test_an_app_is_set_up_used_and_switched_off(centre: CentreSite, someone: MakeSomeone) -> None:
    name = someone()
    visitor = centre.visitor(name, fresh=True)
    assert visitor.get("/profile/authenticator.svg").status == 404
    assert visitor.post("/profile/authenticator/confirm", code="000000").status == 404
    assert visitor.post("/profile/authenticator", totp_password="wrong").status == 422
    page = visitor.post("/profile/authenticator", totp_password=PASSWORD)
    key = "".join(page.all(r'class="secret"><code>([A-Z2-7 ]+)<')[0].split())
    assert visitor.get("/profile/authenticator.svg").text.startswith("<svg")
    page = visitor.post("/profile/authenticator/confirm", code=pyotp.TOTP(key).at(int(time.time())))
    codes = page.all(r"<span>([a-z2-9-]{14})</span>")
    assert len(codes) == 8
    assert codes[0] not in visitor.get("/profile").text, "shown once"
    assert visitor.post("/profile/authenticator", totp_password=PASSWORD).status == 404, "there is one already"
    other = centre.visitor()
    assert other.sign_in(name, PASSWORD).location == "/login/code"
    assert other.post("/login/code", code=codes[0]).status == 303
    page = visitor.post("/profile/recovery-codes", totp_password=PASSWORD)
    fresh = page.all(r"<span>([a-z2-9-]{14})</span>")
    assert not set(fresh) & set(codes)
    assert visitor.post("/profile/authenticator/off", totp_password=PASSWORD).location == "/profile?said=totp-off"
    assert centre.visitor().sign_in(name, PASSWORD).location == "/home"


def test_an_operator_cannot_switch_the_app_off(centre: CentreSite) -> None:
    assert centre.visitor("op").post("/profile/authenticator/off", totp_password=PASSWORD).status == 409


def test_the_look_of_the_pages(centre: CentreSite, someone: MakeSomeone) -> None:
    visitor = centre.visitor(someone(), fresh=True)
    assert visitor.post("/profile/look", tz="Europe/Madrid", lang="en", theme="dark").location == "/profile?said=look"
    page = visitor.get("/profile")
    assert 'data-theme="dark"' in page.text
    assert "<option selected>Europe/Madrid</option>" in page.text
    for tz, theme in [("Mars/Olympus", ""), ("../../etc/passwd", ""), ("", "pink")]:
        assert visitor.post("/profile/look", tz=tz, lang="en", theme=theme).status == 422
