"""The torture messages of RFC 4475, each as it is, with credentials, as a MESSAGE, and cut off (section 2.10).

What is expected stands in tests/testdata/rfc4475/expected.json: `udp` is the set of allowed answers (empty: none at
all), `tcp` the sequence of answers, "close" or "400+close" where it differs, `auth` what credentials lead to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.sip.wire import (
    Closed,
    Credentials,
    Incoming,
    Phone,
    Silence,
    Tcp,
    Udp,
    Wire,
    open_wire,
    parse_challenge,
    token,
)

from .lab import Lab

FOLDER = Path(__file__).parent.parent / "testdata" / "rfc4475"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
CASES: list[dict[str, Any]] = EXPECTED["cases"]
REQUESTS = [case for case in CASES if case["kind"] not in ("response", "junk")]
AS_MESSAGE = {200, 202, 400, 403, 404, 405, 407, 413, 414, 415, 416, 420, 481, 482, 483, 484, 501, 505, 513}

pytestmark = pytest.mark.req("C-022")


def _raw(case: dict[str, Any]) -> bytes:
    return (FOLDER / case["file"]).read_bytes()


def _name(case: dict[str, Any]) -> str:
    return str(case["file"]).removesuffix(".dat")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The files' domains are ours; accounts are named as in the files."""
    people = [
        {"name": name, "password": f"pw-{name}", "caller_id": number, "dids": [{"number": number}]}
        for name, number in (("user", "5558880001"), ("watson", "5558880002"), ("fluffy", "5558880003"))
    ]
    domains = EXPECTED["config"]["local_domains"]
    with Lab(
        tmp_path_factory.mktemp("rfc4475"), 2, *people, domain=domains[0], aliases=[*domains[1:], "sip.example.net"],
        sip={"first_message_timeout": 1},
    ) as lab:  # fmt: skip
        yield lab


@pytest.fixture
def wire(lab: Lab, transport: str) -> Iterator[Wire]:
    wire = open_wire(transport, lab.address_of(transport))
    yield wire
    wire.close()


def _answers(wire: Wire, raw: bytes, wait: float = 3.0) -> list[Incoming]:
    """All that comes back: waits long for the first answer, then only for what comes with it."""
    wire.send(raw)
    found: list[Incoming] = []
    try:
        while True:
            found.append(wire.receive(0.06 if found else wait))
    except (Silence, Closed):
        return found


def _mirrors(answer: Incoming, raw: bytes) -> None:
    """The answer repeats Call-ID and Via of the request."""
    request = Incoming.read(raw)
    if request.has("call-id") and len(request.all("call-id")) == 1:
        assert answer.call_id == request.call_id
    assert len(answer.all("via")) >= 1


def _has_more_behind_the_body(raw: bytes) -> bool:
    """RFC 7118 section 5: a WebSocket message is one SIP message, with nothing behind it."""
    head, _, body = raw.lstrip(b"\r\n").partition(b"\r\n\r\n")
    length = re.search(rb"\r\n(?:content-length|l)[ \t]*:\s*(\d+)[ \t]*(?:\r\n|\Z)", head, re.I)
    return bool(length) and int(length[1]) < len(body)


@pytest.mark.parametrize("datagrams", ["udp", "wss"])
@pytest.mark.parametrize("case", CASES, ids=_name)
def test_rfc4475_by_datagrams(lab: Lab, case: dict[str, Any], datagrams: str) -> None:
    wire = open_wire(datagrams, lab.address_of(datagrams))
    raw = _raw(case)
    allowed = {*case["udp"], *case.get("also_ok", ())}
    if datagrams == "wss" and case["kind"] not in ("response", "junk") and _has_more_behind_the_body(raw):
        allowed = {400}
    found = _answers(wire, raw, 3.0 if allowed else 0.15)
    wire.close()
    if not allowed:
        assert found == []
        return
    assert len(found) == 1
    assert found[0].status in allowed
    _mirrors(found[0], raw)


def _tcp_expectation(case: dict[str, Any], raw: bytes) -> Any:
    """Without Content-Length a message has no end on a stream (C-007); without an empty line it has not ended yet."""
    if "tcp" in case or case["kind"] in ("response", "junk"):
        return case.get("tcp", [])
    head, end, _ = raw.partition(b"\r\n\r\n")
    if not end:
        return "close"
    return None if re.search(rb"\r\n(content-length|l)[ \t]*:", head, re.I) else "400+close"


