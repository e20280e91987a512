"""Parts of MMS: files in a folder, and the courier that fetches them from where the carrier keeps them.

A file's name is its token: 192 random bits, which is all that protects it, since those who get the link (callbacks,
mail programs, phones) have no password here. What a file is, its first bytes say; nothing else about it is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, urldefrag, urljoin, urlsplit

from sipsms.core import log
from sipsms.core.errors import Unavailable
from sipsms.core.http_client import Forbidden, HttpClient, HttpReply, NoAnswer, NotSent
from sipsms.core.media_types import MAX_FILE, MAX_FILES, MAX_TEXT, safe_name, type_of
from sipsms.core.message import Deferred, Delivered, Delivery, Media, Message, Outcome, Scope
from sipsms.messaging.media import MediaRefused, MediaStore

__all__ = ["MAX_FILE", "MAX_FILES", "MAX_TEXT", "Fetcher", "MediaCourier", "MediaFiles"]

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_FOLDERS_AT_ONCE: Final = 16


class MediaFiles:
    """`ports.MediaStore` in a folder: <folder>/<two characters>/<token>."""

    def __init__(self, folder: Path, base_url: Callable[[], str], max_size: int = MAX_FILE) -> None:
        """`base_url`: the URL of this server as others reach it, without a slash at its end. `max_size` in bytes."""
        self._folder = folder
        self._base_url = base_url
        self.max_size = max_size
        self._to_visit: list[str] = []

    async def save(self, data: bytes, name: str = "") -> Media:
        kind = type_of(data)
        if not kind:
            raise MediaRefused("not one of the kinds of files that an MMS may have")
        if len(data) > self.max_size:
            raise MediaRefused(f"larger than {self.max_size // 1024} KB")
        token = secrets.token_urlsafe(24)
        await asyncio.to_thread(_write, self._place(token), data)
        return Media(kind, safe_name(name, kind), len(data), token)

    async def discard(self, media: Media) -> None:
        if (path := self.path(media.token)) is not None:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def read(self, media: Media) -> bytes:
        path = self.path(media.token)
        if path is None:
            raise FileNotFoundError(2, "no such part")
        return await asyncio.to_thread(path.read_bytes)

    def url(self, media: Media) -> str:
        if not media.token:
            return media.url
        return f"{self._base_url()}/media/{media.token}/{quote(media.name or 'file')}"

    def path(self, token: str) -> Path | None:
        """Return the file of the part with this token; None for what cannot be a token."""
        return self._place(token) if _TOKEN.fullmatch(token) else None

    def _place(self, token: str) -> Path:
        return self._folder / token[:2] / token

    async def forget(self, before: float) -> int:
        """Delete what was saved before that time (seconds since the epoch); how many files.

        One call looks into a few folders, the next one into the next few: call it every minute or so. Raises OSError.
        """
        return await asyncio.to_thread(self._forget, before)

    def _forget(self, before: float) -> int:
        if not self._to_visit:
            self._to_visit = sorted((one.name for one in _entries(self._folder) if one.is_dir()), reverse=True)
        visited, self._to_visit = self._to_visit[-_FOLDERS_AT_ONCE:], self._to_visit[:-_FOLDERS_AT_ONCE]
        old = [
            one.path
            for name in visited
            for one in _entries(self._folder / name)
            if one.is_file(follow_symlinks=False) and one.stat(follow_symlinks=False).st_mtime < before
        ]
        for path in old:
            Path(path).unlink(missing_ok=True)
        return len(old)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except FileNotFoundError:
        return


def _write(path: Path, data: bytes) -> None:
    """All of it durable under its name, or nothing."""
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        _sync(path.parent.parent)
    part = path.with_name(f".{path.name}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- fetching ---------------------------------------------------------------------------------------------------------

TRIES: Final = 8
RETRY_MIN: Final = 5.0  # seconds
RETRY_MAX: Final = 600.0
TIMEOUT: Final = 15.0  # for one part
_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_LATER: Final = (408, 425, 429)
_REMEMBERED: Final = 1000  # deliveries with a part fetched and another not yet
_URL_SAFE: Final = "%/:?#[]@!$&'()*+,;=~"


class _Later(Exception):
    """A part cannot be had now."""


class MediaCourier:
    """Fetches the parts of an incoming MMS, then hands the message on to be delivered.

    What the carrier does not give (gone, forbidden, too large, of another kind, a fourth file) stays a link to it and
    holds nothing up. What may yet come (network, 5xx, our disk) is tried again for some ten minutes; then the message
    goes on with what is there. Layouts (SMIL) are dropped: phones of today show none.
    """

    def __init__(
        self,
        files: MediaStore,
        client: HttpClient,
        headers_of: Callable[[str, str], Mapping[str, str]],
        complete: Callable[[Message, tuple[Media, ...]], Awaitable[None]],
        max_size: int = MAX_FILE,
    ) -> None:
        """`client` guards against addresses that it must not call. `headers_of`: (the message's origin, a URL) -> what
        has to go with a request for it. `complete` raises Unavailable to be called again.
        """
        self._files = files
        self._client = client
        self._headers_of = headers_of
        self._complete = complete
        self._max_size = max_size
        self._fetched: dict[int, dict[int, Media]] = {}  # delivery -> parts that are saved

    async def deliver(self, delivery: Delivery) -> Outcome:
        saved = self._fetched.get(delivery.id, {})
        media, why = await self._gather(delivery.message, saved)
        if why and delivery.attempts < TRIES:
            self._remember(delivery.id, saved)
            return Deferred(why, retry=_pause(delivery.attempts), scope=Scope.MESSAGE)
        try:
            await self._complete(delivery.message, media)
        except Unavailable as error:
            self._remember(delivery.id, saved)
            return Deferred(f"store: {error}", retry=RETRY_MIN, scope=Scope.MESSAGE)
        self._fetched.pop(delivery.id, None)
        return Delivered(why)

    def _remember(self, delivery: int, saved: dict[int, Media]) -> None:
        if saved and len(self._fetched) >= _REMEMBERED and delivery not in self._fetched:
            self._fetched.pop(next(iter(self._fetched)))
        if saved:
            self._fetched[delivery] = saved

    async def _gather(self, message: Message, saved: dict[int, Media]) -> tuple[tuple[Media, ...], str]:
        """The parts as far as they can be had now, and what kept the others; adds to `saved`."""
        wanted = [media for media in message.media if not _is_layout(media)]
        why = ""
        for index, media in enumerate(wanted[:MAX_FILES]):
            if media.token or not media.url or index in saved:
                continue
            try:
                found = await self._fetch(message, media)
            except _Later as error:
                why = str(error)
                continue
            if found is not None:
                saved[index] = found
        return tuple(saved.get(index, media) for index, media in enumerate(wanted)), why

    async def _fetch(self, message: Message, media: Media) -> Media | None:
        """Fetch a part; None: it will never be more than a link. Raises _Later."""
        try:
            headers_of = partial(self._headers_of, message.origin)
            reply = await _get(self._client, _called(media.url), headers_of, self._max_size)
            if reply.status == 200 and len(reply.body) <= self._max_size:
                return await self._files.save(reply.body, media.name or urlsplit(media.url).path)
            why = f"the server answered {reply.status}" if reply.status != 200 else "larger than an MMS may be"
        except (Forbidden, MediaRefused) as error:
            why = str(error)
        except (NotSent, NoAnswer) as error:
            raise _Later(str(error)) from None
        except OSError as error:
            raise _Later(f"cannot save a part: {error.strerror or 'disk'}") from None
        log.warning("media_not_fetched", message=message.id, why=why)
        return None


async def _get(
    client: HttpClient, url: str, headers_of: Callable[[str], Mapping[str, str]], max_size: int
) -> HttpReply:
    """Some carriers only point to where a part is. Each step is asked for with what belongs to its own URL."""
    for _ in range(_MAX_REDIRECTS + 1):
        reply = await client.request("GET", url, headers=headers_of(url), timeout=TIMEOUT, limit=max_size + 1)
        if reply.status >= 500 or reply.status in _LATER:
            raise _Later(f"the server answered {reply.status}")
        location = reply.headers.get("location", "")
        if reply.status not in _REDIRECTS or not location:
            return reply
        url = _next(url, location)
    raise Forbidden("too many redirects")


class Fetcher:
    """Gets a file that a client of ours names by its URL, while that client waits."""

    def __init__(self, client: HttpClient, max_size: int = MAX_FILE, at_once: int = 16, patience: float = 20.0) -> None:
        """`client` guards against addresses that it must not call; `patience` in seconds."""
        self._client = client
        self._max_size = max_size
        self._slots = asyncio.Semaphore(at_once)
        self._share = max(1, at_once // 4)
        self._of: Counter[str] = Counter()  # by customer
        self._patience = patience

    async def __call__(self, url: str, customer: str = "") -> tuple[bytes, str]:
        """Return the bytes, at most one more than allowed, and the name. Raises MediaRefused; or Unavailable, where
        this customer has so many under way already: the slow servers of one must not hold up the others."""
        if self._of[customer] >= self._share:
            raise Unavailable("too many files are being fetched for this customer")
        self._of[customer] += 1
        try:
            async with self._slots:
                return await self._fetch(url)
        finally:
            self._of[customer] -= 1
            if not self._of[customer]:
                del self._of[customer]

    async def _fetch(self, url: str) -> tuple[bytes, str]:
        try:
            async with asyncio.timeout(self._patience):
                reply = await _get(self._client, _called(url), lambda _: {}, self._max_size)
        except (Forbidden, NotSent, NoAnswer, _Later, ValueError) as error:
            raise MediaRefused(f"cannot fetch the file: {error}") from None
        except TimeoutError:
            raise MediaRefused("cannot fetch the file: its server is too slow") from None
        if reply.status != 200:
            raise MediaRefused(f"cannot fetch the file: the server answered {reply.status}")
        return reply.body, urlsplit(url).path.rpartition("/")[2]


def _called(url: str) -> str:
    """Return a URL as it can be requested: no fragment, characters outside ASCII encoded."""
    return quote(urldefrag(url).url.strip(), safe=_URL_SAFE)


def _next(url: str, location: str) -> str:
    try:
        target = _called(urljoin(url, location))
    except ValueError:
        raise Forbidden("the redirect leads to no URL") from None
    if url.startswith("https:") and not target.startswith("https:"):
        raise Forbidden("the redirect leads away from TLS")
    return target


def _is_layout(media: Media) -> bool:
    kind = media.content_type.partition(";")[0].strip().lower()
    return kind == "application/smil" or media.name.lower().endswith(".smil")


def _pause(attempts: int) -> float:
    return min(RETRY_MAX, RETRY_MIN * 2.0 ** (max(attempts, 1) - 1))
