"""One server for most of these tests; a server with SMPP of its own where it is stopped or has other settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .kit import OK, Bind, Customer, Esme, SmppSite


@pytest.fixture(scope="session")
def smpp_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmppSite]:
    quick = {"response_timeout": "1s", "enquire_link": "60s"}
    with SmppSite(tmp_path_factory.mktemp("smpp"), 400, smpp=quick) as site:
        yield site


@pytest.fixture
def site(smpp_site: SmppSite) -> Iterator[SmppSite]:
    yield smpp_site
    smpp_site.no_crash()


@pytest.fixture
def customer(site: SmppSite) -> Customer:
    return site.customer()


@pytest.fixture
def bind(site: SmppSite) -> Iterator[Bind]:
    """`bind(customer)`: an ESME, bound."""
    with ExitStack() as stack:

        def make(customer: Customer, *command: int, password: str = "", **more: Any) -> Esme:
            esme = stack.enter_context(Esme(more.pop("port", site.smpp_port), **more))
            answer = esme.bind(customer.user, password or customer.password, *command)
            assert answer.status == OK, answer
            return esme

        yield make


@pytest.fixture(scope="session")
def short_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmppSite]:
    """With short times and a narrow window."""
    short = {"enquire_link": "1s", "bind_timeout": "1s", "response_timeout": "1s", "window": 4}
    with SmppSite(tmp_path_factory.mktemp("short"), 10, smpp=short) as site:
        yield site
        site.no_crash()
