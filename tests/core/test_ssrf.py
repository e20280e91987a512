"""Addresses and URLs of customers that this server calls, and those that it does not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from sipsms.core.ssrf import MAX_URL, check_address, check_smpp_url, check_url, literal

PUBLIC = ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.255.255", "2606:4700::1111", "2a00:1450:4001::1",
          "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]  # fmt: skip
PRIVATE = ["127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
           "100.127.255.255", "::1", "fc00::1", "fdff::1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1",
           "64:ff9b::7f00:1", "64:ff9b::c0a8:101", "2002:7f00:1::1", "2002:c0a8:101::",
           "2001:0:7f00:1::f5f5:f5f5", "2001:0:808:808::80ff:fffe"]  # fmt: skip
NEVER = ["0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::",
         "fe80::1", "fe80::1%eth0", "febf::1", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
         "2002:a9fe:a9fe::", "::7f00:1", "::127.0.0.1", "64:ff9b:1::7f00:1", "192.0.2.1", "2001:db8::1", "4000::1",
         "::ffff:0.0.0.0"]  # fmt: skip


@pytest.mark.req("W-04")
@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_accepted(address: str) -> None:
    assert check_address(address) == check_address(address, allow_private=True) == ""


@pytest.mark.req("W-04", "A-39")
@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_accepted_only_where_the_operator_allows_them(address: str) -> None:
    assert "private" in check_address(address)
    assert check_address(address, allow_private=True) == ""


@pytest.mark.req("W-04", "A-39")
@pytest.mark.parametrize("address", NEVER)
def test_multicast_and_reserved_addresses_are_always_refused(address: str) -> None:
    assert check_address(address)
    assert check_address(address, allow_private=True)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "0177.0.0.1", "2130706433", "::1]", "1.2.3.4 "])
def test_text_that_is_no_ip_address_is_refused(text: str) -> None:
    assert "no IP address" in check_address(text)


def test_the_refusal_names_the_address() -> None:
    assert check_address("127.0.0.1") == "address 127.0.0.1 is private"


GOOD = [
    "http://example.com",
    "HTTPS://Example.COM/x",
    "https://example.com:8443/sms.php?to={TO}&from={FROM};message={MESSAGE}",
    "http://example.com.?x",
    "http://8.8.8.8:80/",
    "http://[2606:4700::1111]:8080/x",
    "https://xn--bcher-kva.example/",
    "https://my_host.example.com/a@b?mail=a@b",
    "https://1e100.net/",
]


@pytest.mark.parametrize("url", GOOD)
def test_valid_urls_are_accepted(url: str) -> None:
    assert check_url(url) == ""


BAD = [
    "", "example.com", "//example.com", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
    "javascript:alert(1)", "http:/example.com", "http://", "http:///path", "http://?x", "http://:80/",
    "http://127.0.0.1/", "http://127.0.0.1./", "http://[::1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:127.0.0.1]/",
    "http://2130706433/", "http://0177.0.0.1/", "http://0x7f.1/", "http://0x7f000001", "http://127.1", "http://0/",
    "http://0x/", "http://1.2.3.0x4/", "http://017700000001/", "http://127.0.0.1.", "http://00000127.0.0.1/",
    "http://256.1.1.1/", "http://1.2.3.4.5/", "http://169.254.169.254/latest/meta-data/", "http://[fe80::1%25eth0]/",
    "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://localhost/", "http://LOCALHOST./", "http://a.localhost",
    "http://a@b/", "http://a:b@example.com/", "http://H#@evil/", "http://example.com#x", "http://example.com\\@evil/",
    "http://127.0.0.1\t/", "http://exa mple.com/", "http://example.com/a b", "http://example.com/\r\nX: y",
    "http://example.com\x00/", "http://bücher.example/", "http://127。0。0。1/", "http://①②⑦.0.0.1/", "http://１27.0.0.1/",
    "http://example.com:25/", "http://example.com:6379/", "http://example.com:22", "http://example.com:0/",
    "http://example.com:99999/", "http://example.com:5060/", "http://example.com:/", "http://{TO}.example.com/",
    "http://example..com/", "http://-a.example/", "http://.example.com/", "http://%31%32%37.0.0.1/", "http://[::1",
    "http://[1.2.3.4]/", "http://example.com:80:80/", "http://example.com;@evil/", "http://example.com,evil/",
]  # fmt: skip


@pytest.mark.req("W-04", "A-39")
@pytest.mark.parametrize("url", BAD)
def test_invalid_and_private_urls_are_refused(url: str) -> None:
    assert check_url(url)


@pytest.mark.req("W-04")
@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "http://localhost/", "http://[::1]/", "http://10.1.2.3/x"])
def test_private_urls_are_accepted_where_the_operator_allows_them(url: str) -> None:
    assert check_url(url)
    assert check_url(url, allow_private=True) == ""


@pytest.mark.req("W-04")
@pytest.mark.parametrize("url", ["http://127.1/", "http://0x7f.1/", "http://a@127.0.0.1/", "http://169.254.169.254/"])
def test_disguised_and_link_local_addresses_are_always_refused(url: str) -> None:
    assert check_url(url, allow_private=True)


@pytest.mark.req("W-04")
def test_the_length_of_a_url_is_limited() -> None:
    url = "https://example.com/".ljust(MAX_URL, "x")
    assert check_url(url) == ""
    assert "longer" in check_url(url + "x")
    assert check_url(url + "x", limit=MAX_URL + 1) == ""


@given(st.integers(0, 2**32 - 1))
def test_an_ipv6_address_is_checked_by_the_ipv4_address_it_carries(number: int) -> None:
    """An IPv6 address that leads to a refused IPv4 address is refused as well."""
    plain = IPv4Address(number)
    carriers = [0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80]
    for one in map(IPv6Address, carriers):
        assert bool(check_address(str(one))) == bool(check_address(str(plain)))


@given(st.integers(0, 2**32 - 1))
def test_no_address_that_python_calls_local_is_public(number: int) -> None:
    ip = IPv4Address(number)
    if ip.is_private or ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local:
        assert check_address(str(ip)) or str(ip) in ("192.0.0.9", "192.0.0.10")


@given(st.text(max_size=80))
def test_any_text_is_checked_without_an_error(text: str) -> None:
    assert isinstance(check_url(text), str)
    assert isinstance(check_url("http://" + text), str)
    assert check_address(text) or literal(text)


_PIECES = st.lists(
    st.sampled_from(["a", "1", ".", "127.0.0.1", "evil", "@", ":", "80", "/", "?", "[", "]", "::1", "%", "%40", "0x7f",
                     "-", "_", ";", "&", "=", "x@", "//", "{TO}", "é", "。", "..", ".:"]),
    max_size=10,
)  # fmt: skip


@pytest.mark.req("A-39")
@given(_PIECES)
def test_other_parsers_see_the_same_host_in_an_accepted_url(pieces: list[str]) -> None:
    """The library that connects, and the usual parsers, see the same host as the check."""
    url = "http://" + "".join(pieces)
    if check_url(url, allow_private=True):
        return
    authority = url[7:].partition("/")[0].partition("?")[0]
    host = (authority if authority.endswith("]") else authority.rpartition(":")[0] or authority).strip("[]").lower()
    assert "@" not in authority
    assert urlsplit(url).hostname == host
    assert (URL(url, encoded=True).raw_host or "").lower() == host
    assert bool(literal(host)) == bool(literal(host.strip("."))) or host.endswith(".")


@pytest.mark.req("S-073", "S-074", "S-075")
@pytest.mark.parametrize(
    "url", ["smpp://smsc.example.com", "ssmpp://me:p%40@smsc.example.com:16000", "smpp://8.8.8.8", "ssmpp://[2600::1]"]
)
def test_valid_smpp_urls_are_accepted(url: str) -> None:
    assert check_smpp_url(url) == ""


@pytest.mark.req("S-073", "A-32")
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://smsc.example.com", "smpp://"), ("smpp://smsc.example.com/x", "path"), ("smpp://127.0.0.1", "private"),
        ("smpp://me:hunter2@[::ffff:10.0.0.1]", "private"), ("smpp://localhost", "itself"),
        ("smpp://2130706433", "decimal"), ("smpp://smsc.example.com:25", "port 25"), ("smpp://-x.example.com", "host"),
    ],
)  # fmt: skip
def test_invalid_smpp_urls_are_refused_with_the_reason_and_without_the_password(url: str, why: str) -> None:
    assert why in check_smpp_url(url)
    assert "hunter2" not in check_smpp_url(url)


def test_private_smpp_urls_are_accepted_where_the_operator_allows_them() -> None:
    assert check_smpp_url("smpp://127.0.0.1:2775", allow_private=True) == ""
    assert check_smpp_url("smpp://169.254.169.254", allow_private=True)
