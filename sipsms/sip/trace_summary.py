"""Summary of a SIP message for one line of a trace. Pure.

Parsing is lenient, because broken messages are the interesting ones. The summary must never contain the text: of a body
it has only type and length. Values are as the peer wrote them, so a program that prints them on a terminal must remove
control characters.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from urllib.parse import unquote

from sipsms.sip.headers import canonical
from sipsms.sip.uri import ParseError

_USER = re.compile(r"sips?:([^@;>\s\"]+)@|tel:([^;>\s\"]+)", re.I)
_USERNAME = re.compile(r'\busername[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"', re.I)
_STATUS = re.compile(r"SIP/2\.0 (\d{3}) ?(.*)", re.I | re.S)
_CHARSET = re.compile(r"charset=\"?([\w.-]+)", re.I)


@dataclass(frozen=True, slots=True)
class Summary:
    method: str  # for a response: the method in CSeq
    status: int  # 0 for a request
    reason: str
    call_id: str
    source: str  # From's user
    destination: str  # To's user
    target: str  # the Request-URI's user
    username: str  # of the digest credentials
    user_agent: str
    sms_to: str
    content_type: str
    length: int  # of the body: characters of a text, else bytes

    def names(self, account: str) -> bool:
        """Return True if the account is sender, recipient, target or digest user."""
        return account in (self.source, self.destination, self.target, self.username)


def summarise(data: bytes) -> Summary:
    """Summarise a message; unreadable fields are empty."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace")).split("\r\n")
    headers = _headers(lines[1:])
    status = _STATUS.match(lines[0])
    words = lines[0].split(" ")
    username = _USERNAME.search(headers.get("authorization", "") or headers.get("proxy-authorization", ""))
    content_type = headers.get("content-type", "") if body else ""
    return Summary(
        method=(headers.get("cseq", "").split() or [""])[-1] if status else words[0],
        status=int(status[1]) if status else 0,
        reason=status[2] if status else "",
        call_id=headers.get("call-id", ""),
        source=_user(headers.get("from", "")),
        destination=_user(headers.get("to", "")),
        target="" if status else _user(words[1] if len(words) > 1 else ""),
        username=username[1] if username else "",
        user_agent=headers.get("user-agent", "") or headers.get("server", ""),
        sms_to=headers.get("x-sms-to", ""),
        content_type=content_type.partition(";")[0].strip(),
        length=_length(content_type, body),
    )


def _headers(lines: list[str]) -> dict[str, str]:
    """Return the first value of each header."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        with contextlib.suppress(ParseError):
            found.setdefault(canonical(name), value.strip())
    return found


def _user(value: str) -> str:
    match = _USER.search(value)
    if match is None:
        return ""
    return unquote((match[1] or match[2] or "").partition(":")[0])


def _length(content_type: str, body: bytes) -> int:
    if not content_type.lower().startswith("text/"):
        return len(body)
    charset = _CHARSET.search(content_type)
    try:
        return len(body.decode(charset[1] if charset else "utf-8"))
    except (LookupError, ValueError):
        return len(body)
