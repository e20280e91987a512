"""SIP messages: parsing, serialising, and framing on streams (RFC 3261 sections 7, 18.3, 20.14).

Pure. Parsing is strict where a lenient parser could let two programs read two different messages (line ends, lengths,
doubled headers), and lenient where phones are sloppy (spaces around colons, missing Content-Length on UDP). A request
that must be refused is returned inside `BadMessage` with all readable fields, so that the endpoint can answer it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sipsms.sip.headers import (
    KNOWN_NAMES,
    NameAddr,
    Via,
    canonical,
    parse_cseq,
    parse_name_addr,
    parse_via,
    pretty,
    split_list,
)
from sipsms.sip.uri import MAX_URI, ParseError, Uri, parse_uri, scheme_of

MAX_HEAD = 32 * 1024
MAX_HEADERS = 128
MAX_VIA = 70
MAX_CONTACTS = 100  # in one request
MAX_STREAM_MESSAGE = 65_536

REASONS = {
    100: "Trying", 200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
    408: "Request Timeout", 410: "Gone", 412: "Conditional Request Failed", 413: "Request Entity Too Large",
    414: "Request-URI Too Long", 415: "Unsupported Media Type",
    416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required", 423: "Interval Too Brief",
    430: "Flow Failed", 439: "First Hop Lacks Outbound Support", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
    489: "Bad Event", 500: "Server Internal Error", 501: "Not Implemented", 503: "Service Unavailable",
    505: "Version Not Supported", 513: "Message Too Large",
}  # fmt: skip

# More than one of these makes the message ambiguous (RFC 4475 section 3.3.8).
_SINGLE = frozenset("from to call-id cseq max-forwards content-length content-type expires date event".split())
_MANDATORY = ("to", "from", "call-id", "cseq")

_REQUEST_LINE = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]+) ([^ \t]+) (SIP/[0-9]+\.[0-9]+)\Z", re.I)
_STATUS_LINE = re.compile(r"SIP/2\.0 ([0-9]+) ?(.*)\Z", re.I | re.S)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_QUOTED_PAIR = re.compile(r"\\[\x00-\x7f]")


class BadMessage(Exception):
    """Message that must not be accepted.

    `message` holds the readable fields. For a request, `status` is the response's status.
    """

    def __init__(self, status: int, why: str, message: Message | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.message = message


class Message:
    """Common part of requests and responses: header values in order by canonical name, and a body."""

    __slots__ = ("body", "headers")

    def __init__(self, headers: dict[str, list[str]], body: bytes = b"") -> None:
        self.headers = headers
        self.body = body

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of a header (canonical name), or the default."""
        values = self.headers.get(name)
        return values[0] if values else default

    def listed(self, name: str) -> list[str]:
        """Return all values of a list header, split at commas. Raises ParseError."""
        values = self.headers.get(name)
        return [part for value in values for part in split_list(value) if part] if values else []


