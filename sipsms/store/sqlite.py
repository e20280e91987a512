"""The SQLite library: a recent one where its wheel exists (`pysqlite3`), else the one that Python is linked to.

SQLite 3.7.0 to 3.51.2 may lose committed rows if one connection checkpoints while another commits; 3.51.3, 3.50.7 and
3.44.6 do not (sqlite.org/wal.html, "The WAL-Reset Bug"). The server's writer is the only connection that does either,
so this is a second guard.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

try:
    sqlite3: Any = import_module("pysqlite3.dbapi2")
except ImportError:
    sqlite3 = import_module("sqlite3.dbapi2")

VERSION = str(sqlite3.sqlite_version)


def has_wal_bug(version: str) -> bool:
    """Return whether a version of SQLite (as `3.40.1`) has the WAL-reset bug."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    fixed = {44: 6, 50: 7, 51: 3}  # by minor version, the first patch without it
    return (major, minor) >= (3, 7) and (major, minor) < (3, 52) and patch < fixed.get(minor, 1_000_000)


def warning(version: str = VERSION) -> str:
    """Return a line for the operator; empty for a version without known faults."""
    if not has_wal_bug(version):
        return ""
    return (
        f"SQLite {version} may lose committed rows if another program writes to the database (sqlite.org/wal.html): "
        "never open it with other programs while sipsms runs, or install pysqlite3"
    )
