"""A real Asterisk as a child process, in the folder that `tools/asterisk install` makes.

It runs in the foreground, with its configuration and its state in a folder of its own below that folder's /tmp, nothing
mounted, and its manager interface (AMI) as the way to ask it and to hear its events. `stop` ends it and removes the
folder; if the test run is killed, the kernel ends it (setpriv --pdeathsig).
"""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.node.server import free_port

PROJECT = Path(__file__).parents[3]
Event = dict[str, str]

_FOLDERS = ("astetcdir", "astrundir", "astlogdir", "astdbdir", "astspooldir")
# What a small PBX with chan_pjsip needs. With autoload, modules that lack a configuration would fill the log.
_MODULES = """
res_sorcery_astdb res_sorcery_config res_sorcery_memory res_pjproject res_timing_timerfd
res_pjsip res_pjsip_authenticator_digest res_pjsip_caller_id res_pjsip_endpoint_identifier_ip
res_pjsip_endpoint_identifier_user res_pjsip_messaging res_pjsip_nat res_pjsip_outbound_authenticator_digest
res_pjsip_outbound_registration res_pjsip_pubsub res_pjsip_registrar res_pjsip_sdp_rtp res_pjsip_session
res_rtp_asterisk bridge_simple chan_pjsip codec_ulaw pbx_config app_dial app_userevent app_verbose
func_base64 func_cut func_db func_logic func_strings func_uri res_curl func_curl app_stack
""".split()
_MANAGER = """\
[general]
enabled=yes
bindaddr=127.0.0.1
port={port}

[test]
secret=test
read=all
write=all
"""


class NotInstalledError(Exception):
    """`tools/asterisk install` has not been run, or could not do it."""


