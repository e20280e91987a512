"""The client's side: digest by the RFCs' own numbers, what is answered and what is not, and when to register again."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipsms.sip import digest as server
from sipsms.sip.digest_client import (
    BACK_OFF_MAX,
    BACK_OFF_MIN,
    REFUSED_MIN,
    Challenge,
    Digest,
    Exchange,
    Registration,
    answer,
    back_off,
    choose,
    granted,
    number_in,
    parse_challenge,
    reason_of,
    refresh_after,
)
from sipsms.sip.message import Response

URI = "sip:sip.example.net"
TOKEN = "abcdef"


def response(status: int = 200, reason: str = "OK", **headers: str | list[str]) -> Response:
    named = {key.replace("_", "-"): one if isinstance(one, list) else [one] for key, one in headers.items()}
    return Response(status, reason, named)


def challenged(nonce: str, extra: str = "", status: int = 401) -> Response:
    name = "www_authenticate" if status == 401 else "proxy_authenticate"
    value = f'Digest realm="r", nonce="{nonce}", algorithm=MD5, qop="auth"{extra}'
    return response(status, "Unauthorized", **{name: value})


# --- digest -----------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-011", "S-079")
@pytest.mark.parametrize(
    ("algorithm", "right"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_client_computes_the_example_of_rfc_7616(algorithm: str, right: str) -> None:
    """Section 3.9.1."""
    value = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", '
        f'algorithm={algorithm}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    challenge = parse_challenge(value)
    assert challenge is not None
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    said = answer(challenge, "Mufasa", "Circle of Life", "GET", "/dir/index.html", 1, cnonce)
    assert f'response="{right}"' in said
    assert f"algorithm={algorithm}, " in said
    assert 'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"' in said
    assert "qop=auth, nc=00000001, " in said


def test_the_client_computes_the_corrected_example_of_rfc_2069() -> None:
    """Without qop; what was not offered is not said."""
    challenge = Challenge("testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093")
    said = answer(challenge, "Mufasa", "CircleOfLife", "GET", "/dir/index.html", 1, "x")
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in said
    assert not re.search("qop|nc=|cnonce|opaque|algorithm", said)


def test_the_client_computes_md5_sess() -> None:
    """RFC 7616 section 3.4.2: MD5-sess, computed by hand here."""
    said = answer(Challenge("r", "n", None, "MD5-sess", True), "u", "p", "REGISTER", URI, 1, "c")
    inner = server.ha1("u", "r", "p")
    secret = server.ha1(inner, "n", "c")
    credentials = server.parse_credentials(said.replace("algorithm=MD5-sess", "algorithm=MD5"))
    assert credentials is not None
    assert server.expected_response(credentials, secret, "REGISTER") == credentials.response


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40),
    st.sampled_from(["MD5", "SHA-256"]),
)
def test_the_server_of_sipsms_accepts_the_answer(password: str, algorithm: str) -> None:
    challenge = parse_challenge(f'Digest realm="a \\"b\\" c", nonce="n1", opaque="", algorithm={algorithm}, qop="auth"')
    assert challenge is not None
    said = answer(challenge, 'q"uote', password, "MESSAGE", URI, 7, "c")
    found = server.parse_credentials(said)
    assert found is not None
    assert (found.realm, found.nc, found.username) == ('a "b" c', "00000007", 'q"uote')
    secret = server.ha1('q"uote', 'a "b" c', password, algorithm)
    assert server.expected_response(found, secret, "MESSAGE") == found.response


@pytest.mark.parametrize(
    "value",
    [
        "Basic realm=x", "Digest", 'Digest realm="r"', 'Digest nonce="n"', 'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n", qop="auth-int"', 'Digest realm="r", nonce="n", algorithm=SHA-512-256',
        'Digest realm="r, nonce="n"', 'Digest realm="r", nonce="' + "n" * 5000 + '"',
    ],
)  # fmt: skip
def test_challenges_that_cannot_be_answered_are_refused(value: str) -> None:
    assert parse_challenge(value) is None


@given(st.text(max_size=200))
def test_any_challenge_is_handled_without_an_error(text: str) -> None:
    parse_challenge("Digest " + text)


def test_the_client_answers_the_first_challenge_it_supports() -> None:
    """RFC 8760 section 2.4: the order is the server's."""
    values = [f'Digest realm="r", nonce="n", algorithm={name}' for name in ("SHA-512-256", "SHA-256", "MD5")]
    chosen = choose(values)
    assert chosen is not None
    assert chosen.algorithm == "SHA-256"
    assert choose(values[:1]) is None


