"""What every API door reads of a request: credentials, the client's address, a body of bounded size, its fields."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

MAX_PART: Final = 3 * 2**20  # of multipart: 1.3 MB in base64 is 1.73 MB
MAX_FIELDS: Final = 100
MAX_VALUES: Final = 20_000  # commas and brackets in JSON, those of texts, too
MAX_BODY: Final = 3 * MAX_PART + 2**20  # three files
MAX_ENCODED: Final = 6 * 2**20  # of a form in a body: three files in base64
MAX_ESCAPES: Final = 200_000  # of them %XX: each is a piece of its own while it is decoded
SMALL_BODY: Final = 256 * 1024
PATIENCE: Final = 60.0  # seconds that a body may take
SILENCE: Final = 10.0  # seconds without any of it
FREE: Final = 64 * 1024  # of a body that is always taken, however many large ones are under way


class BadRequest(Exception):
    """It cannot be read. The text says why."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def route(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    """For GET and POST; not for HEAD, which Starlette adds to GET: previews of links would send messages."""
    found = Route(path, endpoint, methods=["GET", "POST"])
    found.methods = {"GET", "POST"}
    return found


def address_of(request: Request) -> str:
    """As IPv4, if it is that, on whatever kind of socket."""
    return request.client.host.removeprefix("::ffff:") if request.client else ""


def basic_of(request: Request) -> tuple[str, str]:
    """(user, password) of HTTP Basic (RFC 7617); empty where there is none that can be read."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password


def bearer_of(request: Request) -> str:
    """The token of RFC 6750; empty if there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


class Room:
    """Memory for the bodies that a door reads, all together: a thousand strangers' must not fill the machine."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._share = size // 4
        self._of: Counter[str] = Counter()  # by customer or address

    @contextmanager
    def held(self, who: str = "") -> Iterator[Held]:
        """For one request: what it has taken is free again at the end. A customer or address has a quarter at most."""
        held = Held(self, who)
        try:
            yield held
        finally:
            self._left += held.taken
            self._of[who] -= held.taken
            if self._of[who] <= 0:
                del self._of[who]

    def take(self, size: int, who: str) -> None:
        """Raises BadRequest."""
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
        """Raises BadRequest."""
        self._room.take(size, self._who)
        self.taken += size


async def body_of(request: Request, limit: int = MAX_BODY, held: Held | None = None) -> bytes:
    """Reads no further than the limit, and than there is room. Raises BadRequest."""
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
    """Raises TimeoutError when nothing comes for a while."""
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
    """Query and body together, each name with all its values in order; the body wins where `first` asks for one.

    The body may be a form of either kind or a JSON object, whose values keep their types. Files of multipart are bytes.
    Raises BadRequest.
    """
    found: Fields = {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method not in ("GET", "HEAD"):
        if kind == "multipart/form-data":
            await _add_form(request, found, limit, held)
        elif kind == "application/x-www-form-urlencoded":
            _add_urlencoded(await body_of(request, limit, held), found)
        elif kind == "application/json" or kind.endswith("+json"):
            _add_json(await body_of(request, limit, held), found)
        elif (body := await body_of(request, limit, held)).lstrip()[:1] == b"{":
            _add_json(body, found)
    for name, value in request.query_params.multi_items():
        if name not in found or request.method in ("GET", "HEAD"):
            found.setdefault(name, []).append(value)
    if len(found) > MAX_FIELDS:
        raise BadRequest("too many fields", 413)
    return found


def query_of(request: Request) -> Fields:
    """The query alone, for a request whose body cannot be read."""
    found: Fields = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(value)
    return found


def _add_urlencoded(body: bytes, found: Fields) -> None:
    """Counted before it is taken apart: ten megabytes of `&` would hold up all others for seconds."""
    if len(body) > MAX_ENCODED or body.count(b"%") > MAX_ESCAPES:
        raise BadRequest("the body is too large", 413)
    try:
        pairs = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise BadRequest("too many fields") from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)


def _add_json(body: bytes, found: Fields) -> None:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise BadRequest("too many values")
    for name, value in json_object(body).items():
        found[name] = value if isinstance(value, list) else [value]


def json_object(body: bytes) -> Mapping[str, Any]:
    """Raises BadRequest."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(value, dict):
        raise BadRequest("the body is not a JSON object")
    return value


async def _add_form(request: Request, found: Fields, limit: int, held: Held | None) -> None:
    """The body is read first, within its limit; then the parser has only that."""
    body = await body_of(request, limit, held)
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary", b"")
    # A request of our own: the client's charset would be obeyed, and some of Python's take minutes for a megabyte.
    kind = b'multipart/form-data; boundary="' + boundary.replace(b'"', b"") + b'"'
    own = Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]})
    own._body = body  # what `form` reads instead of a stream
    try:
        form = await own.form(max_files=MAX_FIELDS, max_fields=MAX_FIELDS, max_part_size=MAX_PART)
    except (MultiPartException, HTTPException) as error:
        reason = str(getattr(error, "message", None) or getattr(error, "detail", None) or "the form cannot be read")
        raise BadRequest(reason, 413 if "maximum size" in reason else 400) from None
    except (ValueError, KeyError, UnicodeError, AssertionError):
        raise BadRequest("the form cannot be read") from None
    async with own.form():
        for name, value in form.multi_items():
            found.setdefault(name, []).append(await value.read() if isinstance(value, UploadFile) else value)


def first(fields: Fields, *names: str) -> Any:
    """The first value of the first of these names that is there and not empty; else an empty text."""
    for name in names:
        for value in fields.get(name, ()):
            if value not in (None, "", b""):
                return value
    return ""


def text(fields: Fields, *names: str) -> str:
    """The same as a text: numbers of JSON are written out, anything else is empty."""
    value = first(fields, *names)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return str(value)
