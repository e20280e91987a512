"""Notices of delivery (RFC 5438): the document a sender gets who asked for one. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote
from xml.sax.saxutils import escape


def delivery_notice(message_id: str, recipient: str, now: float, *, delivered: bool) -> str:
    """The document that says whether a message was delivered or has failed (RFC 5438 section 11.1.9)."""
    status = "delivered" if delivered else "failed"
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    who = escape(f"im:{quote(recipient, safe='+')}")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<imdn xmlns="urn:ietf:params:xml:ns:imdn">'
        f"<message-id>{escape(message_id)}</message-id><datetime>{stamp}</datetime>"
        f"<recipient-uri>{who}</recipient-uri><original-recipient-uri>{who}</original-recipient-uri>"
        f"<delivery-notification><status><{status}/></status></delivery-notification></imdn>"
    )
