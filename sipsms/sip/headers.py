"""Header fields: names (long, compact, pretty), lists, parameters and structured values.

Pure. Values are `str` decoded as UTF-8 with surrogateescape, so that any byte a phone sends survives a round trip.
Every regular expression must be linear in its input: no two neighbouring repeats may match the same character.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sipsms.sip.uri import ParseError, Uri, parse_uri

# RFC 3261 section 7.3.3 and the IANA registry.
COMPACT = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition",
    "e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported",
    "l": "content-length", "m": "contact", "o": "event", "r": "refer-to", "s": "subject", "t": "to",
    "u": "allow-events", "v": "via", "x": "session-expires", "y": "identity",
}  # fmt: skip

_PRETTY = {
    "call-id": "Call-ID", "cseq": "CSeq", "www-authenticate": "WWW-Authenticate", "mime-version": "MIME-Version",
    "x-sms-to": "X-SMS-To", "x-sms-id": "X-SMS-ID", "min-expires": "Min-Expires", "sip-etag": "SIP-ETag",
}  # fmt: skip

KNOWN_NAMES: dict[str, str] = {}  # spelling as received -> canonical name; filled with known spellings only, so bounded
for _name in (
    "Via From To Call-ID CSeq Max-Forwards Contact Expires Content-Length Content-Type Authorization "
    "User-Agent Proxy-Authorization Supported Allow Accept Date Path Route Require Proxy-Require X-SMS-To "
    "Subject Server Content-Encoding WWW-Authenticate Proxy-Authenticate Min-Expires Warning Retry-After "
    "Event "
).split():
    KNOWN_NAMES[_name] = KNOWN_NAMES[_name.lower()] = _name.lower()
for _short, _long in COMPACT.items():
    KNOWN_NAMES[_short] = KNOWN_NAMES[_short.upper()] = _long

MAX_LIST = 500  # commas in one header field
TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]+"
_TOKEN = re.compile(TOKEN + r"\Z")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LIST_PART = re.compile(r'"(?:[^"\\]|\\.)*"|<[^<>]*>|[^",<]+', re.S)
_PARAM = re.compile(
    r"[ \t\r\n]*;[ \t\r\n]*(" + TOKEN + r")[ \t\r\n]*(?:=[ \t\r\n]*(" + _QUOTED + r"|[^;,\"\s<>]+)[ \t\r\n]*)?", re.S
)
_PLAIN_PARAMS = re.compile(r"(?:;" + TOKEN + r"(?:=[^;,\"\s<>=]+)?)+\Z")
_NAME_ADDR = re.compile(r'(?:("(?:[^"\\]|\\.)*")[ \t]*|([^"<>,;]*))<([^<>"\s]*)>([ \t]*(?:;.*)?)\Z', re.S)
_ADDR_SPEC = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*:[^<>\"\s,;?]+)[ \t]*((?:;.*)?)\Z", re.S)
_VIA = re.compile(
    r"SIP[ \t]*/[ \t]*2\.0[ \t]*/[ \t]*(" + TOKEN + r")[ \t]+"
    r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)[ \t]*(?::[ \t]*([0-9]{1,5}))?([ \t]*;.*)?[ \t]*\Z",
    re.S | re.I,
)
_CSEQ = re.compile(r"([0-9]{1,10})[ \t]+(" + TOKEN + r")\Z")


def canonical(name: str) -> str:
    """Return a header name in lower case and in its long form.

    Raises ParseError if it is not a token.
    """
    known = KNOWN_NAMES.get(name)
    if known is not None:
        return known
    name = name.rstrip(" \t")
    if not _TOKEN.match(name):
        raise ParseError(f"malformed header name {name[:40]!r}")
    lower = name.lower()
    return COMPACT.get(lower, lower)


def pretty(name: str) -> str:
    """Return the usual spelling of a canonical name."""
    return _PRETTY.get(name) or name.title()


def split_list(value: str) -> list[str]:
    """Split a comma-separated value; commas in quotes and angle brackets do not separate.

    Raises ParseError.
    """
    if "," not in value:
        return [value.strip(" \t")]
    if value.count(",") > MAX_LIST:
        raise ParseError(f"a list of more than {MAX_LIST} values")
    parts, start, pos = [], 0, 0
    while pos < len(value):
        if value[pos] == ",":
            parts.append(value[start:pos].strip(" \t"))
            start = pos = pos + 1
            continue
        match = _LIST_PART.match(value, pos)
        if not match:
            raise ParseError("unbalanced quote or angle bracket")
        pos = match.end()
    parts.append(value[start:].strip(" \t"))
    return parts


def parse_params(text: str) -> dict[str, str | None]:
    """Parse `;name=value;flag` to {"name": "value", "flag": None}. Raises ParseError.

    Names are in lower case, quotes are removed.
    """
    params: dict[str, str | None] = {}
    if _PLAIN_PARAMS.match(text):  # the usual kind: no spaces, no quotes
        for part in text[1:].split(";"):
            name, equals, value = part.partition("=")
            params[name.lower()] = value if equals else None
        return params
    pos, end = 0, len(text)
    while pos < end:
        match = _PARAM.match(text, pos)
        if not match:
            if not text[pos:].strip():
                break
            raise ParseError(f"malformed parameter: {text[pos : pos + 40]!r}")
        name, value = match.groups()
        params[name.lower()] = unquote_string(value) if value and value[0] == '"' else value
        pos = match.end()
    return params


def unquote_string(text: str) -> str:
    """Return the content of a quoted-string (RFC 3261 section 25.1), or other text unchanged."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    return "\\".join(
        part.replace("\\", "") for part in inner.split("\\\\")
    )  # no call for each pair: a value can have thousands of pairs


