"""E-mail of a message. Pure: values in, an EmailMessage out.

Numbers, senders' names, texts and file names are strangers' input. Headers get them shortened and without control
characters, and the email package encodes the rest, so that no text can add a header or a part.

Against loops, `Auto-Submitted: auto-generated` (RFC 3834) and `X-Auto-Response-Suppress: All` (Exchange) ask machines
not to answer. `Precedence: bulk` is not used: only very old responders need it, and filters would treat a person's
message as advertising.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, NamedTuple

from sipsms.core.media_types import EXTENSIONS, safe_name
from sipsms.core.message import Delivery, Message

_POLICY: Final = SMTP.clone(cte_type="7bit")  # every server accepts 7bit
_MAX_WORD: Final = 64
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS: Final = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)")


class Part(NamedTuple):
    """Attachment of an MMS: its bytes, or its URL."""

    content_type: str
    name: str
    data: bytes | None = None
    url: str = ""


def compose(
    delivery: Delivery, sender: str, hostname: str, parts: Sequence[Part] = (), reply_to: str = ""
) -> EmailMessage:
    """Return the e-mail of a delivery; the same delivery always has the same Message-ID.

    `sender`: our address. `hostname`: used in Message-ID. Raises ValueError for an invalid address."""
    message = delivery.message
    mail = EmailMessage(_POLICY)
    mail["From"] = _address(sender, _word(message.source))
    mail["To"] = _address(delivery.destination)
    mail["Reply-To"] = _address(reply_to or sender)
    mail["Subject"] = subject(message)
    mail["Date"] = datetime.fromtimestamp(int(message.received_at), UTC)  # arrival time of the SMS
    mail["Message-ID"] = f"<sms.{message.id}.{delivery.id}.{int(message.received_at)}@{hostname}>"
    mail["References"] = f"<{_thread(delivery)}@{hostname}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(_body(message.text, parts), charset="utf-8")
    for part in parts:
        if part.data is not None:
            _attach(mail, part, part.data)
    return mail


def _address(spec: str, name: str = "") -> Address:
    """Parse an unquoted ASCII address, dot-atom @ domain (RFC 5321 section 4.1.2). Raises ValueError."""
    match = _ADDRESS.fullmatch(spec) if len(spec) <= 254 and "=?" not in spec else None
    if match is None:
        raise ValueError("not an e-mail address")
    return Address(name, match[1], match[2])


def subject(message: Message) -> str:
    """Return the subject, by which a reply is assigned to its message (S-033), or an alarm's text."""
    if not message.did:
        return f"{_word(message.source)}: {_word(message.text.partition(chr(10))[0])}"
    return f"[#US{message.id:06}] Message sent to {_word(message.did)}"


def _word(text: str) -> str:
    """Return a text that is safe in a header, without encoded words: they could carry line ends (CVE-2024-6923)."""
    return "".join(c for c in text[:_MAX_WORD] if c.isprintable()).replace("=?", "= ?")


def _thread(delivery: Delivery) -> str:
    """Return an id for all messages between two numbers, by which mail programs group them."""
    message = delivery.message
    parties = f"{message.did}/{message.source}/{delivery.destination}"
    return "thread." + hashlib.sha256(parties.encode("utf-8", "replace")).hexdigest()[:32]


def _body(text: str, parts: Sequence[Part]) -> str:
    whole = text.encode("utf-8", "replace").decode()  # half a surrogate pair has no UTF-8 encoding
    links = [part.url for part in parts if part.data is None and part.url]
    return "\n\n".join(filter(None, (whole, "\n".join(links)))) + "\n"


def _attach(mail: EmailMessage, part: Part, data: bytes) -> None:
    kind = part.content_type if part.content_type in EXTENSIONS else "application/octet-stream"
    main, _, sub = kind.partition("/")
    mail.add_attachment(data, maintype=main, subtype=sub, filename=safe_name(part.name, kind))
