"""The control socket: where commands find the running server.

It is a Unix socket beside the store, open to the server's own user and to root. All is lines of JSON. A request is
`{"do": NAME, "with": {ARGUMENT: VALUE}}`, then `{"more": ARGUMENT, "items": [...]}` for long lists, and an empty line.
The answer is `{"result": VALUE}`, or lines `{"items": [...]}` and then `{"is_list": true}`, or `{"error": KIND, "text":
TEXT}` with the `field` of a bad value.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

AT_ONCE: Final = 200  # items of a list in one line
MAX_LINE: Final = 1 << 20  # bytes
_LONGEST_PATH: Final = 100  # sun_path has 108 bytes


def path_for(store_url: str, key: str = "") -> Path:
    """Return the path of the socket: beside a SQLite file, else in a directory of the user.

    `key` distinguishes servers that share a store which is not a file."""
    kind, _, path = store_url.partition(":///")
    if kind == "sqlite" and path != ":memory:":
        return Path(path + ".control")
    name = blake2b(f"{store_url}\n{key}".encode(), digest_size=8).hexdigest() + ".control"
    run = Path("/run/sipsms")
    if run.is_dir() and os.access(run, os.W_OK):
        return run / name
    return Path(tempfile.gettempdir()) / f"sipsms-{os.getuid()}" / name


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Yield the path for connect() and bind(); a long path is named by its directory's descriptor."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def bind(path: Path) -> socket.socket:
    """Bind a socket for our own user only; remove the socket of a killed server. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = path.parent.stat()
    if path.parent.parent == Path(tempfile.gettempdir()) and owner.st_uid != os.getuid():
        raise PermissionError(1, f"{path.parent} belongs to somebody else")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address_of(path) as address:
            _clear(path, address)
            sock.bind(address)
            path.chmod(0o600)  # no process can connect before listen()
        sock.listen(16)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _clear(path: Path, address: str) -> None:
    """Remove an unused socket.

    Raises FileExistsError if a server answers there or if the file is not a socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(17, f"{path} is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            path.unlink()
            return
    raise FileExistsError(17, "another server answers there")


def connect(path: Path, seconds: float | None) -> socket.socket:
    """Return a connection to the server, on which each answer may take `seconds`. Raises OSError: nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with address_of(path) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    sock.settimeout(seconds)
    return sock


def request(do: str, arguments: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the lines of a request; long lists in pieces, so that the server never has to parse a long line."""
    long = {name: value for name, value in arguments.items() if isinstance(value, list) and len(value) > AT_ONCE}
    yield line({"do": do, "with": {**arguments, **{name: [] for name in long}}})
    for name, items in long.items():
        yield from (line({"more": name, "items": piece}) for piece in pieces(items))
    yield b"\n"


def line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def pieces(items: list[Any]) -> Iterable[list[Any]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
