"""Kannel (bearerbox and smsbox) as an ESME: it sends by its HTTP API and receives by HTTP requests to the test.

What it says of a message (taken or refused by the SMSC, later delivered or not) comes as its "DLR" requests: types 8
and 16 stand for the submit_sm_resp, 1 and 2 for the receipt. Of a long text only the first part asks for a receipt, and
a receipt that comes before its submit_sm_resp is lost on Kannel.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.support.node.server import free_port
from tests.support.smpp import records as words
from tests.support.smpp.records import Came, Missing, Refused, Reply, Seen, Told

CONFIG = """\
group = core
admin-port = {admin}
admin-password = secret
smsbox-port = {box}
store-type = file
store-location = {folder}/store
dlr-storage = internal
{core}

group = smsc
smsc = smpp
smsc-id = peer
host = 127.0.0.1
port = {port}
smsc-username = "{user}"
smsc-password = "{password}"
system-type = ""
transceiver-mode = true
reconnect-delay = 1
{smsc}

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {box}
sendsms-port = {send}
mo-recode = true

group = sendsms-user
username = test
password = test
concatenation = true
max-messages = 50

group = sms-service
keyword = default
catch-all = true
max-messages = 0
get-url = "http://127.0.0.1:{ear}/mo?from=%p&to=%P&text=%b"
"""
STATES = {1: "DELIVRD", 2: "UNDELIV"}


class Word(NamedTuple):
    """One DLR request. `type`: 1 delivered, 2 not, 4 buffered, 8 taken by the SMSC, 16 refused by it."""

    job: int
    type: int
    answer: str
    id: str


class Kannel:
    """`with Kannel(folder, port, user, password) as esme:`; with an authority, by TLS (Kannel looks at no name)."""

    def __init__(
        self, folder: Path, port: int, user: str, password: str, authority: Path | None = None, window: int = 10
    ) -> None:
        self.folder, self.port, self.user, self.password = folder, port, user, password
        self.messages: Seen[Came] = Seen("messages")
        self.receipts: Seen[Told] = Seen("receipts")
        self.words: Seen[Word] = Seen("DLRs")
        self._sent: dict[int, tuple[str, str]] = {}
        self._smsc = f"max-pending-submits = {window}\n" + ("use-ssl = true\n" if authority else "")
        self._core = f'ssl-trusted-ca-file = "{authority}"' if authority else ""
        self._boxes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        for program in ("bearerbox", "smsbox"):
            if shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin") is None:
                raise Missing(f"{program} is not installed: apt-get install kannel")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ear = _Ear(self)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._ear.shutdown()
        self._ear.server_close()

    # --- life ---

    def start(self) -> None:
        """Raises Refused when the SMSC does not want the login."""
        self._admin, box, self._send = free_port(), free_port(), free_port()
        self._config = self.folder / "kannel.conf"
        self._config.write_text(
            CONFIG.format(
                admin=self._admin, box=box, send=self._send, folder=self.folder, core=self._core, smsc=self._smsc,
                port=self.port, user=self.user, password=self.password, ear=self._ear.server_address[1],
            )
        )  # fmt: skip
        self._run("bearerbox")
        self._until(lambda: _listens(box), "bearerbox does not listen")
        self._run("smsbox")
        self._until(lambda: _listens(self._send), "smsbox does not listen")
        self._until(self._bound, "not bound")

    def _run(self, program: str) -> None:
        path = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin")
        with (self.folder / f"{program}.log").open("ab") as log:
            command = [str(path), "-v", "1", str(self._config)]
            self._boxes.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log))

    def _until(self, what: object, why: str, seconds: float = 15.0) -> None:
        assert callable(what)
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline or any(box.poll() is not None for box in self._boxes):
                raise AssertionError(f"{why}: {self.log()[-1500:]}")
            time.sleep(0.02)  # polled: Kannel has no other way to tell us

    def _bound(self) -> bool:
        if refused := re.search(r"rejected login.*code 0x([0-9a-f]+)", self.log()):
            raise Refused(int(refused[1], 16))
        return "<status>online" in self.status()

    def kill(self) -> None:
        """SIGKILL to both boxes; the store stays."""
        for box in self._boxes:
            box.kill()
            box.wait(10)
        self._boxes.clear()

    def log(self) -> str:
        return (self.folder / "bearerbox.log").read_text(errors="replace")

    def status(self) -> str:
        url = f"http://127.0.0.1:{self._admin}/status.xml?password=secret"
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
        return ""

    # --- sending and hearing ---

    def post(self, source: str, destination: str, text: str, receipt: bool = True) -> int:
        """Into Kannel's queue; the job's number, by which `words` speak of it."""
        job = len(self._sent) + 1
        self._sent[job] = (source, destination)
        ear = f"http://127.0.0.1:{self._ear.server_address[1]}/dlr?job={job}&type=%d&answer=%A&id=%F"
        fields = {
            "username": "test", "password": "test", "from": source, "to": destination, "text": text, "charset": "utf-8",
            "coding": 0 if words.gsm_encode(text) is not None else 2, "dlr-mask": 31 if receipt else 24, "dlr-url": ear,
        }  # fmt: skip
        url = f"http://127.0.0.1:{self._send}/cgi-bin/sendsms?{urlencode(fields)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                said = answer.read().decode()
        except urllib.error.HTTPError as why:
            said = why.read().decode()
        assert said.startswith(("0:", "3:")), said
        return job

    def send(self, source: str, destination: str, text: str, receipt: bool = True) -> Reply:
        """As the SMSC answered the first part: Kannel tells no more."""
        job = self.post(source, destination, text, receipt)
        word = self.words.first(lambda word: word.job == job and word.type in (8, 16))
        status = re.search(r"0x([0-9a-f]+)", word.answer)
        return Reply(int(status[1], 16) if status and word.type == 16 else 0, (word.id,))

    def heard(self, path: str) -> None:
        url = urlsplit(path)
        fields = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        if url.path == "/mo":
            self.messages.add(Came(fields["from"].lstrip("+"), fields["to"].lstrip("+"), fields["text"]))
            return
        word = Word(int(fields["job"]), int(fields["type"]), fields["answer"], fields["id"])
        self.words.add(word)
        if word.type in STATES:
            ours, theirs = self._sent[word.job]
            state = re.search(r"stat:(\S+)", word.answer)
            self.receipts.add(Told(word.id, state[1] if state else STATES[word.type], theirs, ours))


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class _Ear(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, kannel: Kannel) -> None:
        self.kannel = kannel
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Ear

    def do_GET(self) -> None:
        self.server.kannel.heard(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: what came is in `messages`, `words` and `receipts`."""