# --- exchanges --------------------------------------------------------------------------------------------------------


@pytest.fixture
def digest() -> Digest:
    return Digest("u", "p")


def signed(exchange: Exchange) -> dict[str, str]:
    found = exchange.credentials("c")
    return dict([found]) if found else {}


def test_the_client_answers_a_challenge_and_then_sends_credentials_unasked(digest: Digest) -> None:
    first = Exchange(digest, "MESSAGE", URI)
    assert signed(first) == {}
    assert first.goes_on(challenged("n1", status=407))
    assert "nc=00000001" in signed(first)["proxy-authorization"]
    assert not first.goes_on(response())
    second = Exchange(digest, "MESSAGE", URI)
    assert "nc=00000002" in signed(second)["proxy-authorization"]
    assert signed(Exchange(digest, "REGISTER", URI)) == {}, "another method may be challenged in another way"


def test_a_wrong_password_is_sent_once(digest: Digest) -> None:
    """A new nonce after our answer is a refusal, whatever it looks like."""
    exchange = Exchange(digest, "REGISTER", URI)
    assert exchange.goes_on(challenged("n1"))
    assert signed(exchange)
    assert not exchange.goes_on(challenged("n2"))
    assert signed(Exchange(digest, "REGISTER", URI)) == {}, "the next request asks anew"


def test_a_nonce_is_not_answered_twice(digest: Digest) -> None:
    exchange = Exchange(digest, "REGISTER", URI)
    assert exchange.goes_on(challenged("n1"))
    signed(exchange)
    assert not exchange.goes_on(challenged("n1", ", stale=true"))


def test_a_stale_nonce_is_replaced(digest: Digest) -> None:
    exchange = Exchange(digest, "REGISTER", URI)
    assert exchange.goes_on(challenged("n1"))
    signed(exchange)
    assert exchange.goes_on(challenged("n2", ", stale=TRUE"))
    assert 'nonce="n2"' in signed(exchange)["authorization"]
    assert not exchange.goes_on(challenged("n3"))


def test_endless_stale_nonces_end_the_attempt(digest: Digest) -> None:
    exchange = Exchange(digest, "REGISTER", URI)
    numbers: Iterator[int] = iter(range(100))
    tries = 0
    while exchange.goes_on(challenged(f"n{next(numbers)}", ", stale=true")):
        signed(exchange)
        tries += 1
    assert tries == 3


def test_an_old_nonce_refused_without_stale_is_answered_once_more(digest: Digest) -> None:
    """Not every server says `stale`: an answer that nobody asked for is no wrong password."""
    digest.keep("REGISTER", "authorization", Challenge("r", "old", None, "MD5", True))
    exchange = Exchange(digest, "REGISTER", URI)
    assert 'nonce="old"' in signed(exchange)["authorization"]
    assert exchange.goes_on(challenged("n1"))
    assert signed(exchange)
    assert not exchange.goes_on(challenged("n2"))


def test_one_nonce_for_two_methods_counts_on(digest: Digest) -> None:
    for method in ("REGISTER", "MESSAGE"):
        digest.keep(method, "authorization", Challenge("r", "n", None, "MD5", True))
    counts = [(digest.sign(method, URI, "c") or ("", ""))[1] for method in ("REGISTER", "MESSAGE", "REGISTER")]
    assert [re.search("nc=0*([0-9])", one)[1] for one in counts] == ["1", "2", "3"]  # type: ignore[index]


def test_the_next_nonce_of_the_server_is_used(digest: Digest) -> None:
    exchange = Exchange(digest, "REGISTER", URI)
    assert exchange.goes_on(challenged("n1"))
    signed(exchange)
    info = 'qop=auth, rspauth="00", cnonce="c", nc=00000001, nextnonce="n2"'
    assert not exchange.goes_on(response(authentication_info=info))
    assert digest.known("REGISTER") == "n2"
    assert not exchange.goes_on(response(authentication_info='qop=auth, rspauth="00"'))
    assert digest.known("REGISTER") == "n2"


