"""`sipsms messages --json` is a contract: these fields, in these forms."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from .conftest import MakePhone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e

FIELDS = {"id", "direction", "from", "to", "text", "state", "created_at", "carrier", "carrier_id", "deliveries"}
DELIVERY = {"courier", "destination", "device", "state", "attempts", "last_error"}
STATES = {"queued", "sending", "accepted", "delivered", "unknown", "failed", "expired"}


@pytest.mark.req("S-057", "G01", "G04")
def test_messages_are_listed_as_table_and_json(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.register().ok
    assert phone.send(HANDSET, "out ünd 👋\nline").status == 202
    site.settled(account.did, "out ünd 👋\nline", "delivered")
    site.sms(account.did, "in", "72345")
    phone.wait_message("in")
    site.settled(account.did, "in", "delivered")
    out, into = site.listed("messages", "--did", account.did)
    for row in (out, into):
        assert row.keys() >= FIELDS
        assert row["state"] in STATES
        moment = datetime.fromisoformat(row["created_at"])
        assert moment.utcoffset() == timedelta(0)
        assert abs((datetime.now(moment.tzinfo) - moment).total_seconds()) < 60
        assert all(one.keys() >= DELIVERY for one in row["deliveries"])
    assert isinstance(out["id"], int)
    assert out["id"] < into["id"]
    assert (out["direction"], out["from"], out["to"], out["text"]) == ("out", account.did, HANDSET, "out ünd 👋\nline")
    assert (into["direction"], into["from"], into["to"], into["text"]) == ("in", "72345", account.did, "in")
    assert (out["carrier"], into["carrier"]) == ("sim", "door")
    assert into["carrier_id"].startswith("m-")
    (delivery,) = into["deliveries"]
    assert (delivery["courier"], delivery["destination"], delivery["attempts"]) == ("sip", account.name, 1)
    assert delivery["device"] > 0


@pytest.mark.req("S-057")
def test_messages_are_filtered_by_did_and_limited(site: Site, account: Account) -> None:
    other = site.account()
    for n in range(5):
        site.sms(account.did, f"text {n}")
        site.sms(other.did, f"not yours {n}")
    mine = [row["text"] for row in site.listed("messages", "--did", account.did)]
    assert mine == [f"text {n}" for n in range(5)]
    assert [row["text"] for row in site.listed("messages", "--limit", "2")] == ["text 4", "not yours 4"]


@pytest.mark.req("A-48")
def test_no_text_and_no_password_in_the_log(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.register().ok
    assert phone.send(HANDSET, "a very private matter").status == 202
    site.settled(account.did, "a very private matter", "delivered")
    text = site.log_path.read_text()
    assert "private matter" not in text
    assert account.password not in text
    message = site.rows(account.did)[0]["id"]
    assert [e["event"] for e in site.events() if e.get("message") == message] == ["accepted", "delivered"]


def test_the_table_is_safe_to_look_at(site: Site, account: Account) -> None:
    """Somebody else's text on the operator's terminal: no escape sequences, no markup."""
    site.sms(account.did, "\x1b[31mred\x1b[0m [bold]bold[/bold]")
    shown = site.cli("messages", "--did", account.did).stdout
    assert "\x1b" not in shown
    assert "[bold]bold[/bold]" in shown
