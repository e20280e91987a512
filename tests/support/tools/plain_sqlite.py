"""A pytest plugin (`-p tests.support.tools.plain_sqlite`): tests of the store on the SQLite of Python itself."""

from __future__ import annotations

import sys

sys.modules["pysqlite3"] = None  # type: ignore[assignment]
