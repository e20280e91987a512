"""Addresses of SMPP servers (S-073 to S-075). Pure.

`smpp://` and, with TLS, `ssmpp://[user:password@]host[:port]`. Customers write them for their DIDs, operators for
carriers. Hosts have one spelling, as in `core.ssrf`. User and password are percent-encoded if they hold one of `:/@%`.
An error must never quote a part of a URL, because the URL holds a password.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

MAX_URL: Final = 512
PLAIN, TLS = 2775, 3550  # default ports
_VISIBLE: Final = re.compile(r"[!-~]*")
_URL: Final = re.compile(
    r"(ssmpp|smpp)://(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::([0-9]{1,5}))?",
    re.I,
)
_ESCAPES: Final = re.compile(r"(?:[^%]|%[0-9a-fA-F]{2})*")


class SmppUrl(NamedTuple):
    """An SMPP server's address, taken apart."""

    tls: bool
    host: str  # in lower case; an IPv6 address without its brackets
    port: int
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Return a text for logs, without the password."""
        return f"SmppUrl({self.text})"

    @property
    def text(self) -> str:
        """The URL without its password."""
        user = f"{quote(self.username, safe='')}@" if self.username else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ssmpp' if self.tls else 'smpp'}://{user}{host}:{self.port}"


def smpp_url(text: str) -> SmppUrl:
    """Parse a URL. Raises ValueError, whose text is a sentence for the author of the URL."""
    if len(text) > MAX_URL:
        raise ValueError(f"the URL is longer than {MAX_URL} characters")
    if not _VISIBLE.fullmatch(text):
        raise ValueError("the URL has a space, a control character or a letter that is not ASCII")
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(_why_malformed(text))
    scheme, user, password, host, port = match.groups()
    tls = scheme.lower() == "ssmpp"
    number = int(port) if port is not None else TLS if tls else PLAIN
    if not 0 < number < 65536:
        raise ValueError(f"{port} is no port")
    return SmppUrl(tls, host.strip("[]").lower(), number, _decoded(user), _decoded(password))


def _why_malformed(text: str) -> str:
    scheme, colon, rest = text.partition("://")
    if not colon or scheme.lower() not in ("smpp", "ssmpp"):
        return "the URL does not begin with smpp:// or ssmpp://"
    if re.search(r"[/?#]", rest):
        return "the URL has a path behind the host (in a password, write / ? # @ as %2F %3F %23 %40)"
    return "the URL has no proper host name or port: it is smpp://[user:password@]host[:port]"


def _decoded(text: str | None) -> str:
    """Decode a name or password, visible ASCII as everything in a bind. Raises ValueError."""
    if not text:
        return ""
    decoded = unquote_to_bytes(text).decode("latin-1")
    if not _ESCAPES.fullmatch(text) or not _VISIBLE.fullmatch(decoded) or len(decoded) > 64:
        raise ValueError("user and password in the URL are up to 64 visible ASCII characters each, others as %40")
    return decoded


def without_password(text: str) -> str:
    """Return a URL that may be displayed; empty if it cannot be parsed."""
    try:
        found = smpp_url(text)
    except ValueError:
        return ""
    return re.sub(r"^([a-z]+://[^:@/]*):[^@]*@", r"\1:***@", text, flags=re.I) if found.password else text
