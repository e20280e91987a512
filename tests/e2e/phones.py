"""Real pjsua2 phones for the tests, in a process of their own.

pjsua2 aborts its process on a slip and must not take pytest along; it also wants one thread and constant pumping. So
this file is two things: run as a program it owns the phones and does what it is told, one JSON line a command; when
imported, it is the remote control: `Phones` and `Phone` look like sipsms.softphone's `Stack` and `Softphone`.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

# --- in the test's process -------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    status: int
    reason: str
    warning: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Received(NamedTuple):
    sender: str
    from_uri: str
    to_uri: str
    r_uri: str
    text: str
    content_type: str
    headers: dict[str, str]
    raw: str
    at: float

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")


class Phones:
    """`with Phones() as phones: phones.phone("alice", "pw", node.address)`."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        self._count = 0

    def __enter__(self) -> Self:
        self.call("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)  # end of input ends it

    def phone(self, name: str, password: str, server: tuple[str, int], transport: str = "udp", **more: Any) -> Phone:
        """`domain`, `instance`, `display_name`, `auth_user`, `local_port`, `expires`, `publish` as softphone's."""
        self._count += 1
        options = {"domain": "sip.example.net", **more}
        facts = self.call("open", id=self._count, args=[name, password, *server, transport], options=options)
        return Phone(self, self._count, facts)

    def hang_up(self) -> None:
        """All phones go, without a word to the server."""
        self.call("hang_up")

    def call(self, op: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self._process.communicate(timeout=30)[1]
            raise RuntimeError(f"the phones' process ended with {self._process.returncode}:\n{said[-3000:]}")
        answer = json.loads(line)
        if "error" in answer:
            kind = TimeoutError if answer["kind"] == "TimeoutError" else RuntimeError
            raise kind(answer["error"])
        return answer["result"]


class Phone:
    def __init__(self, phones: Phones, number: int, facts: dict[str, Any]) -> None:
        self._phones = phones
        self._id = number
        self.aor: str = facts["aor"]

    def _do(self, op: str, **arguments: Any) -> Any:
        return self._phones.call(op, id=self._id, **arguments)

    @property
    def contact(self) -> str:
        return str(self._do("contact"))

    def register(self) -> Answer:
        return Answer(*self._do("register"))

    def unregister(self) -> Answer:
        return Answer(*self._do("unregister"))

    def offline(self, *, abrupt: bool = False) -> None:
        self._do("offline", abrupt=abrupt)

    def go_online(self) -> Answer:
        return Answer(*self._do("go_online"))

    def send(self, number: str, text: str, **options: Any) -> Answer:
        """`display_name`, `from_user`, `headers`, `content_type` as sipsms.softphone's."""
        return Answer(*self._do("send", args=[number, text], options=options))

    def watch(self, user: str) -> None:
        self._do("watch", args=[user])

    def appear(self, online: bool) -> None:
        self._do("appear", args=[online])

    def wait_presence(self, user: str, wanted: str, seconds: float = 15.0) -> None:
        """Until somebody who is watched is "online", "offline" or "unknown"."""
        deadline = time.monotonic() + seconds
        while (seen := self._do("presence", args=[user])) != wanted:
            if time.monotonic() >= deadline:
                raise AssertionError(f"{user} is {seen}, not {wanted}, after {seconds} s")
            time.sleep(0.02)

    @property
    def inbox(self) -> list[Received]:
        return [Received(**one) for one in self._do("inbox")]

    def texts(self) -> list[str]:
        return [one.text for one in self.inbox]

    def wait_texts(self, count: int, seconds: float = 15.0) -> list[str]:
        """The texts in the inbox, once there are `count` or time is up."""
        return [one["text"] for one in self._do("wait", count=count, seconds=seconds)]

    def wait_message(self, text: str, seconds: float = 15.0) -> Received:
        """Raises AssertionError when it does not come."""
        deadline = time.monotonic() + seconds
        count = 1
        while True:
            found = [Received(**one) for one in self._do("wait", count=count, seconds=deadline - time.monotonic())]
            match = next((one for one in found if one.text == text), None)
            if match is not None:
                return match
            if time.monotonic() >= deadline:
                raise AssertionError(f"{text!r} did not come within {seconds} s; inbox: {[one.text for one in found]}")
            count = len(found) + 1

    def assert_nothing_more(self, count: int, seconds: float = 0.4) -> None:
        """Nothing beyond `count` messages comes in this time."""
        texts = self.wait_texts(count + 1, seconds)
        assert len(texts) == count, f"expected {count} messages and no more, got {texts}"


# --- in the phones' process ------------------------------------------------------------------------------------------


def _main() -> None:
    from sipsms.cli.softphone import Softphone, Stack

    wire = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever pjsua2 prints is not part of the conversation
    phones: dict[int, Softphone] = {}

    def shown(phone: Softphone) -> list[dict[str, Any]]:
        return [{name: getattr(one, name) for name in Received._fields} for one in phone.inbox]

    def act(stack: Stack, command: dict[str, Any]) -> Any:
        op, key = command["op"], command.get("id", 0)
        if op == "open":
            phones[key] = Softphone(*command["args"], stack=stack, **command["options"])
            return {"aor": phones[key].aor}
        if op == "hang_up":
            for phone in phones.values():
                phone.offline(abrupt=True)
                phone.close()
            phones.clear()
        if key == 0:
            return None
        phone = phones[key]
        if op == "wait":
            phone.wait_for(lambda me: len(me.inbox) >= command["count"], command["seconds"])
        if op in ("wait", "inbox"):
            return shown(phone)
        if op == "contact":
            return phone.contact
        if op == "offline":
            return phone.offline(abrupt=command["abrupt"])
        if op == "send":
            return phone.send(*command["args"], **command["options"])
        return getattr(phone, op)(*command.get("args", ()))

    with Stack() as stack:
        pending = b""
        while True:
            stack.pump(0.005)
            if not select.select([0], [], [], 0)[0]:
                continue
            chunk = os.read(0, 65536)
            if not chunk:
                break
            pending += chunk
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                try:
                    reply: dict[str, Any] = {"result": act(stack, json.loads(line))}
                except Exception as error:
                    reply = {"error": f"{type(error).__name__}: {error}", "kind": type(error).__name__}
                wire.write(json.dumps(reply) + "\n")
                wire.flush()
        for phone in phones.values():
            phone.offline(abrupt=True)


if __name__ == "__main__":
    _main()
