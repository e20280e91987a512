"""Programs that do not wait for the server: webhook senders, HTTP and SMPP clients, commands, while it is taken away.

Each repeats what it asks from before the server goes until it has heard a success from the one that came back. With the
right credentials none hears a refusal, and what was asked again and again is one message.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.site import DOOR, HANDSET, Account, Site, entry
from smpp.kit import OK, PHONE, QUEUE_FULL, SmppSite

from tests.support.smpp.wire import Closed, RawEsme

from .test_doors import API, Client

pytestmark = pytest.mark.e2e

USER = Account("prog", "pw-prog", "5559990001", "5559990002")
Try = Callable[[], str]  # what was heard: "ok", "" for nothing, else a refusal


class Repeater(threading.Thread):
    """Tries the same again and again; keeps each different thing that it heard."""

    def __init__(self, name: str, attempt: Try) -> None:
        super().__init__(name=name, daemon=True)
        self.heard: Counter[str] = Counter()
        self._attempt = attempt
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            self.heard[self._attempt()] += 1

    def end(self) -> None:
        self._over.set()
        self.join(30)


class Programs(SmppSite):
    """A node with one customer, who has every kind of program."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 3, api=API, carriers={"sim": {"type": "loopback"}, "door": DOOR})
        self.import_accounts(entry(USER))
        self.client = Client(self, USER)
        self.esme = self.customer()
        self._binds = self._taken = 0

    def repeaters(self) -> list[Repeater]:
        client = self.client
        tries: dict[str, Try] = {
            "hook": self._hook,
            "bind": self._bind,
            "trace": self._trace,
            "command": self._command,
            "rest": self._rest, "v1": lambda: _said(client.doors["v1"], "by v1"),
        }  # fmt: skip
        return [Repeater(name, attempt) for name, attempt in tries.items()]

    def _hook(self) -> str:
        """A carrier that did not see our answer sends the same SMS again."""
        try:
            status, said = self.hook({"from": HANDSET, "to": USER.did, "text": "by hook", "id": "the same"})
        except (OSError, ValueError):
            return ""
        return "ok" if status == 200 else f"{status} {said}"

    def _bind(self) -> str:
        """Bind anew each time; what is sent differs, so that each is a message of its own."""
        try:
            with RawEsme(self.smpp_port, seconds=5) as esme:
                status = esme.bind(self.esme.user, self.esme.password).status
                if status == OK:
                    self._binds += 1
                    status = esme.submit(self.esme.did, PHONE, f"by smpp {self._binds}").status
                    if status == QUEUE_FULL:  # it crossed the server's unbind: nothing was taken
                        return ""
                return "ok" if status == OK else f"status {status:#x}"
        except (OSError, Closed):
            return ""

    def _rest(self) -> str:
        """The same text blindly until it is taken, then the next."""
        said = _said(self.client.doors["rest"], f"by rest {self._taken}")
        self._taken += said == "ok"
        return said

    def _trace(self) -> str:
        """Whoever may watch is let in, or finds nobody."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            try:
                sock.connect(f"{self.store}.control")
                sock.sendall(b'{"do": "trace", "with": {}}\n\n')
                said = sock.makefile("rb").readline()
            except OSError:
                return ""
        return "ok" if not said or "hello" in json.loads(said) else said.decode()

    def _command(self) -> str:
        """A command beside the server, which starts under it."""
        command = [sys.executable, "-m", "sipsms", "-c", str(self.path), "account", "list", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        names = [json.loads(line)["name"] for line in done.stdout.splitlines()]
        return "ok" if done.returncode == 0 and USER.name in names else done.stderr + done.stdout


def _said(door: tuple[Callable[[str], tuple[int, str]], str], text: str) -> str:
    """What one of the HTTP APIs says to the same text again."""
    (send, taken), (status, said) = door, (0, "")
    status, said = send(text)
    if status == 0:
        return ""
    return "ok" if taken in said else f"{status} {said}"


@pytest.mark.req("I1", "I4", "F-01", "F-21")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_programs_meet_no_half_started_server(tmp_path: Path, how: signal.Signals) -> None:
    site: Any = Programs(tmp_path / "node")
    site.start()
    repeaters = site.repeaters()
    try:
        for one in repeaters:
            one.start()
        heard = lambda: {one.name: one.heard["ok"] for one in repeaters}  # noqa: E731
        site.wait(lambda: all(heard().values()), 60)
        for _ in range(2):
            before = heard()
            _take_away(site, how)
            site.wait(lambda before=before: all(count > before[name] + 1 for name, count in heard().items()), 90)
    finally:
        for one in repeaters:
            one.end()
        site.stop()
    refused = {one.name: set(one.heard) - {"ok", ""} for one in repeaters if set(one.heard) - {"ok", ""}}
    assert not refused, refused
    texts = Counter(row["text"] for row in site.rows() if row["direction"] == "out" or row["text"] == "by hook")
    assert texts.keys() >= {"by hook", "by v1", *(f"by rest {number}" for number in range(site._taken))}
    assert {text for text, count in texts.items() if count > 1} == set()
    site.no_crash()


def _take_away(site: Site, how: signal.Signals) -> None:
    if how is signal.SIGHUP:
        for _ in range(3):
            site.signal(how)
        reloads = len(site.events("reloaded"))
        site.wait(lambda: len(site.events("reloaded")) >= max(1, reloads))
    else:
        (site.kill if how is signal.SIGKILL else site.stop)()
        site.start()
