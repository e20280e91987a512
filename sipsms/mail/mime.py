"""A message as an e-mail. Pure: values in, an EmailMessage out.

Numbers, senders' names, texts and names of files are strangers' input: headers get them without control characters and
cut, and the email package encodes the rest, so that no text can add a header or a part.

Against loops: `Auto-Submitted: auto-generated` (RFC 3834) and `X-Auto-Response-Suppress: All` (Exchange) ask that no
machine answers. There is no `Precedence`: `bulk` would say the same to very old responders, but it makes filters take a
message from a person for advertising.
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

_POLICY: Final = SMTP.clone(cte_type="7bit")  # any server takes it
_MAX_WORD: Final = 64
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS: Final = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)")


class Part(NamedTuple):
    """A part of an MMS: its bytes, or where it can be fetched."""

    content_type: str
    name: str
    data: bytes | None = None
    url: str = ""


def compose(
    delivery: Delivery, sender: str, hostname: str, parts: Sequence[Part] = (), reply_to: str = ""
) -> EmailMessage:
    """`sender`: our address, as `sms@example.net`; `hostname` stands in Message-ID. Same delivery, same Message-ID.

    Raises ValueError if an address is none.
    """
    message = delivery.message
    mail = EmailMessage(_POLICY)
    mail["From"] = _address(sender, _word(message.source))
    mail["To"] = _address(delivery.destination)
    mail["Reply-To"] = _address(reply_to or sender)
    mail["Subject"] = subject(message)
    mail["Date"] = datetime.fromtimestamp(int(message.received_at), UTC)  # when the SMS came, however late we are
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
    """Dot-atom, @ and a domain, all ASCII (RFC 5321 section 4.1.2): no quoting, so nothing to get wrong in it."""
    match = _ADDRESS.fullmatch(spec) if len(spec) <= 254 and "=?" not in spec else None
    if match is None:
        raise ValueError("not an e-mail address")
    return Address(name, match[1], match[2])


def subject(message: Message) -> str:
    """By which an answer is known to belong to this message (S-033); an alarm begins with its text."""
    if not message.did:
        return f"{_word(message.source)}: {_word(message.text.partition(chr(10))[0])}"
    return f"[#US{message.id:06}] Message sent to {_word(message.did)}"


def _word(text: str) -> str:
    """Fit for a header. The email package reads encoded words in what it writes, and some versions of it let them carry
    line ends (CVE-2024-6923): none gets that far.
    """
    return "".join(c for c in text[:_MAX_WORD] if c.isprintable()).replace("=?", "= ?")


def _thread(delivery: Delivery) -> str:
    """The same for all messages between two numbers: mail programs show those that refer to one mail together."""
    message = delivery.message
    parties = f"{message.did}/{message.source}/{delivery.destination}"
    return "thread." + hashlib.sha256(parties.encode("utf-8", "replace")).hexdigest()[:32]


def _body(text: str, parts: Sequence[Part]) -> str:
    whole = text.encode("utf-8", "replace").decode()  # half a surrogate pair has no UTF-8
    links = [part.url for part in parts if part.data is None and part.url]
    return "\n\n".join(filter(None, (whole, "\n".join(links)))) + "\n"


def _attach(mail: EmailMessage, part: Part, data: bytes) -> None:
    kind = part.content_type if part.content_type in EXTENSIONS else "application/octet-stream"
    main, _, sub = kind.partition("/")
    mail.add_attachment(data, maintype=main, subtype=sub, filename=safe_name(part.name, kind))
