"""SIP settings in force: the server's own names, and refusals in words."""

from __future__ import annotations

import socket

import pytest

from sipsms.messaging.settings import MessageSettings
from sipsms.sip.rules import SipRules
from sipsms.sip.settings import SipSettings
from sipsms.sip.uri import parse_uri

RULES = SipRules(
    "Sms.Example.net", ["Alias.example.net"], SipSettings(advertised="outside.example.net"), MessageSettings()
)


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("sms.example.net", True), ("alias.example.net", True), ("127.0.0.1", True), ("[::1]", True),
        ("SMS.Example.net.", True), ("outside.example.net", True), ("localhost.", True), ("example.net", False),
        ("192.0.2.1", False), ("sms.example.net.evil.example", False), ("sms.example.net..", False),
    ],
)  # fmt: skip
def test_own_names_and_addresses_are_recognised(host: str, ours: bool) -> None:
    assert RULES.is_ours(parse_uri(f"sip:alice@{host}")) is ours


def test_a_refusal_says_why_in_one_ascii_line() -> None:
    answer = RULES.refusal(413, 'too "long" é')
    assert answer.status == 413
    assert answer.headers == (("Warning", "399 sms.example.net \"too 'long' ?\""),)


@pytest.mark.req("A-26", "C-122")
@pytest.mark.parametrize(
    ("origin", "taken"),
    [
        ("https://sms.example.net", True), ("https://ALIAS.example.net:8443", True), ("https://phone.example", True),
        ("http://localhost", False), ("https://localhost:3000", False), ("http://127.0.0.1", False), ("null", False),
        ("http://" + socket.gethostname(), False), ("https://sms.example.net.evil.example", False), ("", False),
        ("chrome-extension://sms.example.net", False), ("https://[", False),
    ],
)  # fmt: skip
def test_pages_of_our_public_names_may_connect(origin: str, taken: bool) -> None:
    """What a browser calls localhost is its own machine."""
    rules = SipRules("Sms.Example.net", ["Alias.example.net"], _PAGES, MessageSettings())
    assert rules.takes_page(origin) is taken
    local = SipRules("localhost", [], SipSettings(), MessageSettings())
    assert local.takes_page("http://localhost"), "it is the domain"


_PAGES = SipSettings(websocket_origins=("https://phone.example",))
