"""A server with many customers, so that no story shares an account or a number with another."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sipsms.store import message_list
from sipsms.store.engine import open_engine
from sipsms.store.sqlite import sqlite3
from tests.support.node.server import Node

DOMAIN = "sip.example.net"
HANDSET = "4445556666"  # nobody's DID: with the loopback carrier a simulated handset
SECRET = "s3cret"
DOOR = {"type": "http", "url": "http://127.0.0.1:9/", "inbound": {"secret": SECRET, "fields": {"id": "id"}}}


@dataclass(frozen=True)
class Account:
    """A customer who registers under its own name, with a DID for SMS, one without, and a caller ID."""

    name: str
    password: str
    did: str
    voice_did: str


class Site(Node):
    """`sim` carries what goes out; SMS come in at the hook of `door`."""

    def __init__(self, folder: Path, accounts: int = 40, **settings: Any) -> None:
        super().__init__(folder, **{"carriers": {"sim": {"type": "loopback"}, "door": DOOR}, **settings})
        if "listen" not in settings:
            self.listen_securely()
        self._accounts = [_account(n) for n in range(1, accounts + 1)]
        self.import_accounts(*map(entry, self._accounts))
        self._next = iter(self._accounts)
        self._ids = itertools.count(1)
        self._engine = open_engine(f"sqlite:///{self.store}", read_only=True)

    def account(self) -> Account:
        """One that no story has had."""
        return next(self._next)

    # --- causing ---

    def sms(self, did: str, text: str, source: str = HANDSET) -> None:
        """An SMS arrives at a number from the telephone network."""
        fields = {"from": source, "to": did, "text": text, "id": f"m-{next(self._ids)}"}
        status, said = self.hook(fields)
        assert status == 200, said

    def hook(self, fields: Any, secret: str = SECRET, carrier: str = "door") -> tuple[int, str]:
        body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        request = urllib.request.Request(
            f"{self.url}/hooks/{carrier}/{secret}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def age(self, seconds: float) -> None:
        """While the server is stopped: make all that is in the store this much older. Days pass in no time."""
        times = {
            "messages": ("received_at", "expires_at"),
            "deliveries": ("due_at", "expires_at", "created_at", "updated_at"),
            "devices": ("first_seen", "last_seen"),
            "bindings": ("expires_at",),
        }
        with sqlite3.connect(self.store) as db:
            for table, columns in times.items():
                db.execute(f"UPDATE {table} SET " + ", ".join(f"{name} = {name} - {seconds}" for name in columns))
        db.close()

    # --- looking ---

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """As Node's; a server that was killed between a line and its end has the next one's first line behind it."""
        found, decoder = [], json.JSONDecoder()
        for line in self.log_path.read_text(errors="replace").splitlines():
            while line.startswith("{"):
                try:
                    event, end = decoder.raw_decode(line)
                except ValueError:
                    break  # killed in the middle of a line
                line = line[end:]
                if not name or event["event"] == name:
                    found.append(event)
        return found

    def rows(self, did: str = "") -> list[dict[str, Any]]:
        """What `sipsms messages --json` prints, oldest first."""
        with self._engine.begin() as connection:
            return message_list.newest(connection, message_list.Wanted([did] if did else None), 100_000)[::-1]

    def contacts(self, account: Account) -> list[str]:
        """What `sipsms registrations --json` prints of one account."""
        with self._engine.begin() as connection:
            rows, _ = message_list.list_bindings(connection, None, (), message_list.UNLIMITED, time.time())
        return [row["contact"] for row in rows if row["account"] == account.name]

    def settled(self, did: str, text: str, *states: str, seconds: float = 15.0) -> dict[str, Any]:
        """The one message with this text, once it is in one of these states."""

        def look() -> dict[str, Any] | None:
            found = [row for row in self.rows(did) if row["text"] == text]
            assert len(found) < 2, f"{text!r} is there {len(found)} times"
            return found[0] if found and (found[0]["state"] in states) else None

        try:
            return dict(self.wait(look, seconds))
        except AssertionError:
            found = [row for row in self.rows(did) if row["text"] == text]
            raise AssertionError(f"{text!r} is not {states} within {seconds} s: {found}") from None

    def wait(self, look: Callable[[], Any], seconds: float = 15.0) -> Any:
        """Poll until something is true; give it back."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen within {seconds} s\n{self.log_tail(8)}")
            time.sleep(0.02)
        return found

    def no_crash(self) -> None:
        """No bug was logged."""
        crashes = ("sip_failed", "sip_request_failed", "task_failed", "courier_failed", "queue_turn_failed")
        found = [event for event in self.events() if event["event"] in crashes]
        assert not found, found[0]
        assert "Traceback" not in self.log_path.read_text(errors="replace")


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _account(number: int) -> Account:
    return Account(f"c{number:03d}", f"pw-{number:03d}", f"555{number:03d}0001", f"555{number:03d}0002")


def entry(account: Account, extra: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    """As `sipsms import` reads it."""
    return {
        "name": account.name,
        "password": account.password,
        "caller_id": account.did,
        "dids": [{"number": account.did}, {"number": account.voice_did, "sms": False}],
        "subaccounts": list(extra),
    }