class Request(Message):
    """Request with its parsed header fields beside the raw fields.

    `vias` has one value for each Via, top first.
    """

    __slots__ = ("call_id", "cseq", "from_", "method", "target", "to", "uri", "user", "via", "vias")

    def __init__(self, method: str, uri: str, headers: dict[str, list[str]], body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri
        self.target: Uri | None = None  # the parsed Request-URI; None if its scheme is not SIP or SIPS
        self.vias: list[str] = []
        self.via: Via | None = None
        self.to: NameAddr | None = None
        self.from_: NameAddr | None = None
        self.call_id = ""
        self.cseq = 0
        self.user = ""  # the authenticated user; empty before the credentials are checked

    @property
    def to_is_sip(self) -> bool:
        return self.to is not None and self.to.uri.partition(":")[0].lower() in ("sip", "sips")

    def to_bytes(self) -> bytes:
        return _serialise(f"{self.method} {self.uri} SIP/2.0", self.headers, self.body)


class Response(Message):
    __slots__ = ("branch", "cseq", "method", "reason", "status", "via_count")

    def __init__(self, status: int, reason: str, headers: dict[str, list[str]], body: bytes = b"") -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason
        self.branch = ""
        self.via_count = 0
        self.cseq = 0
        self.method = ""

    def to_bytes(self) -> bytes:
        return _serialise(f"SIP/2.0 {self.status} {self.reason}", self.headers, self.body)


def _serialise(start: str, headers: dict[str, list[str]], body: bytes) -> bytes:
    lines = [start]
    for name, values in headers.items():
        if name != "content-length":
            label = pretty(name)
            lines.extend(f"{label}: {value}" for value in values)
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


# --- reading ---------------------------------------------------------------------------------------------------------


def parse_datagram(data: bytes, *, exact: bool = False) -> Request | Response | None:
    """Parse one UDP datagram (RFC 3261 section 18.3); None for keep-alives. Raises BadMessage.

    `exact`: no bytes may follow the body (RFC 7118 section 5).
    """
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    if not data:
        return None
    head, separator, body = data.partition(b"\r\n\r\n")
    message = parse_head(head if separator else head.removesuffix(b"\r\n"), terminated=bool(separator))
    length = _content_length(message)
    if length is not None:
        if length > len(body):
            raise BadMessage(400, f"Content-Length {length} is more than the datagram holds", message)
        if exact and length < len(body):
            raise BadMessage(400, "something stands behind the body", message)
        body = body[:length]
    message.body = body
    return message


def parse_head(head: bytes, *, terminated: bool = True) -> Request | Response:
    """Parse the start line and header fields, without the empty line and body. Raises BadMessage."""
    if len(head) > MAX_HEAD:
        raise BadMessage(513, f"header fields larger than {MAX_HEAD} bytes", _rescue(head[:MAX_HEAD]))
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    try:
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
            raise ParseError("line ends must be CRLF")
        message = _start(lines[0])
    except ParseError as error:
        raise BadMessage(400, str(error), _rescue(head)) from None
    try:
        headers = message.headers
        _read_headers(lines, headers)
        if not terminated:
            raise ParseError("no empty line after the header fields")
        if isinstance(message, Request):
            _check_request(message)
        else:
            _check_response(message)
    except ParseError as error:
        raise BadMessage(400, str(error), _complete(message, lines)) from None
    except BadMessage as error:
        error.message = _complete(message, lines)
        raise
    return message


def _start(line: str) -> Request | Response:
    if line[:4].upper() == "SIP/":
        match = _STATUS_LINE.match(line)
        if not match or len(match[1]) != 3 or not 100 <= int(match[1]) <= 699:
            raise ParseError("malformed status line")
        reason = match[2].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return Response(int(match[1]), reason, {})
    match = _REQUEST_LINE.match(line)
    if not match:
        raise ParseError("malformed request line: METHOD SP Request-URI SP SIP/2.0")
    request = Request(match[1], match[2], {})
    if match[3].upper() != "SIP/2.0":
        request.headers[":version"] = [match[3]]  # answered with 505 when all header fields are read
    return request


def _read_headers(lines: list[str], headers: dict[str, list[str]]) -> None:
    if len(lines) > MAX_HEADERS:
        lines = _unfold(lines)
        if len(lines) > MAX_HEADERS + 1:
            raise ParseError(f"more than {MAX_HEADERS} header fields")
    previous: list[str] = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        known = KNOWN_NAMES.get(name)
        if known is None:
            if line[:1] in (" ", "\t"):
                if not previous:
                    raise ParseError("the first header line is folded")
                previous[-1] = (previous[-1] + " " + line.strip(" \t")).strip(" \t")
                continue
            known = canonical(name) if colon else ""
        if not colon:
            raise ParseError(f"header line without a colon: {line[:40]!r}")
        if known in headers:
            previous = headers[known]
            previous.append(value.strip(" \t"))
        else:
            previous = headers[known] = [value.strip(" \t")]


def _unfold(lines: list[str]) -> list[str]:
    out: list[str] = []
    for line in lines:
        if line[:1] in (" ", "\t") and out:
            out[-1] += line
        else:
            out.append(line)
    return out


def _check_request(request: Request) -> None:
    headers = request.headers
    if ":version" in headers:
        version = headers.pop(":version")[0]
        raise BadMessage(505, f"{version} is not spoken here, SIP/2.0 is")
    if "via" in headers:
        request.vias = headers["via"] if _single(headers["via"]) else request.listed("via")
        request.via = parse_via(request.vias[0]) if request.vias else None
    for name, values in headers.items():
        if len(values) > 1 and name in _SINGLE:
            raise ParseError(f"more than one {pretty(name)}")
    for name in _MANDATORY:
        if name not in headers or not headers[name][0]:
            raise ParseError(f"{pretty(name)} is missing")
    if len(request.vias) > MAX_VIA:
        raise ParseError(f"more than {MAX_VIA} Via values")
    _check_values(request)


def _single(values: list[str]) -> bool:
    return len(values) == 1 and bool(values[0]) and "," not in values[0]


def _check_values(request: Request) -> None:
    if request.via is None:
        raise ParseError("Via is missing")
    if request.via.params.get("branch") == "z9hG4bK":
        raise ParseError("the branch is the bare magic cookie")
    request.to = _address(request, "to")
    request.from_ = _address(request, "from")
    request.call_id = request.headers["call-id"][0]
    request.cseq, method = parse_cseq(request.headers["cseq"][0])
    if method != request.method:
        # RFC 4475 3.1.2.18: a request with an unknown method gets 501.
        raise BadMessage(400 if request.method in KNOWN_METHODS else 501, "the method in CSeq differs")
    hops = request.headers.get("max-forwards")
    if hops and not (hops[0].isascii() and hops[0].isdigit() and len(hops[0]) <= 10 and int(hops[0]) <= 255):
        raise ParseError("Max-Forwards must be 0..255")
    if len(request.uri) > MAX_URI:
        raise BadMessage(414, f"Request-URI longer than {MAX_URI} characters")
    _check_target(request)
    if request.method in ("REGISTER", "INVITE", "SUBSCRIBE") and "contact" in request.headers:
        contacts = request.listed("contact")
        if len(contacts) > MAX_CONTACTS:
            raise ParseError(f"more than {MAX_CONTACTS} Contact values")
        for contact in contacts:
            if contact != "*":
                parse_name_addr(contact)


def _check_target(request: Request) -> None:
    """Parse a SIP Request-URI, which must have no headers part (RFC 3261 section 19.1.1).

    The server refuses other schemes than SIP.
    """
    if request.uri[0] == "<":
        raise ParseError("Request-URI in angle brackets")
    if scheme_of(request.uri) in ("sip", "sips"):
        request.target = parse_uri(request.uri)
        if request.target.headers:
            raise ParseError("header fields in the Request-URI")


def _address(request: Request, name: str) -> NameAddr:
    value = request.headers[name][0]
    if not value.isprintable() and _CONTROL.search(value) and _CONTROL.search(_QUOTED_PAIR.sub("", value)):
        raise ParseError(f"control character in {pretty(name)}")
    try:
        return parse_name_addr(value)
    except ParseError as error:
        raise ParseError(f"{pretty(name)}: {error}") from None


KNOWN_METHODS = frozenset(
    "REGISTER MESSAGE OPTIONS SUBSCRIBE NOTIFY PUBLISH INVITE ACK BYE CANCEL INFO REFER UPDATE PRACK".split()
)


def _check_response(response: Response) -> None:
    vias = response.listed("via")
    if not vias:
        raise ParseError("Via is missing")
    response.via_count = len(vias)
    response.branch = parse_via(vias[0]).branch
    response.cseq, response.method = parse_cseq(response.get("cseq"))


def _rescue(head: bytes) -> Request | None:
    """Read the readable fields of a message with a bad start line or line ends.

    The result lets the endpoint answer the request.
    """
    lines = head.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", " ").split("\n")
    while lines and not lines[0].strip():
        lines.pop(0)
    if not lines or lines[0][:4].upper() == "SIP/":
        return None
    words = lines[0].split()
    if len(words) < 2 or not words[-1].upper().startswith("SIP/"):
        return None
    request = Request(words[0], words[1], {})
    _complete(request, lines)
    return request


def _complete(message: Request | Response, lines: list[str]) -> Request | Response:
    """Fill in the headers that an answer needs; skip unreadable lines."""
    headers: dict[str, list[str]] = {}
    for line in _unfold(lines[: MAX_HEADERS * 2])[1:]:
        name, colon, value = line.partition(":")
        try:
            key = canonical(name.strip(" \t"))
        except ParseError:
            continue
        if colon:
            headers.setdefault(key, []).append(value.strip(" \t"))
    message.headers = headers
    if isinstance(message, Request):
        try:
            message.vias = message.listed("via")[:MAX_VIA]
            message.via = parse_via(message.vias[0]) if message.vias else None
        except ParseError:
            message.vias = headers.get("via", [])[:MAX_VIA]
            message.via = None
        try:
            message.to = parse_name_addr(headers["to"][0])
        except (ParseError, KeyError):
            message.to = None
        message.call_id = headers.get("call-id", [""])[0]
    return message


def _content_length(message: Message) -> int | None:
    values = message.headers.get("content-length")
    if not values:
        return None
    value = values[0]
    if len(values) > 1 or not (value.isascii() and value.isdigit()) or len(value) > 9:
        raise BadMessage(400, f"malformed Content-Length {value[:20]!r}", message)
    return int(value)


# --- streams ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ping:
    """CRLFCRLF between messages; must be answered with one CRLF (RFC 5626 section 4.4.1)."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Stream that can no longer be parsed: answer the request, if there is one, and close."""

    error: BadMessage


class Framer:
    """Splitter of a byte stream into messages by Content-Length.

    After `Broken` all input is ignored.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._message: Request | Response | None = None
        self._error: BadMessage | None = None
        self._missing = 0
        self._broken = False
        self._searched = 0
        self._line_end = False  # one CRLF of a possible CRLFCRLF was seen

    @property
    def idle(self) -> bool:
        """True if no partly read message is waiting."""
        return not self._buffer and self._message is None

    def feed(self, data: bytes) -> list[Request | Response | BadMessage | Ping | Broken]:
        """Return the complete messages in order.

        A `BadMessage` among them must be answered; the stream continues.
        """
        if self._broken:
            return []
        self._buffer += data
        events: list[Request | Response | BadMessage | Ping | Broken] = []
        while (event := self._next()) is not None:
            events.append(event)
            if isinstance(event, Broken):
                self._broken = True
                self._buffer.clear()
                break
        return events

    def _next(self) -> Request | Response | BadMessage | Ping | Broken | None:
        event = self._read_head() if self._message is None else None
        message, error = self._message, self._error
        if event is not None or message is None:
            return event
        if len(self._buffer) < self._missing:
            return None
        message.body = bytes(self._buffer[: self._missing])
        del self._buffer[: self._missing]
        self._message = self._error = None
        return error or message

    def _read_head(self) -> Ping | Broken | None:
        buffer = self._buffer
        while buffer.startswith((b"\r", b"\n")):
            if buffer == b"\r":
                return None
            if buffer[:2] != b"\r\n":
                self._drop_stray_line_ends()
                continue
            del buffer[:2]
            if self._line_end:
                self._line_end = False
                return Ping()
            self._line_end = True
        if not buffer:
            return None
        self._line_end = False
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._searched = len(buffer)
            if len(buffer) > MAX_HEAD:
                return Broken(BadMessage(513, f"header fields larger than {MAX_HEAD} bytes", _rescue(bytes(buffer))))
            return None
        self._searched = 0
        head = bytes(buffer[:end])
        del buffer[: end + 4]
        return self._accept_head(head)

    def _drop_stray_line_ends(self) -> None:
        """Drop bare CR and LF between messages, which some programs write behind a body (RFC 3261 section 7.5)."""
        self._line_end = False
        mark = self._buffer[:1]
        run = len(self._buffer) - len(self._buffer.lstrip(mark))
        del self._buffer[: run if mark == b"\n" else max(1, run - 1)]

    def _accept_head(self, head: bytes) -> Broken | None:
        try:
            message: Message | None = parse_head(head)
        except BadMessage as error:
            self._error, message = error, error.message
            if message is None or error.status == 513:
                return Broken(error)
        assert isinstance(message, Request | Response)
        try:
            length = _content_length(message)
        except BadMessage as error:
            return Broken(error)
        if length is None:
            return Broken(BadMessage(400, "Content-Length is required on a stream", message))
        if len(head) + 4 + length > MAX_STREAM_MESSAGE:
            return Broken(BadMessage(513, f"message larger than {MAX_STREAM_MESSAGE} bytes", message))
        self._message, self._missing = message, length
        return None
