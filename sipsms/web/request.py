"""Reading of API requests: credentials, client address, bounded body, fields."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sipsms.accounts.auth import DenialCode, Denied
from sipsms.core.charset import Pairs, decode_or_mark, for_json, form

MAX_PART: Final = 3 * 2**20  # bytes of a multipart part: 1.3 MB in base64 is 1.73 MB
MAX_FIELDS: Final = 100
MAX_VALUES: Final = 20_000  # commas and brackets in JSON, including those within texts
MAX_BODY: Final = 3 * MAX_PART + 2**20  # bytes: three files
MAX_ENCODED: Final = 6 * 2**20  # bytes of a urlencoded form: three files in base64
MAX_ESCAPES: Final = 200_000  # %XX escapes in a form: each costs a separate step to decode
_MAX_PART_HEAD: Final = 4096  # bytes of a part's header fields in which a charset is looked for
_PART_NAME: Final = re.compile(rb'[; ]name="([^"]*)"', re.IGNORECASE)
_PART_CHARSET: Final = re.compile(rb'content-type:[^\r\n]*;\s*charset="?([A-Za-z0-9_.:\-]+)', re.IGNORECASE)
SMALL_BODY: Final = 256 * 1024
PATIENCE: Final = 60.0  # seconds to receive a body
SILENCE: Final = 10.0  # seconds without data
FREE: Final = 64 * 1024  # bytes of a body that are always accepted, however many large bodies are being read


class BadRequest(Exception):
    """A request that cannot be read. The text says why."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def route(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    """Return a route for GET and POST, without HEAD: link previews would send messages."""
    found = Route(path, endpoint, methods=["GET", "POST"])
    found.methods = {"GET", "POST"}
    return found


def address_of(request: Request) -> str:
    """Return the client's address; an IPv4 address in its own form on any kind of socket."""
    return request.client.host.removeprefix("::ffff:") if request.client else ""


def basic_of(request: Request) -> tuple[str, str]:
    """Return (user, password) of HTTP Basic (RFC 7617); empty texts if absent or invalid.

    Browsers add Basic credentials by themselves, also for pages of other sites. Raises Denied for such a page.
    """
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    if is_from_another_site(request):
        raise Denied(DenialCode.PAGE, "not from a page of another site")
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password


def is_from_another_site(request: Request) -> bool:
    """Return True if a browser says so: by Sec-Fetch-Site (W3C Fetch Metadata), or by an Origin (RFC 6454) that is not
    the host it asks. Other programs send neither."""
    site = request.headers.get("sec-fetch-site", "").lower()
    if site:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    hosts = (request.headers.get("host", ""), request.headers.get("x-forwarded-host", ""))
    return origin is not None and origin.lower().partition("://")[2] not in [one.lower() for one in hosts if one]


def bearer_of(request: Request) -> str:
    """Return the bearer token (RFC 6750); empty if absent."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


class Room:
    """Memory for the bodies of one API, so that strangers cannot fill the machine's."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._share = size // 4
        self._of: Counter[str] = Counter()  # bytes by customer or address

    @contextmanager
    def held(self, who: str = "") -> Iterator[Held]:
        """Reserve memory for one request, at most a quarter for a customer or address; release it at the end."""
        held = Held(self, who)
        try:
            yield held
        finally:
            self._left += held.taken
            self._of[who] -= held.taken
            if self._of[who] <= 0:
                del self._of[who]

    def take(self, size: int, who: str) -> None:
        """Take memory. Raises BadRequest."""
        if size > self._left or (who and self._of[who] + size > self._share):
            raise BadRequest("too much at once, try again later", 503)
        self._left -= size
        self._of[who] += size


class Held:
    def __init__(self, room: Room, who: str) -> None:
        self._room = room
        self._who = who
        self.taken = 0

    def take(self, size: int) -> None:
        """Take memory. Raises BadRequest."""
        self._room.take(size, self._who)
        self.taken += size


