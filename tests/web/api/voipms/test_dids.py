"""The VoIP.ms-compatible API: DIDs and their destinations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sipsms.core.account import Callback, Did, Smpp, Webhook
from sipsms.store import destinations
from sipsms.web.api.voipms.dids import row_of
from tests.support.http.voipms_api import DID, FOREIGN, PHONE, SECOND, Rest, rest

pytestmark = pytest.mark.req("S-103")
URL = "https://example.com/sms.php?to={TO};from={FROM};message={MESSAGE}"
NOT_THERE = "5558887777"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Rest]:
    async with rest(tmp_path) as found:
        yield found


async def setting(site: Rest, **fields: Any) -> dict[str, str]:
    """Set, then read back."""
    found = await site.call("setSMS", **{"did": DID, "enable": "1", **fields})
    assert found == {"status": "success"}, found
    (row,) = (await site.call("getDIDsInfo", did=DID))["dids"]
    return dict(row)


def test_a_did_row_has_every_key_as_text() -> None:
    """Texts all, flags 0 and 1, every key that a client looks for."""
    did = Did(
        DID, "acme", "acme_desk", True, False, "e164", emails=("a@example.com", "b@example.com"), forward=PHONE,
        callback=Callback(URL), webhook=Webhook("https://example.com/hook", disabled="410"),
    )  # fmt: skip
    row = row_of(did)
    assert all(isinstance(value, str) for value in row.values())
    expected = {
        "did": DID, "routing": "account:acme_desk", "dialmode": "2", "sms_available": "1", "mms_available": "0",
        "sms_enabled": "1", "sms_email": "a@example.com,b@example.com", "sms_email_enabled": "1", "sms_forward": PHONE,
        "sms_forward_enabled": "1", "sms_url_callback": URL, "sms_url_callback_enabled": "1",
        "sms_url_callback_retry": "1", "webhook": "https://example.com/hook", "webhook_enabled": "0",
        "sms_sipaccount": "acme_desk", "sms_sipaccount_enabled": "1", "smpp_enabled": "0", "smpp_url": "",
        "smpp_user": "", "smpp_pass": "", "pop": "1", "voicemail": "0", "failover_busy": "none:", "note": "",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    bare = row_of(Did(DID, "acme", sms=False))
    assert {name for name in bare if name.endswith("_enabled") and bare[name] != "0"} == set()
    assert (bare["sms_enabled"], bare["dialmode"], bare["routing"]) == ("0", "1", "none:")


async def test_dids_are_listed_and_filtered(site: Rest) -> None:
    found = await site.call("getDIDsInfo")
    assert [row["did"] for row in found["dids"]] == [DID, SECOND]
    assert [row["did"] for row in (await site.call("getDIDsInfo", did=f"+1{SECOND}"))["dids"]] == [SECOND]
    for wrong in (NOT_THERE, FOREIGN, "x"):
        assert await site.call("getDIDsInfo", did=wrong) in (
            {"status": "no_did"},
            {"status": "no_did", "message": "x is not a telephone number"},
        )
    assert (await site.call("getDIDsInfo", client="99"))["status"] == "no_did"
    assert len((await site.call("getDIDsInfo", client="acme"))["dids"]) == 2
    await setting(site, sms_sipaccount="acme_desk")
    assert [row["did"] for row in (await site.call("getDIDsInfo", client="acme_desk"))["dids"]] == [DID]
    assert (await site.call("getDIDsInfo", client="other_desk"))["status"] == "no_did"


async def test_every_destination_is_switched_on_and_off(site: Rest) -> None:
    pairs = [
        ("email_enabled", "email_address", "a@example.com", "sms_email"),
        ("sms_forward_enable", "sms_forward", PHONE, "sms_forward"),
        ("url_callback_enable", "url_callback", URL, "sms_url_callback"),
        ("webhook_enable", "webhook", "https://example.com/hook", "webhook"),
        ("webhook_enabled", "webhook", "https://example.com/hook2", "webhook"),
        ("sms_sipaccount_enabled", "sms_sipaccount", "acme_desk", "sms_sipaccount"),
    ]
    for flag, name, value, shown in pairs:
        row = await setting(site, **{flag: "1", name: value})
        assert (row[shown], row[f"{shown}_enabled"]) == (value, "1"), name
        row = await setting(site)
        assert row[shown] == value, "what is not said stays"
        row = await setting(site, **{flag: "1"})
        assert row[shown] == value, "on already"
        row = await setting(site, **{flag: "0", name: value})
        kept = value if name in ("url_callback", "webhook") else ""
        assert (row[shown], row[f"{shown}_enabled"]) == (kept, "0"), name
        row = await setting(site, **{name: value})
        assert row[shown] == value, "a value alone is on"
        row = await setting(site, **{name: ""})
        assert row[shown] == "", "an empty value alone is off"


@pytest.mark.req("S-028")
async def test_sms_of_a_did_is_switched_off_and_on_unless_the_operator_switched_it_off(site: Rest) -> None:
    """A switch of both ways, but for what the operator has switched off, even if its customer has said off, too."""
    for enable in ("0", "0", "1", "1", "0"):
        assert (await setting(site, enable=enable))["sms_enabled"] == enable
    for enable in ("1", "0", "1"):  # the operator's word, upon a pause and upon none
        await site.service.change_did(DID, {"sms": False})
        if enable == "0":
            assert (await setting(site, enable="0"))["sms_enabled"] == "0"
        refused = await site.call("setSMS", did=DID, enable="1", email_address="a@example.com")
        assert refused["status"] == "sms_apply_regulations"
        (row,) = (await site.call("getDIDsInfo", did=DID))["dids"]
        assert row["sms_email"] == "", "all of it is refused"
    await site.service.change_did(DID, {"sms": True})
    assert (await setting(site))["sms_enabled"] == "1"


async def test_the_other_settings_are_written_and_read_back(site: Rest) -> None:
    row = await setting(site, dialmode="2", enable="0")
    assert (row["dialmode"], row["sms_enabled"]) == ("2", "0")
    row = await setting(site, dialmode="1", email_address="a@example.com, b@example.com")
    assert (row["dialmode"], row["sms_enabled"], row["sms_email"]) == ("1", "1", "a@example.com,b@example.com")
    row = await setting(site, url_callback=URL, url_callback_retry="0")
    assert (row["sms_url_callback"], row["sms_url_callback_retry"]) == (URL, "0")
    row = await setting(site, url_callback_retry="1")
    assert (row["sms_url_callback"], row["sms_url_callback_retry"]) == (URL, "1")
    row = await setting(site, url_callback_enable="0", url_callback_retry="1", smpp_enabled="0", smpp_url="")
    assert (row["sms_url_callback_enabled"], row["sms_url_callback_retry"]) == ("0", "1")
    row = await setting(site, url_callback_retry="0")
    assert (row["sms_url_callback_enabled"], row["sms_url_callback_retry"]) == ("0", "0"), "still off"


HOOK = "https://example.com/hook"


async def test_a_url_that_is_switched_off_is_kept_with_its_secrets(site: Rest) -> None:
    """With its secrets, until its flag is 1 again."""

    def endpoints() -> tuple[Callback | None, Webhook | None]:
        did = site.core.directory.did(DID)
        assert did is not None
        return did.callback, did.webhook

    await site.service.change_did(DID, {"webhook": HOOK, "bearer": "t0ken", "webhook_secret": "whsec_c2VjcmV0"})
    await site.service.change_did(DID, {"callback": URL, "callback_retry": False})
    before = endpoints()
    flags = ("url_callback_enable", "webhook_enabled")
    row = await setting(site, **dict.fromkeys(flags, "0"), url_callback="", webhook="")
    assert (row["webhook"], row["webhook_enabled"]) == (HOOK, "0")
    assert (row["sms_url_callback"], row["sms_url_callback_enabled"]) == (URL, "0")
    off = "switched off by its owner"
    webhook = Webhook(HOOK, "t0ken", "whsec_c2VjcmV0", off)
    assert endpoints() == (Callback(URL, False, off), webhook)
    await setting(site, **dict.fromkeys(flags, "1"))
    assert endpoints() == before
    other = "https://other.example/hook"
    await setting(site, webhook=other, webhook_enabled="0")
    assert endpoints() == (before[0], Webhook(other, disabled=off)), "no secret for another server"
    row = await setting(site, webhook="")
    assert (row["webhook"], row["webhook_enabled"]) == ("", "0")
    assert endpoints() == (before[0], None)
    row = await setting(site, webhook="", webhook_enabled="0")
    assert endpoints() == (before[0], None)


async def test_writing_a_row_back_does_not_switch_a_disabled_webhook_on(site: Rest) -> None:
    """As Terraform does: it may be off because its server said 410."""
    await site.service.change_did(DID, {"webhook": HOOK, "bearer": "t0ken"})
    await site.core.store.write(lambda db: destinations.disable(db, DID, "webhook", "410 Gone"))
    await site.take_over()
    before = site.core.directory.did(DID)
    assert before is not None
    row = row_of(before)
    written = {"webhook": row["webhook"], "webhook_enabled": row["webhook_enabled"], "url_callback_retry": "0"}
    await setting(site, **written)
    after = site.core.directory.did(DID)
    assert after is not None
    assert after.webhook == before.webhook == Webhook(HOOK, "t0ken", disabled="410 Gone")
    assert after.dialing_mode == before.dialing_mode
    await setting(site, webhook=HOOK)
    again = site.core.directory.did(DID)
    assert again is not None
    assert again.webhook == Webhook(HOOK, "t0ken")


@pytest.mark.req("S-046")
async def test_the_dialing_mode_sets_the_number_format_of_a_webhook(site: Rest) -> None:
    """A webhook that an operator has set writes E.164; one set here, as the number was shown before: ten digits."""
    row = await setting(site, webhook=HOOK)
    assert row["dialmode"] == "1"
    did = site.core.directory.did(DID)
    assert did is not None
    assert did.dialing_mode == "nanpa"
    await site.service.change_did(SECOND, {"webhook": HOOK})
    (row,) = (await site.call("getDIDsInfo", did=SECOND))["dids"]
    assert row["dialmode"] == "2"
    row = await setting(site, did=SECOND, webhook=HOOK, webhook_enabled="1")
    assert (await site.call("getDIDsInfo", did=SECOND))["dids"][0]["dialmode"] == "2", "it was on before"
    row = await setting(site, dialmode="2", webhook="")
    row = await setting(site, webhook=HOOK)
    assert row["dialmode"] == "2"


async def test_the_number_of_email_addresses_is_limited(site: Rest) -> None:
    some = [f"{n}.{'x' * 60}@{'y' * 150}.example" for n in range(20)]
    assert len(",".join(some)) > 4096
    shorter = [f"a{n}@example.com" for n in range(20)]
    row = await setting(site, email_address=",".join(shorter))
    assert row["sms_email"] == ",".join(shorter)
    asked = {**site.credentials(), "method": "setSMS", "did": DID, "enable": "1"}
    spaces = " " * 5000
    for wrong in (",".join(some), ",".join([*shorter, "b@example.com"]), f"a@example.com{spaces},b@example.com"):
        assert (await site.ask("POST", data={**asked, "email_address": wrong}))["status"] == "invalid_email"
    for name, word in (("url_callback", "invalid_callback"), ("webhook", "invalid_webhook")):
        assert (await site.ask("POST", data={**asked, name: f"{HOOK}{spaces}x"}))["status"] == word


async def test_a_null_value_changes_nothing(site: Rest) -> None:
    await setting(site, email_address="a@example.com", webhook=HOOK)
    before = site.core.directory.did(DID)
    nothing = dict.fromkeys(("email_address", "email_enabled", "webhook", "sms_sipaccount", "sms_forward"))
    asked = {**site.credentials(), "method": "setSMS", "did": DID, "enable": True, **nothing}
    assert await site.ask("POST", json=asked) == {"status": "success"}
    assert site.core.directory.did(DID) == before


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"did": ""}, "missing_did"),
        ({"did": "x"}, "invalid_did"),
        ({"enable": ""}, "missing_enable"),
        ({"enable": "2"}, "missing_enable"),
        ({"email_enabled": "x"}, "invalid_email_enable"),
        ({"email_address": "nobody"}, "invalid_email"),
        ({"email_enabled": "1"}, "invalid_email"),
        ({"sms_forward_enable": "x"}, "invalid_forward_enable"),
        ({"sms_forward": "x!"}, "invalid_sms_forward"),
        ({"sms_forward": DID}, "invalid_sms_forward"),
        ({"url_callback_enable": "x"}, "invalid_callback_enable"),
        ({"url_callback": "ftp://example.com"}, "invalid_callback"),
        ({"url_callback": "https://example.com/?x={X}"}, "invalid_callback"),
        ({"url_callback": "http://127.0.0.1/"}, "invalid_callback"),
        ({"url_callback_enable": "1"}, "invalid_callback"),
        ({"url_callback": URL, "url_callback_retry": "x"}, "invalid_callback_retry"),
        ({"webhook": "nothing"}, "invalid_webhook"),
        ({"webhook": "http://169.254.169.254/"}, "invalid_webhook"),
        ({"sms_sipaccount": "nobody"}, "invalid_account"),
        ({"sms_sipaccount": "other_desk"}, "invalid_account"),
        ({"dialmode": "3"}, "invalid_dialmode"),
        ({"smpp_enabled": "1", "smpp_url": "x"}, "invalid_smpp_url"),
        ({"smpp_url": "smpp://127.0.0.1"}, "invalid_smpp_url"),
        ({"smpp_url": "smpp://h.example.com/path"}, "invalid_smpp_url"),
        ({"smpp_enabled": "maybe"}, "invalid_smpp_enabled"),
        ({"smpp_enable": "1"}, "invalid_smpp_password"),
        ({"smpp_pass": "a b"}, "invalid_smpp_password"),
        ({"smpp_pass": "x" * 65}, "invalid_smpp_password"),
        ({"smpp_user": "other", "smpp_pass": "x"}, "invalid_smpp_username"),
        ({"smpp_user": "\u00e9", "smpp_pass": "x"}, "invalid_smpp_username"),
    ],
)
async def test_a_refused_request_changes_nothing(site: Rest, fields: dict[str, str], word: str) -> None:
    before = site.core.directory.did(DID)
    found = await site.call("setSMS", **{"did": DID, "enable": "1", "dialmode": "2", **fields})
    assert found["status"] == word
    assert site.core.directory.did(DID) == before


@pytest.mark.req("S-066", "S-071", "S-072", "S-074", "S-076")
@pytest.mark.parametrize("method", ["setSMS", "setDIDInfo"])
async def test_smpp_settings_are_set_shown_without_passwords_and_switched(site: Rest, method: str) -> None:
    """Set, shown without passwords, written back without a change, switched off and on again."""
    url = "ssmpp://me:hunter2@smsc.example.com:3551"

    async def put(**fields: str) -> dict[str, str]:
        said = await site.call(method, did=DID, enable="1", **fields)
        assert said == {"status": "success"}, said
        (row,) = (await site.call("getDIDsInfo", did=DID))["dids"]
        return {name: row[name] for name in ("smpp_enabled", "smpp_url", "smpp_user", "smpp_pass")}

    def known() -> Smpp | None:
        did = site.core.directory.did(DID)
        return did.smpp if did is not None else None

    shown = await put(smpp_enabled="1", smpp_pass="hunter2")
    assert shown == {"smpp_enabled": "1", "smpp_url": "", "smpp_user": "acme", "smpp_pass": ""}
    shown = await put(smpp_user="user", smpp_url=url)
    whole = Smpp("user", "hunter2", url, True)
    assert known() == whole
    assert shown["smpp_url"] == "ssmpp://me:***@smsc.example.com:3551"
    assert await put(**shown) == shown
    assert known() == whole, "written back"
    assert (await put(smpp_enable="0"))["smpp_enabled"] == "0"
    assert known() == Smpp("user", "hunter2", url, False)
    assert await put(smpp_enabled="1") == shown
    assert (await put(smpp_url=""))["smpp_url"] == ""
    assert known() == Smpp("user", "hunter2", "", True)


@pytest.mark.req("W-07", "A-37")
async def test_the_did_of_another_customer_cannot_be_read_or_changed(site: Rest) -> None:
    before = site.core.directory.did(FOREIGN)
    for method in ("setSMS", "setDIDInfo"):
        fields = {"enable": "0", "email_address": "me@example.com", "sms_sipaccount": "acme_desk"}
        theirs = await site.call(method, did=FOREIGN, **fields)
        assert theirs == await site.call(method, did=NOT_THERE, **fields)
        assert theirs["status"] == "invalid_did"
    assert site.core.directory.did(FOREIGN) == before


@pytest.mark.req("A-31")
async def test_values_with_line_breaks_are_refused(site: Rest) -> None:
    for name in ("email_address", "sms_forward", "url_callback", "webhook", "sms_sipaccount"):
        for value in ("a@example.com\r\nBcc: x@example.com", f"{URL}\r\nHost: x", "a\0b", "a\u2028b"):
            found = await site.call("setSMS", did=DID, enable="1", **{name: value})
            assert found["status"].startswith("invalid_"), (name, value)


async def test_settings_for_calls_may_be_written_back_but_not_changed(site: Rest) -> None:
    """What was read may be written back; a change is refused."""
    (row,) = (await site.call("getDIDsInfo", did=DID))["dids"]
    assert await site.call("setDIDInfo", **row) == {"status": "success"}
    assert (await site.call("setDIDInfo", **{**row, "routing": "account:x"}))["status"] == "invalid_routing"
    assert (await site.call("setDIDInfo", **{**row, "voicemail": "101"}))["status"] == "invalid_voicemail"
