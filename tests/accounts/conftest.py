"""People, for the tests of sign-in and of users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .people import People


@pytest.fixture
async def people(tmp_path: Path) -> AsyncIterator[People]:
    made = People(tmp_path)
    await made.seed()
    yield made
    await made.close()