async def body_of(request: Request, limit: int = MAX_BODY, held: Held | None = None) -> bytes:
    """Read the body, up to the limit and the available memory. Raises BadRequest."""
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:12]) > limit:
        raise BadRequest("the body is too large", 413)
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in _chunks(request):
                body += chunk
                if held is not None and len(body) > FREE:
                    held.take(min(len(chunk), len(body) - FREE))
                if len(body) > limit:
                    raise BadRequest("the body is too large", 413)
    except TimeoutError:
        raise BadRequest("the body did not come in time", 408) from None
    except ClientDisconnect:
        raise BadRequest("the client went away") from None
    return bytes(body)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield parts of the body. Raises TimeoutError after `SILENCE` seconds without data."""
    stream = request.stream()
    while True:
        async with asyncio.timeout(SILENCE):
            try:
                chunk = await anext(stream)
            except StopAsyncIteration:
                return
        yield chunk


Fields = dict[str, list[Any]]


async def fields_of(request: Request, *, limit: int = MAX_BODY, held: Held | None = None) -> Fields:
    """Return the fields of query and body: name -> values in order.

    A field of the body replaces the query's. The body may be a form of either kind or a JSON object, whose values keep
    their types. Files of multipart are bytes. Raises BadRequest.
    """
    found: Fields = {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method not in ("GET", "HEAD"):
        if kind == "multipart/form-data":
            await _add_form(request, found, limit, held)
        elif kind == "application/x-www-form-urlencoded":
            _add_urlencoded(await body_of(request, limit, held), charset_of(request), found)
        elif kind == "application/json" or kind.endswith("+json"):
            _add_json(await body_of(request, limit, held), found, charset_of(request))
        elif (body := await body_of(request, limit, held)).removeprefix(BOM_UTF8).lstrip()[:1] == b"{":
            _add_json(body, found)
    for name, value in _query(request):
        if name not in found or request.method in ("GET", "HEAD"):
            found.setdefault(name, []).append(value)
    if len(found) > MAX_FIELDS:
        raise BadRequest("too many fields", 413)
    return found


def query_of(request: Request) -> Fields:
    """Return the fields of the query, for a request whose body cannot be read."""
    found: Fields = {}
    for name, value in _query(request):
        found.setdefault(name, []).append(value)
    return found


def _query(request: Request) -> Pairs:
    return form(request.scope["query_string"])


def charset_of(request: Request) -> str:
    """Return the charset of the content type; empty if none is declared."""
    _, options = parse_options_header(request.headers.get("content-type"))
    return options.get(b"charset", b"").decode("latin-1")


def _add_urlencoded(body: bytes, charset: str, found: Fields) -> None:
    """Add the fields of a form, if it is small: ten megabytes of `&` would block the loop for seconds."""
    if len(body) > MAX_ENCODED or body.count(b"%") > MAX_ESCAPES:
        raise BadRequest("the body is too large", 413)
    try:
        pairs = form(body, charset, MAX_FIELDS)
    except ValueError:
        raise BadRequest("too many fields") from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)


def _add_json(body: bytes, found: Fields, charset: str = "") -> None:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise BadRequest("too many values")
    for name, value in json_object(body, charset).items():
        found[name] = value if isinstance(value, list) else [value]


def json_object(body: bytes, charset: str = "") -> Mapping[str, Any]:
    """Return the JSON object of a body, in Unicode if no other charset is declared. Raises BadRequest."""
    try:
        value = json.loads(for_json(body, charset))
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object")
    return value


async def _add_form(request: Request, found: Fields, limit: int, held: Held | None) -> None:
    """Add the fields of a multipart form, whose body is first read within its limits."""
    body = await body_of(request, limit, held)
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary", b"")
    # A request of our own, read as one character for each octet: some of Python's codecs take minutes for a megabyte.
    kind = b'multipart/form-data; charset=latin-1; boundary="' + boundary.replace(b'"', b"") + b'"'
    own = Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]})
    own._body = body  # `form` reads this instead of a stream
    try:
        parts = await own.form(max_files=MAX_FIELDS, max_fields=MAX_FIELDS, max_part_size=MAX_PART)
    except (MultiPartException, HTTPException) as error:
        reason = str(getattr(error, "message", None) or getattr(error, "detail", None) or "the form cannot be read")
        raise BadRequest(reason, 413 if "maximum size" in reason else 400) from None
    except (ValueError, KeyError, UnicodeError, AssertionError):
        raise BadRequest("the form cannot be read") from None
    charsets = _part_charsets(body, boundary)
    default = charset_of(request) or _octets(parts.get("_charset_", "")).decode("ascii", "replace")
    async with own.form():
        for name, value in parts.multi_items():
            charset = charsets.get(name, default)
            content = await value.read() if isinstance(value, UploadFile) else decode_or_mark(_octets(value), charset)
            found.setdefault(decode_or_mark(_octets(name), default), []).append(content)


def _octets(text: str | UploadFile) -> bytes:
    return text.encode("latin-1", "replace") if isinstance(text, str) else b""


def _part_charsets(body: bytes, boundary: bytes) -> dict[str, str]:
    """Return the charsets that parts of a multipart form declare themselves, by the names of their fields."""
    found: dict[str, str] = {}
    if b"charset" not in body.lower():
        return found
    for part in body.split(b"--" + boundary, MAX_FIELDS + 1)[1:]:
        head = part[:_MAX_PART_HEAD].partition(b"\r\n\r\n")[0]
        named, declared = _PART_NAME.search(head), _PART_CHARSET.search(head)
        if named and declared:
            found[named[1].decode("latin-1")] = declared[1].decode("latin-1")
    return found


def first(fields: Fields, *names: str) -> Any:
    """Return the first value that is not empty, in the order of the names; else an empty text."""
    for name in names:
        for value in fields.get(name, ()):
            if value not in (None, "", b""):
                return value
    return ""


def text(fields: Fields, *names: str) -> str:
    """Return the first value as text: JSON numbers are converted, other types count as empty."""
    value = first(fields, *names)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return str(value)
