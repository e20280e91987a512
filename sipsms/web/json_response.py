"""JSON answers in ASCII: a client's text may hold a lone surrogate, which has no UTF-8 form."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()
