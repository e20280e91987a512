"""RFC 3261 section 10.3, steps 6 to 8, without a socket."""

from __future__ import annotations

import re

import pytest

from sipsms.core.flow_address import FlowAddress
from sipsms.core.registration import Binding
from sipsms.sip.message import Request, parse_datagram
from sipsms.sip.registrar import Arrival, Result, contact_value, register
from sipsms.sip.settings import SipSettings

NOW = 1_000_000.0
SETTINGS = SipSettings(min_expires=60, max_expires=7200, default_expires=3600, max_contacts=10)
ARRIVAL = Arrival(FlowAddress("udp:192.0.2.1:5060"), "udp:0.0.0.0:5060", 0)


def _request(*headers: str, call_id: str = "c", cseq: int = 1) -> Request:
    lines = [
        "REGISTER sip:example.com SIP/2.0",
        "Via: SIP/2.0/UDP h;branch=z9hG4bK1",
        "From: <sip:alice@example.com>;tag=1",
        "To: <sip:alice@example.com>",
        f"Call-ID: {call_id}",
        f"CSeq: {cseq} REGISTER",
        *headers,
    ]
    request = parse_datagram(("\r\n".join(lines) + "\r\n\r\n").encode())
    assert isinstance(request, Request)
    return request


def _register(bindings: list[Binding], *headers: str, now: float = NOW, cseq: int = 1, call_id: str = "c") -> Result:
    return register(_request(*headers, cseq=cseq, call_id=call_id), "alice", bindings, now, SETTINGS, ARRIVAL)


def _bound(*headers: str) -> list[Binding]:
    return list(_register([], *headers).bindings)


@pytest.mark.req("C-055", "C-056", "C-057", "C-058")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["Contact: <sip:a@h>;expires=120", "Expires: 600"], 120),
        (["Contact: <sip:a@h>", "Expires: 600"], 600),
        (["Contact: <sip:a@h>"], 3600),
        (["Contact: <sip:a@h>;expires=999999999"], 7200),
        (["Contact: <sip:a@h>", "Expires: abc"], 3600),
        (["Contact: <sip:a@h>", "Expires: 1099511627776"], 3600),
    ],
)
def test_the_expiry_of_a_contact_is_limited(headers: list[str], seconds: int) -> None:
    result = _register([], *headers)
    assert result.status == 200
    assert result.bindings[0].expires_at == NOW + seconds
    assert f"expires={seconds}" in contact_value(result.bindings[0], NOW)


@pytest.mark.req("C-056")
def test_an_expiry_that_is_too_brief_is_refused() -> None:
    result = _register([], "Contact: <sip:a@h>;expires=30")
    assert (result.status, result.headers, result.updated) == (423, (("Min-Expires", "60"),), ())


@pytest.mark.req("C-052", "C-053")
def test_a_star_contact_removes_all_bindings() -> None:
    bound = _bound("Contact: <sip:a@h>, <sip:b@h>")
    assert len(_register(bound, "Contact: *", "Expires: 0", cseq=2).removed) == 2
    for headers in (["Contact: *", "Expires: 60"], ["Contact: *"], ["Contact: *, <sip:c@h>", "Expires: 0"]):
        result = _register(bound, *headers, cseq=2)
        assert (result.status, result.removed) == (400, ())


@pytest.mark.req("C-054")
def test_a_lower_cseq_of_the_same_call_id_is_refused() -> None:
    bound = _bound("Contact: <sip:a@h>")
    assert _register(bound, "Contact: <sip:a@h>", cseq=1).status == 400
    assert _register(bound, "Contact: <sip:a@h>", cseq=2).status == 200
    assert _register(bound, "Contact: <sip:a@h>", cseq=1, call_id="other").status == 200


@pytest.mark.req("C-059")
def test_a_register_changes_all_contacts_or_none() -> None:
    result = _register([], "Contact: <sip:a@h>", "Contact: <sip:b@h>;expires=5")
    assert (result.status, result.updated) == (423, ())
    assert _register([], "Contact: <sip:a@h>", "Contact: <mailto:b@h>").status == 400


@pytest.mark.req("C-064")
def test_an_eleventh_contact_is_refused() -> None:
    bound = _bound("Contact: " + ", ".join(f"<sip:a{n}@h>" for n in range(10)))
    assert len(bound) == 10
    assert _register(bound, "Contact: <sip:eleventh@h>", cseq=2).status == 403
    assert _register(bound, "Contact: <sip:a3@h>", cseq=2).status == 200


@pytest.mark.req("C-065a", "C-065b")
def test_the_path_is_stored() -> None:
    path = "Path: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>"
    result = _register([], "Contact: <sip:a@h>", path, "Supported: path")
    assert result.bindings[0].path == ("<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>")
    refused = _register([], "Contact: <sip:a@h>", path)
    assert (refused.status, refused.headers) == (420, (("Unsupported", "path"),))


def test_the_same_instance_replaces_its_contact() -> None:
    bound = _bound('Contact: <sip:a@h:1>;+sip.instance="<urn:uuid:1>"')
    bound[0].device = 7
    result = _register(bound, 'Contact: <sip:a@h:2>;+sip.instance="<urn:uuid:1>"', cseq=2)
    assert [binding.contact for binding in result.bindings] == ["sip:a@h:2"]
    assert [binding.contact for binding in result.removed] == ["sip:a@h:1"]
    assert result.bindings[0].device == 7
    assert '+sip.instance="<urn:uuid:1>"' in contact_value(result.bindings[0], NOW)


@pytest.mark.req("C-051", "C-060")
def test_a_query_lists_only_live_bindings() -> None:
    bound = _bound("Contact: <sip:a@h>;expires=60, <sip:b@h>;q=0.5")
    assert len(_register(bound).bindings) == 2
    left = _register(bound, now=NOW + 61).bindings
    assert [binding.contact for binding in left] == ["sip:b@h"]
    assert "q=0.5" in contact_value(left[0], NOW)


@pytest.mark.req("C-050")
def test_values_of_feature_tags_stay_quoted() -> None:
    """RFC 3840 section 9: the grammar has no form without quotes (SIP.js#932)."""
    given = (
        ';reg-id=1;q=1.0;+sip.instance="<urn:uuid:1>";audio;mobility="fixed";duplex="full";description="snomD375"'
        ';actor="principal";events="dialog";methods="INVITE,ACK,MESSAGE";+g.3gpp.icsi-ref="urn%3Aurn-7";x=plain'
        ';y="a b";class=business'
    )
    found = contact_value(_bound(f"Contact: <sip:a@h>{given}")[0], NOW)
    for name in (
        "mobility",
        "duplex",
        "description",
        "actor",
        "events",
        "methods",
        "+sip.instance",
        "+g.3gpp.icsi-ref",
    ):
        written = re.search(f';{re.escape(name)}="[^"]*"', given)
        assert written is not None
        assert written[0] in found
    for one in (";reg-id=1", ";audio;", ";x=plain", ';y="a b"', ';class="business"'):
        assert one in found
