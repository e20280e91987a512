"""The media store as messaging sees it, and its refusal."""

from __future__ import annotations

from typing import Protocol

from sipsms.core.message import Media


class MediaRefused(Exception):
    """Not one of the nine types, or too large. The text says which."""


class MediaStore(Protocol):
    """Parts of MMS on disk, by names that nobody can guess."""

    async def save(self, data: bytes, name: str = "") -> Media:
        """Durable when it returns. The type is that of the content. Raises MediaRefused, OSError."""

    async def discard(self, media: Media) -> None:
        """Delete a file that was saved for a message which is not stored."""

    async def read(self, media: Media) -> bytes:
        """Raises OSError if it is gone."""

    def url(self, media: Media) -> str:
        """By which anybody who has it can fetch this part; for one that is not fetched yet, the carrier's."""