def quote_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class NameAddr(NamedTuple):
    """To, From, Contact, Route or Path value.

    `uri` is the text between the brackets, exactly as written.
    """

    display: str
    uri: str
    params: dict[str, str | None]

    @property
    def tag(self) -> str:
        return self.params.get("tag") or ""

    def parsed(self) -> Uri:
        return parse_uri(self.uri)


def parse_name_addr(value: str) -> NameAddr:
    """Parse a name-addr or addr-spec with its parameters. Raises ParseError."""
    value = value.strip(" \t")
    match = _NAME_ADDR.match(value)
    if match:
        quoted, bare, uri, rest = match.groups()
        if not uri:
            raise ParseError("empty <>")
        display = unquote_string(quoted) if quoted is not None else (bare or "").strip(" \t")
        return NameAddr(display, uri, parse_params(rest))
    match = _ADDR_SPEC.match(value)
    if not match:
        raise ParseError(f"malformed address: {value[:60]!r}")
    return NameAddr("", match[1], parse_params(match[2]))


class Via(NamedTuple):
    transport: str
    host: str
    port: int
    params: dict[str, str | None]

    @property
    def branch(self) -> str:
        return self.params.get("branch") or ""


def parse_via(value: str) -> Via:
    """Parse one Via value. Raises ParseError."""
    match = _VIA.match(value.strip(" \t"))
    if not match:
        raise ParseError(f"malformed Via: {value[:60]!r}")
    transport, host, port, rest = match.groups()
    number = int(port) if port else 0
    if number > 65535:
        raise ParseError("Via port out of range")
    return Via(transport.upper(), host.lower(), number, parse_params(rest) if rest else {})


def parse_cseq(value: str) -> tuple[int, str]:
    """Parse CSeq to (number below 2**31, method) (RFC 3261 section 8.1.1.5). Raises ParseError."""
    match = _CSEQ.match(value)
    if not match:
        raise ParseError(f"malformed CSeq: {value[:40]!r}")
    number = int(match[1])
    if number >= 2**31:
        raise ParseError("CSeq number not below 2**31")
    return number, match[2]


def parse_media_type(value: str) -> tuple[str, dict[str, str | None]]:
    """Parse Content-Type to ("text/plain", {"charset": "utf-8"}). Raises ParseError."""
    kind, _, rest = value.partition(";")
    kind = "".join(kind.split()).lower()
    if kind.count("/") != 1:
        raise ParseError(f"malformed Content-Type: {value[:40]!r}")
    return kind, parse_params(";" + rest) if rest.strip() else {}
