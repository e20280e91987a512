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
from sipsms.sip.uri import ParseError, Uri, parse_uri

ACCEPT = "text/plain, message/cpim, multipart/mixed, application/im-iscomposing+xml, message/imdn+xml"
_NOTICES = frozenset(("application/im-iscomposing+xml", "message/imdn+xml"))
MAX_INFLATED = 64 * 1024
_DEPTH = 3
_MAX_PARTS = 8
_ONCE = frozenset(("from", "content-type", "content-transfer-encoding", "content-encoding"))  # in a wrapper or part
_FOLD = re.compile(r"\r\n[ \t]+")
_ENCRYPTED = frozenset(("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"))
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
    body = _decoded(request)
    if isinstance(body, Refused):
        return body
    try:
        return _content(request.get("content-type") or "text/plain", body, _DEPTH)
    except ParseError as error:
        return Refused(400, str(error))


def authors(request: Request) -> list[Uri] | Refused:
    """Return the author that each CPIM wrapper in a body names, at any depth and in any part.

    A body whose authors cannot be known is refused: an unknown encoding, a wrapper that cannot be read or is encrypted.
    Contents of other types name no author, whether they are known here or not.
    """
    body = _decoded(request)
    if isinstance(body, Refused):
        return body
    try:
        return _authors(request.get("content-type") or "text/plain", body, _DEPTH)
    except ParseError as error:
        return Refused(400, str(error))


def _authors(content_type: str, body: bytes, depth: int) -> list[Uri] | Refused:
    """Raises ParseError."""
    kind, params = parse_media_type(content_type)
    if kind in _NOTICES or not kind.startswith(("message/", "multipart/")):
        return _unsupported(kind) if kind in _ENCRYPTED else []
    if kind == "message/cpim":
        outer, inner = _split(body)
        found, parts = [_author_uri(outer["from"])] if "from" in outer else [], [inner]
    elif kind.startswith("multipart/") and kind not in _ENCRYPTED:
        found, parts = [], _parts(body, params.get("boundary") or "")
    else:
        return _unsupported(kind)
    if not depth:
        raise ParseError("too many wrappers in each other")
    for part in parts:
        headers, content = _split(part)
        inside = headers.get("content-type") or "text/plain"
        encoding = headers.get("content-transfer-encoding", "7bit").lower()
        if inside.lower().startswith(("message/", "multipart/")) and (
            encoding not in ("7bit", "8bit", "binary") or "content-encoding" in headers
        ):
            raise ParseError("an encoded wrapper (RFC 2045 section 6.4)")
        more = _authors(inside, content, depth - 1)
        if isinstance(more, Refused):
            return more
        found += more
    return found


def _decoded(request: Request) -> bytes | Refused:
    """Return the body without its Content-Encoding."""
    encoding = ",".join(request.headers.get("content-encoding", ())).strip().lower()
    if encoding in ("", "identity"):
        return request.body
    if encoding != "deflate":
        return Refused(
            415, f"Content-Encoding {encoding[:40]} is not supported", ("Accept-Encoding", "deflate, identity")
        )
    inflated = _inflate(request.body)
    return Refused(400, "the deflated body cannot be read, or is too large") if inflated is None else inflated


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
    """Return the MIME header fields and the content. Raises ParseError if two programs could read them differently."""
    if entity.startswith(b"\r\n"):
        return {}, entity[2:]
    head, _, body = entity.partition(b"\r\n\r\n")
    text = _FOLD.sub(" ", head.decode("utf-8", "replace"))
    headers: dict[str, str] = {}
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        name = name.strip().lower()
        if "\r" in line or "\n" in line or (name in headers and name in _ONCE):
            raise ParseError(f"a line end that is no CRLF, or more than one {name[:40]}")
        headers[name] = value.strip()
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
    return _author_uri(value).username if value else ""


def _author_uri(value: str) -> Uri:
    """Return the address in From; a number (tel:) is an address without host. Raises ParseError."""
    if value.count("<") > 1 or value.count(">") > 1:
        raise ParseError("more than one author")
    uri = parse_name_addr(value).uri
    scheme, _, rest = uri.partition(":")
    if scheme.lower() == "tel":
        return Uri("tel", rest, "")
    return parse_uri("sip:" + rest if scheme.lower() in ("im", "pres") else uri)


def _multipart(body: bytes, boundary: str, depth: int) -> Content:
    """Return the first text part, or a refusal if there is no text part."""
    result: Content = _unsupported("multipart/mixed without text/plain")
    for part in _parts(body, boundary):
        headers, content = _split(part)
        found = _content(headers.get("content-type") or "text/plain", content, depth - 1)
        if isinstance(found, Text):
            return found
    return result


def _parts(body: bytes, boundary: str) -> list[bytes]:
    """Return the parts of a multipart (RFC 2046 section 5.1.1).

    Raises ParseError if there are too many, or if two programs could see different ones.
    """
    if not boundary:
        raise ParseError("multipart without a boundary")
    delimiter = b"--" + boundary.encode("utf-8", "surrogateescape")
    whole = b"\r\n" + body
    pieces = whole.split(b"\r\n" + delimiter)[1:]
    lines = whole.replace(b"\r", b"\n").count(b"\n" + delimiter)
    ends = [n for n, piece in enumerate(pieces) if piece.startswith(b"--")]
    parts = pieces[: ends[0]] if ends else pieces
    if lines != len(pieces) or len(parts) > _MAX_PARTS or (ends and ends[0] != len(pieces) - 1):
        raise ParseError(f"a multipart of more than {_MAX_PARTS} parts, or with ambiguous ones")
    return [part.lstrip(b" \t").removeprefix(b"\r\n") for part in parts]
