"""Fixtures of the tests with other people's programs: one server for a file, and where to find the programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from e2e.site import Account, Site

PACKAGES = {"sipp": "sip-tester", "sipsak": "sipsak", "kamailio": "kamailio", "baresip": "baresip"}


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of a program; skips where it is not installed."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed: apt-get install {PACKAGES[name]}")
        return path

    return find


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.no_crash()


@pytest.fixture
def account(site: Site) -> Account:
    return site.account()
