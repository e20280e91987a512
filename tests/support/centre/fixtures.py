"""Fixtures of the message centre. A conftest imports those that its folder uses.

`centre` is one server for all tests of a process: tests leave its people as they found them, or add people of their own
with `someone`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.centre.site import CentreSite

MakeSomeone = Callable[..., str]


@pytest.fixture(scope="session")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CentreSite]:
    with CentreSite(tmp_path_factory.mktemp("centre")) as site:
        yield site
        assert site.events("page_failed") == []


@pytest.fixture
def own_centre(tmp_path: Path) -> Iterator[CentreSite]:
    """A server of its own, for a test that changes it for everybody."""
    with CentreSite(tmp_path) as site:
        yield site
        assert site.events("page_failed") == []


_numbers = iter(range(10_000))


@pytest.fixture
def someone(centre: CentreSite) -> MakeSomeone:
    """Add a person with PASSWORD through the pages; return the name."""

    def make(role: str = "customer", **fields: Any) -> str:
        name = f"{role}{next(_numbers)}"
        centre.add_person(name, role, **fields)
        return name

    return make
