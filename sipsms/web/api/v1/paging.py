"""Pages of lists. A cursor, opaque to clients, is the key of the last item as JSON in base64."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query

from sipsms.web.api.v1.problems import wrong

T = TypeVar("T")

MOST: Final = 200
Limit = Annotated[int, Query(ge=1, le=MOST, description="Items on a page")]
Cursor = Annotated[str, Query(max_length=4096, description="`next` of the page before")]


def pack(key: Any) -> str:
    text = json.dumps(key, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def unpack(cursor: str, *kinds: type) -> list[Any]:
    """Return the values of a cursor's key, of these types; empty for the first page. Raises Problem."""
    if not cursor:
        return []
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        key = json.loads(raw)
    except (ValueError, RecursionError, binascii.Error):
        raise wrong("cursor", "this is no cursor of this list") from None
    if not isinstance(key, list) or [type(one) for one in key] != list(kinds) or not all(map(_fits, key)):
        raise wrong("cursor", "this is no cursor of this list")
    return key


def _fits(value: Any) -> bool:
    """Return whether the store accepts this value in a query."""
    if isinstance(value, int):
        return 0 <= value < 2**62
    try:
        return "\0" not in value and bool(value.encode() or True)
    except UnicodeEncodeError:
        return False


def name_after(cursor: str) -> str:
    key = unpack(cursor, str)
    return str(key[0]) if key else ""


def number_after(cursor: str) -> int:
    key = unpack(cursor, int)
    return int(key[0]) if key else 0


def cut(rows: Sequence[T], limit: int, key: Callable[[T], Any]) -> dict[str, Any]:
    """Return a page of rows. `rows` has one row more than `limit` if there is another page."""
    more = len(rows) > limit
    return {"items": list(rows[:limit]), "next": pack([key(rows[limit - 1])]) if more else None}


def found_page(rows: list[dict[str, Any]], last: Any) -> dict[str, Any]:
    """Return a page whose next cursor the store has determined."""
    key = last if isinstance(last, list) else [last]
    return {"items": rows, "next": pack(key) if last is not None else None}
