"""The server under test with many customers, so that no test shares an account, a number or a phone with another."""

from __future__ import annotations

import itertools
import json
import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sipsms.store import message_list
from sipsms.store.engine import open_engine
from tests.support.node.server import Node
from tests.support.sip.wire import Phone, Udp

DOMAIN = "sip.example.net"
_CRASHES = ("sip_failed", "sip_request_failed", "task_failed", "courier_failed", "queue_turn_failed", "Traceback")


@dataclass(frozen=True)
class Account:
    """A customer with a number for SMS (also its caller ID), one without, and a subaccount without caller ID."""

    name: str
    password: str
    did: str
    voice_did: str

    @property
    def sub(self) -> str:
        return f"{self.name}-sub"


class Lab(Node):
    def __init__(self, folder: Path, accounts: int = 30, *extra: dict[str, Any], **settings: Any) -> None:
        super().__init__(folder, **settings)
        if "listen" not in settings:
            self.listen_securely()
        self.realm: str = self.settings.get("realm", DOMAIN)
        self._accounts = [_account(number) for number in range(accounts)]
        self.import_accounts(*map(_entry, self._accounts), *extra)
        self._next = itertools.count(1)  # 0 is the sender of `sms`
        self._engine = open_engine(f"sqlite:///{self.store}", read_only=True)
        self._log_offset = 0
        self._sender: Phone | None = None

    def account(self) -> Account:
        """One that no test has had."""
        return self._accounts[next(self._next)]

    def phone(self, account: Account | str, transport: str = "udp", password: str = "") -> Phone:
        name = account if isinstance(account, str) else account.name
        return Phone(self.address_of(transport), name, password or f"pw-{name.removesuffix('-sub')}", transport)

    # --- looking into the store ---

    def rows(self, did: str) -> list[dict[str, Any]]:
        """The messages of a number, oldest first."""
        with self._engine.begin() as connection:
            return message_list.newest(connection, message_list.Wanted([did]), 10_000)[::-1]

    def texts(self, did: str) -> list[str]:
        return [row["text"] for row in self.rows(did)]

    def bindings(self, account: str) -> dict[str, dict[str, Any]]:
        with self._engine.begin() as connection:
            rows, _ = message_list.list_bindings(connection, None, (), message_list.UNLIMITED, time.time())
        return {row["contact"]: row for row in rows if row["account"] == account}

    def wait(self, look: Callable[[], Any], seconds: float = 15.0) -> Any:
        """Poll until something is true; give it back."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                tail = "\n".join(line[:200] for line in self.log_tail(10).splitlines())
                raise AssertionError(f"not seen within {seconds} s\n{tail}")
            time.sleep(0.02)
        return found

    def delivery(self, did: str, device: int = 0, seconds: float = 15.0, **wanted: Any) -> dict[str, Any]:
        """Wait until the newest message of a number has a delivery with these values."""

        def look() -> dict[str, Any] | None:
            rows = self.rows(did)
            for one in rows[-1]["deliveries"] if rows else []:
                if (not device or one["device"] == device) and all(one[key] == value for key, value in wanted.items()):
                    return dict(one)
            return None

        return self.wait(look, seconds)  # type: ignore[no-any-return]

    # --- causing things ---

    def sms(self, did: str, text: str) -> None:
        """An SMS arrives at a number: sent by another customer, brought back by the loopback carrier."""
        if self._sender is None:
            self._sender = self.phone(self._accounts[0])
        response = self._sender.message(did, text)
        if response.status != 202:
            raise AssertionError(f"SMS to {did}: {response.start} {response.get('warning')}")

    @property
    def sender(self) -> str:
        """The number `sms` comes from."""
        return self._accounts[0].did

    def metric(self, name: str, **labels: str) -> float:
        """A value of /metrics, 0 if it is not there yet."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            match = re.fullmatch(rf"{re.escape(name)}(?:\{{(.*)\}})? (\S+)", line)
            if match and dict(re.findall(r'(\w+)="([^"]*)"', match[1] or "")) == labels:
                return float(match[2])
        return 0.0

    # --- standing assertions ---

    def assert_healthy(self) -> None:
        """Alive, and no bug was logged since the last time."""
        assert self.process is not None
        assert self.process.poll() is None, f"the server has ended:\n{self.log_tail()}"
        with self.log_path.open("rb") as log:
            log.seek(self._log_offset)
            fresh = log.read()
        self._log_offset += len(fresh)
        text = fresh.decode(errors="replace")
        found = [line for line in text.splitlines() if any(word in line for word in _CRASHES)]
        assert not found, f"the server logged a bug:\n{_readable(found[0])}"

    def assert_answers(self, seconds: float = 1.0) -> None:
        """A good request is answered."""
        with Phone(self.address, "anybody", "x", wire=Udp(self.address)) as phone:
            assert phone.ask(phone.options(), seconds).status == 200

    def stop(self, seconds: float = 20.0) -> int:
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        return super().stop(seconds)


def _account(number: int) -> Account:
    name = f"c{number:04d}"
    return Account(name, f"pw-{name}", f"555{number:04d}001", f"555{number:04d}002")


def _entry(account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "password": account.password,
        "caller_id": account.did,
        "dids": [{"number": account.did}, {"number": account.voice_did, "sms": False}],
        "subaccounts": [{"name": account.sub, "password": account.password}],
    }


def _readable(line: str) -> str:
    try:
        event = json.loads(line)
    except ValueError:
        return line
    return f"{event.get('event')}: {str(event.get('exception', event))[-600:]}"
