"""Many requests of one who has no password: guesses (A-08) and floods (A-27). Whoever has one gets in meanwhile."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.node.server import free_port
from tests.support.sip.websocket import PING, TEXT, frame
from tests.support.sip.wire import Credentials, Phone, Silence, Tcp, Udp, credulous, token

from .conftest import Account, MakePhone
from .fort import HANDSET, Fort

FLOODER = "127.0.0.9"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """As shipped: floods are dropped."""
    with Fort(tmp_path_factory.mktemp("fort"), 160, sip={"flood_limit": 100, "scanners": "answer"}) as fort:
        yield fort


def _phone(lab: Fort, account: Account | None, host: str, password: str = "") -> Phone:
    name = account.name if account else "alice"
    right = account.password if account else "x"
    return Phone(lab.address, name, password or right, wire=Udp(lab.address, host=host))


# --- guesses ---------------------------------------------------------------------------------------------------------


class Guesser(threading.Thread):
    """Guesses an account's password on one socket, as fast as answers come, until told to stop."""

    def __init__(self, lab: Fort, account: Account, host: str) -> None:
        super().__init__(daemon=True)
        self._phone = _phone(lab, account, host, "wrong")
        self._over = threading.Event()
        self.made = 0

    def run(self) -> None:
        phone = self._phone
        challenge = phone.ask(phone.register_draft()).challenges()[0]
        while not self._over.is_set():
            draft = phone.register_draft().set("Call-ID", token())
            phone.credentials = Credentials(phone.name, token())
            draft.add("Authorization", phone.credentials.header(challenge, draft))
            try:
                status = phone.ask(draft, 0.5).status
            except Silence:
                break
            assert status in (401, 403)
            self.made += 1

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._phone.close()


def looked_at(lab: Fort, account: Account) -> int:
    """Guesses that were compared with the password."""
    events = [one for one in lab.events("auth_failure") if one["user"] == account.name]
    return sum(one["reason"] == "wrong credentials" for one in events)


@pytest.mark.req("A-08", "C-076")
def test_a08_guesses_are_slow_and_the_owner_gets_in(lab: Fort, account: Account) -> None:
    """One guess a second after ten; the owner elsewhere, and behind the guesser's own address, is in at once."""
    host = "127.0.8.1"
    with _phone(lab, lab.account(), host) as neighbour:
        neighbour.register()  # an address with a live binding: the flood limit is not what slows the guesser
    guesser = Guesser(lab, account, host)
    guesser.start()
    lab.wait(lambda: guesser.made > 50)
    before, began = looked_at(lab, account), time.monotonic()
    with _phone(lab, account, "127.0.8.2") as owner:
        owner.register()
    with _phone(lab, account, host) as owner:
        asked = time.monotonic()
        owner.register()
        assert time.monotonic() - asked < 3
        for number in range(5):
            assert owner.message(HANDSET, f"good owner {number}").status == 202
    lab.wait(lambda: time.monotonic() - began > 2.5)
    made, seconds = looked_at(lab, account) - before, time.monotonic() - began
    guesser.stop()
    print(f"A-08: {guesser.made} guesses made, {made} looked at in {seconds:.1f} s after the first ten")
    assert before <= 12
    assert made <= seconds + 1
    assert guesser.made > 100


@pytest.mark.req("A-08")
@pytest.mark.skipif(shutil.which("svcrack") is None, reason="sipvicious is not installed (tools/packages)")
@pytest.mark.parametrize("reuse", [(), ("-n",)])
def test_a08_svcrack_finds_no_password(lab: Fort, account: Account, tmp_path: Path, reuse: tuple[str, ...]) -> None:
    """The right password stands behind 300 wrong ones: it is not found, and only a few guesses were looked at."""
    words = [f"word{n}" for n in range(300)] + [account.password]
    (tmp_path / "words").write_text("\n".join(words) + "\n")
    command = ["svcrack", "-u", account.name, "-d", "words", "-p", str(lab.sip_port), "-P", str(free_port()), *reuse,
               "-x", "127.0.0.1", "-D", "127.0.0.1"]  # fmt: skip
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3, check=False)
        said = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode()
    assert account.password not in said
    assert looked_at(lab, account) <= 12 + time.monotonic() - began
    with _phone(lab, account, "127.0.0.3") as owner:
        owner.register()


class Guess:
    """Wrong answers from one address, each from a fresh port, to nonces that were fetched there or elsewhere."""

    def __init__(self, lab: Fort, account: Account, host: str, fetched_at: str) -> None:
        self._lab, self._account, self._host, self._fetched_at = lab, account, host, fetched_at
        self._nonce: dict[str, str] = {}

    def fetch(self) -> None:
        with _phone(self._lab, self._account, self._fetched_at) as phone:
            self._nonce = phone.ask(phone.register_draft()).challenges()[0]

    def make(self, method: str = "REGISTER") -> int:
        with _phone(self._lab, self._account, self._host, token()) as phone:
            draft = phone.register_draft() if method == "REGISTER" else phone.message_draft(HANDSET, "a guess")
            name = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
            return phone.ask(draft.add(name, phone.credentials.header(self._nonce, draft))).status


