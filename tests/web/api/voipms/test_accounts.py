"""The VoIP.ms-compatible API: subaccounts, registrations, balance and servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sipsms.accounts import service
from sipsms.core.flow_address import FlowAddress
from sipsms.core.ha1 import ha1
from sipsms.core.registration import Binding
from sipsms.web.api.voipms.accounts import KEPT, MAX_FIELD, identity
from tests.support.http.voipms_api import DID, FOREIGN, NOON, PHONE, Rest, rest

pytestmark = pytest.mark.req("S-103")
GOOD = "Str0ng-Enough"
NEW = {
    "username": "VoIP", "password": GOOD, "protocol": "1", "auth_type": "1", "device_type": "2",
    "lock_international": "1", "international_route": "1", "music_on_hold": "default", "allowed_codecs": "ulaw;g729",
    "dtmf_mode": "auto", "nat": "yes",
}  # fmt: skip


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Rest]:
    async with rest(tmp_path) as found:
        yield found


async def logins(site: Rest, **fields: str) -> list[str]:
    found = await site.call("getSubAccounts", **fields)
    return [row["account"] for row in found["accounts"]] if found["status"] == "success" else [found["status"]]


async def test_a_subaccount_is_created_changed_and_removed(site: Rest) -> None:
    made = await site.call("createSubAccount", **NEW, callerid_number=DID, max_expiry="300")
    assert made == {"status": "success", "id": identity("acme_VoIP"), "account": "acme_VoIP"}
    found = await site.call("getSubAccounts", account="acme_VoIP")
    assert found["accounts"] == found["subaccounts"], "Home Assistant reads the one, all others the other"
    (row,) = found["accounts"]
    assert all(isinstance(value, str) for value in row.values())
    expected = {
        "id": made["id"], "account": "acme_VoIP", "username": "VoIP", "password": "", "callerid_number": DID,
        "protocol": "1", "auth_type": "1", "max_expiry": "300", "ip": "", "device_type": "2", "nat": "yes",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    account = site.core.directory.account("acme_VoIP")
    assert account is not None
    assert (account.parent, account.ha1_md5) == ("acme", ha1("acme_VoIP", "sip.example.net", GOOD))
    assert await site.call("setSubAccount", **{**row, "callerid_number": ""}) == {"status": "success"}
    kept = site.core.directory.account("acme_VoIP")
    assert kept == replace(account, caller_id=""), "an empty password is none"
    assert await site.call("setSubAccount", id=made["id"], password="An0ther-0ne") == {"status": "success"}
    changed = site.core.directory.account("acme_VoIP")
    assert changed is not None
    assert changed.ha1_md5 == ha1("acme_VoIP", "sip.example.net", "An0ther-0ne")
    assert await site.call("delSubAccount", id=made["id"]) == {"status": "success"}
    assert site.core.directory.account("acme_VoIP") is None
    assert await logins(site) == ["acme_desk"]


async def row_of(site: Rest, account: str) -> dict[str, str]:
    (row,) = (await site.call("getSubAccounts", account=account))["accounts"]
    return dict(row)


async def test_written_values_of_a_subaccount_are_read_back(site: Rest) -> None:
    """Each name that is shown; what is not said stays, and an empty value is as usual again."""
    odd = {name: f"\N{SNOWMAN} {name}" for name in KEPT if name != "max_expiry"} | {"max_expiry": "77"}
    made = await site.call("createSubAccount", **{**NEW, **odd})
    assert made["status"] == "success"
    assert (await row_of(site, "acme_VoIP")).items() >= odd.items()
    longest = "\N{SNOWMAN}" * MAX_FIELD
    assert await site.call("setSubAccount", id=made["id"], description=longest, language="") == {"status": "success"}
    row = await row_of(site, "acme_VoIP")
    assert row.items() >= {**odd, "description": longest, "language": "en"}.items()
    assert (await row_of(site, "acme_desk"))["description"] == "", "another one's"
    await site.call("setSubAccount", id=made["id"], description="Front", fancy="x", password="An0ther-0ne")
    row = await row_of(site, "acme_VoIP")
    assert (row["description"], row["password"], "fancy" in row) == ("Front", "", False)
    await site.call("delSubAccount", id=made["id"])
    await site.call("createSubAccount", **NEW)
    assert (await row_of(site, "acme_VoIP"))["description"] == "", "one made again has nothing of the old one"


@pytest.mark.parametrize("value", ["x" * (MAX_FIELD + 1), "a\nb", "a\x1b[31mb", "a\u2028b"])
async def test_invalid_values_of_a_subaccount_are_refused(site: Rest, value: str) -> None:
    for name in ("description", "internal_cnam"):
        said = await site.call("setSubAccount", id=identity("acme_desk"), password=GOOD, **{name: value})
        assert said["status"] == f"invalid_{name}"
        assert (await site.call("createSubAccount", **{**NEW, name: value}))["status"] == f"invalid_{name}"
    assert (await row_of(site, "acme_desk"))["description"] == ""
    assert await logins(site) == ["acme_desk"]


async def test_an_extension_in_use_is_refused(site: Rest) -> None:
    """Of the same customer; all of the request is refused then."""
    desk = identity("acme_desk")
    assert (await site.call("setSubAccount", id=desk, internal_extension="77"))["status"] == "success"
    assert (await site.call("setSubAccount", id=desk, internal_extension="77"))["status"] == "success", "its own"
    assert (await site.call("createSubAccount", **NEW, internal_extension="77"))["status"] == "used_extension"
    assert await logins(site) == ["acme_desk"]
    made = await site.call("createSubAccount", **NEW, internal_extension="78")
    before = site.core.directory.account("acme_VoIP")
    fields = {"internal_extension": "77", "password": "An0ther-0ne", "callerid_number": DID}
    assert (await site.call("setSubAccount", id=made["id"], **fields))["status"] == "used_extension"
    assert site.core.directory.account("acme_VoIP") == before
    assert (await site.call("createSubAccount", "other", **NEW, internal_extension="77"))["status"] == "success"


async def test_subaccounts_are_listed_and_filtered(site: Rest) -> None:
    assert await logins(site) == ["acme_desk"]
    assert await logins(site, account="desk") == ["acme_desk"]
    for wrong in ("other_desk", "acme", "nobody", identity("acme_desk")):
        assert await logins(site, account=wrong) == ["no_subaccount"]
    await site.call("delSubAccount", id=identity("acme_desk"))
    assert await logins(site) == ["no_account"]


def test_ids_of_subaccounts_never_change() -> None:
    """They are in the state files of other people's programs. Terraform and MMSGate read numbers of 63 bits."""
    assert identity("acme_desk") == "280874935007329"
    numbers = {identity(f"acme_{n}") for n in range(20_000)}
    assert len(numbers) == 20_000
    assert all(int(one) < 2**48 for one in numbers)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"username": ""}, "missing_username"),
        ({"username": "a b"}, "invalid_username"),
        ({"username": "x_desk"}, "invalid_username"),  # it would be a name of the customer acme_x
        ({"username": "a" + " " * 5000 + "b"}, "invalid_username"),
        ({"password": GOOD + " " * 5000 + "b"}, "weak_password"),
        ({"username": "a\r\nb"}, "invalid_username"),
        ({"username": "x" * 60}, "invalid_username"),
        ({"username": "desk"}, "used_username"),
        ({"password": ""}, "missing_password"),
        ({"password": "Ab1"}, "invalid_password_lessthan_8characters_long"),
        ({"password": "alllower1"}, "invalid_password_missing_uppercase"),
        ({"password": "ALLUPPER1"}, "invalid_password_missing_lowercase"),
        ({"password": "NoNumbers"}, "invalid_password_missing_number"),
        ({"password": "Ab1 defgh"}, "invalid_password_ilegal_characters"),
        ({"password": "Äbcdefg1"}, "invalid_password_ilegal_characters"),
        ({"password": "Password123"}, "weak_password"),
        ({"password": "Aa1Aa1Aa1"}, "weak_password"),
        ({"username": "receptionist", "password": "Receptionist1"}, "weak_password"),
        ({"password": "Ab1" + "x" * 200}, "weak_password"),
        ({"protocol": "3"}, "invalid_protocol"),
        ({"auth_type": "2"}, "invalid_authtype"),
        ({"max_expiry": "59"}, "invalid_max_expiry"),
        ({"max_expiry": "3601"}, "invalid_max_expiry"),
        ({"max_expiry": "x"}, "invalid_max_expiry"),
        ({"callerid_number": FOREIGN}, "invalid_callerid"),
        ({"callerid_number": PHONE}, "invalid_callerid"),
        ({"callerid_number": "?"}, "invalid_callerid"),
    ],
)
async def test_invalid_subaccounts_are_refused(site: Rest, fields: dict[str, str], word: str) -> None:
    assert (await site.call("createSubAccount", **{**NEW, **fields}))["status"] == word
    assert await logins(site) == ["acme_desk"]
    if "username" not in fields and fields.get("password") != "":
        before = site.core.directory.account("acme_desk")
        assert (await site.call("setSubAccount", id=identity("acme_desk"), **fields))["status"] == word
        assert site.core.directory.account("acme_desk") == before


