"""Writer of MESSAGE bodies for one phone: content types in order of preference, and segments.

Pure.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

from sipsms.core.message import Message, MessageKind
from sipsms.core.registration import Binding
from sipsms.core.segmentation import letters

CPIM = "message/cpim"
IMDN = str(MessageKind.IMDN)
PLAIN = "text/plain;charset=UTF-8"

_ASTERISK = re.compile(r"asterisk|fpbx|freepbx|issabel|elastix|vitalpbx|xorcom", re.I)
ASTERISK_BODY = 1023  # bytes; Asterisk answers 202 to more and passes an empty text to its dialplan
_HEAD = 200  # bytes reserved for Via and other header fields that may grow in a datagram
_STEP = 50  # limits are rounded down to a multiple, so that a retry cuts at the same positions
_LEAST = 100
_USER_SAFE = "-_.!~*'()&=+$,;?/"


class Form(NamedTuple):
    """Body of a MESSAGE in one content type."""

    content_type: str
    body: bytes


def forms(message: Message, text: str, accept: str, aor: str) -> list[Form]:
    """Return the forms of a text, in order of preference.

    A phone that answers 415 gets the next form. `text`: one segment of the message.
    """
    body = text.encode("utf-8", "replace")
    if message.kind is MessageKind.IMDN:
        return [Form(CPIM, cpim(message.source, aor, message.received_at, IMDN, body)), Form(IMDN, body)]
    plain = [Form(PLAIN, body), Form("text/plain", body)]
    if _admits(accept, CPIM) and not _admits(accept, "text/plain"):
        return [Form(CPIM, cpim(message.source, aor, message.received_at, PLAIN, body)), *plain]
    return plain


def _admits(accept: str, kind: str) -> bool:
    """Return True if an Accept header takes a type (RFC 3261 section 20.1).

    A missing Accept means text/plain.
    """
    kinds = {part.partition(";")[0].strip().lower() for part in (accept or "text/plain").split(",")}
    return bool(kinds & {kind, kind.partition("/")[0] + "/*", "*/*"})


def cpim(source: str, aor: str, sent_at: float, content_type: str, body: bytes) -> bytes:
    """Wrap a body in CPIM (RFC 3862) with the IMDN namespace of RFC 5438."""
    host = aor.rpartition("@")[2]
    stamp = datetime.fromtimestamp(sent_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = (
        f"From: <sip:{quote(source, safe=_USER_SAFE)}@{host}>\r\nTo: <{aor}>\r\nDateTime: {stamp}\r\n"
        f"NS: imdn <urn:ietf:params:imdn>\r\n\r\nContent-Type: {content_type}\r\n"
    )
    if content_type == IMDN:
        head += "Content-Disposition: notification\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def is_asterisk(binding: Binding) -> bool:
    """Return True if the phone is an Asterisk, by its User-Agent.

    User-Agent can be configured to any text. Without User-Agent, the `line` parameter in the Contact decides (snom
    phones use the parameter too, but send their own User-Agent).
    """
    if binding.user_agent:
        return bool(_ASTERISK.search(binding.user_agent))
    return ";line=" in binding.contact and not binding.instance


def limit_of(binding: Binding, head: int, max_datagram: int, *, reliable: bool) -> int:
    """Return the most bytes of body that one request to this phone may have; 0 means no limit.

    `head`: bytes of the request without its body.
    """
    limits = [ASTERISK_BODY] if is_asterisk(binding) else []
    if not reliable:
        limits.append(max(_LEAST, (max_datagram - head - _HEAD) // _STEP * _STEP))
    return min(limits, default=0)


def pieces(text: str, limit: int) -> list[str]:
    """Cut a text into segments of at most `limit` bytes, after a blank if possible, never within a letter.

    The segments joined are the text again. `limit` 0 means no limit.
    """
    if not limit:
        return [text]
    found: list[str] = []
    while _octets(text) > limit:
        size = end = 0
        for _, after, octets in letters(text, _octets, limit):
            size += octets
            if size > limit:
                break
            end = after
        blank = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end)) + 1
        end = blank if blank > end // 2 else end
        found.append(text[:end])
        text = text[end:]
    return [*found, text]


def _octets(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
