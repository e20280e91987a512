"""Long texts that come in several SMS: each part is stored when it comes, and when all are here they are one message.

What is done with a whole text is the caller's: messages that come in and those that an ESME sends differ there only. A
part is durable when `add` returns, and a text is given up on, with its gaps marked, when no part has come for a while
(P-13).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

from sipsms.core.clock import Clock
from sipsms.core.queue_rows import StoredPart
from sipsms.core.segmentation import join_parts
from sipsms.store.store import Store

PATIENCE = 300.0  # seconds to wait for the other parts
_JOINING = 5.0  # seconds in which a text is joined when its last part has come

Answer = TypeVar("Answer")


def parts_key(reference: str) -> bytes:
    """Return the duplicate key of a long text that an ESME sends in parts."""
    return blake2b(b"smpp parts\n" + reference.encode(), digest_size=20).digest()


class Concatenation(Generic[Answer]):
    def __init__(
        self, store: Store, clock: Clock, whole: Callable[[Sequence[StoredPart], str], Awaitable[Answer]]
    ) -> None:
        """`whole` takes the parts that there are, and their text; twice, if the server ends in between."""
        self._store = store
        self._clock = clock
        self._whole = whole
        self._started = clock()

    async def add(self, part: StoredPart) -> Answer | None:
        """Add a part; return the result of the whole text, or None while parts are missing. Raises Unavailable."""
        found = await self._store.add_part(part)
        if found and part.number not in {one.number for one in found if one.text == part.text}:
            await self._join(found)  # of another text, which used the same reference before
            found = await self._store.add_part(part)
        return await self._join(found) if found else None

    async def give_up_waiting(self) -> None:
        """Texts whose other parts do not come: what is there goes on, with the gap marked.

        While we were not there, nobody could bring us a part: that time does not count. Those whose parts are all
        here go at once: the server ended before they were joined.
        """
        now = self._clock()
        before = now - PATIENCE if now - PATIENCE >= self._started else 0.0
        for parts in await self._store.late_parts(before, now - _JOINING):
            await self._join(parts)

    async def _join(self, parts: Sequence[StoredPart]) -> Answer:
        text = join_parts({one.number: one.text for one in parts}, parts[0].total)
        answer = await self._whole(parts, text)
        await self._store.joined(parts)
        return answer
