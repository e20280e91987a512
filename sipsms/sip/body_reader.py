"""What a MESSAGE's body says: text to pass on, a notice to swallow, or something we cannot carry. Pure.

Clients send more than text (RFC 3994 typing notices, RFC 5438 delivery notices, RFC 3862 CPIM wrappers, deflated
bodies); a typing notice must never become an SMS that somebody pays for.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from sipsms.sip.headers import parse_media_type, parse_name_addr
from sipsms.sip.message import Request
from sipsms.sip.uri import ParseError, parse_uri

ACCEPT = "text/plain, message/cpim, multipart/mixed, application/im-iscomposing+xml, message/imdn+xml"
_NOTICES = frozenset(("application/im-iscomposing+xml", "message/imdn+xml"))
_CHARSETS = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "ascii": "ascii", "iso-8859-1": "latin-1"}
MAX_INFLATED = 64 * 1024
_DEPTH = 3
_MESSAGE_ID = re.compile(r"[!-~]{1,128}\Z")  # RFC 5438 section 11.1.7: a token; what is no such thing is not answered
_CPIM_KNOWN = frozenset(
    "from to cc datetime subject ns require imdn.message-id imdn.disposition-notification imdn.original-to".split()
)


@dataclass(frozen=True, slots=True)
class Text:
    """`author`: who wrote it, as a CPIM wrapper says (user part); `notify`: the imdn.Message-ID of what to report."""

    text: str
    author: str = ""
    notify: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Taken and dropped: answered with 200."""

    kind: str


@dataclass(frozen=True, slots=True)
class Refused:
    status: int
    why: str
    header: tuple[str, str] | None = None


Content = Text | Notice | Refused


def read(request: Request) -> Content:
    """The content of a MESSAGE request."""
    body = request.body
    encoding = request.get("content-encoding").strip().lower()
    if encoding == "deflate":
        inflated = _inflate(body)
        if inflated is None:
            return Refused(400, "the deflated body cannot be read, or is too large")
        body = inflated
    elif encoding not in ("", "identity"):
        return Refused(
            415, f"Content-Encoding {encoding[:40]} is not supported", ("Accept-Encoding", "deflate, identity")
        )
    return _content(request.get("content-type") or "text/plain", body, _DEPTH)


def _inflate(body: bytes) -> bytes | None:
    for wbits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # with and without the zlib header: both are in use
        inflater = zlib.decompressobj(wbits)
        try:
            data = inflater.decompress(body, MAX_INFLATED + 1)
        except zlib.error:
            continue
        return data if len(data) <= MAX_INFLATED and inflater.eof else None
    return None


def _content(content_type: str, body: bytes, depth: int) -> Content:
    try:
        kind, params = parse_media_type(content_type)
    except ParseError as error:
        return Refused(400, str(error))
    if kind == "text/plain":
        return _text(body, (params.get("charset") or "utf-8").lower())
    if kind in _NOTICES:
        return Notice(kind)
    if depth and kind == "message/cpim":
        return _cpim(body, depth)
    if depth and kind == "multipart/mixed":
        return _multipart(body, params.get("boundary") or "", depth)
    return _unsupported(kind)


def _unsupported(kind: str) -> Refused:
    return Refused(415, f"{kind[:60]} cannot be sent as SMS, text/plain can", ("Accept", ACCEPT))


def _text(body: bytes, charset: str) -> Content:
    codec = _CHARSETS.get(charset)
    if codec is None:
        return _unsupported(f"text/plain;charset={charset}")
    try:
        return Text(body.decode(codec))
    except UnicodeDecodeError:
        return Refused(400, f"the text is not valid {charset}")


def _split(entity: bytes) -> tuple[dict[str, str], bytes]:
    """MIME header fields and content."""
    head, _, body = entity.partition(b"\r\n\r\n")
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers, body


def _cpim(body: bytes, depth: int) -> Content:
    """RFC 3862: message headers, empty line, MIME headers, empty line, content; RFC 5438 section 6 in its headers."""
    outer, inner = _split(body)
    if not inner:
        return Refused(400, "a CPIM wrapper without content")
    required = {name.strip().lower() for name in outer.get("require", "").split(",") if name.strip()}
    if required - _CPIM_KNOWN:
        return Refused(
            415, f"CPIM header {min(required - _CPIM_KNOWN)[:40]} is required and not known", ("Accept", ACCEPT)
        )
    headers, content = _split(inner)
    found = _content(headers.get("content-type") or "text/plain", content, depth - 1)
    if not isinstance(found, Text):
        return found
    try:
        author = _author(outer.get("from", ""))
    except ParseError as error:
        return Refused(400, f"CPIM From: {error}")
    wanted = {
        part.partition(";")[0].strip().lower() for part in outer.get("imdn.disposition-notification", "").split(",")
    }
    name = outer.get("imdn.message-id", "")
    return Text(found.text, author, name if "positive-delivery" in wanted and _MESSAGE_ID.match(name) else "")


def _author(value: str) -> str:
    """`Alice <im:alice@example.net>` -> alice (RFC 3862 section 4.1); "" where it is missing."""
    if not value:
        return ""
    uri = parse_name_addr(value).uri
    scheme, _, rest = uri.partition(":")
    if scheme.lower() == "tel":
        return rest
    return parse_uri("sip:" + rest if scheme.lower() in ("im", "pres") else uri).username


def _multipart(body: bytes, boundary: str, depth: int) -> Content:
    """The first part that is text."""
    if not boundary:
        return Refused(400, "multipart without a boundary")
    result: Content = _unsupported("multipart/mixed without text/plain")
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode("utf-8", "surrogateescape"))[1:9]:
        if part.startswith(b"--"):
            break
        headers, content = _split(part.lstrip(b" \t").removeprefix(b"\r\n"))
        found = _content(headers.get("content-type") or "text/plain", content, depth - 1)
        if isinstance(found, Text):
            return found
    return result
