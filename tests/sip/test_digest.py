"""Digest: the RFCs' examples, sealed nonces, and one answer for all who do not know a password."""

from __future__ import annotations

import pytest

from sipsms.core.account import Account
from sipsms.core.ha1 import ha1
from sipsms.sip.digest import (
    Authenticator,
    Credentials,
    Nonces,
    Verdict,
    expected_response,
    issued_at,
    parse_credentials,
    same_target,
)
from sipsms.sip.uri import ParseError

NOW = 1_800_000_000.0
REALM = "sip.example.net"


@pytest.mark.req("C-068")
@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    credentials = Credentials(
        "Mufasa", "http-auth@example.org", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "/dir/index.html", "",
        algorithm, "auth", "00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )  # fmt: skip
    secret = ha1("Mufasa", "http-auth@example.org", "Circle of Life", algorithm)
    assert expected_response(credentials, secret, "GET") == response


def test_an_authorization_header_is_parsed() -> None:
    found = parse_credentials(
        'Digest  username="a\\"b", realm="r", nonce="n",uri="sip:x", response="ABC", algorithm=MD5, '
        'qop=auth,nc=00000001,cnonce="c"'
    )
    assert found is not None
    assert (found.username, found.response, found.algorithm, found.nc) == ('a"b', "abc", "MD5", "00000001")
    assert parse_credentials("Basic YTpi") is None
    for bad in (
        "Digest username",
        'Digest a="1" b="2"',
        'Digest a="1", a="2"',
        'Digest a="open',
        "Digest " + "a" * 5000,
    ):
        with pytest.raises(ParseError):
            parse_credentials(bad)


class Client:
    """Answers challenges as a phone does."""

    def __init__(self, password: str = "secret", start: float = 0.0, **overrides: str) -> None:
        self.nonces = Nonces(b"k" * 32, 300, start)
        self.server = Authenticator(REALM, ["md5", "sha-256"], self.nonces)
        self.overrides = {
            "username": "alice",
            "algorithm": "MD5",
            "qop": "auth",
            "nc": "00000001",
            "cnonce": "c",
            **overrides,
        }
        self.password = password

    def check(self, nonce: str, now: float = NOW, account: Account | None = None, **changes: str) -> Verdict:
        values = {**self.overrides, **changes}
        credentials = Credentials(
            values["username"], REALM, nonce, values.get("uri", "sip:h"), "", values["algorithm"], values["qop"],
            values["nc"], values["cnonce"],
        )  # fmt: skip
        algorithm = values["algorithm"] if values["algorithm"] in ("MD5", "SHA-256") else "MD5"
        secret = ha1(values["username"], REALM, self.password, algorithm)
        response = expected_response(credentials._replace(algorithm=algorithm), secret, "MESSAGE")
        return self.server.check(
            credentials._replace(response=response),
            account or ALICE,
            "MESSAGE",
            "sip:h",
            now,
            values.get("network", ""),
        ).verdict


ALICE = Account("alice", "", ha1("alice", REALM, "secret"), ha1("alice", REALM, "secret", "SHA-256"))


@pytest.mark.req("C-072", "C-071")
def test_nonce_counts_rise_and_nonces_age() -> None:
    client = Client()
    nonce = client.nonces.issue(NOW)
    assert client.check(nonce) is Verdict.OK
    assert client.check(nonce) is Verdict.STALE
    assert client.check(nonce, nc="00000005") is Verdict.OK
    assert client.check(nonce, nc="00000003") is Verdict.STALE
    assert client.check(client.nonces.issue(NOW - 301)) is Verdict.STALE
    assert Client("wrong").check(client.nonces.issue(NOW - 301)) is Verdict.NONE


@pytest.mark.req("C-068")
def test_sha256_digests_are_verified() -> None:
    client = Client(algorithm="SHA-256")
    assert client.check(client.nonces.issue(NOW)) is Verdict.OK


@pytest.mark.req("C-075")
def test_forged_nonces_are_refused() -> None:
    client = Client()
    other = Nonces(b"x" * 32, 300).issue(NOW)
    own = client.nonces.issue(NOW)
    for nonce in (other, own[:-1] + ("0" if own[-1] != "0" else "1"), own[:20], "", "zz" * 24):
        assert client.check(nonce) is not Verdict.OK


@pytest.mark.req("A-08", "C-075")
def test_a_nonce_counts_only_in_the_network_that_it_was_issued_to() -> None:
    """Right password: challenged anew as stale. Wrong: challenged anew, and no failure of that network."""
    client, guesser = Client(), Client("wrong")
    for one, verdict in ((client, Verdict.STALE), (guesser, Verdict.NONE)):
        assert one.check(one.nonces.issue(NOW, "192.0.2.1"), network="198.51.100.1") is verdict
        assert one.check(one.nonces.issue(NOW), network="198.51.100.1") is verdict
        assert one.check(one.nonces.issue(NOW, "192.0.2.1")) is verdict
    assert client.check(client.nonces.issue(NOW, "192.0.2.1"), network="192.0.2.1") is Verdict.OK
    assert guesser.check(guesser.nonces.issue(NOW, "192.0.2.1"), network="192.0.2.1") is Verdict.WRONG


@pytest.mark.req("A-09")
def test_a_nonce_of_before_the_start_is_stale() -> None:
    """Its count is not known: a request that was accepted before must not be accepted again."""
    before = Nonces(b"k" * 32, 300).issue(NOW)
    client = Client(start=NOW + 1)
    assert client.check(before, NOW + 2) is Verdict.STALE
    assert client.check(client.nonces.issue(NOW + 2), NOW + 2) is Verdict.OK


@pytest.mark.req("C-076")
def test_every_unknown_user_gets_the_same_answer() -> None:
    disabled = Account("alice", "", ALICE.ha1_md5, ALICE.ha1_sha256, enabled=False)
    wrong = Client("wrong")
    verdicts = {
        wrong.check(wrong.nonces.issue(NOW)),
        Client().server.check(_answer(unknown := Client()), None, "MESSAGE", "sip:h", NOW).verdict,
        unknown.check(unknown.nonces.issue(NOW), account=disabled),
    }
    assert verdicts == {Verdict.WRONG}


def _answer(client: Client) -> Credentials:
    return Credentials("ghost", REALM, client.nonces.issue(NOW), "sip:h", "0" * 32, "MD5", "auth", "00000001", "c")


@pytest.mark.req("C-069")
@pytest.mark.parametrize("change", [{"algorithm": "MD5-SESS"}, {"qop": "auth-int"}, {"nc": "", "cnonce": ""}])
def test_an_algorithm_that_was_not_offered_is_challenged_again(change: dict[str, str]) -> None:
    client = Client()
    assert client.check(client.nonces.issue(NOW), **change) is Verdict.AGAIN
    assert client.check(client.nonces.issue(NOW, last=True), **change) is Verdict.WRONG


def test_a_digest_without_qop_is_accepted_only_if_switched_on() -> None:
    legacy = Account("alice", "", ALICE.ha1_md5, ALICE.ha1_sha256, legacy_digest=True)
    client = Client()
    nonce = client.nonces.issue(NOW)
    assert client.check(nonce, account=legacy, nc="", cnonce="") is Verdict.OK
    assert client.check(nonce, account=legacy, nc="", cnonce="") is Verdict.STALE


def test_replay_is_impossible_when_nonces_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipsms.sip.digest._GENERATION", 4)
    client = Client()
    first = client.nonces.issue(NOW)
    assert client.check(first) is Verdict.OK
    for step in range(1, 30):
        assert client.check(client.nonces.issue(NOW + step), NOW + step) is Verdict.OK
    assert client.check(first, NOW + 30) is Verdict.STALE


def test_the_time_of_issue_is_read_from_a_nonce() -> None:
    assert issued_at(Nonces(b"k" * 32, 300).issue(NOW)) == int(NOW * 1000)
    assert issued_at("x") == 0


@pytest.mark.req("C-074")
def test_the_digest_uri_and_the_request_uri_are_compared() -> None:
    assert same_target("sip:5551234567@h", "sip:5551234567@H:5060;transport=udp")
    assert same_target("<sip:h>", "sip:h:5070")
    assert same_target("sip:[::1]", "sip:[::1]:5060")
    assert not same_target("sip:5551234567@h", "sip:5551234568@h")
    assert not same_target("sip:a@h", "sip:a@other")
