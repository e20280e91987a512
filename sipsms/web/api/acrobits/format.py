"""Fields and documents of Acrobits' web services for messages. Pure.

Clients: Groundwire, Acrobits Softphone, Cloud Softphone. https://doc.acrobits.net/api/client/send_message.html,
fetch_messages_modern.html, x-acro-filetransfer.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement
from zlib import crc32

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from sipsms.core.e164 import normalise
from sipsms.core.message import Direction, Media, Message

FILES: Final = "application/x-acro-filetransfer+json"
NOTICE: Final = "application/x-acro-disposition-notification"
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBERS: Final = 20  # recipients of one message


class Attachment(NamedTuple):
    url: str
    name: str = ""
    key: str = ""  # AES-CTR key, hexadecimal
    hash: str = ""  # CRC32 of the decrypted content


class Malformed(Exception):
    """A request that cannot be read. The text says what is wrong."""


def attachments(text: str) -> tuple[str, list[Attachment]]:
    """Return the caption and the files of a file transfer. Raises Malformed."""
    try:
        document = json.loads(text)
        listed = document["attachments"]
        found = [
            Attachment(
                _text(one, "content-url"), _text(one, "filename"), _text(one, "encryption-key"), _text(one, "hash")
            )
            for one in listed
        ]
        caption = _text(document, "body") or _text(document, "text")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Malformed("the file transfer cannot be read") from None
    if not found or not all(one.url for one in found):
        raise Malformed("the file transfer has no files")
    return caption, found


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def decrypted(data: bytes, one: Attachment) -> bytes:
    """Return a file's content, decrypted (AES-CTR, counter from zero) if it has a key. Raises Malformed."""
    if one.key:
        try:
            cipher = Cipher(AES(bytes.fromhex(one.key)), CTR(bytes(16)))
        except ValueError:
            raise Malformed("the key of a file cannot be used") from None
        data = cipher.decryptor().update(data)
    if one.hash and one.hash not in (str(crc32(data)), f"{crc32(data):08x}", f"{crc32(data):08X}"):
        raise Malformed("a file is not what its hash says")
    return data


def recipients(values: Iterable[str]) -> list[str]:
    """Return distinct recipients: numbers, or users of SIP addresses, also several in a value. Raises Malformed."""
    found: dict[str, None] = {}
    for value in values:
        for one in value.replace(";", ",").split(","):
            user = one.strip().removeprefix("sip:").removeprefix("sips:").partition("@")[0]
            if user:
                found[normalise(user) or user] = None
    if len(found) > _NUMBERS:
        raise Malformed(f"at most {_NUMBERS} recipients")
    return list(found)


# --- answers to an app ------------------------------------------------------------------------------------------------


def received_id(delivery: int) -> int:
    """Return the app's id for a received message: even, and odd for a sent one, so that both grow and differ."""
    return 2 * delivery


def sent_id(message: int) -> int:
    return 2 * message + 1


def row(identity: int, message: Message, url_of: Callable[[Media], str]) -> dict[str, Any]:
    """Return a message in the app's form. `stream_id` is the other party's number."""
    inbound = message.direction is Direction.IN
    peer = message.source if inbound else message.destination
    text, kind = message.text, "text/plain"
    if message.media:
        kind = FILES
        files = [
            {
                "content-type": one.content_type or "application/octet-stream", "content-url": url_of(one),
                "filename": one.name, **({"content-size": one.size} if one.size else {}),
            }
            for one in message.media
        ]  # fmt: skip
        text = json.dumps({"body": message.text, "attachments": files})
    return {
        "sms_id": str(identity),
        "sending_date": moment(message.received_at),
        "sender" if inbound else "recipient": peer,
        "sms_text": text,
        "content_type": kind,
        "stream_id": peer,
    }


def moment(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_xml(answer: Mapping[str, Any]) -> bytes:
    """Return the answer as XML for apps that request it; list entries become <item> elements."""
    root = Element("response")
    for name, value in answer.items():
        child = SubElement(root, name)
        if isinstance(value, list):
            for one in value:
                item = SubElement(child, "item")
                for key, inner in one.items():
                    SubElement(item, key).text = _xml_text(str(inner))
        else:
            child.text = _xml_text(str(value))
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _xml_text(text: str) -> str:
    """Replace control characters and lone surrogates, which XML 1.0 does not allow."""
    return _NOT_XML.sub("\ufffd", text)
