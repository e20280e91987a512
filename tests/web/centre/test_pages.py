"""Pages: whole or in part, words after a change, problems."""

from __future__ import annotations

from tests.support.centre.site import CentreSite


def test_htmx_gets_the_content_alone(centre: CentreSite) -> None:
    ana = centre.visitor("ana")
    whole, part = ana.get("/people"), ana.get("/people", HX_Request="true", HX_Request_Type="partial")
    assert whole.headers["vary"] == part.headers["vary"] == "Cookie, HX-Request, HX-Request-Type"
    assert "<nav" in whole.text
    assert "<nav" not in part.text
    assert "<title>People · sipsms</title>" in part.text
    assert part.all(r"<h1>([^<]+)</h1>") == whole.all(r"<h1>([^<]+)</h1>") == ["People"]


def test_htmx_is_sent_on_by_its_header(centre: CentreSite) -> None:
    ana = centre.visitor("ana")
    answer = ana.post("/profile/look", {"HX-Request": "true"}, tz="", lang="en", theme="")
    assert (answer.status, answer.headers["hx-redirect"]) == (204, "/profile?said=look")
    assert centre.visitor().get("/people", HX_Request="true").status == 401


def test_the_side_bar_has_the_pages_of_the_role(centre: CentreSite) -> None:
    links = {name: centre.visitor(name).get("/more").all(r'<a class="row" href="([^"]+)"') for name in ("ana", "luis")}
    assert links["ana"][-1] == links["luis"][-1] == "/profile"
    assert "/people" in links["ana"]
    assert "/people" not in links["luis"]


def test_unknown_pages_say_so(centre: CentreSite) -> None:
    page = centre.visitor("luis").get("/people")
    assert (page.status, "There is no such page" in page.said) == (404, True)
