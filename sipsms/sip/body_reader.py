"""Reader of a MESSAGE's body: text to deliver, a notification to drop, or a refusal. Pure.

Clients send more than text: RFC 3994 typing notifications, RFC 5438 delivery notifications (IMDN), RFC 3862 CPIM
wrappers, deflated bodies. A typing notification must never become an SMS, because somebody pays for the SMS.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from sipsms.core.charset import decode, is_known
from sipsms.sip.headers import parse_media_type, parse_name_addr
from sipsms.sip.message import Request
from sipsms.sip.uri import ParseError, parse_uri

ACCEPT = "text/plain, message/cpim, multipart/mixed, application/im-iscomposing+xml, message/imdn+xml"
_NOTICES = frozenset(("application/im-iscomposing+xml", "message/imdn+xml"))
MAX_INFLATED = 64 * 1024
_DEPTH = 3
_MESSAGE_ID = re.compile(r"[!-~]{1,128}\Z")  # RFC 5438 section 11.1.7: a token; any other value gets no IMDN
_CPIM_KNOWN = frozenset(
    "from to cc datetime subject ns require imdn.message-id imdn.disposition-notification imdn.original-to".split()
)


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a message.

    `author`: user part of the CPIM From header. `notify`: imdn.Message-ID of the requested delivery notification. Both
    are empty if absent.
    """

    text: str
    author: str = ""
    notify: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Notification (typing or IMDN) that is answered with 200 and dropped."""

    kind: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusal of the body: SIP status, reason, and a header field for the response."""

    status: int
    why: str
    header: tuple[str, str] | None = None


Content = Text | Notice | Refused


def read(request: Request) -> Content:
    """Return the content of a MESSAGE request."""
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
    for wbits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # with and without the zlib header: clients send both
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
        return _text(body, params.get("charset") or "utf-8")
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
    if not is_known(charset):
        return _unsupported(f"text/plain;charset={charset}")
    try:
        return Text(decode(body, charset))
    except UnicodeDecodeError:
        return Refused(400, f"the text is not valid {charset}")


def _split(entity: bytes) -> tuple[dict[str, str], bytes]:
    """Return the MIME header fields and the content."""
    head, _, body = entity.partition(b"\r\n\r\n")
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers, body


def _cpim(body: bytes, depth: int) -> Content:
    """Read a CPIM wrapper (RFC 3862) with the IMDN header fields of RFC 5438 section 6.

    A wrapper has message header fields, an empty line, MIME header fields, an empty line and the content.
    """
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
    """Return the user part: `Alice <im:alice@example.net>` -> alice (RFC 3862 section 4.1).

    Returns "" if From is missing.
    """
    if not value:
        return ""
    uri = parse_name_addr(value).uri
    scheme, _, rest = uri.partition(":")
    if scheme.lower() == "tel":
        return rest
    return parse_uri("sip:" + rest if scheme.lower() in ("im", "pres") else uri).username


def _multipart(body: bytes, boundary: str, depth: int) -> Content:
    """Return the first text part, or a refusal if there is no text part."""
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
