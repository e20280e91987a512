"""Downloads of MMS parts: /media/<token>/<name>.

The token is the only protection. Any error (unknown token, other name, deleted file) gets the same 404. Files come from
strangers: the content type follows from a file's first bytes, and a browser must not run any script in it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from sipsms.core.media_types import safe_name, type_of
from sipsms.messaging.media_store import MediaFiles

_HEAD: Final = 32  # bytes that identify the type of a file
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
}
_CACHED: Final = {**_HEADERS, "Cache-Control": "private, max-age=86400, immutable"}


class MediaDownload:
    def __init__(self, files: MediaFiles) -> None:
        self._files = files

    async def handle(self, request: Request) -> Response:
        """Answer GET and HEAD, with the whole file or a Range."""
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
