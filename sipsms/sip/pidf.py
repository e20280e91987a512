"""Presence documents, application/pidf+xml (RFC 3863): writer, and reader of the open status.

Pure. A published document comes from an authenticated phone and goes to other phones of its customer. The reader must
refuse every document type declaration, so that no entity can expand or fetch anything.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from sipsms.sip.uri import ParseError

TYPE = "application/pidf+xml"

_DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>\r\n'
    '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity={entity}>\r\n'
    '<tuple id="s1"><status><basic>{basic}</basic></status><contact>{contact}</contact></tuple>\r\n'
    "</presence>\r\n"
)


class Published(NamedTuple):
    """Content of a document: its entity, and whether a tuple is open (RFC 3863 section 4.1.4)."""

    entity: str
    is_open: bool


def compose(entity: str, *, is_open: bool) -> bytes:
    """Return the document of one presentity with one tuple."""
    basic = "open" if is_open else "closed"
    text = _DOCUMENT.format(entity=quoteattr(entity), basic=basic, contact=escape(entity))
    return text.encode("utf-8", "replace")


def read(body: bytes) -> Published:
    """Parse a document. Raises ParseError if it is not a well-formed presence document."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _no_doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise ParseError(f"the presence document cannot be read: {error}") from None
    return Published(reader.entity, reader.is_open)


def _no_doctype(*_: object) -> None:
    raise ParseError("a document type declaration is not allowed")


class _Reader:
    """Handler of the XML events; element names are compared without their prefix."""

    def __init__(self) -> None:
        self.entity = ""
        self.is_open = False
        self._path: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        if not self._path:
            if local != "presence":
                raise ParseError("the document's root is not presence")
            self.entity = attributes.get("entity", "")
        self._path.append(local)

    def end(self, _name: str) -> None:
        self._path.pop()

    def text(self, text: str) -> None:
        if self._path == ["presence", "tuple", "status", "basic"] and text.strip() == "open":
            self.is_open = True
