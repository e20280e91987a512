"""A quick reader of usual SIP messages: the same result as `message.parse_datagram`, or None. Pure.

Most messages are spelled alike: each header field once, on one line, by its long name, with plain addresses. They are
read here for half the price. Everything else is None and is read by the general parser, which is the specification: a
test gives both the same messages and compares the results.
"""

from __future__ import annotations

import re

from sipsms.sip.headers import KNOWN_NAMES, MAX_LIST, NameAddr, Via, canonical, parse_name_addr
from sipsms.sip.message import MAX_HEADERS, Request, Response
from sipsms.sip.uri import ParseError, parse_uri

_MAX_HEAD = 4096
_MORE = "Allow-Events Accept-Encoding Accept-Language MIME-Version P-Asserted-Identity P-Preferred-Identity X-SMS-ID"
_NAMES = {name: canonical(name) for name in (*KNOWN_NAMES, *_MORE.split()) if name[:1].isupper() and len(name) > 1}
_TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]+"
_REQUEST_LINE = re.compile(r"(MESSAGE|REGISTER) ([!#-;=?-~]{1,512}) SIP/2\.0")
_STATUS_LINE = re.compile(r"SIP/2\.0 ([2-6][0-9][0-9]) ([ -~]*)")
_VIA = re.compile(
    r"SIP/2\.0/(UDP|TCP|TLS|WSS?) ([a-z0-9._\-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,4}|[1-5][0-9]{4}))?"
    r"((?:;[a-z]+(?:=[^;,\"\s<>=]+)?)+)"
)
_ADDRESS = re.compile(
    r'(?:"([^"\\\x00-\x1f\x7f]*)" ?|([A-Za-z0-9 ._\-]*))<(sips?:[!#-;=?-~]+)>' + rf"(?:;tag=({_TOKEN}))?"
)
_CSEQ = re.compile(rf"([0-9]{{1,9}}) ({_TOKEN})")
_SMALL = frozenset(map(str, range(256)))


def read(data: bytes) -> Request | Response | None:
    """Return the message of a datagram; None if it is not of the usual kind, or wrong."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator or len(head) > _MAX_HEAD:
        return None
    try:
        text = head.decode()
        lines = text.split("\r\n")
        ends = len(lines) - 1
        if text.count("\n") != ends or text.count("\r") != ends or ends >= MAX_HEADERS:
            return None
        headers = {_NAMES[name]: [value.strip(" \t")] for name, value in [line.split(": ", 1) for line in lines[1:]]}
        if len(headers) != ends or headers["content-length"][0] != str(len(body)):
            return None
        via = _via(headers["via"][0])
        cseq = _CSEQ.fullmatch(headers["cseq"][0])
        if via is None or cseq is None:
            return None
        if lines[0][0] == "S":
            return _response(lines[0], headers, body, via, cseq)
        return _request(lines[0], headers, body, via, cseq)
    except (ValueError, KeyError, IndexError):  # UnicodeDecodeError and ParseError are ValueErrors
        return None


def _via(value: str) -> Via | None:
    match = _VIA.fullmatch(value)
    if match is None:
        return None
    transport, host, port, rest = match.groups()
    params: dict[str, str | None] = {}
    for part in rest[1:].split(";"):
        name, equals, text = part.partition("=")
        params[name] = text if equals else None
    branch = params.get("branch") or ""
    return Via(transport, host, int(port or 0), params) if len(branch) > 7 else None


def _address(value: str) -> NameAddr:
    """Raises ValueError."""
    match = _ADDRESS.fullmatch(value)
    if match is None:
        raise ParseError("unusual")
    quoted, bare, uri, tag = match.groups()
    return NameAddr(bare.strip(" ") if quoted is None else quoted, uri, {} if tag is None else {"tag": tag})


def _request(line: str, headers: dict[str, list[str]], body: bytes, via: Via, cseq: re.Match[str]) -> Request | None:
    start = _REQUEST_LINE.fullmatch(line)
    if start is None or cseq[2] != start[1] or headers.get("max-forwards", _SEVENTY)[0] not in _SMALL:
        return None
    request = Request(start[1], start[2], headers, body)
    request.target = parse_uri(start[2])
    if request.target.headers:
        return None
    request.vias, request.via = headers["via"], via
    request.to, request.from_ = _address(headers["to"][0]), _address(headers["from"][0])
    request.call_id, request.cseq = headers["call-id"][0], int(cseq[1])
    if start[1] == "REGISTER" and "contact" in headers:
        contact = headers["contact"][0]
        if contact.count(",") > MAX_LIST or (contact != "*" and "," in contact):
            return None
        if contact != "*":
            parse_name_addr(contact)
    return request if request.call_id else None


_SEVENTY = ["70"]


def _response(line: str, headers: dict[str, list[str]], body: bytes, via: Via, cseq: re.Match[str]) -> Response | None:
    start = _STATUS_LINE.fullmatch(line)
    if start is None:
        return None
    response = Response(int(start[1]), start[2], headers, body)
    response.branch, response.via_count = via.branch, 1
    response.cseq, response.method = int(cseq[1]), cseq[2]
    return response
