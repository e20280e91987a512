"""Good requests and the RFC 4475 files, bent in many small ways: any answer of the allowed set, never a bug in the log.

The seed is fixed: what fails today fails tomorrow. Credentials are good and fresh where they are given, so that the
code behind them is reached too (the digest covers method and Request-URI only).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.sip.wire import Draft, Phone, Silence, Udp, token

from .lab import Lab
from .test_rfc4475 import AS_MESSAGE, CASES, FOLDER

ALLOWED = AS_MESSAGE | {401, 423}
PIECES = [
    '"', "<", ">", ",", ";", "=", ":", "@", "%", "%00", "%zz", "\\", '\\"', "?", "*", "/", "[", "]", "[::1]", "(", ")",
    " ", "\t", "\r\n ", "\0", "\x7f", "\udcff", "\udcc3(", "\u0665", "\U0001f600", "\u202e", "sip:", "tel:", "-1", "0",
    "2147483648", "18446744073709551616", "a" * 300, ";" * 50, ",<sip:x>", ";expires=0", ";tag=", ";tag=x", ";lr",
    ";q=nan", ";q=1e999", ';+sip.instance="<', ";reg-id=99999999999", "\n", "\r", "utf-8", ";charset=\udcff",
    ";boundary=", "=?utf-8?q?x?=",
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("mutations"), 240) as lab:
        yield lab


def _bent(text: str, dice: random.Random) -> str:
    """One or two changes."""
    for _ in range(dice.randint(1, 2)):
        start = dice.randint(0, len(text))
        end = min(len(text), start + dice.choice((0, 0, 1, 3, 10)))
        text = text[:start] + dice.choice(PIECES) + text[end:]
    return text


def _drafts(phone: Phone, dice: random.Random) -> Iterator[Draft]:
    """Endlessly: a good REGISTER or MESSAGE with one header bent, doubled or added."""
    extra = ("Path", "Date", "Expires", "Accept", "User-Agent", "Content-Encoding", "Supported", "Subject", "X-SMS-To")
    while True:
        if dice.random() < 0.5:
            draft = phone.register_draft(f'"N" <{phone.contact}>;q=0.5;+sip.instance="<urn:uuid:1>"', expires=600)
            draft.set("Call-ID", token()).add("Supported", "path")
        else:
            draft = phone.message_draft("5554443001", "hello")
        draft.add(dice.choice(extra), dice.choice(PIECES))
        index = dice.randrange(len(draft.headers))
        name, value = draft.headers[index]
        if name != "Content-Length":
            draft.headers[index] = (name, _bent(value, dice))
        if dice.random() < 0.1:
            draft.headers.append(draft.headers[dice.randrange(len(draft.headers))])
        yield draft


@pytest.mark.req("C-080", "C-021", "A-10")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_authenticated_requests_with_bent_headers(lab: Lab, seed: int) -> None:
    dice = random.Random(seed)
    account = lab.account()
    seen: Counter[int] = Counter()
    with lab.phone(account) as phone:
        drafts = _drafts(phone, dice)
        challenge: dict[str, str] = {}
        for number in range(700):
            if number % 100 == 0:
                challenge = phone.ask(phone.register_draft()).challenges()[0]
            draft = next(drafts)
            phone.credentials.nc = number % 100 + 1
            name = "Authorization" if draft.method == "REGISTER" else "Proxy-Authorization"
            draft.add(name, phone.credentials.header(challenge, draft))
            phone.send(draft)
            try:
                seen[phone.wire.receive(0.5).status] += 1
            except Silence:
                seen[0] += 1  # no Via that could be read
            if number % 50 == 0:
                lab.assert_healthy()
        assert set(seen) <= ALLOWED | {0}, seen
        assert seen[200] + seen[202] > 100  # most of it was reached with good credentials
        phone.register_call_id = token()
        phone.register("*", expires=0)
    lab.assert_answers()


@pytest.mark.req("C-080", "A-31", "A-32")
@pytest.mark.parametrize("seed", [1, 2])
def test_messages_with_bent_bodies(lab: Lab, seed: int) -> None:
    dice = random.Random(seed)
    plain, mixed = "Content-Type: text/plain\r\n\r\nhi", 'multipart/mixed;boundary="b"'
    types = ["text/plain", "text/plain;charset=utf-8", "message/cpim", mixed, "text/plain;charset=x"]
    bodies = [
        "hello", f"From: <sip:a@b>\r\n\r\n{plain}", f"--b\r\n{plain}\r\n--b--\r\n",
        f"--b\r\nContent-Type: message/cpim\r\n\r\nFrom: x\r\n\r\nContent-Type: {mixed}\r\n\r\n--b\r\n{plain}",
    ]  # fmt: skip
    seen: Counter[int] = Counter()
    with lab.phone(lab.account()) as phone:
        challenge: dict[str, str] = {}
        for number in range(300):
            if number % 100 == 0:
                challenge = phone.ask(phone.register_draft()).challenges()[0]
            body = _bent(dice.choice(bodies), dice).encode("utf-8", "surrogateescape")
            kind = dice.choice(types) if dice.random() < 0.7 else _bent(dice.choice(types), dice)
            draft = phone.message_draft("5554443001", body, kind)
            phone.credentials.nc = number % 100 + 1
            draft.add("Proxy-Authorization", phone.credentials.header(challenge, draft))
            phone.send(draft)
            seen[phone.wire.receive(1.0).status] += 1
        assert set(seen) <= ALLOWED, seen


def _variants(raw: bytes) -> Iterator[bytes]:
    """Every header line doubled, and every number replaced."""
    head, end, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for index in range(1, len(lines)):
        yield b"\r\n".join([*lines[: index + 1], *lines[index:]]) + end + body
    for match in re.finditer(rb"[0-9]+", head):
        for number in (b"0", b"-1", b"2147483648", b"18446744073709551616"):
            yield head[: match.start()] + number + head[match.end() :] + end + body


@pytest.mark.req("C-022", "C-014", "C-015")
def test_rfc4475_files_with_doubled_headers_and_other_numbers(lab: Lab) -> None:
    wire = Udp(lab.address)
    count = 0
    seen: Counter[int] = Counter()
    for case in CASES:
        for variant in _variants((FOLDER / case["file"]).read_bytes()):
            wire.send(variant)
            count += 1
            if count % 40 == 0:
                _drain(wire, seen)
                lab.assert_answers()
    lab.assert_answers()
    _drain(wire, seen)
    wire.close()
    assert count > 3000
    assert set(seen) <= ALLOWED, seen


def _drain(wire: Udp, seen: Counter[int]) -> None:
    try:
        while True:
            raw, _ = wire.receive_raw(0.0)
            seen[int(raw.split(b" ", 2)[1])] += 1
    except Silence:
        return


@pytest.mark.req("C-029", "C-043", "F-34")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_bent_answers_of_a_phone(lab: Lab, transport: str) -> None:
    """Whatever a phone answers with: the delivery ends or waits, it does not hang."""
    dice = random.Random(4)
    for number in range(60):
        account = lab.account()
        with lab.phone(account, transport) as phone:
            phone.register()
            lab.sms(account.did, f"number {number}")
            request = phone.request()
            lines = ["SIP/2.0 200 OK", *(f"Via: {value}" for value in request.all("via")), "From: <sip:a@b>;tag=1"]
            lines += [f"To: {request.get('to')};tag=2", f"Call-ID: {request.call_id}", f"CSeq: {request.get('cseq')}"]
            index = dice.randrange(len(lines))
            lines[index] = _bent(lines[index], dice)
            phone.send(("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode("utf-8", "surrogateescape"))
            try:
                phone.answer(request)
            except ConnectionError:
                continue  # closed, because the answer could not be read: that is fine, too
            lab.wait(lambda did=account.did: lab.delivery(did)["state"] != "sending", 3.0)
        lab.assert_healthy()