@pytest.mark.parametrize("stream", ["tcp", "tls"])
@pytest.mark.parametrize("case", CASES, ids=_name)
def test_rfc4475_by_streams(lab: Lab, case: dict[str, Any], stream: str) -> None:
    wire = cast(Tcp, open_wire(stream, lab.address_of(stream)))
    raw = _raw(case)
    expected = _tcp_expectation(case, raw)
    try:
        if expected == "close":
            wire.send(raw)
            wire.assert_closed(3.0)
        elif expected == "400+close":
            wire.send(raw)
            assert wire.receive().status == 400
            wire.assert_closed()
        elif isinstance(expected, list):
            found = _answers(wire, raw, 3.0 if expected else 0.15)
            assert [one.status for one in found] == expected
        else:
            (answer,) = _answers(wire, raw)
            assert answer.status in {*case["udp"], *case.get("also_ok", ())}
            _mirrors(answer, raw)
    finally:
        wire.close()


# --- what the notes say ----------------------------------------------------------------------------------------------


def _answer_to(wire: Wire, name: str) -> Incoming:
    (answer,) = _answers(wire, (FOLDER / f"{name}.dat").read_bytes())
    return answer


def test_wsinv_keeps_vias_and_tag(wire: Wire) -> None:
    answer = _answer_to(wire, "wsinv")
    vias = [part.strip() for value in answer.all("via") for part in value.split(",")]
    assert [re.sub(r"\s+", " ", via).split(";")[0].strip() for via in vias[1:]] == [
        "SIP / 2.0 / TCP spindle.example.com",
        "SIP / 2.0 / UDP 192.168.255.111",
    ]
    assert re.search(r";\s*tag\s*=\s*1918181833n", answer.get("to"))
    assert answer.get("to").count("tag") == 1
    assert int(answer.get("cseq").split()[0]) == 9


def test_intmeth_is_echoed(lab: Lab) -> None:
    wire = Udp(lab.address)
    raw = (FOLDER / "intmeth.dat").read_bytes()
    (answer,) = _answers(wire, raw)
    wire.close()
    method = raw.split(b" ", 1)[0]
    assert b"CSeq: 139122385 " + method + b"\r\n" in answer.raw
    for name in (b"To: ", b"From: "):
        line = raw.split(b"\r\n" + name, 1)[1].split(b"\r\n", 1)[0]
        assert line in answer.raw


def test_bext01_lists_the_extensions(wire: Wire) -> None:
    unsupported = re.split(r"\s*,\s*", _answer_to(wire, "bext01").get("unsupported"))
    assert unsupported[:2] == ["noProxiesSupportThis", "norDoAnyProxiesSupportThis"]


def test_inv2543_gets_a_tag(lab: Lab) -> None:
    wire = Udp(lab.address)
    assert ";tag=" in _answer_to(wire, "inv2543").get("to")
    wire.close()


# --- with credentials ------------------------------------------------------------------------------------------------


def _unique(raw: bytes) -> bytes:
    """Another transaction with the same content."""
    mark = token().encode()
    raw = re.sub(rb"(branch=z9hG4bK)", rb"\g<1>" + mark, raw, count=1)
    return re.sub(rb"(?i)(\r\n(?:call-id|i)[ \t]*:[ \t]*)", rb"\g<1>" + mark, raw, count=1)


def _signed(wire: Wire, raw: bytes, user: str) -> Incoming:
    """Send, answer the challenge, send again."""
    raw = _unique(raw)
    challenged = _answers(wire, raw)[0]
    assert challenged.status in (401, 407)
    header = "authorization" if challenged.status == 401 else "proxy-authorization"
    start = raw.split(b"\r\n", 1)[0].decode()
    phone = Phone(("", 0), user, "", wire=wire)
    draft = phone.draft(start.split(" ")[0], start.split(" ")[1])
    value = Credentials(user, f"pw-{user}").header(challenged.challenges()[0], draft)
    again = raw.replace(b"\r\n", f"\r\n{header}: {value}\r\n".encode(), 1)
    return _answers(wire, again)[0]


