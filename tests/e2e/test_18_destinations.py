"""One SMS, all the places its DID delivers to: phones, e-mail, callback, webhook, forward, group; and STOP."""

from __future__ import annotations

import hashlib
import hmac
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.support.node.mailbox import Mailbox
from tests.support.node.stub_carrier import Answer, StubCarrier

from .conftest import MakePhone
from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def settings(customer: StubCarrier, mailbox: Mailbox) -> dict[str, Any]:
    return {
        "callbacks": {"allow_private": True, "retry_every": "1s", "timeout": "3s"},
        "smtp": {"host": "127.0.0.1", "port": mailbox.port, "from": "sms@example.net", "tls": "off"},
        "queue": {"retry_min": "200ms", "retry_max": "1s"},
    }


@pytest.fixture(autouse=True)
def fresh(customer: StubCarrier, mailbox: Mailbox) -> None:
    customer.taken.clear()
    mailbox.mails.clear()


def query(path: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))


@pytest.mark.req("S-030", "S-038", "S-040", "S-041", "S-043", "S-045", "S-046", "S-047", "W-01")
def test_a_did_delivers_to_all_its_destinations_at_once(
    site: Site, account: Account, make_phone: MakePhone, customer: StubCarrier, mailbox: Mailbox
) -> None:
    base = customer.url
    site.cli("did", "set", account.did, "--email", "a@example.net, b@example.net",
        "--callback", base + "?to={TO}&from={FROM}&message={MESSAGE}&id={ID}&date={TIMESTAMP}",
        "--webhook", base + "/hook", "--bearer", "tok-1", "--webhook-secret", "s3cret", "--dialing-mode", "e164",
    )  # fmt: skip
    phone = make_phone(account)
    assert phone.register().ok
    site.sms(account.did, "Tea & {TO}?")
    assert phone.wait_message("Tea & {TO}?").sender == HANDSET
    taken = customer.wait(2)
    callback = next(one for one in taken if one.method == "GET")
    hook = next(one for one in taken if one.method == "POST")
    said = query(callback.path)
    assert (said["to"], said["from"], said["message"]) == (f"+1{account.did}", f"+1{HANDSET}", "Tea & {TO}?")
    assert said["id"].isdigit()
    payload = hook.json["data"]["payload"]
    assert hook.json["data"]["event_type"] == "message.received"
    assert (payload["text"], payload["from"]["phone_number"]) == ("Tea & {TO}?", f"+1{HANDSET}")
    assert hook.headers["authorization"] == "Bearer tok-1"
    signed = f"{hook.headers['webhook-id']}.{hook.headers['webhook-timestamp']}.".encode() + hook.body
    signature = b64encode(hmac.digest(b"s3cret", signed, hashlib.sha256)).decode()
    assert hook.headers["webhook-signature"] == f"v1,{signature}"
    mails = mailbox.wait(2)
    assert sorted(to for to, _ in mails) == [["a@example.net"], ["b@example.net"]]
    assert mails[0][1]["Subject"].endswith(f"Message sent to {account.did}")
    assert mails[0][1].get_content().strip() == "Tea & {TO}?"
    row = site.settled(account.did, "Tea & {TO}?", "delivered")
    assert sorted(one["courier"] for one in row["deliveries"]) == ["callback", "mail", "mail", "sip", "webhook"]
    site.wait(lambda: {one["state"] for one in site.rows(account.did)[0]["deliveries"]} == {"delivered"})


@pytest.mark.req("S-044")
def test_a_callback_that_does_not_say_ok_is_called_again(site: Site, account: Account, customer: StubCarrier) -> None:
    customer.script(Answer(200, b"<html>error</html>"), Answer(500, b"ok"))
    site.cli("did", "set", account.did, "--callback", customer.url + "?id={ID}&m={MESSAGE}", "--callback-retry")
    site.sms(account.did, "until you say ok")
    taken = customer.wait(3, 10)
    assert len({one.path for one in taken}) == 1, "the same id each time"
    site.wait(lambda: site.rows(account.did)[0]["deliveries"][-1]["state"] == "delivered")
    assert len(customer.taken) == 3


def test_without_retry_it_is_a_dead_letter_that_can_be_tried_again(
    site: Site, account: Account, customer: StubCarrier
) -> None:
    customer.script(Answer(500))
    site.cli("did", "set", account.did, "--sip-account", "", "--callback", customer.url, "--no-callback-retry")
    site.sms(account.did, "once")
    customer.wait(1)
    site.settled(account.did, "once", "failed")
    (dead,) = [row for row in site.listed("dead-letters") if row["did"] == account.did]
    assert (dead["courier"], dead["last_error"]) == ("callback", "the server answered 500")
    assert "1 tried again" in site.cli("dead-letters", "retry", str(dead["delivery"])).stdout
    customer.wait(2)
    site.settled(account.did, "once", "delivered")
    assert not [row for row in site.listed("dead-letters") if row["did"] == account.did]


@pytest.mark.req("W-02")
def test_410_switches_a_webhook_off_until_it_is_set_again(site: Site, account: Account, customer: StubCarrier) -> None:
    site.cli("did", "set", account.did, "--webhook", customer.url)
    customer.script(Answer(410))
    site.sms(account.did, "anybody there?")
    customer.wait(1)
    site.wait(lambda: [one for one in site.listed("webhooks") if one["did"] == account.did and not one["on"]])
    site.wait(lambda: site.events("target_disabled"))
    site.sms(account.did, "not called")
    site.settled(account.did, "not called", "queued")  # for a phone that never came
    assert len(customer.taken) == 1
    site.cli("did", "set", account.did, "--webhook", customer.url)
    site.sms(account.did, "called again")
    customer.wait(2)


