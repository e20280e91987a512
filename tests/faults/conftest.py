"""Fixtures of the fault tests: each breaks a server of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.site import Site

from tests.support.node.stub_carrier import StubCarrier

MakeSite = Callable[..., Site]


@pytest.fixture
def stub() -> Iterator[StubCarrier]:
    with StubCarrier() as stub:
        yield stub


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """A server that is not started yet; it ends with the test."""
    sites: list[Site] = []

    def make(folder: Path | None = None, accounts: int = 12, **settings: Any) -> Site:
        sites.append(Site(folder or tmp_path / f"node{len(sites)}", accounts, **settings))
        return sites[-1]

    yield make
    for site in sites:
        site.stop()


@pytest.fixture
def carried(stub: StubCarrier) -> dict[str, Any]:
    """Settings with the stub as the carrier, and short times."""
    carriers = {"acme": {"type": "http", "url": stub.url, "ok": {"id": "data.id"}, "timeout": "5s"}}
    return {"carriers": carriers, "queue": {"retry_min": "200ms", "retry_max": "1s"}}
