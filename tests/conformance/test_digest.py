"""Digest authentication: C-066 to C-081 (reliability plan, section 2.5). C-071 is in test_short_times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest

from sipsms.sip import digest as theirs
from tests.support.sip.wire import Credentials, Incoming, Phone, Udp, digest, param

from .conftest import MakePhone
from .lab import Account, Lab


@pytest.fixture(scope="module")
def two_algorithms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("sha256"), 30, digest=["sha-256", "md5"]) as lab:
        yield lab
        lab.assert_healthy()


def _register(phone: Phone) -> Incoming:
    return phone.ask(phone.register_draft(f"<{phone.contact}>"))


@pytest.mark.req("C-066", "D3", "S-079")
def test_c066_register_401_and_message_407(phone: Phone) -> None:
    register = _register(phone)
    message = phone.ask(phone.message_draft("5554443001"))
    assert (register.status, message.status) == (401, 407)
    assert register.has("www-authenticate")
    assert not register.has("proxy-authenticate")
    assert message.has("proxy-authenticate")
    assert not message.has("www-authenticate")


@pytest.mark.req("C-067")
def test_c067_challenge_is_md5_alone(phone: Phone) -> None:
    for response in (_register(phone), phone.ask(phone.message_draft("5554443001"))):
        (challenge,) = response.challenges()
        assert challenge["scheme"] == "Digest"
        assert challenge["realm"] == "sip.example.net"
        assert challenge["algorithm"] == "MD5"
        assert challenge["qop"] == "auth"
        assert 'qop="auth"' in response.raw.decode()
        assert len(challenge["nonce"]) >= 16
        assert "opaque" in challenge
        assert "stale" not in challenge


@pytest.mark.req("C-067", "C-068")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_c067_one_header_for_each_algorithm_in_order(two_algorithms: Lab, transport: str) -> None:
    with two_algorithms.phone(two_algorithms.account(), transport) as phone:
        response = _register(phone)
        assert len(response.all("www-authenticate")) == 2
        assert [challenge["algorithm"] for challenge in response.challenges()] == ["SHA-256", "MD5"]
        for challenge in response.challenges():
            assert challenge["qop"] == "auth"
            assert challenge["realm"] == "sip.example.net"


@pytest.mark.req("C-068")
@pytest.mark.parametrize("algorithm", ["SHA-256", "MD5"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_c068_both_algorithms_are_taken(two_algorithms: Lab, transport: str, algorithm: str) -> None:
    account = two_algorithms.account()
    with two_algorithms.phone(account, transport) as phone:
        phone.credentials.algorithm = algorithm
        phone.register()
        assert phone.message("5554443001", algorithm).status == 202
    assert two_algorithms.texts(account.did) == [algorithm]


RFC7616 = {
    "MD5": "8ca523f5e9506fed4657c9700eebdbec",
    "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
}


@pytest.mark.req("C-068")
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_c068_vectors_of_rfc7616(algorithm: str) -> None:
    user, realm, password, uri = "Mufasa", "http-auth@example.org", "Circle of Life", "/dir/index.html"
    nonce, cnonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    ours = digest(algorithm, user, realm, password, "GET", uri, nonce, nc="00000001", cnonce=cnonce, qop="auth")
    assert ours == RFC7616[algorithm]
    header = (
        f'Digest username="{user}", realm="{realm}", uri="{uri}", algorithm={algorithm}, nonce="{nonce}", nc=00000001, '
        f'cnonce="{cnonce}", qop=auth, response="{ours}", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    credentials = theirs.parse_credentials(header)
    assert credentials is not None
    secret = theirs.ha1(user, realm, password, algorithm)
    assert theirs.expected_response(credentials, secret, "GET") == ours


@pytest.mark.req("C-069", "D4")
@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE"])
@pytest.mark.parametrize(
    ("algorithm", "qop"), [("SHA-256", "auth"), ("SHA-512-256", "auth"), ("MD5-sess", "auth"), ("MD5", "auth-int")]
)
def test_c069_what_was_not_offered(phone: Phone, method: str, algorithm: str, qop: str) -> None:
    credentials = Credentials(phone.name, phone.credentials.password, algorithm, qop)
    draft = phone.register_draft(f"<{phone.contact}>") if method == "REGISTER" else phone.message_draft("5554443001")
    signed = phone.signed(draft, credentials)
    again = phone.ask(signed)
    assert again.status == (401 if method == "REGISTER" else 407)
    assert "stale" not in again.challenges()[0]
    second = phone.authorise(signed.drop("Authorization", "Proxy-Authorization"), again, credentials)
    assert phone.ask(second).status == 403


@pytest.mark.req("C-069")
def test_c069_the_second_challenge_can_be_answered_well(phone: Phone) -> None:
    draft = phone.register_draft(f"<{phone.contact}>")
    signed = phone.signed(draft, Credentials(phone.name, phone.credentials.password, "SHA-256"))
    again = phone.ask(signed)
    assert phone.ask(phone.authorise(signed.drop("Authorization"), again)).status == 200


@pytest.mark.req("C-069")
def test_c069_rfc2069_answer_needs_the_switch(phone: Phone) -> None:
    """Without nc nothing could be told from a replay: challenged once more, then refused."""
    credentials = Credentials(phone.name, phone.credentials.password, qop="")
    signed = phone.signed(phone.register_draft(f"<{phone.contact}>"), credentials)
    again = phone.ask(signed)
    assert again.status == 401
    assert phone.ask(phone.authorise(signed.drop("Authorization"), again, credentials)).status == 403


@pytest.mark.req("C-070")
@pytest.mark.parametrize(
    "value", ["Basic YzAwMTpwdy1jMDAx", "NTLM TlRMTVNTUAAB", "Bearer abc", "Foo a=b", "Foo", "Basic", "DigestX a=b"]
)
def test_c070_other_schemes(phone: Phone, value: str) -> None:
    draft = phone.register_draft(f"<{phone.contact}>").add("Authorization", value)
    response = phone.ask(draft)
    assert response.status == 401
    assert "stale" not in response.challenges()[0]
    assert phone.ask(phone.message_draft("5554443001").add("Proxy-Authorization", value)).status == 407


def _with_nonce(phone: Phone, challenge: dict[str, str], nc: int, method: str) -> Incoming:
    draft = (
        phone.register_draft(f"<{phone.contact}>")
        if method == "REGISTER"
        else phone.message_draft("5554443001", f"nc {nc}")
    )
    phone.credentials.nc = nc
    name = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
    return phone.ask(draft.add(name, phone.credentials.header(challenge, draft)))


@pytest.mark.req("C-072")
@pytest.mark.parametrize(("method", "good", "challenged"), [("REGISTER", 200, 401), ("MESSAGE", 202, 407)])
def test_c072_nonce_count(lab: Lab, account: Account, phone: Phone, method: str, good: int, challenged: int) -> None:
    challenge = _register(phone).challenges()[0]
    statuses = []
    for nc in (1, 2, 5, 5, 3, 1, 6, 0x10, 6):
        response = _with_nonce(phone, challenge, nc, method)
        statuses.append(response.status)
        if response.status == challenged:
            assert response.challenges()[0]["stale"] == "true"
    assert statuses == [good] * 3 + [challenged] * 3 + [good] * 2 + [challenged]
    if method == "MESSAGE":
        assert lab.texts(account.did) == ["nc 1", "nc 2", "nc 5", "nc 6", "nc 16"]


@pytest.mark.req("C-072")
def test_c072_replayed_register_changes_nothing(phone: Phone) -> None:
    signed = phone.signed(phone.register_draft(f"<{phone.contact}>;expires=100"))
    assert phone.ask(signed).status == 200
    replayed = signed.copy().set("Via", phone.via()).set("Contact", "<sip:thief@192.0.2.66>").set("CSeq", "99 REGISTER")
    response = phone.ask(replayed)
    assert response.status == 401
    assert response.challenges()[0]["stale"] == "true"
    assert list(phone.bindings()) == [phone.contact]


@pytest.mark.req("C-073", "D7")
def test_c073_exact_retransmission_with_the_same_nonce_count(lab: Lab, account: Account, phone: Phone) -> None:
    challenge = _register(phone).challenges()[0]
    for nc in (1, 2):
        draft = phone.message_draft("5554443001", f"count {nc}")
        phone.credentials.nc = nc
        draft.add("Proxy-Authorization", phone.credentials.header(challenge, draft))
        first = phone.ask(draft)
        assert first.status == 202
        assert phone.ask(draft).raw == first.raw
    assert lab.texts(account.did) == ["count 1", "count 2"]


@pytest.mark.req("C-074")
@pytest.mark.parametrize(
    "uri", ["sip:5554443002@sip.example.net", "sip:5554443001@other.example", "sip:sip.example.net", "*"]
)
def test_c074_digest_for_another_uri(lab: Lab, account: Account, phone: Phone, uri: str) -> None:
    phone.credentials.uri = uri
    assert phone.message("5554443001").status in (400, 401, 407)
    assert lab.rows(account.did) == []


@pytest.mark.req("C-075")
@pytest.mark.parametrize("kind", ["forged", "other server", "truncated", "lengthened", "flipped", "not ascii"])
def test_c075_nonce_that_is_not_ours(phone: Phone, two_algorithms: Lab, kind: str) -> None:
    nonce = _register(phone).challenges()[0]["nonce"]
    with two_algorithms.phone("anybody") as other:
        foreign = _register(other).challenges()[0]["nonce"]
    phone.credentials.nonce = {
        "forged": "A" * len(nonce), "other server": foreign, "truncated": nonce[:-1], "lengthened": nonce + "A",
        "flipped": nonce[:-1] + ("0" if nonce[-1] != "0" else "1"), "not ascii": "\u00e4" * len(nonce),
    }[kind]  # fmt: skip
    response = phone.authenticated(phone.register_draft(f"<{phone.contact}>"))
    assert response.status == 401
    phone.credentials.nonce = ""
    assert phone.bindings() == {}


@pytest.mark.req("C-075", "C-066")
def test_c075_credentials_for_another_realm(phone: Phone) -> None:
    phone.credentials.realm = "elsewhere.example"
    response = phone.authenticated(phone.register_draft(f"<{phone.contact}>"))
    assert response.status == 401
    assert "stale" not in response.challenges()[0]


# --- one answer for everybody who does not know a password -----------------------------------------------------------


def _shape(response: Incoming, user: str) -> list[tuple[str, str]]:
    """The response without what differs by request: tags, branches, Call-ID, the user's name."""
    mine = ("via", "from", "call-id", "cseq")
    return [
        (name, "" if name.lower() in mine else value.replace(param(value, "tag") or "\0", "").replace(user, "USER"))
        for name, value in response.headers
    ]


