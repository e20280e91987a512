"""What cannot be guessed, what a wrong clock does, and what we are built from: A-49, A-50, A-52."""

from __future__ import annotations

import configparser
import importlib.util
import math
import re
import subprocess
import sys
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path

import pytest

from sipsms.core.flow_address import FlowAddress
from sipsms.sip.digest import Authenticator, Nonces, Verdict, parse_credentials
from sipsms.sip.flow_token import FlowName, seal, unseal
from tests.support.sip.wire import Phone, param
from tests.support.tools.audit import Audit

from .conftest import Account, MakePhone
from .fort import HANDSET, Fort

DAY = 86_400.0
ROOT = Path(__file__).parents[2]


def _bits(samples: list[str]) -> float:
    """How much chance is in them at most, by the characters seen at each place."""
    assert len(set(samples)) == len(samples)
    shortest = min(map(len, samples))
    total = 0.0
    for place in range(shortest):
        counts = Counter(sample[place] for sample in samples)
        total -= sum(n / len(samples) * math.log2(n / len(samples)) for n in counts.values())
    return total


@pytest.mark.req("A-52")
def test_a52_to_tags_are_random_and_unique(lab: Fort) -> None:
    """To tags of a hundred strangers: 64 bits each, and no two alike."""
    with Phone(lab.address, "alice", "x") as phone:
        tags = [param(phone.ask(phone.register_draft()).get("to"), "tag") for _ in range(200)]
    assert _bits(tags) > 56  # 200 samples show a little less than there is
    assert min(map(len, tags)) >= 16


@pytest.mark.req("A-52")
def test_a52_nonces_are_sealed(lab: Fort) -> None:
    """The seal, behind the time and the count."""
    with Phone(lab.address, "alice", "x") as phone:
        nonces = [phone.ask(phone.register_draft()).challenges()[0]["nonce"] for _ in range(200)]
    assert _bits([nonce[24:] for nonce in nonces]) > 84


@pytest.mark.req("A-52")
def test_a52_branches_of_own_requests_cannot_be_guessed(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """The branch: an answer to our request cannot be forged by who does not see it. (The Call-ID names a delivery.)"""
    phone = make_phone(account, "tcp")
    phone.register()
    requests = []
    for number in range(60):
        lab.sms(account.did, f"guess me {number}")
        requests.append(phone.take())
    assert _bits([one.branch.removeprefix("z9hG4bK") for one in requests]) > 56


@pytest.mark.req("A-52")
def test_a52_a_forged_response_counts_for_no_delivery(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """Right but for its branch, from elsewhere: no delivery is counted by it."""
    phone, thief = make_phone(account), make_phone("thief", "udp", "x")
    phone.register()
    lab.sms(account.did, "not yours")
    request = phone.request()
    for branch in ("z9hG4bK" + "0" * 18, request.branch[:-1], request.branch + "0"):
        raw = request.raw.partition(b"\r\n")[2].replace(request.branch.encode(), branch.encode())
        thief.send(b"SIP/2.0 200 OK\r\n" + raw)
    phone.wire.assert_silent(0.1)
    assert lab.delivery(account.did)["state"] != "delivered"
    phone.answer(request)
    lab.delivery(account.did, state="delivered")


@pytest.mark.req("A-52")
def test_a52_flow_tokens_cannot_be_forged() -> None:
    """Sealed: none can be made up, none can be bent."""
    flow = FlowName(FlowAddress("tcp:192.0.2.1:5060"), "tcp:0.0.0.0:5060", 7)
    token = seal(flow, b"k" * 32)
    assert unseal(token, b"k" * 32) == flow
    assert unseal(token, b"other key" * 4) is None
    for place in range(len(token)):
        bent = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert unseal(bent, b"k" * 32) in (None, flow)  # the last character of base64 has bits to spare
    assert sum(unseal(token[:place] + "A" + token[place + 1 :], b"k" * 32) is None for place in range(20, 60)) >= 30


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.req("A-49")
@pytest.mark.parametrize("days", [-1, 1, -365, 365, 40_000])
@pytest.mark.parametrize("expires", [None, "0", "60"])
def test_a49_the_clock_of_a_phone_does_not_decide_about_its_message(
    lab: Fort, account: Account, make_phone: MakePhone, days: int, expires: str | None
) -> None:
    """Date and Expires of a phone's clock decide nothing about whether its message is taken."""
    phone = make_phone(account)
    draft = phone.message_draft(HANDSET, "good date").add("Date", formatdate(time.time() + days * DAY, usegmt=True))
    if expires is not None:
        draft.add("Expires", expires)
    assert phone.authenticated(draft).status == 202
    lab.wait(lambda: lab.rows(account.did)[0]["state"] in ("accepted", "delivered"))


@pytest.mark.req("A-49")
@pytest.mark.parametrize("shift", [DAY, -DAY, 3600.0, -3600.0])
def test_a49_a_clock_that_jumps_refuses_no_phone(shift: float) -> None:
    """Challenges of before the jump are stale, not wrong: asked once more, nobody is refused or blamed."""
    now, nonces = 1_800_000_000.0, Nonces(b"k" * 32, 300.0)
    authenticator = Authenticator("r", ["md5"], nonces)
    nonce = nonces.issue(now)
    value = (
        f'Digest username="a", realm="r", nonce="{nonce}", uri="sip:r", response="{"0" * 32}", qop=auth, nc=00000001'
    )
    credentials = parse_credentials(value + ', cnonce="c", algorithm=MD5')
    assert credentials is not None
    assert authenticator.check(credentials, None, "REGISTER", "sip:r", now).verdict is Verdict.WRONG
    assert authenticator.check(credentials, None, "REGISTER", "sip:r", now + shift).verdict is Verdict.NONE
    assert nonces.valid(nonces.issue(now + shift), now + shift)


@pytest.mark.req("A-49")
def test_a49_the_time_of_a_nonce_cannot_be_changed(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """Its time is under the seal: a challenge cannot be made younger."""
    phone = make_phone(account)
    nonce = phone.ask(phone.register_draft()).challenges()[0]["nonce"]
    issued = int(nonce[:12], 16)
    for days in (-1, 1):
        phone.credentials.nonce = f"{issued + int(days * DAY * 1000):012x}{nonce[12:]}"
        assert phone.authenticated(phone.register_draft(f"<{phone.contact}>")).status == 401
    assert lab.bindings(account.name) == {}


# --- what we are built from ------------------------------------------------------------------------------------------


@pytest.mark.req("A-50")
def test_a50_no_dependency_has_a_known_vulnerability() -> None:
    """Every installed package is looked at by pip-audit. Where its database cannot be reached, nothing is audited."""
    if importlib.util.find_spec("pip_audit") is None:
        pytest.skip("NOTHING WAS AUDITED: pip-audit is not installed")
    command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--timeout", "5", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("NOTHING WAS AUDITED: pip-audit did not end in time")
    audit = Audit.read(done.stdout, done.stderr, "sipsms")
    if audit.why:
        pytest.skip(f"NOTHING WAS AUDITED: no database of vulnerabilities can be reached ({audit.why})")
    assert audit.vulnerable == []
    assert audit.skipped == [], "these packages were not audited"


def test_every_requirement_says_its_lowest_version() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = [line for line in setup["options"]["install_requires"].splitlines() if line]
    assert [line for line in lines if not re.match(r"[A-Za-z0-9_\-\[\]]+(>=|==)[0-9]", line)] == []
