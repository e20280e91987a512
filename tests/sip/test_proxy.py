"""Passing on, as far as no socket is needed: loop marks, the best answer, routes (RFC 3261 section 16)."""

from __future__ import annotations

import pytest

from sipsms.core.flow_address import FlowAddress
from sipsms.sip.flow_token import FlowName, seal, unseal
from sipsms.sip.message import Request, Response, parse_datagram
from sipsms.sip.proxy import best, forwarded, has_looped, loop_mark, own_routes, returned
from sipsms.sip.uri import ParseError

KEY = b"k" * 32


def _request(*more: str, uri: str = "sip:bob@example.net", cseq: int = 1) -> Request:
    lines = [f"MESSAGE {uri} SIP/2.0", "Via: SIP/2.0/UDP a.example.net;branch=z9hG4bKa"]
    lines += ["From: <sip:alice@example.net>;tag=1", "To: <sip:bob@example.net>", "Call-ID: c@a"]
    lines += [f"CSeq: {cseq} MESSAGE", *more, "Content-Length: 2"]
    request = parse_datagram(("\r\n".join(lines) + "\r\n\r\nhi").encode())
    assert isinstance(request, Request)
    return request


def _response(status: int, reason: str = "x") -> Response:
    return Response(status, reason, {"to": ["<sip:bob@example.net>;tag=7"], "x-note": ["kept"], "via": ["gone"]})


@pytest.mark.req("C-110")
def test_a_loop_is_detected_only_if_the_request_is_unchanged() -> None:
    first = _request()
    mark = loop_mark(first, KEY)
    ours = f"Via: SIP/2.0/UDP us.example.net;branch=z9hG4bK0123-{mark}"
    assert not has_looped(first, mark)
    back = _request(ours)
    assert has_looped(back, loop_mark(back, KEY))
    for other in (_request(ours, uri="sip:carol@example.net"), _request(ours, cseq=2)):  # a spiral is no loop
        assert not has_looped(other, loop_mark(other, KEY))
    assert not has_looped(back, loop_mark(back, b"another key" * 3))


@pytest.mark.req("C-109", "C-113", "A-05")
def test_a_forwarded_request_has_its_route_and_a_lower_max_forwards() -> None:
    request = _request(
        "Max-Forwards: 5", "P-Asserted-Identity: <sip:x@y>", "Route: <sip:us;lr>", "X-Other: one", "x-other: two",
        'Proxy-Authorization: Digest realm="ours", username="a"', 'Proxy-Authorization: Digest realm="theirs"',
    )  # fmt: skip
    onward = forwarded(request, "sip:bob@192.0.2.7", ["<sip:p;lr>"], "SIP/2.0/UDP a;received=1", "ours")
    assert (onward.uri, onward.body) == ("sip:bob@192.0.2.7", b"hi")
    assert onward.headers["max-forwards"] == ["4"]
    assert onward.headers["route"] == ["<sip:p;lr>"]
    assert onward.headers["x-other"] == ["one", "two"]
    assert onward.headers["proxy-authorization"] == ['Digest realm="theirs"']
    assert "p-asserted-identity" not in onward.headers


@pytest.mark.req("C-094")
@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((486, 200), 200), ((404, 603, 486), 603), ((500, 486), 486), ((302, 404), 302), ((480, 415), 415),
        ((480, 407), 407), ((503, 500), 500), ((503,), 503), ((100, 180), None), ((), None),
    ],
)  # fmt: skip
def test_the_best_response_is_chosen(statuses: tuple[int, ...], expected: int | None) -> None:
    found = best([_response(status) for status in statuses])
    assert (found.status if found else None) == expected


@pytest.mark.req("C-115", "A-31")
def test_a_returned_response_hides_errors_of_the_other_server() -> None:
    assert returned(_response(503, "Overload"))[:2] == (500, "Server Internal Error")
    assert returned(_response(401, "Who are you"))[:2] == (403, "Forbidden")
    assert returned(_response(486, "Busy\x00\x1b here")) == (486, "Busy   here", [("X-Note", "kept")], "7")
    large = _response(486)
    large.headers["x-large"] = ["y" * 3000]
    assert returned(large)[2] == []


@pytest.mark.req("C-111", "C-112")
def test_own_routes_are_removed() -> None:
    def ours(uri: object) -> bool:
        return getattr(uri, "host", "") == "us"

    assert own_routes(_request(), ours) == ("", False)
    assert own_routes(_request("Route: <sip:us;lr>"), ours) == ("", False)
    assert own_routes(_request("Route: <sip:token@us;lr>"), ours) == ("token", False)
    assert own_routes(_request("Route: <sip:us;lr>", "Route: <sip:us;lr>"), ours) == ("", False)
    assert own_routes(_request("Route: <sips:US:5061;transport=tcp;lr>,<sip:us>, sip:us;lr"), ours) == ("", False)
    assert own_routes(_request("Route: <sip:us;lr>", "Route: <sip:token@us;lr;ob>"), ours) == ("token", False)
    assert own_routes(_request("Route: <sip:token@us;lr>, <sip:us;lr>"), ours) == ("token", False)
    assert own_routes(_request("Route: <sip:us;lr>, <sip:them;lr>"), ours) == ("", True)
    assert own_routes(_request("Route: <sip:us;lr>, <sip:us;lr>, <sip:them;lr>, <sip:us;lr>"), ours) == ("", True)
    assert own_routes(_request("Route: <sip:them;lr>"), ours) == ("", True)
    with pytest.raises(ParseError):
        own_routes(_request("Route: <mailto:x@y>"), ours)


@pytest.mark.req("C-065f", "A-52")
def test_flow_tokens_are_verified() -> None:
    name = FlowName(FlowAddress("tls:2001:db8::1:5061"), "tls:[::]:5061", 2**40 + 7)
    token = seal(name, KEY)
    assert unseal(token, KEY) == name
    assert unseal(token, b"other" * 8) is None
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert unseal(changed, KEY) in (None, name)  # the last character has bits that say nothing
    for junk in ("", "x", "ä", "AAAA", token[:-4], token + "AAAA"):
        assert unseal(junk, KEY) is None


@pytest.mark.req("A-05")
def test_only_header_fields_that_claim_no_identity_are_forwarded() -> None:
    dropped = (
        "Reply-To", "Identity", "Identity-Info", "Diversion", "History-Info", "P-Called-Party-ID", "P-Charge-Info",
        "Remote-Party-ID", "P-Asserted-Identity", "Referred-By", "Contact", "Call-Info", "Organization", "Geolocation",
        "Alert-Info", "Error-Info", "X-SMS-To", "X-SMS-ID", "x-sms-copy", "Privacy",
    )  # fmt: skip
    kept = ("Subject", "Date", "Content-Type", "Content-Encoding", "User-Agent", "Supported", "X-Other")
    lines = [f"{name}: <sip:ceo@h>" for name in dropped] + [f"{name}: a" for name in kept if name != "Date"]
    onward = forwarded(_request(*lines), "sip:bob@192.0.2.7", [], "SIP/2.0/UDP a", "ours")
    assert {name.lower() for name in dropped} & onward.headers.keys() == set()
    assert {name.lower() for name in kept if name != "Date"} <= onward.headers.keys()
    assert "ceo" not in str(onward.headers)
