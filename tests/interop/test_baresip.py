"""baresip, a softphone of another hand: it registers, takes an SMS and writes one. Set up as docs/phones.md says."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.site import HANDSET, Account, Site

from tests.support.node.server import free_port

pytestmark = pytest.mark.e2e

PHONES = Path(__file__).parents[2] / "docs" / "phones.md"
CONFIG = """\
net_interface 127.0.0.1
sip_listen 127.0.0.1:{sip}
ctrl_tcp_listen 127.0.0.1:{control}
module_path {modules}
module stdio.so
module_tmp account.so
module g711.so
module_app contact.so
module_app menu.so
module_app ctrl_tcp.so
"""


class Baresip:
    """A child process; its commands go over ctrl_tcp (JSON in netstrings), what comes in it prints."""

    def __init__(self, program: str, folder: Path, line: str, person: str) -> None:
        self._control = free_port()
        (modules,) = Path("/usr/lib").glob("**/baresip/modules")
        text = CONFIG.format(sip=free_port(), control=self._control, modules=modules)
        for name, content in (("config", text), ("accounts", line), ("contacts", person)):
            (folder / name).write_text(content + "\n")
        self._output = folder / "output"
        with self._output.open("wb") as log:
            self._process = subprocess.Popen(
                ["stdbuf", "-o0", program, "-f", str(folder)], stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def printed(self) -> str:
        return self._output.read_text(errors="replace")

    def command(self, name: str, text: str = "") -> str:
        """What it answers."""
        body = json.dumps({"command": name, "params": text}).encode()
        with socket.create_connection(("127.0.0.1", self._control), timeout=5) as control:
            control.sendall(b"%d:%s," % (len(body), body))
            data = b""
            while not (match := re.search(rb'\d+:(\{"response".*?\}),', data, re.S)):
                more = control.recv(65536)
                assert more, f"baresip hung up: {self.printed()[-500:]}"
                data += more
        return str(json.loads(match[1])["data"])

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)


def documented(start: str) -> str:
    """A line of the page's section on baresip."""
    return next(line for line in PHONES.read_text().splitlines() if line.startswith(start))


@pytest.fixture(params=["udp", "tcp"])
def baresip(
    request: pytest.FixtureRequest, program: Callable[[str], str], site: Site, account: Account, tmp_path: Path
) -> Iterator[Baresip]:
    line = documented("<sip:desk@").replace("transport=tcp", f"transport={request.param}")
    line = line.replace("desk", account.name, 1).replace("s3cret-desk", account.password)
    line = line.replace("192.0.2.10:5060", f"127.0.0.1:{site.sip_port}")
    person = documented('"Anna" <sip:').replace("2125550123", HANDSET)
    phone = Baresip(program("baresip"), tmp_path, line, person)
    try:
        site.wait(lambda: site.contacts(account), 10)
        yield phone
    finally:
        phone.stop()


@pytest.mark.req("S-011", "S-012", "S-090")
def test_registers_receives_and_sends(baresip: Baresip, site: Site, account: Account) -> None:
    """Its Contact has a user part of its own making; only with just that does it take a message."""
    (contact,) = site.contacts(account)
    assert contact.startswith(f"sip:{account.name}-0x")
    site.sms(account.did, "Grüße, baresip 👋🏽")
    site.settled(account.did, "Grüße, baresip 👋🏽", "delivered")
    site.wait(lambda: "Grüße, baresip 👋🏽" in baresip.printed())
    assert f"sip:{HANDSET}@" in baresip.printed()

    assert HANDSET in baresip.command("contact_next")
    baresip.command("message", "Hello from baresip")
    row = site.settled(account.did, "Hello from baresip", "delivered")
    assert (row["direction"], row["from"], row["to"]) == ("out", account.did, HANDSET)


@pytest.mark.req("F-17")
def test_what_came_while_it_was_off(
    program: Callable[[str], str], site: Site, account: Account, tmp_path: Path
) -> None:
    """Nothing is registered; the text waits, and comes once."""
    site.sms(account.did, "before baresip")
    line = f"<sip:{account.name}@sip.example.net>;auth_pass={account.password}"
    line += f';outbound="sip:127.0.0.1:{site.sip_port};transport=udp";regint=600'
    phone = Baresip(program("baresip"), tmp_path, line, documented('"Anna" <sip:'))
    try:
        site.settled(account.did, "before baresip", "delivered", seconds=10)
        site.wait(lambda: "before baresip" in phone.printed())
        time.sleep(0.2)  # a second copy would come in this time
        assert phone.printed().count("before baresip") == 1
    finally:
        phone.stop()
