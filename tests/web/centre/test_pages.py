"""Pages: whole or in part, words after a change, problems."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.support.centre.site import CORPUS, CentreSite


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


@pytest.mark.parametrize("text", CORPUS)
def test_texts_of_others_are_escaped_in_every_field(centre: CentreSite, text: str) -> None:
    op, ana = centre.visitor("op"), centre.visitor("ana")
    fields = dict.fromkeys(("name", "email", "customer", "did", "reason", "code", "tz", "next", "totp_password"), text)
    answers = [
        op.post("/people", **{**fields, "role": "customer"}), op.post("/people", **{**fields, "role": "user"}),
        ana.post("/people", **{**fields, "role": "user"}), op.get(f"/clients?q={quote(text)}&after={quote(text)}"),
        ana.post("/profile/look", **{**fields, "lang": "en", "theme": ""}), op.get(f"/op/audit?before={quote(text)}"),
        centre.visitor().post("/login", **{**fields, "password": text}),
        centre.visitor().get(f"/login?next={quote(text)}"),
        centre.visitor().get(f"/password/{quote(text, safe='')}"), ana.post("/people", csrf="old", reason=text),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status < 500
        assert text not in answer.text


def test_texts_in_the_audit_log_are_escaped(centre: CentreSite) -> None:
    rita = centre.visitor("rita", fresh=True)
    for text in CORPUS:
        assert rita.post("/clients/acme/view-as", reason=text).status == 303
        assert rita.post("/view-as/end").status == 303
    log = centre.visitor("op").get("/op/audit")
    assert not [text for text in CORPUS if text in log.text]
    assert all(text in log.said or "<" in text for text in CORPUS)
    assert "&lt;script&gt;" in log.text
