"""Files of an MMS that an account sends: fetched if they are URLs, checked, and saved in the media store."""

from __future__ import annotations

from collections.abc import Sequence

from sipsms.core.errors import Unavailable
from sipsms.core.media_types import MAX_FILE
from sipsms.core.message import Media
from sipsms.core.refusal import Refusal, RefusalCode
from sipsms.messaging.media import MediaRefused, MediaStore
from sipsms.messaging.order import Fetch, File


class Attachments:
    def __init__(self, media: MediaStore, fetch: Fetch) -> None:
        self._media = media
        self._fetch = fetch

    async def fetched(self, files: Sequence[File], customer: str) -> list[File] | Refusal:
        """Return the files with their bytes. Raises Unavailable."""
        found = []
        for one in files:
            try:
                data, name = await self._fetch(one.url, customer) if one.url else (one.data, one.name)
            except MediaRefused as error:
                return Refusal(RefusalCode.MEDIA, str(error))
            if len(data) > MAX_FILE:
                return Refusal(RefusalCode.MEDIA_SIZE, f"a file is larger than {MAX_FILE // 1024} KB")
            found.append(File(data, name=one.name or name))
        return found

    async def save(self, files: Sequence[File], customer: str, saved: list[Media]) -> Refusal | None:
        """Save all files, adding them to `saved`. Raises Unavailable; some may be there then."""
        found = await self.fetched(files, customer)
        if isinstance(found, Refusal):
            return found
        for one in found:
            try:
                saved.append(await self._media.save(one.data, one.name))
            except MediaRefused as error:
                return Refusal(RefusalCode.MEDIA, f"{one.name}: {error}" if one.name else str(error))
            except OSError as error:
                raise Unavailable(f"a file cannot be saved: {error.strerror or error}") from None
        return None

    async def discard(self, saved: Sequence[Media]) -> None:
        """Delete files that were saved for a message which is not stored."""
        for one in saved:
            await self._media.discard(one)
