"""Fixtures of the stories: one server and one process of phones a file; after each story the phones are gone."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.node.stub_carrier import Answer, StubCarrier

from .phones import Phone, Phones
from .site import Account, Site

MakePhone = Callable[..., Phone]


@pytest.fixture(scope="module")
def all_phones() -> Iterator[Phones]:
    if importlib.util.find_spec("pjsua2") is None:
        pytest.skip("pjsua2 is not installed: pip install '.[softphone]' (x86-64 Linux, Python up to 3.12)")
    with Phones() as phones:
        yield phones


@pytest.fixture
def phones(all_phones: Phones) -> Iterator[Phones]:
    yield all_phones
    all_phones.hang_up()


@pytest.fixture(scope="module")
def customer() -> Iterator[StubCarrier]:
    """A customer's web server."""
    with StubCarrier() as stub:
        stub.default = Answer(200, b"ok")
        yield stub


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """What a file changes in the configuration."""
    return {}


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site"), **settings) as site:
        yield site


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    yield shared_site
    shared_site.no_crash()


@pytest.fixture
def account(site: Site) -> Account:
    return site.account()


@pytest.fixture
def make_phone(site: Site, phones: Phones) -> MakePhone:
    """A phone of an account, not registered yet."""

    def make(account: Account, transport: str = "udp", **options: Any) -> Phone:
        return phones.phone(
            account.name, options.pop("password", account.password), site.address_of(transport), transport, **options
        )

    return make
