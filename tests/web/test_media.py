"""The HTTP server of MMS files, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from yarl import URL

from sipsms.core.message import Media
from sipsms.messaging.media_store import MediaFiles
from sipsms.web.media import MediaDownload
from tests.support.http.server import listening
from tests.support.messaging.media import JPEG, SAMPLES


class Site:
    def __init__(self, files: MediaFiles, base: str, session: aiohttp.ClientSession) -> None:
        self.files = files
        self.base = base
        self.session = session

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        url = URL(self.base + path, encoded=True)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, url, headers=sent) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    def path(self, media: Media) -> str:
        return self.files.url(media)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    files = MediaFiles(tmp_path / "media", lambda: "")
    door = MediaDownload(files)
    server = listening(Starlette(routes=[Route("/media/{token}/{name}", door.handle, methods=["GET", "HEAD"])]))
    task = asyncio.create_task(server.run())
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Site(files, f"http://127.0.0.1:{server.port}", session)
    server.stop()
    await task


@pytest.mark.req("S-021")
@pytest.mark.parametrize("kind", SAMPLES)
async def test_a_file_is_served_with_its_content_type(site: Site, kind: str) -> None:
    media = await site.files.save(SAMPLES[kind], "film.html")
    status, headers, body = await site.ask(site.path(media))
    assert (status, body) == (200, SAMPLES[kind])
    assert headers["content-type"] == kind
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["content-disposition"] == f'inline; filename="{media.name}"'
    assert headers["cache-control"].startswith("private")


async def test_head_and_range_requests_are_answered(site: Site) -> None:
    path = site.path(await site.files.save(JPEG, "a.jpg"))
    status, headers, body = await site.ask(path, "HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(JPEG)), b"")
    status, headers, body = await site.ask(path, Range="bytes=2-5")
    assert (status, headers["content-range"], body) == (206, f"bytes 2-5/{len(JPEG)}", JPEG[2:6])
    status, _, _ = await site.ask(path, Range="bytes=9999-")
    assert status == 416


WRONG = [
    "/media/{other}/a.jpg",
    "/media/{token}/a.png",
    "/media/{token}/a.html",
    "/media/{token}/a%0d%0aX:y.jpg",
    "/media/{token}x/a.jpg",
    "/media/{token}%00/a.jpg",
    "/media/.{token}.part/a.jpg",
    "/media/{html}/file.bin",
    "/media/{gone}/a.jpg",
]


@pytest.mark.req("W-07", "A-37")
async def test_every_wrong_url_gets_the_same_answer(site: Site) -> None:
    media = await site.files.save(JPEG, "a.jpg")
    gone = await site.files.save(JPEG, "a.jpg")
    path = site.files.path(gone.token)
    assert path is not None
    path.unlink()
    html = site.files.path("h" * 32)
    assert html is not None
    html.parent.mkdir(exist_ok=True)
    html.write_bytes(b"<html><script>alert(1)</script>")
    tokens = {"token": media.token, "other": "a" * 32, "gone": gone.token, "html": "h" * 32}
    answers: list[Any] = []
    for one in WRONG:
        status, headers, body = await site.ask(one.format(**tokens))
        assert status == 404, one
        headers.pop("date")
        answers.append((headers, body))
    assert all(one == answers[0] for one in answers)


@pytest.mark.parametrize(
    "path", ["/media/..%2f..%2f..%2fetc/passwd", "/media/%2e%2e/a.jpg", "/media/x/..%2fa.jpg", "/media/"]
)
async def test_paths_that_leave_the_folder_are_refused(site: Site, path: str) -> None:
    assert (await site.ask(path))[0] == 404


async def test_other_methods_are_refused(site: Site) -> None:
    path = site.path(await site.files.save(JPEG, "a.jpg"))
    for method in ("POST", "PUT", "DELETE"):
        assert (await site.ask(path, method))[0] == 405
    assert (await site.ask(path))[0] == 200
