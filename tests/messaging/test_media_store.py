"""MMS files on disk, and the courier that fetches them from the carrier."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.errors import Unavailable
from sipsms.core.http_client import Forbidden, NoAnswer, NotSent
from sipsms.core.message import Deferred, Delivered, Media, Message, Outcome, Scope
from sipsms.core.ssrf import check_address
from sipsms.messaging import media_store
from sipsms.messaging.media import MediaRefused
from sipsms.messaging.media_store import MAX_FILE, MediaCourier, MediaFiles
from sipsms.web.client import AiohttpClient
from tests.support.http.client import FakeClient, delivery, message, reply
from tests.support.messaging.media import JPEG, PNG, SAMPLES
from tests.support.node.stub_carrier import Answer, StubCarrier


@pytest.fixture
def files(tmp_path: Path) -> MediaFiles:
    return MediaFiles(tmp_path / "media", lambda: "https://sms.example.net")


# --- on disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.req("S-021", "A-52")
async def test_a_saved_file_is_read_again_by_its_token(files: MediaFiles, tmp_path: Path) -> None:
    media = await files.save(JPEG, "my photo.jpeg")
    assert media == Media("image/jpeg", "my_photo.jpg", len(JPEG), media.token)
    assert len(media.token) == 32
    assert await files.read(media) == JPEG
    assert files.url(media) == f"https://sms.example.net/media/{media.token}/my_photo.jpg"
    path = files.path(media.token)
    assert path == tmp_path / "media" / media.token[:2] / media.token
    assert path.stat().st_mode & 0o777 == 0o640
    assert (await files.save(JPEG)).token != media.token


async def test_media_that_are_not_fetched_keep_the_url_of_the_carrier(files: MediaFiles) -> None:
    assert files.url(Media(url="https://carrier/x")) == "https://carrier/x"
    assert files.url(Media()) == ""


@pytest.mark.req("S-021", "S-022")
async def test_empty_unknown_and_too_large_files_are_refused(files: MediaFiles, tmp_path: Path) -> None:
    for data in (b"", b"<html>", b"%PDF-1.7", JPEG.ljust(MAX_FILE + 1, b"\0")):
        with pytest.raises(MediaRefused):
            await files.save(data, "x.jpg")
    assert not (tmp_path / "media").exists()
    assert (await files.save(JPEG.ljust(MAX_FILE, b"\0"))).size == MAX_FILE


HOSTILE = ["", "../../../../etc/passwd", "..", "/etc/passwd", "a" * 31, "a" * 33, "a" * 31 + "/", "a" * 31 + "\n",
           "a" * 31 + "\0", "../" * 10 + "aa", "ａ" * 32, "%2e" * 10 + "aa"]  # fmt: skip


@pytest.mark.parametrize("token", HOSTILE)
async def test_no_token_leads_out_of_the_folder(files: MediaFiles, token: str) -> None:
    assert files.path(token) is None
    with pytest.raises(FileNotFoundError):
        await files.read(Media(token=token))


async def test_reading_a_file_that_is_gone_raises_an_error(files: MediaFiles) -> None:
    with pytest.raises(OSError):
        await files.read(Media(token="a" * 32))


async def test_a_full_disk_leaves_no_file(files: MediaFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "media").mkdir()
    monkeypatch.setattr(media_store, "_sync", lambda folder: None)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        await files.save(JPEG)
    assert [one for one in (tmp_path / "media").rglob("*") if one.is_file()] == []


async def test_old_files_are_removed_in_steps(files: MediaFiles, tmp_path: Path) -> None:
    saved = [await files.save(JPEG) for _ in range(100)]
    for media in saved[:60]:
        path = files.path(media.token)
        assert path is not None
        os.utime(path, (1000, 1000))
    folders = len(list((tmp_path / "media").iterdir()))
    calls = -(-folders // 16)
    counts = [await files.forget(2000.0) for _ in range(calls)]
    assert sum(counts) == 60
    assert max(counts) < 60, "not all at once"
    assert [await files.forget(2000.0) for _ in range(calls)] == [0] * calls
    assert [await files.read(media) for media in saved[60:]] == [JPEG] * 40


async def test_an_empty_store_has_nothing_to_remove(files: MediaFiles) -> None:
    assert await files.forget(1e12) == 0


# --- fetching ---------------------------------------------------------------------------------------------------------


@dataclass
class FakeGateway:
    """Takes what the courier has completed."""

    done: list[tuple[Message, tuple[Media, ...]]] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def complete(self, what: Message, media: tuple[Media, ...]) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.done.append((what, media))

    def headers_of(self, origin: str, url: str) -> Mapping[str, str]:
        self.asked.append((origin, url))
        return {"Authorization": "Bearer x"} if url.startswith("https://carrier/") else {}


def link(name: str = "a.jpg", content_type: str = "image/jpeg") -> Media:
    return Media(content_type, name, url=f"https://carrier/{name}")


async def fetch(
    files: MediaFiles, media: tuple[Media, ...], *answers: Any, attempts: int = 1
) -> tuple[Outcome, FakeGateway, FakeClient]:
    client, gateway = FakeClient(), FakeGateway()
    client.answer(*answers)
    courier = MediaCourier(files, client, gateway.headers_of, gateway.complete)
    outcome = await courier.deliver(delivery(message(media=media), "media", attempts))
    return outcome, gateway, client


@pytest.mark.req("S-021", "S-023")
async def test_media_are_fetched_from_the_carrier_and_saved(files: MediaFiles) -> None:
    outcome, gateway, client = await fetch(files, (link(), link("b.png")), reply(200, JPEG), reply(200, PNG))
    assert outcome == Delivered()
    ((_, media),) = gateway.done
    assert [(one.content_type, one.name, one.size) for one in media] == [
        ("image/jpeg", "a.jpg", len(JPEG)), ("image/png", "b.png", len(PNG)),
    ]  # fmt: skip
    assert [await files.read(one) for one in media] == [JPEG, PNG]
    assert gateway.asked[0] == ("hook:acme", "https://carrier/a.jpg")
    assert client.asked[0].headers == {"Authorization": "Bearer x"}
    assert client.asked[0].timeout == 15.0


@pytest.mark.parametrize("kind", SAMPLES)
async def test_the_content_type_comes_from_the_first_bytes(files: MediaFiles, kind: str) -> None:
    _, gateway, _ = await fetch(
        files, (Media("text/html", "x.html", url="https://carrier/x"),), reply(200, SAMPLES[kind])
    )
    assert gateway.done[0][1][0].content_type == kind


@pytest.mark.req("S-022")
@pytest.mark.parametrize(
    "answer",
    [reply(404), reply(410), reply(403), reply(401), reply(400), reply(204), reply(200, b"<html>"), reply(200, b""),
     reply(200, JPEG.ljust(MAX_FILE + 1, b"\0")), Forbidden("address 10.0.0.1 is private"), reply(302)],
    ids=lambda one: str(getattr(one, "status", one)),
)  # fmt: skip
async def test_media_that_the_carrier_refuses_stay_a_link(files: MediaFiles, answer: Any) -> None:
    outcome, gateway, _ = await fetch(files, (link(), link("b.png")), answer, reply(200, PNG))
    assert outcome == Delivered()
    first, second = gateway.done[0][1]
    assert first == link()
    assert second.token


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (NotSent("cannot connect"), "cannot connect"),
        (NoAnswer("no answer in time"), "no answer in time"),
        (reply(503), "the server answered 503"),
        (reply(429), "the server answered 429"),
    ],
)
async def test_a_temporary_error_is_retried_seven_times(files: MediaFiles, answer: Any, why: str) -> None:
    pauses = []
    for attempt in range(1, 8):
        outcome, gateway, _ = await fetch(files, (link(),), answer, attempts=attempt)
        assert isinstance(outcome, Deferred)
        assert (outcome.reason, outcome.scope, gateway.done) == (why, Scope.MESSAGE, [])
        pauses.append(outcome.retry)
    assert pauses == [5, 10, 20, 40, 80, 160, 320]
    outcome, gateway, _ = await fetch(files, (link(),), answer, attempts=8)
    assert outcome == Delivered(why)
    assert gateway.done[0][1] == (link(),)


async def test_a_fetched_part_is_not_fetched_again_on_a_retry(files: MediaFiles) -> None:
    client, gateway = FakeClient(), FakeGateway(fails=[Unavailable("disk is full")])
    client.answer(reply(200, JPEG), reply(503), reply(200, PNG))
    courier = MediaCourier(files, client, gateway.headers_of, gateway.complete)
    what = delivery(message(media=(link(), link("b.png"))), "media")
    assert isinstance(await courier.deliver(what), Deferred)
    assert await courier.deliver(what._replace(attempts=2)) == Deferred("store: disk is full", 5.0, scope=Scope.MESSAGE)
    assert await courier.deliver(what._replace(attempts=3)) == Delivered()
    assert [one.url for one in client.asked] == [
        "https://carrier/a.jpg",
        "https://carrier/b.png",
        "https://carrier/b.png",
    ]
    assert [one.content_type for one in gateway.done[0][1]] == ["image/jpeg", "image/png"]
    assert courier._fetched == {}


async def test_a_full_disk_defers_the_delivery(files: MediaFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(data: bytes, name: str = "") -> Media:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "save", full)
    outcome, _, _ = await fetch(files, (link(),), reply(200, JPEG))
    assert outcome == Deferred("cannot save a part: No space left on device", 5.0, scope=Scope.MESSAGE)


@pytest.mark.req("S-023")
async def test_a_fourth_file_stays_a_link(files: MediaFiles) -> None:
    media = (Media("application/smil", "l.smil", url="https://carrier/l"), *(link(f"{n}.jpg") for n in range(5)))
    _, gateway, client = await fetch(files, media, reply(200, JPEG))
    assert len(client.asked) == 3
    assert [bool(one.token) for one in gateway.done[0][1]] == [True, True, True, False, False]


async def test_media_that_are_saved_already_are_not_fetched(files: MediaFiles) -> None:
    media = (Media("image/jpeg", "a.jpg", 5, "t" * 32), Media("image/gif", "no url"))
    outcome, gateway, client = await fetch(files, media, reply(500))
    assert (outcome, gateway.done[0][1], client.asked) == (Delivered(), media, [])


async def test_redirects_are_followed_without_the_carriers_key(files: MediaFiles) -> None:
    elsewhere = reply(307, location="https://cdn.example/x?sig=1")
    outcome, gateway, client = await fetch(files, (link(),), elsewhere, reply(302, location="/y"), reply(200, JPEG))
    assert outcome == Delivered()
    assert gateway.done[0][1][0].token
    assert [(one.url, dict(one.headers)) for one in client.asked] == [
        ("https://carrier/a.jpg", {"Authorization": "Bearer x"}),
        ("https://cdn.example/x?sig=1", {}),
        ("https://cdn.example/y", {}),
    ]


@pytest.mark.req("A-39")
@pytest.mark.parametrize(
    "location", ["http://cdn.example/x", "file:///etc/passwd", "https://[x", "https://carrier/a.jpg"]
)
async def test_redirects_to_other_schemes_and_loops_are_not_followed(files: MediaFiles, location: str) -> None:
    outcome, gateway, client = await fetch(files, (link(),), reply(302, location=location))
    assert outcome == Delivered()
    assert gateway.done[0][1] == (link(),)
    assert len(client.asked) <= 4
    assert all(one.url.startswith("https://carrier/") for one in client.asked)


async def test_urls_are_percent_encoded_before_the_request(files: MediaFiles) -> None:
    media = Media(url="https://carrier/a b/ü.jpg?x=%20y#top")
    _, gateway, client = await fetch(files, (media,), reply(200, JPEG))
    assert client.asked[0].url == "https://carrier/a%20b/%C3%BC.jpg?x=%20y"
    assert gateway.done[0][1][0].name == "file.jpg"


@pytest.mark.req("A-39", "A-40")
async def test_redirects_to_private_addresses_are_refused_on_real_sockets(files: MediaFiles) -> None:
    gateway = FakeGateway()
    with StubCarrier() as stub:
        stub.script(Answer(302, b"", {"Location": "/other"}), Answer(200, JPEG))
        what = delivery(message(media=(Media(url=stub.url),)), "media")
        for guard, got in ((check_address, False), (lambda address: "", True)):
            client = AiohttpClient(guard)
            courier = MediaCourier(files, client, gateway.headers_of, gateway.complete)
            assert await courier.deliver(what) == Delivered()
            assert bool(gateway.done[-1][1][0].token) is got
            await client.close()
        assert [one.path for one in stub.taken] == ["/send", "/other"]


@pytest.mark.req("A-40")
async def test_the_download_of_a_file_ends_at_the_size_limit(files: MediaFiles) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + JPEG)
        try:
            while True:
                writer.write(bytes(65536))
                sent += 65536
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client, gateway = AiohttpClient(lambda address: ""), FakeGateway()
    courier = MediaCourier(files, client, gateway.headers_of, gateway.complete)
    part = Media(url=f"http://127.0.0.1:{port}/")
    assert await courier.deliver(delivery(message(media=(part,)), "media")) == Delivered()
    assert gateway.done[0][1] == (part,)
    assert sent < 20 * MAX_FILE
    await client.close()
    server.close()
