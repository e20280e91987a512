"""sipp, the field's load generator, as phones: its scenarios are in sipp/."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from e2e.site import Account, Site

from tests.support.node.server import free_port

pytestmark = pytest.mark.e2e

SCENARIOS = Path(__file__).parent / "sipp"
REALM = "sip.example.net"
AUTH_URI = {"register": REALM, "message": f"4445556666@{REALM}", "message_lost": f"4445556666@{REALM}"}


class Sipp:
    def __init__(self, path: str, site: Site, folder: Path) -> None:
        self._path = path
        self._site = site
        self._folder = folder

    def command(
        self,
        scenario: str,
        accounts: Sequence[Account],
        *options: str,
        calls: int,
        port: int = 0,
        transport: str = "u1",
    ) -> list[str]:
        users = self._folder / "users.csv"
        lines = [
            f"{one.name};[authentication username={one.name} password={one.password}];{one.did}" for one in accounts
        ]
        users.write_text("\n".join(["SEQUENTIAL", *lines]) + "\n")
        return [
            self._path, f"127.0.0.1:{self._site.sip_port}", "-sf", str(SCENARIOS / f"{scenario}.xml"),
            "-i", "127.0.0.1", "-p", str(port or free_port()), "-t", transport, "-m", str(calls), "-inf", str(users),
            "-auth_uri", AUTH_URI.get(scenario, REALM),
            "-nostdin", "-timeout", "60", "-timeout_error", "-trace_err", "-error_file", str(self._folder / "errors"),
            "-trace_stat", "-stf", str(self._folder / "stat.csv"), *options,
        ]  # fmt: skip

    def run(self, *arguments: object, **options: object) -> dict[str, str]:
        """All calls good, or an error; the last line of its statistics."""
        for _ in range(5):  # another test may take the port before sipp does
            command = self.command(*arguments, **options)  # type: ignore[arg-type]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=90, check=False)
            if "Unable to bind" not in done.stdout + done.stderr + self.errors():
                break
            (self._folder / "errors").unlink(missing_ok=True)
        assert done.returncode == 0, self.errors() or done.stdout[-3000:] + done.stderr[-1000:]
        return self.statistics()

    def errors(self) -> str:
        file = self._folder / "errors"
        return file.read_text(errors="replace")[-3000:] if file.exists() else ""

    def statistics(self) -> dict[str, str]:
        with (self._folder / "stat.csv").open() as file:
            return list(csv.DictReader(file, delimiter=";"))[-1]


@pytest.fixture
def sipp(program: Callable[[str], str], site: Site, tmp_path: Path) -> Sipp:
    return Sipp(program("sipp"), site, tmp_path)


@pytest.mark.req("S-011", "C-048", "C-060")
@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_register(sipp: Sipp, site: Site, transport: str) -> None:
    """Ten phones are challenged, register, and read their contact in the 200."""
    accounts = [site.account() for _ in range(5)]
    sipp.run("register", accounts, calls=10, transport=transport)
    for account in accounts if transport == "u1" else ():  # by TCP they are gone with their connection
        assert all(f"sip:{account.name}@127.0.0.1:" in contact for contact in site.contacts(account))
        assert site.contacts(account)


@pytest.mark.req("S-012", "C-066")
@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_message(sipp: Sipp, site: Site, account: Account, transport: str) -> None:
    sipp.run("message", [account], calls=10, transport=transport)
    assert sorted(row["text"] for row in site.rows(account.did)) == sorted(f"sipp {n}" for n in range(1, 11))
    for n in range(1, 11):
        site.settled(account.did, f"sipp {n}", "delivered", "accepted")


@pytest.mark.req("C-032", "I4")
def test_answers_that_are_lost_do_not_make_two_messages(sipp: Sipp, site: Site, account: Account) -> None:
    """A request comes once, twice, five times; each is one row, and leaves once."""
    statistics = sipp.run("message_lost", [account], "-r", "20", "-max_retrans", "15", calls=20)
    assert int(statistics["Retransmissions(C)"]) >= 5, "hardly anything was sent twice: the test shows nothing"
    assert sorted(row["text"] for row in site.rows(account.did)) == sorted(f"lost {n}" for n in range(1, 21))


@pytest.mark.req("S-093", "S-090", "F-17")
def test_sipp_takes_messages(sipp: Sipp, site: Site, account: Account, tmp_path: Path) -> None:
    """It registers, goes, five messages come, and a sipp that is back on this port takes all of them."""
    port = free_port()
    sipp.run("register", [account], calls=1, port=port)
    process = subprocess.Popen(
        sipp.command("uas_message", [account], calls=5, port=port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for n in range(5):
            site.sms(account.did, f"for sipp {n}")
        assert process.wait(30) == 0, sipp.errors()
    finally:
        process.kill()
        process.wait()
    for n in range(5):
        row = site.settled(account.did, f"for sipp {n}", "delivered")
        assert len(row["deliveries"]) == 1


@pytest.mark.req("I1", "I4")
def test_three_hundred_a_second_for_ten_seconds(sipp: Sipp, site: Site) -> None:
    """A smoke test, not a measurement: all 3,000 are accepted with 202, each is one row, and each leaves."""
    accounts = [site.account() for _ in range(20)]
    before = len(site.rows())
    started = time.monotonic()
    statistics = sipp.run("message", accounts, "-r", "300", "-l", "3000", calls=3000)
    seconds = time.monotonic() - started
    assert int(statistics["SuccessfulCall(C)"]) == 3000
    assert int(statistics["FailedCall(C)"]) == 0
    rows = site.rows()[before:]
    assert len(rows) == 3000
    assert {row["account"] for row in rows} == {account.name for account in accounts}
    site.wait(lambda: all(row["state"] == "delivered" for row in site.rows()[before:]), 10)
    print(f"3,000 messages in {seconds:.1f} s, {statistics['Retransmissions(C)']} retransmissions")