USERS = {"cparam01": "watson", "cparam02": "watson", "mpart01": "fluffy"}
STORED = {
    "cparam01": {"sip:+19725552222@gw1.example.net"},
    "cparam02": {"sip:+19725552222@gw1.example.net;unknownparam"},
    "regescrt": {"sip:user@example.com?Route=%3Csip:sip.example.com%3E"},
}


@pytest.mark.parametrize("case", [case for case in CASES if "auth" in case], ids=_name)
def test_rfc4475_with_credentials(lab: Lab, wire: Wire, case: dict[str, Any]) -> None:
    name = _name(case)
    user = USERS.get(name, "user")
    answer = _signed(wire, _raw(case), user)
    assert answer.status in case["auth"]
    if name in STORED:
        stored = {row["contact"] for row in lab.listed("registrations") if row["account"] == user}
    else:
        stored = set(lab.bindings(user))
    assert stored == (STORED.get(name, set()) if answer.status == 200 else set())
    if answer.status == 200:
        assert set(answer.contacts()) == stored
        owner = Phone(lab.address, user, f"pw-{user}", domain="example.com", wire=wire)
        owner.register("*", expires=0)


def test_rfc4475_without_credentials_registers_nothing(lab: Lab, transport: str) -> None:
    for name in ("escnull", "scalar02", "regbadct", "unksm2", "esc02", "dblreq", "regaut01", "cparam01", "regescrt"):
        wire = open_wire(transport, lab.address_of(transport))
        _answers(wire, (FOLDER / f"{name}.dat").read_bytes(), 0.3)
        wire.close()
    assert lab.listed("registrations") == []


# --- as a MESSAGE ----------------------------------------------------------------------------------------------------


def _as_message(raw: bytes) -> bytes:
    start, _, rest = raw.partition(b"\r\n")
    _, _, after = start.lstrip().partition(b" ")
    return b"MESSAGE " + after + b"\r\n" + re.sub(rb"(?i)((?:^|\n)CSeq[ \t]*:\s*\S+\s+)[^\r\n]+", rb"\1MESSAGE", rest)


@pytest.mark.parametrize("case", REQUESTS, ids=_name)
def test_rfc4475_as_message(lab: Lab, wire: Wire, case: dict[str, Any]) -> None:
    try:
        found = _answers(wire, _as_message(_raw(case)), 0.5)
    except ConnectionError:
        found = []
    assert {one.status for one in found} <= AS_MESSAGE
    lab.assert_answers()


def test_zeromf_as_message(wire: Wire) -> None:
    (answer,) = _answers(wire, _as_message((FOLDER / "zeromf.dat").read_bytes()))
    assert answer.status == 483


def test_invut_as_message(lab: Lab, wire: Wire) -> None:
    """Addressed so that only its type is left to refuse."""
    raw = _as_message((FOLDER / "invut.dat").read_bytes())
    raw = re.sub(rb"\AMESSAGE \S+", b"MESSAGE sip:5554443001@example.com", raw)
    raw = re.sub(rb"\r\nFrom:[^\r]*", b"\r\nFrom: <sip:user@example.com>;tag=1", raw)
    answer = _signed(wire, raw, "user")
    assert answer.status == 415
    assert "text/plain" in answer.get("accept")
    assert lab.rows("5558880001") == []


# --- cut off ---------------------------------------------------------------------------------------------------------


def test_every_file_cut_at_every_seventh_byte(lab: Lab) -> None:
    wire = Udp(lab.address)
    count = 0
    for case in CASES:
        raw = _raw(case)
        for end in range(0, len(raw), 7):
            wire.send(raw[:end])
            count += 1
            if count % 40 == 0:
                lab.assert_answers()
    lab.assert_answers()
    lab.assert_healthy()
    with_answer = 0
    try:
        while True:
            answer, _ = wire.receive_raw(0.1)
            assert int(answer.split(b" ", 2)[1]) in AS_MESSAGE | {401}
            with_answer += 1
    except Silence:
        wire.close()
    assert count > 3000
    assert with_answer < count


def test_streams_that_end_within_a_message(lab: Lab) -> None:
    for case in CASES:
        raw = _raw(case)
        for end in range(1, len(raw), max(20, len(raw) // 8)):
            wire = Tcp(lab.address)
            wire.send(raw[:end])
            wire.close()
    lab.assert_answers()


def test_challenges_can_be_read() -> None:
    assert parse_challenge('Digest realm="a\\"b", nonce=x, qop="auth"')["qop"] == "auth"
