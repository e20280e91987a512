"""Implementation of `sipsms trace`: the server's SIP traffic as a ladder in the terminal.

Phones are on the left, sipsms on the right. The command is the client of the socket that `app.control` opens. Text from
phones must be printed without control characters.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sipsms.app.settings import Config, path_of
from sipsms.cli.base import plain
from sipsms.core import control_socket

_RIGHT, _LEFT = "──▶", "◀──"
_PEER_WIDTH = 46


class NotRunning(ConnectionError):
    """No server to watch. The text is one line for the user."""


def show(config: Config, account: str, full: bool, as_json: bool, count: int, echo: Callable[[str], None]) -> None:
    """Print messages as they pass, `count` of them (0: without end). Raises NotRunning."""
    ladder = Ladder(colours=sys.stdout.isatty() and not as_json)
    seen = 0
    for event in watch(path_of(config), account, full):
        if "hello" in event:
            print(f"sipsms: watching {event['hello']}; Ctrl-C ends", file=sys.stderr, flush=True)
            continue
        echo(json.dumps(event) if as_json else ladder.draw(event))
        seen += "missed" not in event
        if count and seen >= count:
            return
    raise NotRunning("the server has stopped")


def watch(path: Path, account: str, full: bool) -> Iterator[dict[str, Any]]:
    """Yield the events of the server at this path until it ends. Raises NotRunning."""
    try:
        sock = control_socket.connect(path, None)
    except PermissionError:
        raise NotRunning(f"{path}: only the server's own user and root may watch") from None
    except OSError:
        raise NotRunning(f"no server is running here (nobody answers at {path})") from None
    with sock, sock.makefile("rb") as lines:
        sock.sendall(b"".join(control_socket.request("trace", {"account": account, "full": full})))
        for line in lines:
            yield json.loads(line)


class Ladder:
    """A formatter of events as lines. It remembers each peer's User-Agent."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours
        self._agents: dict[str, str] = {}

    def draw(self, event: dict[str, Any]) -> str:
        if "missed" in event:
            return f"             ... {event['missed']} messages missed: this terminal is too slow"
        arrow = _RIGHT if event["incoming"] else _LEFT
        line = f"{_clock(event['at'])}  {self._peer(event):<{_PEER_WIDTH}} {arrow} sipsms  {self._what(event)}"
        return line + _body(event.get("raw", ""))

    def _peer(self, event: dict[str, Any]) -> str:
        peer = f"{event['peer']} {event['transport']}"
        if event["incoming"] and event["user_agent"]:
            self._agents[peer] = plain(event["user_agent"])[:20]
            if len(self._agents) > 10_000:
                self._agents.pop(next(iter(self._agents)))
        return f"{peer} {self._agents.get(peer, '')}".rstrip()

    def _what(self, event: dict[str, Any]) -> str:
        parts = [self._head(event)]
        if not event["status"]:
            parts.append(f"{event['source']} → {event['destination']}")
        if event["sms_to"]:
            parts.append(f"X-SMS-To: {event['sms_to']}")
        if event["length"]:
            unit = "characters" if event["content_type"].lower().startswith("text/") else "bytes"
            parts.append(f"{event['content_type']} {event['length']} {unit}")
        shown = "  ".join(plain(part) if part is not parts[0] else part for part in parts)
        return f"{shown}  [{plain(event['call_id'])[:8]}]"

    def _head(self, event: dict[str, Any]) -> str:
        status = event["status"]
        if not status:
            return plain(event["method"])
        text = plain(f"{status} {event['reason']} ({event['method']})")
        if not self._colours or status < 200:
            return text
        return f"\x1b[{'32' if status < 300 else '33' if status in (401, 407) else '31'}m{text}\x1b[0m"


def _clock(at: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(at))}.{int(at % 1 * 1000):03d}"


def _body(raw: str) -> str:
    """Return the whole message, indented, below its line."""
    lines = raw.replace("\r\n", "\n").rstrip("\n").split("\n") if raw else []
    return "".join(f"\n    {plain(line)}" for line in lines) + ("\n" if lines else "")