async def test_the_number_of_subaccounts_is_limited(site: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each customer by itself. What is there already stays, and one that goes makes room."""
    monkeypatch.setattr(service, "MAX_SUBACCOUNTS", 2)
    assert (await site.call("createSubAccount", **NEW))["status"] == "success"
    full = {"status": "limit_reached", "message": "acme has 2 subaccounts already"}
    assert await site.call("createSubAccount", **{**NEW, "username": "third"}) == full
    assert await logins(site) == ["acme_VoIP", "acme_desk"]
    assert (await site.call("createSubAccount", "other", **NEW))["status"] == "success"
    assert (await site.call("delSubAccount", id=identity("acme_desk")))["status"] == "success"
    assert (await site.call("createSubAccount", **{**NEW, "username": "third"}))["status"] == "success"


@pytest.mark.req("W-07", "A-37")
async def test_the_subaccount_of_another_customer_cannot_be_read_or_changed(site: Rest) -> None:
    before = site.core.directory.account("other_desk")
    for method in ("setSubAccount", "delSubAccount"):
        for fields in ({"password": GOOD}, {}):
            theirs = await site.call(method, id=identity("other_desk"), **fields)
            assert theirs == await site.call(method, id="12345", **fields)
            assert theirs["status"] == "invalid_id"
        assert (await site.call(method))["status"] == "missing_id"
        for wrong in (identity("acme"), identity("other"), "acme_desk", "-1", "9" * 400):
            assert (await site.call(method, id=wrong))["status"] == "invalid_id"
    assert site.core.directory.account("other_desk") == before
    for name in ("other", "other_desk", "nobody"):
        assert (await site.call("getRegistrationStatus", account=name))["status"] == "invalid_account"


async def test_registrations_are_listed(site: Rest) -> None:
    assert (await site.call("getRegistrationStatus"))["status"] == "missing_account"
    assert await site.call("getRegistrationStatus", account="acme_desk") == {
        "status": "success", "registered": "no", "rerouted": "0", "from_server_pop": "", "registrations": [],
    }  # fmt: skip
    phones = [
        _phone("udp:198.51.100.7:59870", "Linphone/5.2", "a"),
        _phone("tls:[2001:db8::1]:5061", "Grandstream", "b"),
    ]
    await site.core.location.apply("acme_desk", phones, [], site.core.clock())
    found = await site.call("getRegistrationStatus", account="acme_desk")
    server = {
        "server_name": "sip.example.net", "server_shortname": "sip", "server_hostname": "sip.example.net",
        "server_ip": "192.0.2.1", "server_country": "", "server_pop": "1",
    }  # fmt: skip
    assert (found["registered"], found["from_server_pop"]) == ("yes", "1")
    by_agent = {row["register_useragent"]: row for row in found["registrations"]}
    assert by_agent["Linphone/5.2"] == {
        **server, "register_ip": "198.51.100.7", "register_port": "59870", "register_next": "2026-10-02 14:00:00",
        "register_protocol": "SIP", "register_transport": "UDP", "register_useragent": "Linphone/5.2",
    }  # fmt: skip
    assert by_agent["Grandstream"]["register_ip"] == "2001:db8::1"
    site.core.clock.now += 3600
    assert (await site.call("getRegistrationStatus", account="acme_desk"))["registered"] == "no"
    assert (await site.call("getRegistrationStatus", account="acme"))["registered"] == "no"


def _phone(received: str, agent: str, name: str) -> Binding:
    contact = f"sip:acme_desk@{name}.invalid"
    return Binding("acme_desk", contact, NOON + 3600, name, 1, FlowAddress(received), user_agent=agent)


async def test_the_balance_is_a_constant(site: Rest) -> None:
    """There is no money here."""
    assert await site.call("getBalance") == {"status": "success", "balance": {"current_balance": "0.000000"}}
    await site.call("sendSMS", did=DID, dst=PHONE, message="one")
    for advanced in ("1", "true", "True"):
        balance: dict[str, Any] = (await site.call("getBalance", advanced=advanced))["balance"]
        assert all(isinstance(value, str) for value in balance.values())
        assert (balance["current_balance"], balance["calls_today"], balance["messages_today"]) == ("0.000000", "0", "1")
        assert {"spent_total", "calls_total", "time_total", "spent_today", "time_today"} <= set(balance)


async def test_servers_and_the_own_address_are_shown(site: Rest) -> None:
    (server,) = (await site.call("getServersInfo"))["servers"]
    assert (server["server_hostname"], server["server_pop"]) == ("sip.example.net", "1")
    assert (await site.call("getServersInfo", server_pop="1"))["servers"] == [server]
    assert (await site.call("getServersInfo", server_pop="2"))["status"] == "invalid_serverpop"
    assert await site.call("getIP") == {"status": "success", "ip": "127.0.0.1"}
