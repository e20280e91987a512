"""A real phone watches others: who registers is online, a telephone number always is, a stranger never shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import MakePhone
from .phones import Phone, Phones
from .site import HANDSET, Account, Site, entry

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Every customer has a subaccount."""
    site = Site(tmp_path_factory.mktemp("site"), 8)
    with_desks = [entry(one, [{"name": f"{one.name}-desk", "password": one.password}]) for one in site._accounts]
    site.import_accounts(*with_desks)
    with site:
        yield site


@pytest.fixture
def desk(account: Account) -> str:
    return f"{account.name}-desk"


def phone_of(site: Site, phones: Phones, name: str, password: str, transport: str = "udp", **options: object) -> Phone:
    return phones.phone(name, password, site.address, transport, **options)


@pytest.mark.req("C-126", "S-087")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_watcher_sees_a_phone_online_and_offline(
    site: Site, account: Account, desk: str, phones: Phones, make_phone: MakePhone, transport: str
) -> None:
    alice = make_phone(account, transport)
    bob = phone_of(site, phones, desk, account.password)
    assert alice.register().ok
    alice.watch(desk)
    alice.wait_presence(desk, "offline")
    assert bob.register().ok
    alice.wait_presence(desk, "online")
    assert bob.unregister().ok
    alice.wait_presence(desk, "offline")


@pytest.mark.req("C-125")
def test_the_published_state_of_a_phone_takes_precedence(
    site: Site, account: Account, desk: str, phones: Phones, make_phone: MakePhone
) -> None:
    """Its own word counts, though it is registered."""
    alice = make_phone(account)
    bob = phone_of(site, phones, desk, account.password, publish=True)
    alice.watch(desk)
    assert bob.register().ok  # pjsua2 publishes nothing before
    bob.appear(False)
    alice.wait_presence(desk, "offline")
    bob.appear(True)
    alice.wait_presence(desk, "online")


@pytest.mark.req("S-084", "S-087", "C-126")
def test_a_number_is_online_and_can_be_written_to(site: Site, account: Account, make_phone: MakePhone) -> None:
    """As Zoiper for desktops does it: presence first, then the message."""
    phone = make_phone(account)
    phone.watch(HANDSET)
    phone.wait_presence(HANDSET, "online")
    assert phone.send(HANDSET, "after presence").status == 202
    site.settled(account.did, "after presence", "delivered", "accepted")


@pytest.mark.req("C-126")
def test_a_stranger_sees_nothing(
    site: Site, account: Account, desk: str, phones: Phones, make_phone: MakePhone
) -> None:
    stranger = make_phone(site.account())
    bob = phone_of(site, phones, desk, account.password)
    assert bob.register().ok
    stranger.watch(desk)
    stranger.watch(HANDSET)
    stranger.wait_presence(HANDSET, "online")
    stranger.wait_presence(desk, "unknown")


@pytest.mark.req("C-126")
def test_an_account_with_presence_off_is_not_visible(
    site: Site, account: Account, desk: str, phones: Phones, make_phone: MakePhone
) -> None:
    """Who is switched off is gone for others, at once."""
    alice, bob = make_phone(account), phone_of(site, phones, desk, account.password)
    assert bob.register().ok
    alice.watch(desk)
    alice.wait_presence(desk, "online")
    site.cli("account", "set", desk, "--no-presence")
    alice.wait_presence(desk, "unknown")
