"""The guard: headers, cookies, TLS, origins and tokens of forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipsms.web.centre.guard import HEADERS
from tests.support.centre.site import PASSWORD, CentreSite
from tests.support.centre.visitor import Page, Visitor


def test_every_answer_has_the_security_headers(centre: CentreSite) -> None:
    ana = centre.visitor("ana")
    answers = [
        ana.get("/login"), ana.get("/people"), ana.get("/op/audit"), ana.post("/people", csrf="x"),
        centre.visitor().get("/people"), ana.get("/password/x"),
    ]  # fmt: skip
    assert [answer.status for answer in answers] == [303, 200, 404, 403, 303, 404]
    for answer in answers:
        assert {name: answer.headers[name.lower()] for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def cross(port: int, cookie: str, token: str, **headers: str) -> Page:
    visitor = Visitor(port)
    visitor.cookies["sms"] = cookie
    given = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return visitor.ask("POST", "/profile/look", f"csrf={token}&tz=&lang=en&theme=".encode(), **given)


def test_forms_of_other_sites_are_refused_even_with_the_token(centre: CentreSite) -> None:
    ana = centre.visitor("ana")
    token = ana.get("/profile").csrf
    own, cookie = f"http://localhost:{centre.http_port}", ana.cookies["sms"]
    allowed = [{"Origin": own}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
    refused = [
        {}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": own},
    ]  # fmt: skip
    assert [cross(centre.http_port, cookie, token, **headers).status for headers in allowed] == [303] * 3
    assert [cross(centre.http_port, cookie, token, **headers).status for headers in refused] == [403] * 7
    assert cross(centre.http_port, cookie, "", Origin=own).status == 403
    assert cross(centre.http_port, cookie, "", Origin=own, **{"X-CSRF": token}).status == 303
    assert cross(centre.http_port, cookie, "", Origin=own, **{"X-CSRF": "ü"}).status == 403


def test_the_token_of_one_session_is_refused_in_another(centre: CentreSite) -> None:
    ana, luis = centre.visitor("ana"), centre.visitor("luis")
    token = luis.get("/profile").csrf
    assert ana.post("/profile/look", csrf=token, tz="", lang="en", theme="").status == 403


def test_a_refused_form_keeps_what_was_typed(centre: CentreSite) -> None:
    page = centre.visitor("op").post("/clients/acme/view-as", csrf="old", reason="a <long> reason")
    assert page.status == 403
    assert "a &lt;long&gt; reason</textarea>" in page.text


def test_over_tls_the_cookie_is_bound_to_the_host(centre: CentreSite) -> None:
    """The proxy on loopback is trusted and says what the browser uses."""
    visitor = Visitor(centre.http_port)
    visitor.host = "sms.example.net"
    headers = {
        "Origin": "https://sms.example.net", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7",
        "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    answer = visitor.ask("POST", "/login", f"name=ana&password={PASSWORD.replace(' ', '+')}".encode(), **headers)
    assert answer.status == 303
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-sms=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert visitor.get("/people", X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.7").status == 200
    visitor.cookies = {"sms": visitor.cookies["__Host-sms"]}
    assert visitor.get("/people", X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.7").status == 303


@pytest.mark.parametrize(
    ("host", "address"), [("sms.example.net", ""), ("localhost", "192.0.2.7"), ("127.0.0.1.evil.example", "")]
)
def test_without_tls_nobody_signs_in_but_on_this_host(centre: CentreSite, host: str, address: str) -> None:
    visitor = Visitor(centre.http_port)
    visitor.host = host
    page = visitor.get("/login", X_Forwarded_For=address)
    assert (page.status, "encrypted connection" in page.said) == (403, True)


def test_insecure_allows_plain_http(tmp_path: Path) -> None:
    with CentreSite(tmp_path, web={"centre": {"insecure": True}}) as site:
        visitor = Visitor(site.http_port)
        visitor.host = "sms.example.net"
        assert visitor.get("/login", X_Forwarded_For="192.0.2.7").status == 200


def test_the_public_address_says_that_the_proxy_has_tls(tmp_path: Path) -> None:
    with CentreSite(tmp_path, web={"url": "https://sms.example.net"}) as site:
        visitor = Visitor(site.http_port)
        visitor.host = "sms.example.net"
        answer = visitor.ask(
            "POST", "/login", f"name=ana&password={PASSWORD.replace(' ', '+')}".encode(),
            **{"Origin": "https://sms.example.net", "Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        assert answer.headers["set-cookie"].startswith("__Host-sms=")


def test_a_large_form_is_refused(centre: CentreSite) -> None:
    page = centre.visitor("ana").post("/people", name="x" * 70_000)
    assert page.status == 413


def test_without_the_centre_there_are_no_pages(tmp_path: Path) -> None:
    with CentreSite(tmp_path, web={"centre": {"enabled": False}}) as site:
        visitor = Visitor(site.http_port)
        assert visitor.get("/login").status == 404
        assert visitor.get("/").status == 200
