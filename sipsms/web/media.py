"""The door for parts of MMS: /media/<token>/<name>.

The token is the only key. Whatever is wrong (no such token, another name, deleted), the answer is the same 404. Files
are strangers': they go out as what their first bytes say, and no browser may run anything in them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from sipsms.core.media_types import safe_name, type_of
from sipsms.messaging.media_store import MediaFiles

_HEAD: Final = 32  # bytes that tell the kind of a file
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
}
_CACHED: Final = {**_HEADERS, "Cache-Control": "private, max-age=86400, immutable"}


class MediaDoor:
    def __init__(self, files: MediaFiles) -> None:
        self._files = files

    async def handle(self, request: Request) -> Response:
        """GET and HEAD, whole or by Range."""
        name = request.path_params["name"]
        path = self._files.path(request.path_params["token"])
        kind = await asyncio.to_thread(_kind, path) if path is not None else ""
        if path is None or not kind or name != safe_name(name, kind):
            return PlainTextResponse("not found\n", 404, {**_HEADERS, "Cache-Control": "no-store"})
        return FileResponse(path, headers=_CACHED, media_type=kind, filename=name, content_disposition_type="inline")


def _kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return type_of(file.read(_HEAD))
    except OSError:
        return ""
