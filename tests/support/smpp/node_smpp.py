"""node-smpp (npm `smpp`) as ESME and as SMSC, each in a Node process of its own.

The package is fetched once by npm into the tests' cache folder, never into the tree.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, Self

from tests.support.node.certificates import Files
from tests.support.sip.jssip import cache_folder
from tests.support.smpp import records as words
from tests.support.smpp.records import Came, Joiner, Missing, Part, Refused, Reply, Seen, Told

SOURCES = Path(__file__).parents[2] / "interop" / "js" / "smpp"
Event = dict[str, Any]


def installed() -> Path:
    """The folder with the programs and their package. Raises Missing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed: apt-get install nodejs npm")
    folder = cache_folder().with_name("js-smpp")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # two test processes may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    wanted = (SOURCES / "package.json").read_text()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        (folder / "package.json").write_text(wanted)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise Missing(f"npm could not fetch smpp: {(done.stderr or done.stdout)[-300:]}")
        stamp.write_text(wanted)
    for source in SOURCES.glob("*.mjs"):
        new = folder / f"{source.name}.new"
        shutil.copy(source, new)
        new.replace(folder / source.name)


class Program:
    """One Node process: orders go in, `events` come out."""

    def __init__(self, script: str, *arguments: str, authority: Path | None = None) -> None:
        folder = installed()
        environment = {**os.environ, **({"NODE_EXTRA_CA_CERTS": str(authority)} if authority else {})}
        self.events: Seen[Event] = Seen("events")
        self._orders = 0
        self._process = subprocess.Popen(
            ["node", script, *arguments], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        Thread(target=self._read, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for line in self._process.stdout:
            event = json.loads(line)
            self.noted(event)
            self.events.add(event)
        self.events.add({"event": "ended", "text": self._process.stderr.read()[-1000:]})

    def noted(self, event: Event) -> None:
        """What a subclass keeps of an event."""

    def do(self, what: str, **more: Any) -> None:
        """Returns when it has been done, as far as the program itself can do it."""
        assert self._process.stdin is not None
        self._orders += 1
        self._process.stdin.write(json.dumps({"do": what, "order": self._orders, **more}) + "\n")
        self._process.stdin.flush()
        self.wait("done", order=self._orders)

    def wait(self, event: str, seconds: float = 15.0, **fields: Any) -> Event:
        """The first event of this name with these fields, of all that came. Fails when the process has ended."""
        found = self.events.first(lambda one: one["event"] == "ended" or _fits(one, event, fields), seconds)
        assert found["event"] == event, f"node has ended: {found}"
        return found

    def named(self, event: str) -> list[Event]:
        return [one for one in self.events if one["event"] == event]


def _fits(one: Event, event: str, fields: dict[str, Any]) -> bool:
    return one["event"] == event and all(one.get(name) == value for name, value in fields.items())


class NodeEsme(Program):
    """`command`: submit_sm, or deliver_sm as VoIP.ms allows it to customers."""

    def __init__(
        self, port: int, user: str, password: str, mode: str = "trx", command: str = "submit_sm",
        authority: Path | None = None,
    ) -> None:  # fmt: skip
        self.user, self.password, self.mode, self.command = user, password, mode, command
        self.messages: Seen[Came] = Seen("messages")
        self.receipts: Seen[Told] = Seen("receipts")
        self._joiner, self._jobs = Joiner(), 0
        scheme = "ssmpp" if authority else "smpp"
        super().__init__("esme.mjs", f"{scheme}://127.0.0.1:{port}", authority=authority)

    def __enter__(self) -> Self:
        try:
            self.bind()
        except (Refused, AssertionError):
            self.kill()
            raise
        return self

    def bind(self) -> None:
        """Raises Refused."""
        self.wait("connected")
        mode = {"trx": "transceiver", "tx": "transmitter", "rx": "receiver"}[self.mode]
        self.do("bind", mode=mode, user=self.user, password=self.password)
        found = self.events.first(lambda one: one.get("job") == "bind" or one["event"] in ("closed", "ended"))
        status = found["pdu"]["command_status"] if found["event"] == "answer" else 0
        if found["event"] != "answer" or status:
            raise Refused(status)

    def send(self, source: str, destination: str, text: str, receipt: bool = True) -> Reply:
        job = self._job()
        message = {"source": source, "destination": destination, "text": text, "receipt": receipt}
        self.do("send", command=self.command, job=job, **message)
        count = self.wait("parts", job=job)["count"]
        self.events.until(lambda events: sum(_fits(one, "answer", {"job": job}) for one in events) == count)
        pdus = [one["pdu"] for one in self.named("answer") if one["job"] == job]
        return Reply(max(pdu["command_status"] for pdu in pdus), tuple(pdu.get("message_id") or "" for pdu in pdus))

    def pdu(self, command: str, **fields: Any) -> Event:
        """Any request (query_sm, submit_multi ...); the response's fields. Octets are {"hex": ...}."""
        job = self._job()
        self.do("pdu", command=command, fields=fields, job=job)
        answer: Event = self.wait("answer", job=job)["pdu"]
        return answer

    def raw(self, octets: bytes) -> None:
        self.do("raw", hex=octets.hex())

    def answers(self, status: int) -> None:
        """With which command_status every later deliver_sm is answered."""
        self.do("answer", status=status)

    def _job(self) -> int:
        self._jobs += 1
        return self._jobs

    def noted(self, event: Event) -> None:
        if event["event"] in ("deliver_sm", "submit_sm"):
            self._delivered(event["pdu"])

    def _delivered(self, pdu: Event) -> None:
        part, text = _message(pdu)
        source, destination = pdu["source_addr"], pdu["destination_addr"]
        if pdu["esm_class"] & words.RECEIPT:
            tlvs = {
                words.RECEIPTED_ID: pdu.get("receipted_message_id", "").encode(),
                words.MESSAGE_STATE: bytes([pdu.get("message_state", 0)]),
            }
            self.receipts.add(words.told_by(text, tlvs, source, destination))
            return
        whole = self._joiner.add(source, destination, part, text)
        if whole is not None:
            self.messages.add(whole)


def _message(pdu: Event) -> tuple[Part | None, str]:
    """The part's number and the text, as the library decoded them."""
    message = pdu.get("message_payload") or pdu.get("short_message") or {}
    text = message.get("message", "")
    if isinstance(text, dict):  # octets: it knows no such data_coding
        text = text["hex"]
    headers = [bytes.fromhex(one["hex"]) for one in message.get("udh", [])]
    part = words.part_of(words.UDHI, bytes([sum(map(len, headers))]) + b"".join(headers), {})[0] if headers else None
    return part or _by_sar(pdu), text


def _by_sar(pdu: Event) -> Part | None:
    if "sar_total_segments" not in pdu:
        return None
    return Part(pdu["sar_msg_ref_num"], pdu["sar_total_segments"], pdu["sar_segment_seqnum"])


class NodeSmsc(Program):
    """`with NodeSmsc() as smsc:`; answers as plain keywords: status, id, after (ms), silent, cut, receipts."""

    def __init__(
        self, user: str = "carrier", password: str = "secret", certificate: Files | None = None, port: int = 0
    ) -> None:
        self.user, self.password, self.certificate = user, password, certificate
        self.taken: Seen[Event] = Seen("messages taken")  # the events submit_sm with status 0
        tls = (str(certificate.key), str(certificate.certificate)) if certificate else ()
        super().__init__("smsc.mjs", str(port), user, password, *tls)

    def __enter__(self) -> Self:
        self.port = self.wait("listening")["port"]
        return self

    @property
    def url(self) -> str:
        scheme = "ssmpp" if self.certificate else "smpp"
        return f"{scheme}://{self.user}:{self.password}@127.0.0.1:{self.port}"

    def script(self, *answers: Event) -> None:
        self.do("script", answers=list(answers))

    def default(self, **answer: Any) -> None:
        self.do("rest", answer=answer)

    def ids(self, form: str) -> None:
        """decimal or hex, of messages to come."""
        self.do("ids", form=form)

    def mo(self, source: str, destination: str, text: str) -> None:
        self.do("mo", source=source, destination=destination, text=text)

    def cut(self) -> None:
        self.do("cut")

    def unbind(self) -> None:
        self.do("unbind")

    def noted(self, event: Event) -> None:
        if event["event"] == "submit_sm" and event["status"] == 0:
            self.taken.add(event)

    def ledger(self) -> Counter[Came]:
        """Whole messages that it took, however often. Raises AssertionError for a text that lacks a part."""
        joiner, found = Joiner(), Counter[Came]()
        for event in self.taken:
            part, text = _message(event["pdu"])
            whole = joiner.add(event["pdu"]["source_addr"], event["pdu"]["destination_addr"], part, text)
            if whole is not None:
                found[whole] += 1
        assert not joiner.open, f"parts are missing or came again: {joiner.open}"
        assert not joiner.repeated, f"parts came twice: {joiner.repeated}"
        return found


def unbound(esme: NodeEsme) -> None:
    """unbind, its answer, and the connection's end."""
    with suppress(BrokenPipeError):
        esme.do("unbind")
        esme.wait("closed")
