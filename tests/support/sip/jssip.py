"""JsSIP in Node as a client over WS and WSS: the library that browsers' phones are made of.

Node's packages are fetched once by npm into the tests' cache folder, never into the tree.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

SOURCES = Path(__file__).parents[2] / "interop" / "js"


class Missing(Exception):
    """Node, npm or the packages are not to be had; says which."""


def cache_folder() -> Path:
    base = os.environ.get("SIPSMS_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sipsms"
    return Path(base) / "js"


def installed() -> Path:
    """The folder with phone.mjs and its packages. Raises Missing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed: apt-get install nodejs npm")
    folder = cache_folder()
    wanted = (SOURCES / "package.json").read_text()
    stamp = folder / "installed.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not stamp.exists() or stamp.read_text() != wanted:
        (folder / "package.json").write_text(wanted)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise Missing(f"npm could not fetch jssip and ws: {(done.stderr or done.stdout)[-300:]}")
        stamp.write_text(wanted)
    shutil.copy(SOURCES / "phone.mjs", folder)
    return folder


class JsPhone:
    """One phone in one Node process; its events are awaited by name."""

    def __init__(self, url: str, name: str, password: str, domain: str, authority: Path | None = None) -> None:
        folder = installed()
        environment = dict(os.environ)
        if authority is not None:
            environment["NODE_EXTRA_CA_CERTS"] = str(authority)
        self._process = subprocess.Popen(
            ["node", "phone.mjs", url, name, password, domain], cwd=folder, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._events: Queue[dict[str, Any]] = Queue()
        Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> JsPhone:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(json.loads(line))

    def do(self, what: str, **more: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self._process.stdin.flush()

    def wait(self, event: str, seconds: float = 15.0) -> dict[str, Any]:
        """The next event of this name; others before it are skipped."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                found = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                ended = self._process.poll()
                error = self._process.stderr.read()[-600:] if ended is not None and self._process.stderr else ""
                raise AssertionError(f"no {event} within {seconds} s {error}") from None
            if found["event"] == event:
                return found

    def register(self) -> dict[str, Any]:
        self.do("register")
        return self.wait("registered")

    def send(self, to: str, text: str) -> dict[str, Any]:
        """{"event": "sent" or "failed", "status": ...}"""
        self.do("send", to=to, text=text)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            found = self._events.get(timeout=15)
            if found["event"] in ("sent", "failed"):
                return found
        raise AssertionError("neither sent nor failed")