def test_a_challenge_of_unknown_scheme_is_ignored(digest: Digest) -> None:
    assert not Exchange(digest, "REGISTER", URI).goes_on(response(401, www_authenticate="Basic x"))
    assert not Exchange(digest, "REGISTER", URI).goes_on(response(407))


# --- registering ------------------------------------------------------------------------------------------------------


def test_the_granted_expiry_is_read_from_the_answer() -> None:
    ours, other = f"<sip:{TOKEN}@192.0.2.1>;expires=300", "<sip:other@192.0.2.1>;expires=20"
    assert granted(response(contact=[other, ours]), TOKEN, 600) == 300
    assert granted(response(contact=f"{other}, {ours}", expires="90"), TOKEN, 600) == 300
    assert granted(response(contact=other, expires="90"), TOKEN, 600) == 90
    assert granted(response(contact="<<"), TOKEN, 600) == 600
    assert granted(response(contact=f"<sip:{TOKEN}@h>;expires=0"), TOKEN, 600) == 0


def test_retry_after_and_the_reason_are_read_from_a_response() -> None:
    assert number_in(response(retry_after="120 (in a meeting);duration=60"), "retry-after") == 120
    assert number_in(response(retry_after="soon"), "retry-after") == 0
    assert reason_of(response(403, "Forbidden")) == "403 Forbidden"
    assert reason_of(response(403, "Forbidden", warning='399 h "not "yours""')) == '403 not "yours"'


@given(st.floats(1, 86400), st.floats(0, 1))
def test_a_registration_is_refreshed_before_it_expires(seconds: float, chance: float) -> None:
    assert 0.5 * seconds <= refresh_after(seconds, chance) <= max(1.0, 0.9001 * seconds)


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_the_back_off_is_bounded(failures: int, chance: float) -> None:
    assert BACK_OFF_MIN <= back_off(failures, chance) <= BACK_OFF_MAX


def test_a_successful_registration_is_refreshed() -> None:
    registration = Registration(600)
    assert not registration.is_good(0)
    wait = registration.answered(response(contact=f"<sip:{TOKEN}@h>;expires=100"), TOKEN, 1000, 0.5)
    assert (wait, registration.until, registration.why) == (70, 1100, "")


def test_a_longer_expiry_after_423_is_requested_once() -> None:
    registration = Registration(60)
    assert registration.answered(response(423, min_expires="1800"), TOKEN, 0, 0) == 0
    assert registration.expires == 1800
    assert registration.answered(response(423, min_expires="3600"), TOKEN, 0, 0) == BACK_OFF_MIN
    assert registration.answered(response(423, min_expires="10"), TOKEN, 0, 0) > BACK_OFF_MIN
    assert registration.answered(response(423), TOKEN, 0, 0) > BACK_OFF_MIN


def test_a_refused_registration_waits_before_the_next_attempt() -> None:
    registration = Registration(600)
    assert registration.answered(response(503, retry_after="120"), TOKEN, 0, 0) == 120
    assert registration.answered(response(503, retry_after="999999"), TOKEN, 0, 0) == 3600
    assert Registration(600).answered(response(403, "Forbidden"), TOKEN, 0, 0) == REFUSED_MIN
    assert Registration(600).answered(response(500, "Oops"), TOKEN, 0, 0) == BACK_OFF_MIN
    gone = Registration(600)
    assert gone.answered(response(contact=f"<sip:{TOKEN}@h>;expires=0"), TOKEN, 0, 0) == BACK_OFF_MIN
    assert gone.why == "the registrar took no contact of ours"


def test_failures_are_forgotten_after_a_registration_that_lasted() -> None:
    registration = Registration(600)
    for _ in range(9):
        wait = registration.failed("no answer", 0, 1)
    assert wait == BACK_OFF_MAX
    registration.answered(response(), TOKEN, 100, 0)
    assert registration.failed("no answer", 101, 1) == BACK_OFF_MAX, "it held for a second only"
    registration.answered(response(), TOKEN, 200, 0)
    assert registration.failed("no answer", 300, 1) == BACK_OFF_MIN


def test_a_lost_connection_is_made_again_at_once() -> None:
    registration = Registration(600)
    registration.answered(response(), TOKEN, 100, 0)
    assert registration.lost("closed", 200, 0.3) == 0.3
    registration.answered(response(), TOKEN, 201, 0)
    assert registration.lost("closed", 202, 0.3) >= BACK_OFF_MIN, "closed again and again"
