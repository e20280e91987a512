"""What all pages keep to: accessibility, no sideways scrolling, sizes, and texts of strangers that stay texts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.centre.browser import NewContext, violations, watch
from tests.support.centre.fixtures import MakeSomeone
from tests.support.centre.site import CORPUS, CentreSite

pytestmark = pytest.mark.e2e

PAGES = {
    "": ["/login", "/password/unknown"],
    "luis": ["/profile", "/more", "/people"],
    "ana": ["/people", "/people/{luis}"],
    "op": ["/clients", "/clients/acme", "/op/audit", "/people", "/profile"],
}
HOSTILE = " ".join(CORPUS)
MARKUP = "main script, main img[src=x], main svg[onload], [hx-get='/more'], main h1:text-is('x')"


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(contexts: NewContext, centre: CentreSite, scheme: str, width: int) -> None:
    found = {}
    for name, paths in PAGES.items():
        page = contexts(as_=name, width=width, color_scheme=scheme).new_page()
        for path in paths:
            page.goto(path.format(**centre.ids))
            sideways = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            found[f"{name} {path}"] = [*violations(page), *(["scrolls sideways"] if sideways else [])]
    assert {where: what for where, what in found.items() if what} == {}


def test_errors_are_tied_to_their_fields(contexts: NewContext) -> None:
    page: Any = contexts(as_="ana").new_page()
    page.goto("/people")
    page.get_by_label("Name").fill("luis")
    page.get_by_role("button", name="Add").click()
    field = page.get_by_label("Name")
    assert field.get_attribute("aria-invalid") == "true"
    said = page.locator(f"#{field.get_attribute('aria-describedby')}").inner_text()
    assert "there is a user luis already" in said.lower()
    assert violations(page) == []


def test_texts_of_others_stay_texts(contexts: NewContext) -> None:
    page: Any = contexts(as_="op").new_page()
    for path, button in [("/people", "Add"), ("/clients/acme", "View"), ("/profile", "Set up an app")]:
        page.goto(path)
        for field in page.locator("main input:not([type=hidden]):not([type=checkbox])").all():
            field.evaluate("(field, text) => { field.type = 'text'; field.value = text }", HOSTILE)
        if page.get_by_role("button", name=button, exact=True).count():
            page.get_by_role("button", name=button, exact=True).click()
        check(page)
        if page.get_by_role("button", name="End the view").count():
            page.get_by_role("button", name="End the view").click()
    for path in ("/op/audit", "/clients?q={}", "/clients?after={}", "/login?next={}&said={}", "/op/audit?before={}"):
        page.goto(path.replace("{}", page.evaluate("encodeURIComponent", HOSTILE)))
        check(page)


def check(page: Any) -> None:
    """Nothing of the text became markup, and nothing of it ran."""
    assert "hacked" not in page.title()
    assert (
        page.locator("main script, main img[src=x], main svg[onload], [hx-get='/more'], main h1:text-is('x')").count()
        == 0
    )


def test_budgets_of_a_first_page(contexts: NewContext, centre: CentreSite) -> None:
    page: Any = contexts(as_="ana").new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/people", wait_until="networkidle")
    assert len(asked) <= 6
    assert len(centre.visitor("ana").get("/people").text.encode()) <= 30 * 1024


def test_a_form_is_sent_once_by_a_double_click(contexts: NewContext, someone: MakeSomeone) -> None:
    name = someone()
    page: Any = contexts(as_=name).new_page()
    page.goto("/profile")
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.get_by_role("button", name="Save").dblclick()
    page.wait_for_url("**said=look")
    assert len(posts) == 1


def test_the_checks_see_offences(chromium: Any, centre: CentreSite) -> None:
    """A picture without words, an inline script, and a request to another host."""
    faults: list[str] = []
    context = chromium.new_context(base_url=centre.by_name)
    watch(context, centre.by_name, faults)
    page = context.new_page()
    page.goto("/login")
    with page.expect_console_message():
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))"
        )
    page.evaluate("document.querySelector('main').append(Object.assign(new Image(), {src: '/x'}))")
    assert [one.partition(":")[0] for one in violations(page)] == ["image-alt"]
    context.route("http://evil.example/", lambda route: route.abort())
    with pytest.raises(Exception, match="ERR_FAILED"):
        page.goto("http://evil.example/")
    context.close()
    assert "external request: http://evil.example/" in faults
    assert any("Content Security Policy" in fault for fault in faults)