@pytest.mark.req("A-08", "D4")
@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE"])
@pytest.mark.parametrize("fetch", ["elsewhere", "here", "here each time"])
def test_a08_guesses_from_fresh_ports_do_not_lock_the_owner_out(
    lab: Fort, account: Account, method: str, fetch: str
) -> None:
    """Between his tries three guesses from his own address: forty of forty tries with the right password get in."""
    host = f"127.0.9.{10 * (method == 'MESSAGE') + len(fetch)}"
    guess = Guess(lab, account, host, "127.0.9.1" if fetch == "elsewhere" else host)
    guess.fetch()
    with _phone(lab, lab.account(), host) as neighbour:
        neighbour.register()
    for _ in range(40):
        for _ in range(3):
            if fetch == "here each time":
                guess.fetch()
            assert guess.make(method) in (401, 403, 407)
        with _phone(lab, account, host) as owner:
            assert owner.authenticated(owner.register_draft()).status == 200
    assert looked_at(lab, account) <= 12


@pytest.mark.req("A-08")
def test_a08_guesses_by_a_connection_do_not_lock_the_owner_out(lab: Fort, account: Account) -> None:
    host = "127.0.9.70"
    with Phone(lab.address, account.name, "wrong", wire=Tcp(lab.address, host=host)) as guesser:
        challenge = guesser.ask(guesser.register_draft()).challenges()[0]
        for _ in range(60):
            draft = guesser.register_draft()
            assert guesser.ask(draft.add("Authorization", guesser.credentials.header(challenge, draft))).status == 403
    with _phone(lab, account, host) as owner:  # credentials without a nonce are no guess
        for _ in range(5):
            draft = owner.register_draft()
            credentials = owner.credentials.header(challenge, draft).replace(f'nonce="{challenge["nonce"]}", ', "")
            assert owner.ask(draft.add("Authorization", credentials)).status in (400, 401)
    for wire in (Tcp(lab.address, host=host), Udp(lab.address, host=host)):
        with Phone(lab.address, account.name, account.password, wire=wire) as owner:
            owner.register()
    assert looked_at(lab, account) <= 12


@pytest.mark.req("A-08")
def test_a08_a_stale_nonce_does_not_tell_which_password_is_right(lab: Fort, account: Account) -> None:
    """A nonce of another network is as good as none: after a few guesses, wrong and right are challenged alike."""
    guess = Guess(lab, account, "127.0.9.60", "127.0.9.61")
    guess.fetch()
    assert [guess.make() for _ in range(20)] == [401] * 20
    heard = []
    for password in ("wrong", account.password):
        with _phone(lab, account, "127.0.9.60", password) as phone:
            draft = phone.register_draft()
            answer = phone.ask(draft.add("Authorization", phone.credentials.header(guess._nonce, draft)))
            heard.append((answer.status, answer.challenges()[0].get("stale")))
    assert heard == [(401, "true")] * 2


@pytest.mark.req("A-08")
def test_a08_many_names_are_guessed_slowly_from_one_address(lab: Fort) -> None:
    """600 names with one wrong password each: some sixty are looked at. Elsewhere, the right passwords get in."""
    host, known = "127.0.9.50", lab.account()
    with _phone(lab, known, host) as phone, _phone(lab, None, host, "wrong") as guesser:
        phone.register()
        challenge = guesser.ask(guesser.register_draft()).challenges()[0]
        for n in range(600):
            guesser.credentials = Credentials(f"user{n}", "wrong")
            draft = guesser.register_draft().set("Call-ID", token())
            assert guesser.ask(draft.add("Authorization", guesser.credentials.header(challenge, draft))).status == 403
        events = [one for one in lab.events("auth_failure") if one["src"] == host]
        assert len(events) == 600, "fail2ban hears of each"
        assert sum(one["reason"] == "wrong credentials" for one in events) <= 60
        phone.register()
    for place in (host, "127.0.9.51"):
        with _phone(lab, known, place) as phone:
            phone.register()


# --- floods ----------------------------------------------------------------------------------------------------------


