"""What a newcomer runs first: the demo, and the softphone in the terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.node.server import Node

from .conftest import MakePhone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e


@pytest.mark.req("S-012", "S-038", "S-093")
@pytest.mark.usefixtures("all_phones")  # skips, with its reason, where there is no pjsua2
def test_the_demo_sees_every_step(tmp_path: Path) -> None:
    node = Node(tmp_path)
    done = node.cli("demo", "--once", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✗" not in done.stdout
    assert done.stdout.count("✓") >= 12
    assert "X-SMS-To: 5550001111" in done.stdout
    assert not node.ready()  # the server ended with the demo


@pytest.mark.req("S-012", "S-088")
@pytest.mark.usefixtures("all_phones")
def test_softphone_sends_one_message(site: Site, account: Account) -> None:
    def softphone(*arguments: str, password: str = account.password) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sipsms", "softphone", account.name, "--password", password]
        server = ["--server", f"127.0.0.1:{site.sip_port}"]
        return subprocess.run([*command, *server, *arguments], capture_output=True, text=True, timeout=60, check=False)

    sent = softphone("--to", HANDSET, "from the terminal")
    assert (sent.returncode, sent.stdout) == (0, "202 Accepted\n"), sent.stderr
    site.settled(account.did, "from the terminal", "delivered")
    refused = softphone("--transport", "tcp", "--to", "1" + HANDSET, "no")
    assert refused.returncode == 1
    assert refused.stdout.startswith("404 ")
    assert "10 digits" in refused.stdout
    assert softphone("--to", HANDSET, "no", password="wrong").returncode == 1
    assert softphone("--to", HANDSET).returncode == 2


@pytest.mark.req("S-093")
def test_softphone_shows_what_arrives(site: Site, account: Account, make_phone: MakePhone) -> None:
    """It registers, shows an SMS, sends what is typed, and leaves at the end of input."""
    command = [sys.executable, "-m", "sipsms", "softphone", account.name, "--password", account.password]
    process = subprocess.Popen(
        [*command, "--server", f"127.0.0.1:{site.sip_port}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        site.wait(lambda: site.contacts(account), 10)
        site.sms(account.did, "for the terminal")
        site.settled(account.did, "for the terminal", "delivered")
        said, _ = process.communicate(f"{HANDSET} typed\n", timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert f"{HANDSET} to {account.did} -> for the terminal" in said
    assert f"{HANDSET} <- 202 Accepted" in said
    site.settled(account.did, "typed", "delivered")
    site.wait(lambda: site.contacts(account) == [])
