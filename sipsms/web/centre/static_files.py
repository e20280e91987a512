"""Files of the pages: CSS, scripts, icon. They are read once, compressed once, and named by a hash of them all.

A name with the hash never changes its content, so browsers keep it for ever. All files share one hash, so that a script
can import another by a relative name.
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}


class _File(NamedTuple):
    content: bytes
    compressed: bytes
    kind: str


class StaticFiles:
    def __init__(self) -> None:
        found = dict(_walk(files("sipsms.web.centre") / "static", ""))
        self._files = {
            name: _File(content, gzip.compress(content, mtime=0), _TYPES[name[name.rindex(".") :]])
            for name, content in found.items()
        }
        total = sha256(b"".join(name.encode() + b"\0" + found[name] for name in sorted(found)))
        self._hash = total.hexdigest()[:16]

    def url(self, name: str) -> str:
        """Return the path of a file. Raises KeyError if there is none."""
        self._files[name]
        return f"/static/{self._hash}/{name}"

    def size(self, name: str) -> int:
        """Return how many bytes of a file travel, compressed."""
        return len(self._files[name].compressed)

    async def handle(self, request: Request) -> Response:
        found = self._files.get(request.path_params["name"])
        if found is None or request.path_params["hash"] != self._hash:
            return PlainTextResponse("not found\n", 404, {"Cache-Control": "no-store"})
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.compressed, 200, {**_HEADERS, "Content-Encoding": "gzip"}, found.kind)
        return Response(found.content, 200, dict(_HEADERS), found.kind)


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(tuple(_TYPES)):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
