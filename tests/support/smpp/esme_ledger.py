"""An ESME with a ledger: it sends each text until an answer arrives, over as many sessions as necessary.

What it means to send and what was answered stands in a file before and after, so a killed one goes on where it was. Run
as a program: `python esme_ledger.py PORT USER PASSWORD DID TO FILE COUNT`. Nothing here imports sipsms.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.support.smpp.wire import DELIVER, RESPONSE, SUBMIT, Closed, RawEsme, sm_body

THROTTLED, QUEUE_FULL = 0x58, 0x14


class Books:
    """One line an event: {"text": ..., "id": ...}, the parts of a long text each by itself."""

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, str] = {}  # name of a PDU -> message id
        self.refused: dict[str, int] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                found = json.loads(line) if line.endswith("}") else {}
                if "id" in found:
                    self.answers[found["name"]] = found["id"]
        self._file = path.open("a")
        self._lock = threading.Lock()

    def answered(self, name: str, message_id: str) -> None:
        with self._lock:
            assert name not in self.answers, f"{name} was answered twice"
            self.answers[name] = message_id
            self._file.write(json.dumps({"name": name, "id": message_id}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())


class Job:
    """PDUs to send, by name, in order."""

    def __init__(self, did: str, to: str, label: str, count: int) -> None:
        self.texts: dict[str, str] = {}
        self.pdus: dict[str, bytes] = {}
        for n in range(count):
            text = f"{label} {n}"
            if n % 7 == 3:  # a long one, in three parts
                pieces = [f"{text} part {i}: {'x' * 100}; " for i in (1, 2, 3)]
                for i, piece in enumerate(pieces, 1):
                    octets = bytes((5, 0, 3, n % 256, 3, i)) + piece.encode()
                    self.pdus[f"{text}/{i}"] = sm_body(did, to, octets, esm_class=0x40, receipt=1)
                self.texts[text] = "".join(pieces)
            else:
                self.pdus[text] = sm_body(did, to, text.encode(), receipt=1)
                self.texts[text] = text


class Sender:
    """One session at a time, a window of ten; the answers are written down as they come."""

    def __init__(self, port: int, user: str, password: str, job: Job, books: Books) -> None:
        self._port, self._user, self._password = port, user, password
        self._job, self._books = job, books
        self.sessions = self.again = 0
        self._sent: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set() and self.left():
            try:
                with RawEsme(self._port, seconds=5) as esme:
                    if esme.bind(self._user, self._password).status == 0:
                        self.sessions += 1
                        self._session(esme, stop)
            except (OSError, Closed):
                stop.wait(0.05)

    def left(self) -> list[str]:
        return [name for name in self._job.pdus if name not in self._books.answers]

    def _session(self, esme: RawEsme, stop: threading.Event) -> None:
        todo, under_way = self.left()[::-1], {}
        while (todo or under_way) and not stop.is_set():
            while todo and len(under_way) < 10:
                name = todo.pop()
                self.again += name in self._sent
                self._sent.add(name)
                under_way[esme.send(SUBMIT, self._job.pdus[name])] = name
            pdu = esme.receive()
            if pdu.command == RESPONSE | SUBMIT:
                name = under_way.pop(pdu.sequence)
                if pdu.status == 0:
                    self._books.answered(name, pdu.text)
                elif pdu.status in (THROTTLED, QUEUE_FULL):
                    todo.append(name)
                elif pdu.status != 4:  # it is about to unbind
                    self._books.refused[name] = pdu.status
            elif pdu.command == DELIVER:
                esme.send(RESPONSE | DELIVER, b"\0", pdu.sequence)


def main() -> None:
    port, user, password, did, to, path, count = sys.argv[1:]
    books = Books(Path(path))
    job = Job(did, to, "durable", int(count))
    sender = Sender(int(port), user, password, job, books)
    sender.run(threading.Event())


if __name__ == "__main__":
    main()
