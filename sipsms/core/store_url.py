"""The store's URL, as the configuration names it and as SQLAlchemy reads it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

DEFAULT: Final = "sqlite:///var/lib/sipsms/sipsms.db"
ROOTS: Final = frozenset({"var", "srv", "opt", "home", "tmp", "data", "mnt", "run", "etc", "usr"})


def absolute(store: str, directory: Path) -> str:
    """Return the store's URL for SQLAlchemy, to which `sqlite:///var/lib/...` is relative, unlike to people.

    `directory`: the configuration's, to which other relative paths belong."""
    path = PurePosixPath(store.removeprefix("sqlite:///"))
    if not store.startswith("sqlite:///") or path.is_absolute() or str(path) == ":memory:":
        return store
    base = Path("/") if path.parts[0] in ROOTS else directory.absolute()
    return f"sqlite:///{base / path}"
