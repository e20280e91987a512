"""tools.bench: what can be shown without a server. Run beside one, the bench counts rows and checks itself."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # tools/ is in the checkout, not installed

from tools.bench import page, peer_kamailio, report, scenarios, wire
from tools.bench.generator import Generator
from tools.bench.report import Result

CHALLENGE = (
    b"SIP/2.0 407 Proxy Authentication Required\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKsb0000002a0;rport=1\r\n"
    b'Proxy-Authenticate: Digest realm="sip.example.net", nonce="abc,=d", opaque="x", algorithm=MD5, qop="auth"\r\n\r\n'
)


def test_digest_of_rfc_2617_section_3_5() -> None:
    key = wire.ha1(b"Mufasa", b"testrealm@host.com", b"Circle Of Life")
    nonce = b"dcd98b7102dd2f0e8b11d0f600bfb0c093"
    assert wire.digest(key, nonce, b"GET", b"/dir/index.html") == b"6629fae49393a05397450978507c4ef1"


def test_digest_of_rfc_7616_section_3_9_1() -> None:
    key = wire.ha1(b"Mufasa", b"http-auth@example.org", b"Circle of Life")
    nonce, cnonce = b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    assert wire.digest(key, nonce, b"GET", b"/dir/index.html", cnonce) == b"8ca523f5e9506fed4657c9700eebdbec"


def test_reads_a_challenge() -> None:
    assert wire.challenge(CHALLENGE) == wire.Challenge(b"sip.example.net", b"abc,=d", b"x")
    assert (wire.status(CHALLENGE), wire.which(CHALLENGE)) == (407, (42, 0))
    assert wire.challenge(b"SIP/2.0 200 OK\r\n\r\n") is None
    assert wire.which(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKother\r\n\r\n") is None


def test_a_message_is_sent_first_without_and_then_with_credentials() -> None:
    scenario = scenarios.Message(4)
    asked = wire.challenge(CHALLENGE)
    plain = scenario.request(6, wire.branch(6, 0), b"127.0.0.1:9", None)
    proven = scenario.request(6, wire.branch(6, 1), b"127.0.0.1:9", asked)
    assert plain.startswith(b"MESSAGE sip:4442000006@sip.example.net SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;rport;")
    assert b"From: <sip:bench000002@sip.example.net>" in plain
    assert b"Authorization" not in plain
    assert b"\r\nCSeq: 2 MESSAGE\r\nProxy-Authorization: Digest " in proven
    head, _, body = proven.partition(b"\r\n\r\n")
    assert head.endswith(b"Content-Length: %d" % len(body))
    assert (len(body), wire.job_of(proven)) == (64, 6)


def test_a_refresh_keeps_its_call_id_and_raises_cseq() -> None:
    scenario = scenarios.Register(4)
    requests = [scenario.request(job, wire.branch(job, 0), b"h:1", None).split(b"\r\n") for job in (1, 5)]
    first, second = ({line.partition(b": ")[0]: line for line in request} for request in requests)
    assert first[b"Call-ID"] == second[b"Call-ID"]
    assert (first[b"CSeq"], second[b"CSeq"]) == (b"CSeq: 3 REGISTER", b"CSeq: 11 REGISTER")


def test_inbound_goes_to_the_dids_of_devices_only_and_not_to_the_sender() -> None:
    scenario = scenarios.Inbound(8, 4)
    destinations = {scenario.destination(job) for job in range(16)}
    assert destinations == {scenarios.did(account) for account in range(4)}


def test_a_device_echoes_what_it_must() -> None:
    vias, ids = b"Via: a\r\nVia: b\r\n", b"From: f\r\nTo: t\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\n"
    request = b"MESSAGE sip:x SIP/2.0\r\n" + vias + b"Max-Forwards: 1\r\n" + ids + b"Subject: s\r\n\r\nhi"
    expected = b"SIP/2.0 200 OK\r\n" + vias + ids + b"Content-Length: 0\r\n\r\n"
    assert wire.ok(request) == expected


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([], 99, 0), ([7], 50, 7), ([3, 1, 2], 50, 2), (range(1, 101), 99, 99), (range(1, 101), 50, 50), ([1, 2], 100, 2)],
)
def test_percentile_is_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert report.percentile(list(values), percent) == expected


def result(peer: str, per_second: float, cpu: float, **more: int) -> Result:
    return Result(peer, "message", per_second, 1.0, 2.0, cpu, 50.0, 0.5, 100, **more)  # type: ignore[arg-type]


def test_runs_are_medians_and_losses_are_summed() -> None:
    runs = [result("sipsms", speed, 0.1, accepted=10, rows=rows) for speed, rows in ((100, 10), (900, 9), (200, 10))]
    (combined,) = report.grouped(runs)
    assert (combined.per_second, combined.rows, combined.accepted, combined.honest) == (200, 29, 30, False)


def test_table_shows_ratios_and_lost_rows() -> None:
    rows = [result("sipsms", 3000, 0.1), result("kamailio", 1500, 0.2, accepted=5, rows=4)]
    shown = report.table(rows, "sipsms")
    assert "2.00 x rate, 0.50 x CPU" in shown
    assert "4/5 LOST" in shown


def test_the_page_has_a_table_of_these_figures() -> None:
    results = [asdict(result("sipsms", 3000, 0.1)), asdict(result("kamailio", 1500, 0.2))]
    assert page.block(results).splitlines()[3:5] == [
        "| MESSAGE accepted, durable | sipsms | 3,000 | 1 / 2 | 0.100 |  |",
        "|  | kamailio | 1,500 | 1 / 2 | 0.200 | 2.00 × rate, 0.50 × CPU |",
    ]
    assert page.BLOCK.search(page.PAGE.read_text())


class Peer:
    """Challenges each REGISTER once; loses every fifth datagram."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.proven = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        count = 0
        while True:
            data, peer = self.sock.recvfrom(65535)
            count += 1
            if count % 5 == 0:
                continue
            proven = b"\r\nAuthorization: Digest" in data
            self.proven += proven
            answer = wire.ok(data)
            if not proven:
                refused = b'SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n'
                answer = answer.replace(b"SIP/2.0 200 OK\r\n", refused)
            self.sock.sendto(answer, peer)


@pytest.fixture
def generator() -> Iterator[tuple[Peer, Generator]]:
    peer, sockets = Peer(), scenarios.open_sockets(2)
    yield peer, Generator(peer.sock.getsockname(), sockets)
    for sock in sockets:
        sock.close()


def test_generator_retransmits_what_is_lost(generator: tuple[Peer, Generator]) -> None:
    peer, load = generator
    sample = load.run(scenarios.Register(8), seconds=20, count=20, outstanding=8)
    assert (sample.done, sample.accepted, dict(sample.failures)) == (20, 20, {})
    assert sample.retransmissions >= 8
    assert len(sample.latencies) == 20
    assert peer.proven >= 20


def test_open_loop_keeps_its_schedule(generator: tuple[Peer, Generator]) -> None:
    _, load = generator
    sample = load.run(scenarios.Register(8), seconds=1.0, rate=50)
    assert 45 <= sample.done <= 51


def test_kamailio_template_is_filled_completely() -> None:
    text = peer_kamailio.TEMPLATE.read_text()
    for name in ("PORT", "DB", "DOMAIN", "MODULES"):
        text = text.replace(f"@{name}@", "")
    assert "@" not in "".join(line.partition("#")[0] for line in text.splitlines()).replace('"@"', "")
