"""Fixtures of the conformance tests: one server for most of them, fresh accounts and phones for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.sip.wire import Phone

from .lab import Account, Lab

MakePhone = Callable[..., Phone]


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), 4000) as lab:
        yield lab


@pytest.fixture(scope="module")
def lab(shared_lab: Lab) -> Lab:
    """The server under test. Modules that need another configuration have a fixture of this name themselves."""
    return shared_lab


@pytest.fixture(autouse=True)
def healthy(lab: Lab) -> Iterator[None]:
    yield
    lab.assert_healthy()


@pytest.fixture(params=["udp", "tcp", "tls", "wss"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def account(lab: Lab) -> Account:
    return lab.account()


@pytest.fixture
def make_phone(lab: Lab) -> Iterator[MakePhone]:
    """Phones that are hung up at the end of the test."""
    phones: list[Phone] = []

    def make(account: Account | str, transport: str = "udp", password: str = "") -> Phone:
        phones.append(lab.phone(account, transport, password))
        return phones[-1]

    yield make
    for phone in phones:
        phone.close()


@pytest.fixture
def phone(make_phone: MakePhone, account: Account, transport: str) -> Phone:
    """A phone of `account`, not registered, by each transport."""
    return make_phone(account, transport)


@pytest.fixture
def udp_phone(make_phone: MakePhone, account: Account) -> Phone:
    return make_phone(account, "udp")


@pytest.fixture
def tcp_phone(make_phone: MakePhone, account: Account) -> Phone:
    return make_phone(account, "tcp")
