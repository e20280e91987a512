"""What a carrier sends us -> plain values: forms, JSON, texts, numbers, media. Used by every carrier's `parse`.

Whatever comes, the only exception that leaves is `HookError`. Half a surrogate pair and NUL are replaced, since no
store takes them and the carrier would repeat the message for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from sipsms.messaging.carrier import HookError, HookRequest, InboundMedia

MAX_BODY: Final = 256 * 1024
MAX_FORM_FIELDS: Final = 256
MAX_ID: Final = 255
MAX_URL: Final = 2048
MAX_MEDIA: Final = 20
FORM: Final = "application/x-www-form-urlencoded"

Pairs = list[tuple[str, str]]


def media_type(request: HookRequest) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(request: HookRequest) -> bool:
    kind = media_type(request)
    bare = not kind and request.body[:1] in (b"{", b"[")
    return kind == "application/json" or kind.endswith("+json") or bare


def check_size(request: HookRequest) -> None:
    if len(request.body) > MAX_BODY:
        raise HookError(413, f"body is larger than {MAX_BODY} bytes")


def form(body: bytes) -> Pairs:
    """Every field of a form, in its order; a name may stand in it more than once."""
    try:
        text = body.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise HookError(400, "body is not a form") from None


def fields(request: HookRequest) -> dict[str, str]:
    """Of a form in the body; of the query where there is no body."""
    if not request.body:
        return dict(request.query)
    if media_type(request) != FORM:
        raise HookError(415, f"expected {FORM}")
    return dict(form(request.body))


def parsed_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HookError(400, "body is not JSON") from None


def at_path(data: object, path: str) -> object:
    """`messages.0.id` in parsed JSON; None where there is nothing."""
    for part in path.split("."):
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data


def clean(text: str) -> str:
    r"""Half a surrogate pair (JSON's \ud83d) and NUL would be refused by the store at every try of the carrier."""
    if text.isascii():
        return text.replace("\0", "\ufffd")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def text_of(value: object, field: str, path: str = "") -> str:
    if value is None:
        raise HookError(400, f"{_named(field, path)} is missing")
    if not isinstance(value, str):
        raise HookError(400, f"{_named(field, path)} is not text")
    return clean(value)


def number_of(value: object, field: str, path: str = "") -> str:
    """A number or an id: some carriers write it as JSON's number. Never empty."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = text_of(value, field, path).strip()
    if not text:
        raise HookError(400, f"{_named(field, path)} is empty")
    return text[:MAX_ID]


def _named(field: str, path: str) -> str:
    """`field` is what we call it, `path` where it was looked for."""
    return f"field '{field}' (path {path})" if path else f"field '{field}'"


def word_of(value: object) -> str:
    """What a state or a code says, as text; empty for what is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return clean(str(value)).strip()[:MAX_ID] if isinstance(value, str | int) else ""


def media_of(found: Iterable[tuple[object, object, object]]) -> tuple[InboundMedia, ...]:
    """(URL, type, name) of each part -> those that can be fetched. SMIL is layout, not content."""
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
    """Does this URL lead to the carrier itself? Only then may our credentials go along."""
    try:
        there, here = urlsplit(url), urlsplit(own)
        return (there.scheme, there.hostname, there.port) == (here.scheme, here.hostname, here.port)
    except ValueError:
        return False


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
