"""The demo (`sipsms demo`, `make run`): a real server, real phones, every step observed.

The server is a process of its own, started from an ordinary configuration, and is driven only from outside: by the
command line and by two pjsua2 softphones. A step gets its ✓ only when its effect was observed (on a phone, in a SIP
answer, in the output of `sipsms messages`), never just because no error occurred. Without `once` the server keeps
running afterwards for the user's own phone. However the demo ends, the server must end with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from sipsms.app import settings
from sipsms.cli.demo.esme import Esme, EsmeFailed
from sipsms.cli.softphone import Answer, Received, Softphone, SoftphoneMissing, Stack, load_pjsua2
from sipsms.core.yaml_file import ConfigError

ALICE, BOB, HANDSET = "5550001111", "5550002222", "4445556666"
FOREIGN = "4449998888"
FAR = "6045550100"
READY_TIMEOUT = 30.0
WAIT = 5.0  # seconds for anything that a healthy server does at once
PR_SET_PDEATHSIG = 1

ACCOUNTS = """\
# The demo's customer, made by `sipsms demo` and read by `sipsms import`. Delete this file for new passwords.
accounts:
- name: demo
  password: "{}"
  caller_id: "{alice}"
  dids:
  - {{number: "{alice}", sip_account: alice}}
  - {{number: "{bob}", sip_account: bob}}
  subaccounts:
  - {{name: alice, password: "{}", caller_id: "{alice}"}}
  - {{name: bob, password: "{}", caller_id: "{bob}"}}
"""


class DemoFailed(Exception):
    """The demo cannot go on. The text is one line for the user."""


def run(config_path: Path, *, once: bool) -> int:
    """Run the demo. Return 0 only if every step was observed, 130 after Ctrl-C or SIGTERM."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops it as Ctrl-C does
    try:
        return _run(config_path, once)
    except (DemoFailed, ConfigError) as error:
        print(f"sipsms: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(config_path: Path, once: bool) -> int:
    missing = _missing_softphone()
    if missing and once:
        raise DemoFailed(missing)
    stage = Stage.of(config_path)
    with stage.serving() as server:
        passwords = stage.add_customer()
        print(f"The server is up: {stage.domain}, {stage.host}:{stage.port}. Customer demo, accounts alice and bob.\n")
        good = False
        if missing:
            print(f"No play: {missing}")
        else:
            with Stack() as stack:
                good = Play(stage, stack, passwords).perform()
        print("\nAll of it was seen." if good else "\nNot all of it was seen." if not missing else "", flush=True)
        if not once:
            _keep_serving(stage, server, passwords)
    return 0 if good else 1


def _missing_softphone() -> str:
    try:
        load_pjsua2()
    except SoftphoneMissing as error:
        return str(error)
    return ""


def _simulator(config: settings.Config) -> str:
    carrier = config.carriers.get("voipms")
    url = urlsplit(str(getattr(carrier, "url", "")))
    base = f"http://{url.netloc}"
    return base if url.hostname == "127.0.0.1" and _answers(f"{base}/sim/sent") else ""


# --- the server and its command line ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Stage:
    """The server of the demo and the addresses by which it is reached."""

    config: Path
    domain: str
    listen: settings.Listen
    host: str  # where phones on this host reach the server
    port: int
    http: str  # URL of its HTTP listener
    simulator: str  # URL of a carrier simulator on this host; empty if there is none

    @classmethod
    def of(cls, path: Path) -> Stage:
        config = settings.load(path)
        udp = next((sip for sip in config.listen.sip if sip.transport == "udp"), None)
        if udp is None or config.listen.http is None:
            raise DemoFailed(f"{path}: the demo needs a udp:// and an http:// listener")
        host = "127.0.0.1" if udp.host in ("0.0.0.0", "") else udp.host
        http = config.listen.http.host.replace("0.0.0.0", "127.0.0.1")
        url = f"http://{http}:{config.listen.http.port}"
        return cls(path.absolute(), config.domain, config.listen, host, udp.port, url, _simulator(config))

    @property
    def log(self) -> Path:
        return self.config.parent / "demo-server.log"

    @contextlib.contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        self._ports_are_free()
        with self.log.open("wb") as log:
            command = self._command("serve")
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_in_child)
        try:
            self._await_ready(server)
            yield server
        finally:
            _stop(server)

    def cli(self, *arguments: str, meanwhile: Callable[[], None] = lambda: time.sleep(0.02)) -> str:
        """Run a command as the operator would. `meanwhile` keeps the phones alive."""
        with tempfile.TemporaryFile("w+") as out:
            process = subprocess.Popen(self._command(*arguments), stdout=out, stderr=out)
            while process.poll() is None:
                meanwhile()
            out.seek(0)
            said = out.read()
        if process.returncode:
            raise DemoFailed(f"`sipsms {arguments[0]}` failed: {(said.strip().splitlines() or ['no output'])[-1]}")
        return said

    def add_customer(self) -> dict[str, str]:
        """Import the customer. Return its passwords, the same in each demo for a phone's sake."""
        path = self.config.parent / "demo-accounts.yaml"
        if not path.exists():
            path.touch(mode=0o600)
            made = [secrets.token_urlsafe(9) for _ in range(3)]
            path.write_text(ACCOUNTS.format(*made, alice=ALICE, bob=BOB))
        self.cli("import", str(path))
        demo = yaml.safe_load(path.read_text())["accounts"][0]
        return {account["name"]: account["password"] for account in (demo, *demo["subaccounts"])}

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "sipsms", "-c", str(self.config), *arguments]

    def _ports_are_free(self) -> None:
        for listen in self.listen.sip:
            _try_port(self.config, listen.transport, listen.host, listen.port)
        if self.listen.http is not None:
            _try_port(self.config, "tcp", self.listen.http.host, self.listen.http.port)

    def _await_ready(self, server: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + READY_TIMEOUT
        while not _answers(f"{self.http}/readyz"):
            if server.poll() is not None:
                raise DemoFailed(f"the server ended with {server.returncode}: {self._last_words()}")
            if time.monotonic() > end:
                raise DemoFailed(f"the server is not ready after {READY_TIMEOUT:g} s: {self._last_words()}")
            time.sleep(0.1)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1]} (all of it: {self.log})" if lines else "it said nothing"