@pytest.mark.req("C-076", "D4")
@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE"])
def test_c076_unknown_user_wrong_password_disabled_account(
    lab: Lab, make_phone: MakePhone, transport: str, method: str
) -> None:
    disabled = lab.account()
    lab.cli("account", "set", disabled.name, "--disabled")
    people = [
        make_phone(lab.account(), transport, "wrong"), make_phone("nobody", transport, "wrong"),
        make_phone(disabled, transport), make_phone(disabled, transport, "wrong"),
    ]  # fmt: skip
    lab.wait(lambda: people[2].settled(people[2].register_draft()).status == 403)
    shapes = []
    for phone in people:
        draft = phone.register_draft() if method == "REGISTER" else phone.message_draft("5554443001")
        response = phone.authenticated(draft)
        assert response.status == 403
        assert response.start == "SIP/2.0 403 Forbidden"
        shapes.append(_shape(response, phone.name))
    assert all(shape == shapes[0] for shape in shapes)


@pytest.mark.req("C-076", "D4")
def test_c076_timing(lab: Lab) -> None:
    """Medians of unknown user and wrong password, interleaved; every pair stays below the guard's ten free guesses."""
    known = [lab.account().name for _ in range(40)]
    unknown = [f"u{name[1:]}" for name in known]
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    with Phone(lab.address, "x", "wrong", wire=Udp(lab.address)) as phone:
        for _ in range(9):
            for pair in zip(known, unknown, strict=True):
                for kind, name in zip(("known", "unknown"), pair, strict=True):
                    phone.credentials = Credentials(name, "wrong")
                    draft = phone.signed(phone.draft("REGISTER").set("To", f"<sip:{name}@{phone.domain}>"))
                    began = time.perf_counter()
                    response = phone.ask(draft)
                    times[kind].append(time.perf_counter() - began)
                    assert response.status == 403
    medians = {kind: statistics.median(values) for kind, values in times.items()}
    difference = abs(medians["known"] - medians["unknown"]) / min(medians.values())
    print(f"C-076: medians {medians['known'] * 1e6:.0f} and {medians['unknown'] * 1e6:.0f} us, {difference:.1%} apart")
    assert difference < 0.25


