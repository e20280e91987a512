"""Commands beside the running server: it notices at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import MakePhone
from .phones import Answer, Phone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e


def until(phone: Phone, status: int, site: Site) -> Answer:
    """The server looks for changes every 100 ms: register until it says so, for a second at most."""
    answer: Answer = phone.register()

    def now() -> bool:
        nonlocal answer
        answer = phone.register()
        return answer.status == status

    if answer.status != status:
        site.wait(now, 1.0)
    return answer


def noticed(site: Site, make_phone: MakePhone) -> None:
    """Wait until the server has seen all commands so far: changes are taken over in their order."""
    name = f"probe-{len(site.listed('account', 'list'))}"
    site.cli("account", "add", name, "--password", "x")
    assert until(make_phone(Account(name, "x", "", "")), 200, site).ok


@pytest.mark.req("S-079", "S-090")
def test_a_new_account_registers_at_once(site: Site, make_phone: MakePhone) -> None:
    """Account, subaccount and DID by hand; the phone of each registers, and the DID rings at the subaccount."""
    site.cli("account", "add", "acme", "--password", "one")
    site.cli("subaccount", "add", "acme-desk", "--account", "acme", "--password", "two", "--caller-id", "4165550100")
    site.cli("did", "add", "4165550100", "--account", "acme", "--sip-account", "acme-desk")
    customer = make_phone(Account("acme", "one", "", ""))
    desk = make_phone(Account("acme-desk", "two", "", ""))
    assert until(customer, 200, site).ok
    assert until(desk, 200, site).ok
    said = site.cli("receive", "--from", HANDSET, "--to", "4165550100", "for the desk").stdout
    assert "accepted" in said
    assert desk.wait_message("for the desk").header("X-SMS-To") == "4165550100"
    customer.assert_nothing_more(0)
    assert desk.send(HANDSET, "from the desk").status == 202
    site.settled("4165550100", "from the desk", "delivered")


@pytest.mark.req("S-011")
def test_a_new_password_counts_at_once(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.register().ok
    site.cli("account", "passwd", account.name, "--password", "brand-new")
    assert until(phone, 403, site).status == 403
    assert until(make_phone(account, password="brand-new"), 200, site).ok


@pytest.mark.req("S-011")
def test_a_disabled_account_is_out_at_once(site: Site, account: Account, make_phone: MakePhone) -> None:
    """It cannot register and cannot send; enabled again it can."""
    phone = make_phone(account)
    assert phone.register().ok
    site.cli("account", "set", account.name, "--disabled")
    assert until(phone, 403, site).status == 403
    assert phone.send(HANDSET, "let me").status == 403
    site.cli("account", "set", account.name, "--enabled")
    assert until(phone, 200, site).ok
    assert phone.send(HANDSET, "thank you").status == 202


@pytest.mark.req("S-011")
def test_a_removed_account_is_gone_at_once(site: Site, make_phone: MakePhone) -> None:
    """With its registrations; its messages stay."""
    site.cli("account", "add", "shortlived", "--password", "pw")
    phone = make_phone(Account("shortlived", "pw", "", ""))
    assert until(phone, 200, site).ok
    site.cli("account", "remove", "shortlived")
    assert until(phone, 403, site).status == 403
    assert "shortlived" not in str(site.listed("registrations"))


@pytest.mark.req("S-027", "S-028", "S-080", "C-101")
def test_the_message_service_is_switched_off_for_a_did(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.send(HANDSET, "with service").status == 202
    site.cli("did", "set", account.did, "--no-sms")
    site.wait(lambda: phone.send(HANDSET, "perhaps").status == 403, 1.0)
    assert "SMS-enabled" in phone.send(HANDSET, "without").warning
    site.cli("did", "set", account.did, "--sms")
    site.wait(lambda: phone.send(HANDSET, "again").status == 202, 1.0)


@pytest.mark.req("S-038", "S-090")
def test_a_did_is_moved_to_another_phone(site: Site, account: Account, make_phone: MakePhone) -> None:
    site.cli("subaccount", "add", "branch", "--account", account.name, "--password", "pw")
    branch, main = make_phone(Account("branch", "pw", "", "")), make_phone(account)
    assert until(branch, 200, site).ok
    assert main.register().ok
    site.cli("did", "set", account.did, "--sip-account", "branch")
    site.cli("receive", "--from", HANDSET, "--to", account.did, "hello, branch")
    assert branch.wait_texts(1) == ["hello, branch"]
    main.assert_nothing_more(0)


@pytest.mark.req("I6")
def test_a_paused_carrier_sends_nothing_until_it_is_resumed(
    site: Site, account: Account, make_phone: MakePhone, resumed: None
) -> None:
    """What phones send meanwhile is accepted and waits, in order."""
    phone = make_phone(account)
    site.cli("carriers", "pause", "sim")
    noticed(site, make_phone)
    states = {row["name"]: row["paused"] for row in site.listed("carriers")}
    assert states == {"sim": True, "door": False}
    texts = ["first", "second", "third"]
    for text in texts:
        assert phone.send(HANDSET, text).status == 202
    assert [row["state"] for row in site.rows(account.did)] == ["queued"] * 3
    assert {row["name"]: row["waiting"] for row in site.listed("carriers")}["sim"] == 3
    assert len([row for row in site.listed("queue") if row["courier"] == "carrier:sim"]) == 3
    site.cli("carriers", "resume", "sim")
    for text in texts:
        site.settled(account.did, text, "delivered", seconds=3)
    order = [e["message"] for e in site.events("delivered") if e["courier"] == "carrier:sim"]
    assert order == sorted(order)


@pytest.fixture
def resumed(site: Site) -> Iterator[None]:
    yield
    site.cli("carriers", "resume", "sim")


def test_route_says_where_and_why(site: Site, account: Account) -> None:
    """And sends nothing."""
    out: dict[str, Any] = json.loads(site.cli("route", "--from", account.did, "--to", HANDSET, "--json").stdout)
    assert out["refused"] is None
    assert any("carrier:sim" in one for one in out["routes"])
    assert out["trace"]
    into = json.loads(site.cli("route", "--from", HANDSET, "--to", account.did, "--json").stdout)
    assert any(account.name in one for one in into["routes"])
    refused = site.cli("route", "--from", account.did, "--to", "911")
    assert "refused" in refused.stdout
    assert site.rows(account.did) == []


@pytest.mark.req("S-081")
def test_the_command_send_uses_the_same_way_as_a_phone(site: Site, account: Account) -> None:
    """`sipsms send` leaves by the same way as a phone's message, taken over by the server."""
    site.cli("send", "--from", account.did, "--to", HANDSET, "by hand")
    assert site.settled(account.did, "by hand", "delivered")["carrier"] == "sim"
    for number, words in (("444555666", "10 digits"), ("911", "")):
        refused = site.cli("send", "--from", account.did, "--to", number, "no", check=False)
        assert refused.returncode == 1
        assert words in refused.stderr
    assert site.cli("send", "--from", account.did, "--to", HANDSET, "x" * 161, check=False).returncode == 1
    assert site.cli("send", "--from", HANDSET, "--to", account.did, "no", check=False).returncode == 1


def test_registrations_and_devices_show_who_is_registered(site: Site, account: Account, make_phone: MakePhone) -> None:
    """`registrations` and `devices` say who is registered, and what waits for a phone that left."""
    phone = make_phone(account, instance="urn:uuid:00000000-0000-4000-8000-00000000000a")
    assert phone.register().ok
    (row,) = [one for one in site.listed("registrations") if one["account"] == account.name]
    assert row["contact"].startswith(phone.contact)
    assert 0 < row["expires_in"] <= 300
    phone.offline()
    site.sms(account.did, "waiting")
    (device,) = [one for one in site.listed("devices") if one["account"] == account.name]
    assert (device["registered"], device["waiting"]) == (False, 1)
    assert device["key"].startswith("urn:uuid:") or "urn:uuid:" in device["key"]
