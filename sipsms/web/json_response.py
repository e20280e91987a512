"""JSON answers in ASCII: a client's text may hold a lone surrogate, which has no UTF-8 form."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.responses import Response

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


def compact(value: object) -> bytes:
    return _encode(value).encode()


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return compact(content)