@pytest.mark.req("C-076")
def test_c076_guesses_are_slowed_but_the_owner_is_not_locked_out(
    lab: Lab, account: Account, make_phone: MakePhone
) -> None:
    """After the free guesses even the right password is refused to the guesser for a moment, not to other addresses."""
    guesser = make_phone(account, "udp", "wrong")
    for _ in range(15):
        assert guesser.authenticated(guesser.register_draft()).status == 403
    with Phone(lab.address, account.name, account.password, wire=Udp(lab.address, host="127.0.0.3")) as owner:
        owner.register()
    guesser.credentials.password = account.password
    lab.wait(lambda: guesser.authenticated(guesser.register_draft()).status == 200, 5.0)


@pytest.mark.req("C-077")
@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_c077_never_challenged(phone: Phone, method: str) -> None:
    phone.send(phone.draft(method, f"sip:5554443001@{phone.domain}").add("Proxy-Authorization", "Digest x"))
    if method == "CANCEL":
        assert phone.wire.receive().status == 481
    phone.assert_silent(0.2)


@pytest.mark.req("C-078")
def test_c078_credentials_never_leave(lab: Lab, account: Account, phone: Phone, make_phone: MakePhone) -> None:
    """A message is stored and sent anew: no credentials of the sender's, for our realm or another, go with it."""
    receiver = lab.account()
    other = make_phone(receiver, phone.wire.name)
    other.register()
    draft = phone.message_draft(receiver.did, "no secrets")
    draft.add("Proxy-Authorization", 'Digest username="x", realm="elsewhere", nonce="n", uri="sip:x", response="r"')
    assert phone.authenticated(draft).status == 202
    request = other.take()
    assert not [name for name in request.names if "auth" in name.lower()]
    assert account.name.encode() not in request.raw


