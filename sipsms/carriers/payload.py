"""Readers of carriers' requests: forms, JSON, texts, numbers and media as plain values.

For any input `HookError` must be the only exception. Octets that are no text of their charset are read nevertheless,
and what the store refuses is replaced, because the carrier would repeat the message for ever.
"""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from sipsms.core.charset import Pairs, callback_form, decode_anyhow, for_json, storable
from sipsms.messaging.carrier import HookError, HookRequest, InboundMedia

MAX_BODY: Final = 256 * 1024
MAX_FORM_FIELDS: Final = 256
MAX_ID: Final = 255
MAX_URL: Final = 2048
MAX_MEDIA: Final = 20
FORM: Final = "application/x-www-form-urlencoded"

_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:\-]+)", re.IGNORECASE)


def media_type(request: HookRequest) -> str:
    """Return the media type in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(request: HookRequest) -> bool:
    """Return True for JSON, also if the content type is missing."""
    kind = media_type(request)
    bare = not kind and request.body.removeprefix(BOM_UTF8).lstrip()[:1] in (b"{", b"[")
    return kind == "application/json" or kind.endswith("+json") or bare


def _charset(request: HookRequest) -> str:
    """Return the charset of the content type; empty if none is declared."""
    found = _CHARSET.search(request.headers.get("content-type", ""))
    return found[1] if found else ""


def check_size(request: HookRequest) -> None:
    """Raise HookError(413) for a large body."""
    if len(request.body) > MAX_BODY:
        raise HookError(413, f"body is larger than {MAX_BODY} bytes")


def form(request: HookRequest) -> Pairs:
    """Return the fields of a form in order; a name may occur more than once. Raises HookError."""
    try:
        found = callback_form(request.body, _charset(request), MAX_FORM_FIELDS)
    except ValueError:
        raise HookError(400, "body is not a form") from None
    if not all(name.isascii() for name, _ in found):
        raise HookError(400, "body is not a form")
    return found


def fields(request: HookRequest) -> dict[str, str]:
    """Return the fields of a form in the body, or of the query without a body. Raises HookError."""
    if not request.body:
        return dict(request.query)
    if media_type(request) != FORM:
        raise HookError(415, f"expected {FORM}")
    return dict(form(request))


def parsed_json(request: HookRequest) -> Any:
    """Parse JSON, in Unicode if no other charset is declared. Raises HookError."""
    try:
        return _loaded(request)
    except (ValueError, RecursionError):
        raise HookError(400, "body is not JSON") from None


def _loaded(request: HookRequest) -> Any:
    try:
        return json.loads(for_json(request.body, _charset(request)))
    except UnicodeDecodeError:
        return json.loads(decode_anyhow(request.body))


def at_path(data: object, path: str, absent: object = None) -> object:
    """Return the value at a path like `messages.0.id` in parsed JSON, or `absent`."""
    for part in path.split("."):
        if isinstance(data, dict):
            data = data.get(part, absent)
        elif isinstance(data, list) and part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(data):
            data = data[int(part)]
        else:
            return absent
    return data


def text_of(value: object, field: str, path: str = "") -> str:
    """Return a cleaned text. Raises HookError if the value is missing or no text."""
    if value is None:
        raise HookError(400, f"{_named(field, path)} is missing")
    if not isinstance(value, str):
        raise HookError(400, f"{_named(field, path)} is not text")
    return storable(value)


def optional_text_of(value: object, field: str, path: str = "") -> str:
    """Return a text that some senders leave out or null for an empty message. Raises HookError if it is no text."""
    return "" if value is None else text_of(value, field, path)


def number_of(value: object, field: str, path: str = "") -> str:
    """Return a number or an id, also of a JSON number, never empty. Raises HookError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = text_of(value, field, path).strip()
    if not text:
        raise HookError(400, f"{_named(field, path)} is empty")
    return text[:MAX_ID]


def _named(field: str, path: str) -> str:
    """Return our name and, if known, the place of a field for an error text."""
    return f"field '{field}' (path {path})" if path else f"field '{field}'"


def word_of(value: object) -> str:
    """Return a state or code as text; empty for other values."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return storable(str(value)).strip()[:MAX_ID] if isinstance(value, str | int) else ""


def media_of(found: Iterable[tuple[object, object, object]]) -> tuple[InboundMedia, ...]:
    """Return the media, without SMIL's layout, that can be fetched from (URL, type, name) of each part."""
    parts = (_one_media(*one) for one in found)
    return tuple(part for part in parts if part is not None)[:MAX_MEDIA]


def _one_media(url: object, content_type: object, name: object) -> InboundMedia | None:
    if not isinstance(url, str) or not _is_web_address(url := url.strip()):
        return None
    kind = word_of(content_type).partition(";")[0].strip().lower()
    if kind == "application/smil" or urlsplit(url).path.lower().endswith(".smil"):
        return None
    return InboundMedia(url, kind, word_of(name))


def _is_web_address(url: str) -> bool:
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def same_server(url: str, own: str) -> bool:
    """Return True if a URL leads to the carrier's own server, the only one for our credentials."""
    try:
        there, here = urlsplit(url), urlsplit(own)
        return (there.scheme, there.hostname, there.port) == (here.scheme, here.hostname, here.port)
    except ValueError:
        return False


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object, or an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """Return a JSON array, or an empty one for any other value."""
    return value if isinstance(value, list) else []
