"""A real browser: Debian's Chromium, one for the tests of a module, and what every page in it must keep to.

Every test that uses `page` or `contexts` fails if a page broke the Content-Security-Policy, asked another host for
anything, or had an error in its script."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.centre.site import CentreSite

CHROMIUM = shutil.which("chromium")
NewContext = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Playwright has an event loop of its own in this thread: it ends before a test of another module wants one."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: make packages")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def contexts(chromium: Any, centre: CentreSite) -> Iterator[NewContext]:
    """Make a browser context: `contexts(as_="ana", width=360, color_scheme="dark", java_script_enabled=False)`."""
    made: list[Any] = []
    faults: list[str] = []

    def new(as_: str = "", width: int = 1280, **options: Any) -> Any:
        context = chromium.new_context(
            base_url=centre.by_name, viewport={"width": width, "height": 900}, reduced_motion="reduce", **options
        )
        context.set_default_timeout(10_000)
        watch(context, centre.by_name, faults)
        if as_:
            centre.enter(context, as_)
        made.append(context)
        return context

    yield new
    for context in made:
        context.close()
    assert faults == []


def watch(context: Any, own: str, faults: list[str]) -> None:
    """Add to `faults` what the pages of a context do wrong. `own`: the URL of the server."""
    context.on("request", lambda request: _look_at_request(request.url, own, faults))
    context.on("console", lambda message: _look_at_console(message, faults))
    context.on("weberror", lambda error: faults.append(f"script: {error.error}"))


def _look_at_request(url: str, own: str, faults: list[str]) -> None:
    if urlsplit(url).scheme not in ("data", "blob") and not url.startswith(f"{own}/"):
        faults.append(f"external request: {url}")


def _look_at_console(message: Any, faults: list[str]) -> None:
    """Refusals of the Content-Security-Policy are errors of the console; so are failed scripts."""
    if "Content Security Policy" in message.text or "Content-Security-Policy" in message.text:
        faults.append(message.text)


@pytest.fixture
def page(contexts: NewContext) -> Any:
    """A page of a browser in which nobody is signed in."""
    return contexts().new_page()


def violations(page: Any) -> list[str]:
    """Return what axe-core finds wrong on a page: WCAG 2.2 A and AA, and best practices."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]