@pytest.mark.req("C-079")
@pytest.mark.parametrize("name", ["Authorization", "Proxy-Authorization"])
def test_c079_ours_is_the_last_of_three(phone: Phone, name: str) -> None:
    others = ['Digest username="x", realm="a", nonce="n", uri="sip:x", response="r"', "Basic YTpi"]
    if name == "Authorization":
        draft = phone.register_draft(f"<{phone.contact}>").add(name, *others)
        assert phone.authenticated(draft).status == 200
    else:
        assert phone.authenticated(phone.message_draft("5554443001").add(name, *others)).status == 202


@pytest.mark.req("C-080")
@pytest.mark.parametrize(
    "bad",
    [
        {"extra": {"realm": r'"sip.\"example.net"'}},
        {"extra": {"username": r'"a\"b\\c"'}},
        {"extra": {"username": '"' + "x" * 8192 + '"'}},
        {"extra": {"response": '""'}},
        {"extra": {"response": '"zz"'}},
        {"extra": {"response": '"\u0660"'}},
        {"extra": {"nc": "zz"}},
        {"extra": {"nc": "-0000001"}},
        {"extra": {"nc": "000000001"}},
        {"extra": {"cnonce": '""'}},
        {"extra": {"qop": '"auth, auth"'}},
        {"extra": {"username": '"unclosed'}},
        {"extra": {"nonce": '"\x07"'}},
        {"extra": {"uri": '""'}},
        {"without": ("username",)},
        {"without": ("nonce",)},
        {"without": ("uri",)},
        {"without": ("response",)},
        {"without": ("realm",)},
        {"without": ("nc",)},
        {"without": ("cnonce",)},
    ],
    ids=lambda bad: str(bad)[:40].replace(" ", ""),
)
@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE"])
def test_c080_malformed_credentials(lab: Lab, account: Account, phone: Phone, method: str, bad: dict) -> None:  # type: ignore[type-arg]
    """400 or a challenge; 403 where it is a well-formed wrong answer to a good nonce (D4)."""
    credentials = Credentials(account.name, account.password, **bad)
    draft = phone.register_draft(f"<{phone.contact}>") if method == "REGISTER" else phone.message_draft("5554443001")
    response = phone.ask(phone.signed(draft, credentials))
    wrong_answer = {"username", "response", "uri"} & {*bad.get("extra", ()), *bad.get("without", ())}
    assert response.status in ({400, 401, 407, 403} if wrong_answer else {400, 401, 407})
    assert lab.bindings(account.name) == {}
    assert lab.rows(account.did) == []


