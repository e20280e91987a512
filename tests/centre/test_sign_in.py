"""Signing in and out in a real browser."""

from __future__ import annotations

import time
from typing import Any

import pyotp
import pytest

from tests.support.centre.browser import NewContext
from tests.support.centre.fixtures import MakeSomeone
from tests.support.centre.site import PASSWORD, CentreSite

pytestmark = pytest.mark.e2e


def sign_in(page: Any, name: str, password: str = PASSWORD) -> None:
    page.goto("/login")
    page.get_by_label("E-mail or name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def heading(page: Any) -> str:
    return str(page.locator("h1").inner_text())


def test_sign_in_and_out(page: Any) -> None:
    sign_in(page, "ana@example.net")
    assert heading(page) == "People"
    page.locator(".who summary").click()
    page.get_by_role("button", name="Sign out").click()
    assert "You are signed out." in page.locator("main").inner_text()
    page.go_back()
    page.reload()
    assert heading(page) == "Sign in", "the pages of before are not kept"


def test_wrong_password_backs_off(page: Any, someone: MakeSomeone) -> None:
    name = someone()
    told = []
    for _ in range(6):
        sign_in(page, name, "wrong password")
        told.append(page.get_by_role("alert").inner_text())
        assert page.get_by_label("E-mail or name").input_value() == name
    assert ["4 more tries" in told[0], "1 more try," in told[3], "Wait 1 minute" in told[4]] == [True] * 3
    assert "too many wrong tries" in told[5]


def test_totp_and_recovery(page: Any, someone: MakeSomeone) -> None:
    name = someone()
    sign_in(page, name)
    page.goto("/profile")
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Set up an app").click()
    picture = page.get_by_alt_text("QR code of the key")
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 50
    key = "".join(page.locator(".secret code").inner_text().split())
    page.get_by_label("Code").fill(pyotp.TOTP(key).at(int(time.time())))
    page.get_by_role("button", name="Switch it on").click()
    codes = page.locator(".codes span").all_inner_texts()
    assert len(codes) == 8
    page.context.clear_cookies()
    sign_in(page, name)
    assert heading(page) == "Enter the code"
    page.get_by_label("Code of your authenticator app").fill(codes[0])
    page.get_by_role("button", name="Go on").click()
    assert heading(page) == "People"
    page.goto("/profile")
    assert "7 recovery codes left" in page.locator("main").inner_text()


def test_session_revoked(contexts: NewContext, centre: CentreSite, someone: MakeSomeone) -> None:
    name = someone()
    here, there = contexts().new_page(), contexts().new_page()
    sign_in(here, name)
    sign_in(there, name)
    here.goto("/profile")
    here.get_by_role("button", name="Sign out Chrome on Linux").click()
    assert "That browser is signed out." in here.locator("main").inner_text()
    there.goto("/people")
    assert heading(there) == "Sign in"


def test_sign_in_without_javascript(contexts: NewContext) -> None:
    page = contexts(java_script_enabled=False).new_page()
    page.goto("/people")
    page.get_by_label("E-mail or name").fill("ana")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    assert heading(page) == "People", "the page that was asked for"
    page.locator(".who summary").click()
    page.get_by_role("button", name="Sign out").click()
    assert heading(page) == "Sign in"


def test_sign_in_by_keyboard_alone(page: Any) -> None:
    page.goto("/login")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Tab")
    page.keyboard.type("ana")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/people")
    assert heading(page) == "People"