def installed() -> Path:
    done = subprocess.run([PROJECT / "tools/asterisk", "path"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalledError(done.stderr.strip())
    return Path(done.stdout.strip())


class Asterisk:
    """`files` are texts by file name, or the folder with *.conf files; `words` are replaced in them ({etc}: where the
    files are)."""

    def __init__(self, files: Path | Mapping[str, str], words: Mapping[str, str]) -> None:
        self._root = installed()
        self.folder = Path(tempfile.mkdtemp(prefix="sipsms-", dir=self._root / "tmp"))
        self.inside = Path("/") / self.folder.relative_to(self._root)  # as Asterisk sees it
        self._ami_port = free_port()
        self.log_path = self.folder / "output"
        self.ami: Ami | None = None
        self._process: subprocess.Popen[bytes] | None = None
        if isinstance(files, Path):
            files = {file.name: file.read_text() for file in files.glob("*.conf")}
        for name, text in files.items():
            self._write(name, text, words)
        directories = "".join(f"{name} => {self.inside}\n" for name in _FOLDERS)
        self._write("asterisk.conf", f"[directories]\n{directories}", {})
        modules = "".join(f"load={name}.so\n" for name in _MODULES)
        self._write("modules.conf", f"[modules]\nautoload=no\n{modules}", {})
        self._write("logger.conf", "[logfiles]\nconsole => notice,warning,error\n", {})
        self._write("manager.conf", _MANAGER.format(port=self._ami_port), {})

    def _write(self, name: str, text: str, words: Mapping[str, str]) -> None:
        for word, value in words.items():
            text = text.replace(word, value.replace("{etc}", str(self.inside)))
        (self.folder / name).write_text(text)

    def __enter__(self) -> Asterisk:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    # --- process ---

    def start(self, seconds: float = 30.0) -> Asterisk:
        """Ready means that it says so (FullyBooted)."""
        command = ["chroot", str(self._root), "/usr/sbin/asterisk", "-f", "-C", f"{self.inside}/asterisk.conf"]
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + seconds
        while self.ami is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Asterisk does not start:\n{self.log_tail()}")
            try:
                self.ami = Ami(self._ami_port)
            except ConnectionRefusedError:
                time.sleep(0.05)  # polled: nothing tells when the port is open
        self.ami.event("FullyBooted", seconds=seconds)
        return self

    def stop(self, seconds: float = 10.0) -> None:
        """SIGTERM, then SIGKILL; it can be started again."""
        if self.ami is not None:
            self.ami.close()
            self.ami = None
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(seconds)
        self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- looking ---

    def log_tail(self, lines: int = 25) -> str:
        text = self.log_path.read_text(errors="replace")
        return "\n".join(re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()[-lines:])

    def event(self, name: str, seconds: float = 10.0, **values: str) -> Event:
        """The next AMI event of this name (or the UserEvent of this name) with these values."""
        assert self.ami is not None
        try:
            return self.ami.event(name, seconds, **values)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def console(self, command: str) -> str:
        """What `asterisk -rx` prints."""
        assert self.ami is not None
        return self.ami.command(command)

    def shows(self, command: str, pattern: str, seconds: float = 10.0) -> str:
        """Wait until the output of a console command has the pattern; the output."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, text := self.console(command)):
            if time.monotonic() > deadline:
                raise AssertionError(f"{command}: no {pattern!r} within {seconds} s:\n{text}\n{self.log_tail()}")
            time.sleep(0.05)
        return text

    def logs(self, pattern: str, seconds: float = 10.0) -> str:
        """Wait until a line of the log has the pattern; the line."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.log_tail(1000).splitlines():
                if re.search(pattern, line):
                    return line
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} in the log within {seconds} s:\n{self.log_tail()}")
            time.sleep(0.05)

    # --- causing ---

    def send(self, to: str, source: str, text: str) -> None:
        """MessageSend without a dialplan: the AMI action of this name."""
        assert self.ami is not None
        body = base64.b64encode(text.encode()).decode()
        answer = self.ami.ask("MessageSend", To=to, From=source, Base64Body=body)
        assert answer["Response"] == "Success", answer


class Ami:
    """The manager interface: blocks of `Key: value` lines over TCP. Events that nobody waits for yet are kept."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._data = b""
        self._kept: deque[Event] = deque(maxlen=1000)
        self._number = 0
        self._line(time.monotonic() + 5)  # "Asterisk Call Manager/..."
        assert self.ask("Login", Username="test", Secret="test")["Response"] == "Success"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def forget(self) -> None:
        """Events that nobody has waited for."""
        self.ask("Ping")
        self._kept.clear()

    def ask(self, action: str, **fields: str) -> Event:
        self._number += 1
        number = str(self._number)
        lines = {"Action": action, "ActionID": number, **fields}
        self._socket.sendall("".join(f"{key}: {value}\r\n" for key, value in lines.items()).encode() + b"\r\n")
        return self._take(lambda one: "Response" in one and one.get("ActionID") == number, 10, f"answer to {action}")

    def command(self, command: str) -> str:
        return self.ask("Command", Command=command).get("Output", "")

    def event(self, name: str, seconds: float = 10.0, **values: str) -> Event:
        def wanted(one: Event) -> bool:
            named = name in (one.get("Event"), one.get("UserEvent"))
            return named and all(one.get(key) == value for key, value in values.items())

        return self._take(wanted, seconds, f"event {name} {values or ''}")

    def _take(self, wanted: Callable[[Event], bool], seconds: float, what: str) -> Event:
        for one in self._kept:
            if wanted(one):
                self._kept.remove(one)
                return one
        deadline = time.monotonic() + seconds
        try:
            while not wanted(block := self._block(deadline)):
                self._kept.append(block)
        except TimeoutError:
            raise TimeoutError(f"AMI: no {what} within {seconds} s") from None
        return block

    def _block(self, deadline: float) -> Event:
        """Lines up to an empty one; `Output:` comes once for each line of a command's output."""
        block: Event = {}
        while line := self._line(deadline):
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            block[key] = f"{block[key]}\n{value}" if key in block else value
        return block

    def _line(self, deadline: float) -> str:
        while b"\r\n" not in self._data:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("Asterisk has closed the manager connection")
            self._data += more
        line, _, self._data = self._data.partition(b"\r\n")
        return line.decode(errors="replace")


def text_of(event: Event) -> str:
    """The text in an event of dialplan/asterisk/extensions.conf."""
    return base64.b64decode(event["Text64"]).decode()
