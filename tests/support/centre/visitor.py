"""An HTTP client as a browser without JavaScript: cookies, forms with their token, Origin. It follows no redirect."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlencode


@dataclass(frozen=True)
class Page:
    status: int
    headers: dict[str, str]  # names in lower case
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("location", "")

    @property
    def said(self) -> str:
        """The words of the page, without its markup."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" (?:content|value)="([0-9a-f]+)"', self.text)
        return found[1] if found else ""

    def all(self, pattern: str) -> list[str]:
        return [unescape(found) for found in re.findall(pattern, self.text)]


class Visitor:
    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"localhost:{port}"
        self.cookies: dict[str, str] = {}
        self.token = ""  # of the last page with a form

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Page:
        given = {name.replace("_", "-"): value for name, value in headers.items() if value}
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body or None, {"Host": self.host, **given})
            answer = connection.getresponse()
            page = Page(
                answer.status, {name.lower(): value for name, value in answer.getheaders()},
                answer.read().decode("utf-8", "replace"),
            )  # fmt: skip
            for line in answer.headers.get_all("set-cookie") or ():
                name, value = line.split(";")[0].split("=", 1)
                if "Max-Age=0" in line:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = value
        finally:
            connection.close()
        self.token = page.csrf or self.token
        return page

    def get(self, path: str, **headers: str) -> Page:
        return self.ask("GET", path, **headers)

    def post(self, path: str, /, _headers: dict[str, str] | None = None, **fields: str | list[str]) -> Page:
        """Send a form of a page of ours; the token is that of the last page, or of /profile."""
        if "csrf" not in fields:
            if not self.token and self.cookies:
                self.get("/more")
            fields["csrf"] = self.token
        headers = {"Origin": f"http://{self.host}", "Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(fields, doseq=True).encode(), **{**headers, **(_headers or {})})

    def sign_in(self, name: str, password: str, **more: str) -> Page:
        self.token = ""
        answer = self.post("/login", name=name, password=password, **more)
        if answer.location.startswith("/login/"):
            self.get(answer.location)
        return answer