@pytest.mark.req("C-072", "C-080")
def test_c080_nonce_count_zero(phone: Phone) -> None:
    phone.credentials.nc = 0
    assert phone.authenticated(phone.register_draft(f"<{phone.contact}>")).status in (400, 401)


@pytest.mark.req("C-080")
@pytest.mark.parametrize(
    "value",
    [
        "Digest",
        "Digest ",
        "Digest ,,,",
        "Digest =",
        'Digest username="a" realm="b"',
        "Digest a=b, a=c",
        "Digest \udcff=1",
    ],
)
def test_c080_garbage(phone: Phone, value: str) -> None:
    assert phone.ask(phone.register_draft().add("Authorization", value)).status in (400, 401)


@pytest.mark.req("C-081", "D2")
def test_c081_ten_thousand_strangers(lab: Lab) -> None:
    """Each is answered once, nothing is kept for them: a copy of a request is a stranger again, with a new nonce."""
    count, window = 10_000, 100
    with Phone(lab.address, "stranger", "x", wire=Udp(lab.address)) as phone:
        template = phone.register_draft(f"<{phone.contact}>").set("Call-ID", "NUMBER").bytes()
        seen: dict[bytes, int] = {}
        wire = phone.wire
        assert isinstance(wire, Udp)
        for start in range(0, count, window):
            for number in range(start, start + window):
                wire.send(
                    template.replace(b"NUMBER", b"stranger-%d" % number).replace(b"z9hG4bK", b"z9hG4bK%d." % number)
                )
            for _ in range(window):
                raw, _ = wire.receive_raw()
                assert raw.startswith(b"SIP/2.0 401 ")
                call_id = raw.split(b"\r\nCall-ID: ", 1)[1].split(b"\r\n", 1)[0]
                seen[call_id] = seen.get(call_id, 0) + 1
        wire.assert_silent(1.2)  # a retransmission would come after 0.5 s
        assert len(seen) == count
        assert set(seen.values()) == {1}
        draft = phone.register_draft(f"<{phone.contact}>")
        first, again = phone.ask(draft), phone.ask(draft)
        assert first.challenges()[0]["nonce"] != again.challenges()[0]["nonce"]
        assert first.get("to") == again.get("to")
