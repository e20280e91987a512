"""A phone registers with user name and password, and with nothing less."""

from __future__ import annotations

import pytest

from .conftest import MakePhone
from .site import Account, Site

pytestmark = pytest.mark.e2e


@pytest.mark.req("S-011", "S-079", "S-091")
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_the_right_password_registers(site: Site, make_phone: MakePhone, transport: str) -> None:
    """The phone is told 200, and the operator sees it under the contact it gave."""
    account = site.account()
    phone = make_phone(account, transport)
    assert phone.register().status == 200
    (contact,) = site.contacts(account)
    assert contact.partition(";")[0] == (phone.contact if transport == "udp" else contact.partition(";")[0])
    assert f"sip:{account.name}@127.0.0.1:" in contact
    assert phone.unregister().status == 200
    assert site.contacts(account) == []


@pytest.mark.req("S-011", "D4")
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_a_wrong_password_is_refused(site: Site, make_phone: MakePhone, transport: str) -> None:
    """403 and no endless challenge: pjsua2 would answer fresh challenges without end."""
    account = site.account()
    assert make_phone(account, transport, password="not-it").register().status == 403
    assert site.contacts(account) == []
    failures = [event for event in site.events("auth_failure") if event["user"] == account.name]
    assert failures
    assert "not-it" not in str(failures)


@pytest.mark.req("D4")
def test_an_unknown_account_looks_like_a_wrong_password(site: Site, account: Account, make_phone: MakePhone) -> None:
    wrong = make_phone(account, password="not-it").register()
    nobody = make_phone(Account("nobody", "x", "", "")).register()
    assert nobody == wrong


@pytest.mark.req("S-011", "A-12")
def test_a_message_needs_the_password_too(site: Site, account: Account, make_phone: MakePhone) -> None:
    """Also from an address that is registered: no trust by IP address."""
    assert make_phone(account).register().ok
    answer = make_phone(account, password="not-it").send("4445556666", "not mine")
    assert answer.status == 403
    assert [row for row in site.rows() if row["text"] == "not mine"] == []
