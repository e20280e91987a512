"""An empty store in a file, and a connection with an open transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from sipsms.store.engine import ensure_schema, open_engine


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(f"sqlite:///{tmp_path / 's.db'}")
    ensure_schema(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()