def _stop(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C must not leave the server running
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
            return
    server.kill()
    server.wait()


def _in_child() -> None:
    """Prepare the server process: a group without the demo's Ctrl-C, and SIGTERM if the demo is killed."""
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _try_port(config: Path, transport: str, host: str, port: int) -> None:
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if transport == "tcp":  # ignores connections of an earlier server in TIME-WAIT
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            where = f"{transport} {host}:{port}: {error.strerror}; see `listen` in {config}"
            raise DemoFailed(f"cannot listen on {where}") from error


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _post(url: str, data: dict[str, str]) -> None:
    request = urllib.request.Request(url, json.dumps(data).encode(), {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=WAIT).close()
    except (urllib.error.URLError, OSError) as error:
        raise DemoFailed(f"{url}: {error}") from None


def _get(url: str, fields: dict[str, str]) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{url}?{urlencode(fields)}", timeout=WAIT) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError) as error:
        raise DemoFailed(f"{url}: {error}") from None


# --- the steps -------------------------------------------------------------------------------------------------------


class Play:
    def __init__(self, stage: Stage, stack: Stack, passwords: dict[str, str]) -> None:
        self.stage, self.stack = stage, stack
        self.alice = self.phone("alice", passwords, "urn:uuid:00000000-0000-4000-8000-00000000a11c")
        self.bob = self.phone("bob", passwords, "urn:uuid:00000000-0000-4000-8000-000000000b0b")
        self.mark = time.strftime("(%H:%M:%S)")  # distinguishes messages of this demo from those of an earlier demo
        self.good = True

    def perform(self) -> bool:
        for scene in (
            self.registering,
            self.sms_in,
            self.sms_out,
            self.answer,
            self.to_a_did,
            self.offline,
            *([self.by_a_carrier] if self.stage.simulator else []),
            self.by_api,
            *([self.by_smpp] if self.stage.listen.smpp else []),
            self.refusals,
        ):
            try:
                scene()
            except (TimeoutError, DemoFailed, EsmeFailed, KeyError) as error:
                self.saw(False, scene.__name__.replace("_", " "), str(error))
        return self.good

    def registering(self) -> None:
        for phone in (self.alice, self.bob):
            answer = phone.register()
            self.saw(answer.ok, f"{phone.name} registers", f"REGISTER {phone.aor}: {_shown(answer)}")
        known = {str(line["account"]) for line in self.lines("registrations")}
        self.saw({"alice", "bob"} <= known, "`sipsms registrations` lists both", ", ".join(sorted(known)))

    def sms_in(self) -> None:
        self.arrives("an SMS arrives for alice", self.alice, HANDSET, ALICE, f"Are you there? {self.mark}")

    def sms_out(self) -> None:
        text = f"On my way. {self.mark}"
        answer = self.alice.send(HANDSET, text)
        self.saw(answer.status == 202, "alice writes back", f"MESSAGE to {HANDSET}: {_shown(answer)}")
        message = self.settled("out", text, "delivered")
        detail = "`sipsms messages`: #{id} {from} -> {to}, by {carrier}, {state}".format_map(message)
        self.saw(message["state"] == "delivered", "the handset has it", detail)

    def answer(self) -> None:
        self.arrives("the handset answers", self.alice, HANDSET, ALICE, f"See you soon! {self.mark}")

    def to_a_did(self) -> None:
        text = f"Bob, it is alice. {self.mark}"
        answer = self.alice.send(BOB, text)
        self.saw(answer.status == 202, "alice writes to bob's number", _shown(answer))
        got = self.bob.wait_message(text, WAIT)
        self.saw(_from_to(got, ALICE, BOB), "it leaves, comes back in and rings at bob", _seen(got))

    def offline(self) -> None:
        text = f"Call me when you are back. {self.mark}"
        self.bob.offline()
        answer = self.alice.send(BOB, text)
        self.saw(answer.status == 202, "bob is away, alice writes to him", _shown(answer))
        message = self.settled("in", text, "queued")
        detail = "`sipsms messages`: #{id} {state}".format_map(message)
        self.saw(message["state"] == "queued", "the message waits", detail)
        back, started = self.bob.go_online(), time.monotonic()
        got = self.bob.wait_message(text, WAIT)
        detail = f"{time.monotonic() - started:.2f} s after the 200; {_seen(got)}"
        self.saw(back.ok and _from_to(got, ALICE, BOB), "bob is back and has it", detail)
        self.stack.pump(1.5)
        copies = sum(message.text == text for message in self.bob.inbox)
        self.saw(copies == 1, "exactly once", f"{copies} in bob's inbox")

    def by_a_carrier(self) -> None:
        """Send by the API of a (simulated) VoIP.ms, receive by its webhook."""
        text, back = f"Hello, Vancouver. {self.mark}", f"Hello from far away. {self.mark}"
        answer = self.alice.send(FAR, text)
        self.saw(answer.status == 202, "alice writes to another network", f"MESSAGE to {FAR}: {_shown(answer)}")
        message = self.settled("out", text, "accepted")
        detail = "`sipsms messages`: #{id} {from} -> {to}, by {carrier}, {state}, {carrier_id}".format_map(message)
        self.saw((message["carrier"], message["state"]) == ("voipms", "accepted"), "the carrier has it", detail)
        _post(f"{self.stage.simulator}/sim/inbound", {"from": FAR, "to": ALICE, "text": back})
        got = self.alice.wait_message(back, WAIT)
        self.saw(_from_to(got, FAR, ALICE), "the answer comes by its webhook", _seen(got))

    def by_api(self) -> None:
        """Send as a program written for VoIP.ms."""
        text = f"Sent by a program. {self.mark}"
        password = self.cli("account", "api-password", "demo").splitlines()[0]
        fields = {
            "api_username": "demo", "api_password": password, "method": "sendSMS", "did": ALICE, "dst": BOB,
            "message": text,
        }  # fmt: skip
        end = time.monotonic() + WAIT
        reply = _get(f"{self.stage.http}/api/v1/rest.php", fields)
        while reply.get("status") == "invalid_credentials" and time.monotonic() < end:
            self.stack.pump(0.1)  # the server has not loaded the new password yet
            reply = _get(f"{self.stage.http}/api/v1/rest.php", fields)
        self.saw(reply.get("status") == "success", "a program sends by rest.php", json.dumps(reply))
        got = self.bob.wait_message(text, WAIT)
        self.saw(_from_to(got, ALICE, BOB), "bob has it", _seen(got))

    def by_smpp(self) -> None:
        """Send and receive as a customer's program bound by SMPP."""
        text, back = f"Sent by SMPP. {self.mark}", f"Well received. {self.mark}"
        password = secrets.token_hex(4)
        self.cli("did", "set", ALICE, "--smpp", "--smpp-username", "play", "--smpp-password", password)
        place = self.stage.listen.smpp[0]
        with Esme(place.host.replace("0.0.0.0", "127.0.0.1"), place.port, "play", password) as esme:
            name = esme.send(ALICE, HANDSET, text)
            self.saw(bool(name), "a program binds by SMPP and sends", f"submit_sm_resp: {name}")
            told = esme.wait(lambda one: one.is_receipt, WAIT, lambda: self.stack.pump(0.02))
            good = told is not None and f"id:{name} " in told.text and "stat:DELIVRD" in told.text
            self.saw(good, "its receipt: the handset has it", told.text if told else "no receipt")
            self.bob.send(ALICE, back)
            heard = esme.wait(lambda one: one.text == back, WAIT, lambda: self.stack.pump(0.02))
            detail = f"deliver_sm from {heard.source}: “{heard.text}”" if heard else "nothing came"
            self.saw(heard is not None, "bob writes to its number, it hears that", detail)
        self.cli("did", "set", ALICE, "--no-smpp")

    def refusals(self) -> None:
        cases: tuple[tuple[str, int, Callable[[], Answer]], ...] = (
            ("eleven digits", 404, lambda: self.alice.send("1" + HANDSET, "hello")),
            ("a caller ID of somebody else", 403, lambda: self.alice.send(HANDSET, "hello", display_name=FOREIGN)),
            ("161 characters", 413, lambda: self.alice.send(HANDSET, "x" * 161)),
        )
        for what, status, send in cases:
            answer = send()
            self.saw(answer.status == status and bool(answer.warning), f"{what}: refused", _shown(answer))

    # --- helpers of the steps ---

    def phone(self, name: str, passwords: dict[str, str], instance: str) -> Softphone:
        place = self.stage
        password, domain = passwords[name], place.domain
        return Softphone(name, password, place.host, place.port, stack=self.stack, domain=domain, instance=instance)

    def arrives(self, title: str, phone: Softphone, number: str, did: str, text: str) -> None:
        self.cli("receive", "--from", number, "--to", did, text)
        got = phone.wait_message(text, WAIT)
        self.saw(_from_to(got, number, did), title, _seen(got))

    def settled(self, direction: str, text: str, state: str) -> dict[str, Any]:
        """Return the newest listed message with this text, in `state` or after `WAIT` seconds. Raises DemoFailed."""
        end = time.monotonic() + WAIT
        while True:
            found = [
                m for m in self.lines("messages", "--limit", "20") if (m["direction"], m["text"]) == (direction, text)
            ]
            newest: dict[str, Any] = max(found, key=lambda m: int(m["id"]), default={})
            if newest.get("state") == state or (newest and time.monotonic() > end):
                return newest
            if time.monotonic() > end:
                raise DemoFailed(f"`sipsms messages` does not list {text!r}")

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.cli(*arguments, "--json").splitlines() if line[:1] == "{"]

    def cli(self, *arguments: str) -> str:
        return self.stage.cli(*arguments, meanwhile=lambda: self.stack.pump(0.02))

    def saw(self, good: bool, title: str, detail: str) -> None:
        self.good = self.good and good
        print(f"  {'✓' if good else '✗'} {title:<42} {detail}", flush=True)


def _from_to(got: Received | None, number: str, did: str) -> bool:
    return got is not None and got.sender == number and got.header("X-SMS-To") == did


def _seen(got: Received | None) -> str:
    return "nothing came" if got is None else f"From: {got.sender}  X-SMS-To: {got.header('X-SMS-To')}  “{got.text}”"


def _shown(answer: Answer) -> str:
    return f"{answer.status} {answer.reason}" + (f", Warning: {answer.warning}" if answer.warning else "")


# --- after the demo ---------------------------------------------------------------------------------------------------


def _keep_serving(stage: Stage, server: subprocess.Popen[bytes], passwords: dict[str, str]) -> None:
    print(_invitation(stage, passwords), flush=True)
    with stage.log.open(errors="replace") as log, contextlib.suppress(KeyboardInterrupt):
        log.seek(0, 2)
        while server.poll() is None:
            for line in log:
                print(line, end="", flush=True)
            time.sleep(0.2)
        raise DemoFailed(f"the server ended with {server.returncode}; its log: {stage.log}")


def _invitation(stage: Stage, passwords: dict[str, str]) -> str:
    reachable = [listen.host for listen in stage.listen.sip if listen.host not in ("127.0.0.1", "localhost")]
    address = _own_address() if "0.0.0.0" in reachable else reachable[0] if reachable else stage.host
    note = "" if reachable else f"\n  It listens on this computer only; for others set listen.sip in {stage.config}."
    program = "sipsms" if shutil.which("sipsms") else os.path.relpath(Path(sys.executable).parent / "sipsms")
    sipsms = f"{program} -c {os.path.relpath(stage.config)}"
    return f"""
Serving until Ctrl-C. Connect a phone of your own:{note}
  user alice, password {passwords["alice"]}    or    user bob, password {passwords["bob"]}
  Zoiper    Domain {stage.domain}, Outbound proxy {address}:{stage.port}, Transport UDP
  Linphone  SIP address sip:alice@{stage.domain}, SIP server address sip:{address}:{stage.port};transport=udp
  terminal  {program} softphone alice --password {passwords["alice"]} --server {address}:{stage.port}

Try, in another terminal:
  {sipsms} receive --from {HANDSET} --to {ALICE} "hello alice"
  {sipsms} messages
  {sipsms} carriers
{_simulated(stage)}"""


def _simulated(stage: Stage) -> str:
    if not stage.simulator:
        return ""
    said = json.dumps({"from": FAR, "to": ALICE, "text": "hello from the carrier"})
    return f"""  curl -d '{said}' {stage.simulator}/sim/inbound    (and write to {FAR}: it goes by the same carrier)
"""


def _own_address() -> str:
    """Return the address of this host for outgoing packets; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
