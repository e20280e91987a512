"""The way of a command to the store: through the running server, or by itself while none runs.

Only one process may own a SQLite file (sqlite.org/wal.html, "The WAL-Reset Bug"). So a command asks the server by its
control socket; if nobody answers there, it locks the store and works on it alone. Asking needs neither the whole
configuration with its secrets nor SQLAlchemy, which take most of a command's time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from sipsms.core import control_socket, store_url
from sipsms.core.errors import AdminError, BadValue

if TYPE_CHECKING:
    from sipsms.app.settings import Config

_WAIT: Final = 15.0  # seconds for a server that is starting, or for another command
_ANSWER: Final = 600.0  # seconds


def do(path: Path, config: Callable[[], Config], operation: str, arguments: dict[str, Any]) -> Any:
    """Do one of `app.operations`. `config` reads the configuration at `path`.

    Raises AdminError, BadValue, StoreError and ConfigError."""
    socket_path = _socket_path(path, config)
    until = time.monotonic() + _WAIT
    while True:
        try:
            return _ask(socket_path, operation, arguments)
        except PermissionError:
            raise AdminError(f"{socket_path}: only the server's own user and root may use it") from None
        except (FileNotFoundError, ConnectionRefusedError):
            from sipsms.store.engine import Locked

            try:
                return _do_alone(config(), operation, arguments)
            except Locked as error:  # a server that starts or stops, or another command
                if time.monotonic() > until:
                    raise AdminError(f"{error}, and nobody answers at {socket_path}") from None
                time.sleep(0.1)


def _socket_path(path: Path, config: Callable[[], Config]) -> Path:
    """Return the path of the control socket; the whole configuration is read only if its text is not that simple."""
    try:
        data = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        store = data.get("store", store_url.DEFAULT)
        if store.startswith("sqlite:///"):
            return control_socket.path_for(store_url.absolute(store, path.parent))
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        pass
    from sipsms.app.settings import path_of

    return path_of(config())


def _ask(path: Path, operation: str, arguments: dict[str, Any]) -> Any:
    """Return the server's result. Raises OSError if none listens, and its AdminError or BadValue."""
    items: list[Any] = []
    answer: dict[str, Any]
    with control_socket.connect(path, _ANSWER) as sock, sock.makefile("rb") as lines:
        with suppress(OSError):  # a server that has read enough may answer and close
            for line in control_socket.request(operation, arguments):
                sock.sendall(line)
        try:
            answers = map(json.loads, lines)
            while "items" in (answer := next(answers, {})):
                items += answer["items"]
        except OSError:
            answer = {}
    if not answer:
        raise AdminError("the server stopped before it answered: look whether it has done this")
    if "error" not in answer:
        return items if answer.get("is_list") else answer["result"]
    if answer["error"] == "BadValue":
        raise BadValue(answer["field"], answer["text"])
    raise AdminError(answer["text"])


def _do_alone(config: Config, operation: str, arguments: dict[str, Any]) -> Any:
    from sipsms.app import offline
    from sipsms.app.tasks import run_loop
    from sipsms.core import log
    from sipsms.store.engine import lock, open_engine

    held = lock(open_engine(config.store_url), "command")
    try:
        log.setup("warning", "console")
        return run_loop(offline.do(config, operation, arguments))
    finally:
        if held is not None:
            held.close()
