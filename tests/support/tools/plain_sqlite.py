"""A pytest plugin (`-p tests.support.tools.plain_sqlite`): the store's tests with the SQLite that Python is linked to."""

from __future__ import annotations

import sys

sys.modules["pysqlite3"] = None  # type: ignore[assignment]