@pytest.mark.req("S-035", "S-036", "S-037")
def test_a_forward_leaves_from_the_did(site: Site, account: Account) -> None:
    site.cli("did", "set", account.did, "--forward", "4165550199")
    site.sms(account.did, "pass it on")
    out = site.wait(lambda: [row for row in site.rows(account.did) if row["direction"] == "out"])[0]
    assert (out["from"], out["to"], out["text"]) == (account.did, "4165550199", "pass it on")
    site.wait(lambda: next(row for row in site.rows(account.did) if row["direction"] == "out")["state"] == "delivered")


@pytest.mark.req("S-128")
def test_every_member_of_a_group_gets_the_message(site: Site, account: Account, make_phone: MakePhone) -> None:
    name = f"{account.name}-desk"
    site.cli("subaccount", "add", name, "--account", account.name, "--password", "pw-desk")
    site.cli("group", "add", f"team-{account.name}", "--member", name, "--member", account.name)
    site.cli("did", "set", account.did, "--sip-account", "", "--group", f"team-{account.name}")
    desk = make_phone(Account(name, "pw-desk", "", ""))
    phone = make_phone(account)
    assert desk.register().ok
    assert phone.register().ok
    site.sms(account.did, "to all of you")
    desk.wait_message("to all of you")
    phone.wait_message("to all of you")
    site.cli("group", "add", f"team-{account.name}", "--member", account.name)
    site.sms(account.did, "to one of you")
    phone.wait_message("to one of you")
    desk.assert_nothing_more(1)


@pytest.mark.req("S-131", "G12")
def test_a_stop_blocks_the_number(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.register().ok
    assert phone.send(HANDSET, "news!").ok
    site.sms(account.did, "STOP")
    phone.wait_message("STOP")
    answer = phone.send(HANDSET, "more news!")
    assert answer.status == 403
    assert "STOP" in answer.warning
    assert [row["direction"] for row in site.listed("block", "list", "--owner", account.did)] == ["out"]
    site.sms(account.did, "Start")
    phone.wait_message("Start")
    assert phone.send(HANDSET, "welcome back").ok


@pytest.mark.req("S-016", "S-018")
def test_a_refusal_by_policy_reaches_the_phone(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.register().ok
    answer = phone.send(HANDSET, "look: https://bit.ly/3xyz")
    assert answer.status == 403
    assert "bit.ly" in answer.warning
    site.cli("account", "set", account.name, "--shorteners")
    site.wait(lambda: phone.send(HANDSET, "look again: https://bit.ly/3xyz").ok)


def test_a_block_of_the_operator_refuses_messages(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.register().ok
    site.cli("block", "add", "4165550177", "--account", account.name)
    site.sms(account.did, "spam", "4165550177")
    site.sms(account.did, "no spam")
    phone.wait_message("no spam")
    phone.assert_nothing_more(1)
    assert phone.send("4165550177", "no!").status == 403
    site.cli("block", "remove", "4165550177", "--account", account.name)
    site.sms(account.did, "friend again", "4165550177")
    phone.wait_message("friend again")


@pytest.mark.req("W-04", "A-39")
@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/", "http://0.0.0.0/x", "ftp://example.net/", "http://a@b/", "http://example.net:25/"],
)
def test_private_urls_cannot_be_set(site: Site, account: Account, url: str) -> None:
    for option in ("--callback", "--webhook"):
        done = site.cli("did", "set", account.did, option, url, check=False)
        assert done.returncode == 2
        assert option in done.stderr
    assert not [one for one in site.listed("webhooks") if one["did"] == account.did]


@pytest.mark.req("S-002", "S-020", "S-021", "S-042")
def test_an_mms_to_a_phone_an_e_mail_and_a_callback(
    site: Site, make_phone: MakePhone, customer: StubCarrier, mailbox: Mailbox, tmp_path: Path
) -> None:
    """Sent from one of our numbers to another: the phone gets text and link, the mail the picture itself."""
    sender, account = site.account(), site.account()
    callback = customer.url + "?m={MESSAGE}&media={MEDIA}"
    site.cli("did", "set", account.did, "--email", "a@example.net", "--callback", callback)
    phone = make_phone(account)
    assert phone.register().ok
    picture = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;" + bytes(200)
    (tmp_path / "cat.gif").write_bytes(picture)
    site.cli("send", "--from", sender.did, "--to", account.did, "--media", str(tmp_path / "cat.gif"), "my cat")
    got = site.wait(lambda: next((one for one in phone.inbox if one.text.startswith("my cat")), None))
    text, link = got.text.split("\n")
    assert text == "my cat"
    path = urlsplit(link).path
    assert path.endswith("/cat.gif")
    with urllib.request.urlopen(site.url + path, timeout=5) as answer:
        assert answer.read() == picture
        assert answer.headers["Content-Type"] == "image/gif"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (mail,) = [mail for _, mail in mailbox.wait(1)]
    assert [part.get_content() for part in mail.iter_attachments()] == [picture]
    assert query(customer.wait(1)[0].path) == {"m": "my cat", "media": link}
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{site.url}/media/{'x' * 32}/cat.gif", timeout=5)
