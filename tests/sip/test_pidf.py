"""RFC 3863 documents: made, read, and what must not be read."""

from __future__ import annotations

import pytest

from sipsms.sip import pidf
from sipsms.sip.uri import ParseError

PJSIP = b"""<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:alice@example.com" xmlns="urn:ietf:params:xml:ns:pidf"
 xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
 <tuple id="pj1"><status><basic>%s</basic></status></tuple>
 <dm:person id="pj2"><rpid:activities><rpid:away /></rpid:activities><dm:note>Away</dm:note></dm:person>
</presence>"""
PREFIXED = (
    b'<p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" entity="pres:bob@x"><p:tuple id="a"><p:status>'
    b"<p:basic> open </p:basic></p:status></p:tuple></p:presence>"
)


@pytest.mark.parametrize("is_open", [True, False])
def test_a_generated_document_can_be_read(is_open: bool) -> None:
    entity = "sip:o'neil&co%22@example.com"
    assert pidf.read(pidf.compose(entity, is_open=is_open)) == pidf.Published(entity, is_open)


def test_documents_of_known_phones_are_read() -> None:
    assert pidf.read(PJSIP % b"open") == ("sip:alice@example.com", True)
    assert pidf.read(PJSIP % b"closed") == ("sip:alice@example.com", False)
    assert pidf.read(PREFIXED) == ("pres:bob@x", True)
    assert pidf.read(b"<presence/>") == ("", False)
    assert not pidf.read(b"<presence><note>open</note></presence>").is_open


BOMB = b'<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><presence>&b;</presence>'
FETCH = b'<!DOCTYPE p SYSTEM "http://192.0.2.1/x"><presence/>'
FILE = b'<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><presence>&x;</presence>'


@pytest.mark.req("A-06")
@pytest.mark.parametrize("body", [BOMB, FETCH, FILE, b"<!DOCTYPE presence><presence/>"])
def test_document_types_are_refused(body: bytes) -> None:
    with pytest.raises(ParseError, match="document type"):
        pidf.read(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"open", b"<presence>", b"<html/>", b"<presence/><presence/>", b"<presence>&x;</presence>", b"\xff\xfe<",
        b'<?xml version="1.0" encoding="no-such"?><presence/>',
        b"<presence>\0</presence>", b"<presence>\xff</presence>",
    ],
)  # fmt: skip
def test_malformed_documents_are_refused(body: bytes) -> None:
    with pytest.raises(ParseError):
        pidf.read(body)
