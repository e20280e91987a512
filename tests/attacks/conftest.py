"""Fixtures of the attacks: one fort for most of them; after each attack it must stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.conftest import MakePhone, account, make_phone, phone, transport, udp_phone
from conformance.lab import Account

from .fort import Fort

__all__ = ["Account", "MakePhone", "account", "make_phone", "phone", "transport", "udp_phone"]


@pytest.fixture(scope="session")
def shared_fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    with Fort(tmp_path_factory.mktemp("fort"), 400) as fort:
        yield fort


@pytest.fixture(scope="module")
def lab(shared_fort: Fort) -> Fort:
    """The fort. Modules that need another configuration have a fixture of this name themselves."""
    return shared_fort


@pytest.fixture(autouse=True)
def stands(lab: Fort) -> Iterator[None]:
    yield
    lab.assert_stands()