def _junk(phone: Phone) -> list[bytes]:
    methods = ("SUBSCRIBE", "INVITE", "OPTIONS", "NOTIFY", "PUBLISH", "FOO", "CANCEL")
    drafts = [phone.draft(method) for method in methods]
    drafts += [phone.register_draft(f"<{phone.contact}>"), phone.message_draft(HANDSET, "flood")]
    value = 'Digest username="c0001", realm="sip.example.net", nonce="x", uri="sip:x", response="y"'
    drafts.append(phone.register_draft(f"<{phone.contact}>").add("Authorization", value))
    junk = [b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", drafts[0].bytes()[:60]]
    return [one.bytes() for one in drafts] + junk


class Flood(threading.Thread):
    """2,000 datagrams a second from one address."""

    def __init__(self, lab: Fort, host: str, rate: int = 2000) -> None:
        super().__init__(daemon=True)
        self._wire, self._rate = Udp(lab.address, host=host), rate
        with Phone(lab.address, "alice", "x", wire=Udp(lab.address, host=host)) as phone:
            self._junk = _junk(phone)
        self._over = threading.Event()
        self.sent = 0

    def run(self) -> None:
        began = time.monotonic()
        while not self._over.is_set():
            due = int((time.monotonic() - began) * self._rate)
            while self.sent < due:
                mark = b"%d" % self.sent
                data = self._junk[self.sent % len(self._junk)]
                self._wire.send(data.replace(b"z9hG4bK", b"z9hG4bK" + mark).replace(b"call-", b"call-" + mark))
                self.sent += 1
            self._over.wait(0.005)

    def answers(self) -> int:
        """How many came back so far."""
        count = 0
        while True:
            try:
                self._wire.receive_raw(0)
            except Silence:
                return count
            count += 1

    def stop(self) -> None:
        self._over.set()
        self.join()
        self._wire.close()


@pytest.mark.req("A-27")
def test_a27_a_flooder_is_muted_and_others_are_served(lab: Fort, account: Account, make_phone: MakePhone) -> None:
    """Three seconds: the flooder is muted after its hundred, a good client has all it wants, memory stays."""
    good = make_phone(account)
    good.register()
    before, times = lab.memory(), []
    flood = Flood(lab, FLOODER)
    flood.start()
    began = time.monotonic()
    number = 0
    while time.monotonic() - began < 3:
        number += 1
        asked = time.monotonic()
        assert good.message(HANDSET, f"good in the flood {number}").status == 202
        if number % 5 == 0:
            lab.sms(account.did, f"to the flooded {number}")
            assert good.take().text == f"to the flooded {number}"
        times.append(time.monotonic() - asked)
    answered, sent = flood.answers(), flood.sent
    flood.stop()
    print(f"A-27: {sent} in, {answered} answered, {number} good ones, median {statistics.median(times) * 1000:.0f} ms, "
          f"slowest {max(times) * 1000:.0f} ms, {lab.memory() - before:.0f} MB more")  # fmt: skip
    assert sent > 3000
    assert answered <= 110
    assert [one["src"] for one in lab.events("flood_muted") if one["src"] == FLOODER] == [FLOODER]
    assert statistics.median(times) < 1
    assert lab.memory() - before < 50
    with _phone(lab, None, FLOODER) as stranger:
        for _ in range(10):
            stranger.send(stranger.options())
        assert [stranger.wire.receive().status for _ in range(3)] == [200] * 3
        stranger.wire.assert_silent(0.1)


@pytest.mark.req("A-27", "A-08")
def test_a27_the_first_phone_behind_a_muted_address(lab: Fort, account: Account) -> None:
    """Nobody has registered from there: while the flood goes on, a phone gets its challenge, and is in."""
    host = "127.0.0.13"
    flood = Flood(lab, host)
    flood.start()
    lab.wait(lambda: flood.sent > 1000)
    with _phone(lab, account, host) as phone:
        asked = time.monotonic()
        phone.register()
        assert time.monotonic() - asked < 3
    flood.stop()


@pytest.mark.req("A-27")
def test_a27_phones_behind_the_flooders_address(lab: Fort, account: Account) -> None:
    """Somebody in the house floods: his neighbours, who are registered, notice nothing, and new ones get in."""
    host = "127.0.0.10"
    with _phone(lab, account, host) as phone, _phone(lab, lab.account(), host) as newcomer:
        phone.register()
        flood = Flood(lab, host)
        flood.start()
        lab.wait(lambda: flood.sent > 1000)
        for number in range(10):
            assert phone.message(HANDSET, f"good neighbour {number}").status == 202
        newcomer.register()
        lab.sms(account.did, "at home?")
        assert phone.take().text == "at home?"
        flood.stop()


@pytest.mark.req("A-27")
def test_a27_a_password_ends_the_mute(lab: Fort, account: Account) -> None:
    """A phone whose challenge is older than the mute answers it: it is in, and with it all behind its address."""
    host = "127.0.0.11"
    with _phone(lab, account, host) as phone, _phone(lab, None, host) as stranger:
        signed = phone.signed(phone.register_draft(f"<{phone.contact}>"))
        flood = Flood(lab, host)
        flood.start()
        lab.wait(lambda: flood.sent > 500)
        flood.stop()
        for _ in range(10):
            stranger.send(stranger.options())
        assert [stranger.wire.receive().status for _ in range(3)] == [200] * 3
        stranger.wire.assert_silent(0.1)
        assert phone.ask(signed).status == 200
        assert stranger.ask(stranger.options()).status == 200


_STUN = bytes.fromhex("000100002112a442") + b"\1" * 12


@pytest.mark.req("A-17")
@pytest.mark.parametrize(
    ("host", "kind"), enumerate(["options", "cancels", "bad requests", "stun", "register", "message"], 1)
)
def test_a17_short_requests_are_not_amplified(lab: Fort, host: int, kind: str) -> None:
    """Answers to a stranger's short datagrams: in sum 1.5 times their bytes, beyond 2 KB."""
    register = _OPTIONS.replace(b"OPTIONS sip:a", b"REGISTER sip:sip.example.net").replace(b"OPTIONS", b"REGISTER")
    data = {
        **_KINDS, "stun": _STUN, "register": register, "message": _OPTIONS.replace(b"OPTIONS", b"MESSAGE"),
    }[kind]  # fmt: skip
    wire, sent, got = Udp(lab.address, host=f"127.0.30.{host}"), 0, 0
    for _ in range(90):
        wire.send(data)
        sent += len(data)
    with contextlib.suppress(Silence):
        while True:
            got += len(wire.receive_raw(0.5)[0])
    wire.close()
    print(f"A-17: {kind}: {sent} bytes in, {got} out")
    assert 0 < got <= 1.5 * sent + 2048


_LINES = b"A sip:a SIP/2.0\r\nv:SIP/2.0/TCP a\r\nl:0\r\n\r\n"
_OPTIONS = (
    b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bKa\r\nFrom: <sip:a>;tag=a\r\nTo: <sip:a>\r\n"
    b"Call-ID: a\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)
_KINDS = {
    "bad requests": _LINES, "keep-alives": b"\r\n\r\n", "options": _OPTIONS,
    "responses": _OPTIONS.replace(b"OPTIONS sip:a SIP/2.0", b"SIP/2.0 200 OK", 1),
    "acks": _OPTIONS.replace(b"OPTIONS", b"ACK"), "cancels": _OPTIONS.replace(b"OPTIONS", b"CANCEL"),
}  # fmt: skip


@pytest.mark.req("A-27", "A-22")
@pytest.mark.parametrize("transport", ["tcp", "tls", "ws"])
@pytest.mark.parametrize("kind", [*_KINDS, "pings", "fragments"])
@pytest.mark.parametrize("trusted", [False, True])
def test_a27_a_connection_of_a_flooder_is_closed(
    lab: Fort, account: Account, transport: str, kind: str, trusted: bool
) -> None:
    """A megabyte of a stranger's junk: he is cut off; a phone behind his address goes on."""
    if kind in ("pings", "fragments") and transport != "ws":
        pytest.skip("a frame of WebSocket only")
    host = f"127.0.{20 + trusted}.{1 + 10 * [*_KINDS, 'pings', 'fragments'].index(kind) + len(transport)}"
    good = Phone(lab.address, account.name, account.password, wire=Tcp(lab.address, host=host))
    if trusted:
        good.register()
    sock = socket.create_connection(lab.address_of(transport), timeout=10, source_address=(host, 0))
    if transport == "tls":
        sock = credulous().wrap_socket(sock, server_hostname="sip.example.net")
    data = _KINDS.get(kind, b"")
    if transport == "ws":
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
        )
        data = {"pings": frame(PING, b""), "fragments": frame(TEXT, b"", fin=False)}.get(kind) or frame(TEXT, data)
    before = lab.cpu()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        for _ in range(64):
            sock.sendall(data * (16384 // len(data)))
    with contextlib.suppress(ConnectionError, ssl.SSLError):  # a socket that stays open ends in a TimeoutError
        while sock.recv(65536):
            pass
    sock.close()
    print(f"A-27: {kind} by {transport}: {lab.cpu() - before:.3f} s of CPU for a megabyte")
    if not trusted:
        good.register()
    assert good.message(HANDSET, "good beside a flooder").status == 202
    good.close()


@pytest.mark.req("A-27")
def test_a27_registered_addresses_are_trusted_after_a_restart(tmp_path: Path) -> None:
    """Whose address is trusted is known again from what is registered."""
    with Fort(tmp_path / "fort", 3, sip={"flood_limit": 20}) as fort:
        account, host = fort.account(), "127.0.0.12"
        with _phone(fort, account, host) as phone:
            phone.register()
            fort.kill()
            fort.start()
            flood = Flood(fort, host)
            flood.start()
            fort.wait(lambda: flood.sent > 500)
            phone.register()
            flood.stop()
        fort.assert_stands()
