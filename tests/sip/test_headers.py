"""Header values: lists, parameters, addresses, Via, CSeq."""

from __future__ import annotations

import pytest

from sipsms.sip.headers import (
    canonical,
    parse_cseq,
    parse_media_type,
    parse_name_addr,
    parse_params,
    parse_via,
    pretty,
    split_list,
)
from sipsms.sip.uri import ParseError
from tests.support.tools.weight import growth


def test_header_names_are_canonical() -> None:
    assert [canonical(name) for name in ("Via", "v", "V", "VIA", "Contact \t", "x-SMS-to")] == [
        "via", "via", "via", "via", "contact", "x-sms-to",
    ]  # fmt: skip
    assert [pretty(name) for name in ("call-id", "cseq", "x-sms-to", "to")] == ["Call-ID", "CSeq", "X-SMS-To", "To"]
    with pytest.raises(ParseError):
        canonical("Con\x01tact")


def test_a_list_header_is_split_only_between_values() -> None:
    value = '"a, b" <sip:x@y;p=1,2>;q=1, <sip:z@y>, sip:w@y'
    assert split_list(value) == ['"a, b" <sip:x@y;p=1,2>;q=1', "<sip:z@y>", "sip:w@y"]
    with pytest.raises(ParseError):
        split_list('"open, <sip:x@y>')


def test_parameters_are_parsed() -> None:
    assert parse_params(';tag=a; lr ;Q = "x;\\"y"') == {"tag": "a", "lr": None, "q": 'x;"y'}
    assert parse_params(';+sip.instance="<urn:uuid:1>";reg-id=1') == {"+sip.instance": "<urn:uuid:1>", "reg-id": "1"}
    for bad in (";;a", ";=1", ";a=,"):
        with pytest.raises(ParseError):
            parse_params(bad)


@pytest.mark.parametrize(
    ("value", "display", "uri", "tag"),
    [
        ("<sip:a@b>;tag=1", "", "sip:a@b", "1"),
        ("sip:a@b;tag=1", "", "sip:a@b", "1"),
        ('"A \\"B\\"" <sip:a@b;x=1>', 'A "B"', "sip:a@b;x=1", ""),
        ("5550001111 <sip:a@b>", "5550001111", "sip:a@b", ""),
        ("caller<sip:a@b>", "caller", "sip:a@b", ""),
        ("sip:a@b ;   tag    = 2", "", "sip:a@b", "2"),
    ],
)
def test_a_name_addr_is_parsed(value: str, display: str, uri: str, tag: str) -> None:
    found = parse_name_addr(value)
    assert (found.display, found.uri, found.tag) == (display, uri, tag)


@pytest.mark.parametrize(
    "value", ["", "<>", "Bell, A <sip:a@b>", "< sip:a@b >", "sip:a@b?Route=x", '"open <sip:a@b>', "<sip:a@b>x", "alice"]
)
def test_a_malformed_name_addr_is_refused(value: str) -> None:
    with pytest.raises(ParseError):
        parse_name_addr(value)


def test_a_via_is_parsed() -> None:
    via = parse_via("SIP  / 2.0\t/ TCP     spindle.example.com : 5062  ;  branch  =   z9hG4bK9ikj8")
    assert (via.transport, via.host, via.port, via.branch) == ("TCP", "spindle.example.com", 5062, "z9hG4bK9ikj8")
    assert parse_via("SIP/2.0/UDP [2001:db8::1]:5060;rport;branch=z9").params == {"rport": None, "branch": "z9"}
    with pytest.raises(ParseError):
        parse_via("SIP/2.0/UDP host;;branch=1")


def test_a_cseq_is_parsed() -> None:
    assert parse_cseq("0009  INVITE") == (9, "INVITE")
    for bad in ("2147483648 A", "-1 A", "1", "x A", "36893488147419103232 REGISTER"):
        with pytest.raises(ParseError):
            parse_cseq(bad)


def test_a_media_type_is_parsed() -> None:
    assert parse_media_type("Text/Plain ; Charset=UTF-8") == ("text/plain", {"charset": "UTF-8"})
    with pytest.raises(ParseError):
        parse_media_type("text")


@pytest.mark.req("A-30")
@pytest.mark.parametrize("unit", ['"\\\\"', "(((((", ";a", ";a;a=", " ,", "%", "<", '"', "a=b;", " \t"])
def test_time_grows_with_the_input_only(unit: str) -> None:
    """No expression here may take quadratic time: four times the input, not sixteen times the time."""

    def run(count: int) -> None:
        value = unit * count
        for parse in (split_list, parse_params, parse_name_addr, parse_via, parse_media_type, parse_cseq):
            try:
                parse(value)
            except ParseError:
                continue

    assert growth(run, 4000) < 9, "linear, not quadratic"
