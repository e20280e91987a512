"""Answers in JSON, in ASCII: what a client wrote comes back in some, and half a surrogate pair has no UTF-8."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()
