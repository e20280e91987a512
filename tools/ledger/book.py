"""The ledger: who asked, was promised and got what, line by line, in the order in which it happened."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Book:
    """An append-only file of JSON lines, flushed each, and the same lines in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        self.counts: Counter[str] = Counter()  # of lines by what they say
        self.noted: Counter[str] = Counter()  # what is only counted
        self.incarnation = 0  # servers started so far
        self._file = path.open("a")
        self._began = time.monotonic()
        self._numbers: Counter[str] = Counter()

    def write(self, what: str, **fields: Any) -> None:
        line = {"at": round(time.monotonic() - self._began, 3), "what": what, **fields}
        self.lines.append(line)
        self.counts[what] += 1
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def note(self, what: str) -> None:
        """Count something that no verdict needs."""
        self.noted[what] += 1

    def ask(self, kind: str, client: str, source: str, to: str, *, ordered: bool = True) -> str:
        """A new text, unlike any other, that names whom it is for; `ordered`: its client awaits each answer."""
        self._numbers[client] += 1
        text = f"{kind} {client} {to} {self._numbers[client]}"
        self.write("ask", kind=kind, client=client, source=source, to=to, text=text, ordered=ordered)
        return text

    def accept(self, kind: str, client: str, text: str, status: object, id: object = None) -> None:
        """A client has heard that its text is taken."""
        self.write("accept", kind=kind, client=client, text=text, status=status, id=id)

    def refuse(self, kind: str, client: str, text: str, status: object, why: str = "") -> None:
        """A client has heard "no", which nobody here deserves."""
        self.write("refuse", kind=kind, client=client, text=text, status=status, why=why[:200])

    def got(self, phone: str, account: str, name: str, text: str, source: str = "", sms_to: str = "") -> None:
        """A text has reached a phone or an ESME; `name`: what stays the same when it is sent again (the Call-ID)."""
        self.write("got", phone=phone, account=account, call_id=name, text=text, source=source, sms_to=sms_to)

    def close(self) -> None:
        self._file.close()
