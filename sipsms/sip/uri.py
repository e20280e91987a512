"""SIP and SIPS URIs (RFC 3261 sections 19.1 and 25.1), and the schemes of other URIs. Pure.

A `Uri` keeps every part as written, because a registered contact must go back to the phone unchanged. Only the
comparison normalises host, scheme and escapes. Parsing is cached, because the same AORs are parsed again and again.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

MAX_URI = 1024

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_SIP = re.compile(
    r"(?:([^@<>\"\s]*)@)?"  # userinfo
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._\-]*[A-Za-z0-9_.])?)"  # host
    r"(?::([0-9]{1,5}))?"  # port
    r"((?:;[^?;<>\"\s]+)*)"  # parameters
    r"(\?[^<>\"\s]*)?\Z"  # headers
)
_USERINFO = re.compile(r"(?:[^%\x00-\x20\x7f]|%[0-9A-Fa-f]{2})+\Z")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# RFC 3261 19.1.4: these match only if both URIs have them (with equal values).
_PARAMS_BOTH = ("user", "ttl", "method", "maddr", "transport")


class ParseError(ValueError):
    """Violation of the grammar; the text names the part and the reason."""


class Uri(NamedTuple):
    """SIP or SIPS URI.

    `user` is still escaped, `host` is in lower case, `headers` has no question mark.
    """

    scheme: str
    user: str
    host: str
    port: int = 0
    params: tuple[tuple[str, str | None], ...] = ()
    headers: str = ""
    password: str = ""

    def __str__(self) -> str:
        userinfo = f"{self.user}:{self.password}" if self.password else self.user
        at = f"{userinfo}@" if userinfo else ""
        port = f":{self.port}" if self.port else ""
        params = "".join(f";{name}" if value is None else f";{name}={value}" for name, value in self.params)
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{at}{self.host}{port}{params}{headers}"

    @property
    def username(self) -> str:
        """User part with its escapes decoded."""
        return unquote(self.user, errors="surrogateescape") if "%" in self.user else self.user

    def param(self, name: str) -> str | None:
        """Return the value of a parameter; "" if it has no value, None if it is absent."""
        for key, value in self.params:
            if key.lower() == name:
                return value or ""
        return None


def scheme_of(text: str) -> str:
    match = _SCHEME.match(text)
    if not match:
        raise ParseError(f"URI without a scheme: {text[:60]!r}")
    return match[1].lower()


@lru_cache(maxsize=8192)
def parse_uri(text: str) -> Uri:
    """Parse a sip: or sips: URI. Raises ParseError for any other text."""
    if len(text) > MAX_URI:
        raise ParseError(f"URI longer than {MAX_URI} characters")
    scheme = scheme_of(text)
    if scheme not in ("sip", "sips"):
        raise ParseError(f"not a SIP URI: scheme {scheme}")
    match = _SIP.match(text, len(scheme) + 1)
    if not match:
        raise ParseError(f"malformed SIP URI: {text[:60]!r}")
    userinfo, host, port, params, headers = match.groups()
    user, _, password = (userinfo or "").partition(":")
    if userinfo is not None and not _USERINFO.match(userinfo):
        raise ParseError(f"malformed user part: {text[:60]!r}")
    if _BAD_ESCAPE.search(params) or (headers and _BAD_ESCAPE.search(headers)):
        raise ParseError(f"malformed escape: {text[:60]!r}")
    number = int(port) if port else 0
    if number > 65535:
        raise ParseError(f"port out of range: {number}")
    return Uri(scheme, user, host.lower(), number, _params(params), (headers or "")[1:], password)


def _params(text: str) -> tuple[tuple[str, str | None], ...]:
    if not text:
        return ()
    found: list[tuple[str, str | None]] = []
    for part in text[1:].split(";"):
        name, equals, value = part.partition("=")
        if not name:
            raise ParseError("URI parameter without a name")
        found.append((name, value if equals else None))
    return tuple(found)


def equal(a: Uri, b: Uri) -> bool:
    """Compare two URIs (RFC 3261 section 19.1.4)."""
    if (a.scheme, a.username, unquote(a.password), a.host, a.port) != (
        b.scheme,
        b.username,
        unquote(b.password),
        b.host,
        b.port,
    ):
        return False
    ours, theirs = _comparable(a.params), _comparable(b.params)
    if any((name in ours) != (name in theirs) for name in _PARAMS_BOTH):
        return False
    if any(theirs[name] != value for name, value in ours.items() if name in theirs):
        return False
    return _headers_key(a.headers) == _headers_key(b.headers)


def _comparable(params: tuple[tuple[str, str | None], ...]) -> dict[str, str]:
    return {unquote(name).lower(): unquote(value or "").lower() for name, value in params}


def _headers_key(headers: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in headers.split("&") if part)
    return sorted((unquote(name).lower(), unquote(value)) for name, _, value in pairs)
