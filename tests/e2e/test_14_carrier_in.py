"""The carrier's hook: an SMS comes in by HTTP, once, whatever the carrier repeats."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from .conftest import MakePhone
from .site import DOOR, HANDSET, SECRET, Account, Site

pytestmark = pytest.mark.e2e

NESTED = {
    "type": "http",
    "url": "http://127.0.0.1:9/",
    "inbound": {
        "secret": "other",
        "fields": {"from": "data.from.phone", "to": "data.to.0.phone", "text": "data.text", "id": "data.id"},
        "reply": {"status": 202, "body": '{"ok": true}', "content_type": "application/json"},
    },
}


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    carriers = {"sim": {"type": "loopback"}, "door": DOOR, "nested": NESTED, "mute": {**DOOR, "inbound": None}}
    carriers["voipms"] = {
        "type": "voipms", "url": "http://127.0.0.1:9/", "username": "u", "password": "p", "inbound": {"secret": "vms"},
    }  # fmt: skip
    carriers["telnyx"] = {"type": "telnyx", "api_key": "k", "inbound": {"secret": "tx"}}
    return {"carriers": carriers}


def sms(account: Account, text: str, key: str) -> dict[str, str]:
    return {"from": HANDSET, "to": account.did, "text": text, "id": key}


@pytest.mark.req("G16", "S-093", "S-038")
def test_the_right_secret_rings(site: Site, account: Account, make_phone: MakePhone) -> None:
    """The carrier hears what it wants to hear, after the commit; the phone rings."""
    phone = make_phone(account)
    assert phone.register().ok
    assert site.hook(sms(account, "knock", "k1")) == (200, "ok")
    assert [row["text"] for row in site.rows(account.did)] == ["knock"]
    got = phone.wait_message("knock")
    assert (got.sender, got.header("X-SMS-To")) == (HANDSET, account.did)
    row = site.settled(account.did, "knock", "delivered")
    assert (row["carrier"], row["carrier_id"], row["direction"]) == ("door", "k1", "in")


@pytest.mark.req("G16")
def test_every_wrong_way_in_looks_the_same(site: Site, account: Account) -> None:
    """Wrong secret, another carrier's secret, no such carrier, a carrier without a hook: one 404."""
    doors = [("door", "wrong"), ("door", "other"), ("nested", SECRET), ("nobody", SECRET), ("mute", SECRET)]
    doors += [("sim", ""), ("sim", "x"), ("door", SECRET.upper()), ("door", SECRET + "x")]
    answers = {site.hook(sms(account, "let me in", "w1"), secret, carrier) for carrier, secret in doors if secret}
    assert len(answers) == 1, answers
    assert {status for status, _ in answers} == {404}
    assert site.rows(account.did) == []
    assert SECRET not in site.log_path.read_text()


@pytest.mark.req("F-20", "G03")
def test_the_same_id_twice_is_one_message(site: Site, account: Account, make_phone: MakePhone) -> None:
    """Also after a restart; and the same id by another carrier is another message."""
    phone = make_phone(account)
    assert phone.register().ok
    for _ in range(2):
        assert site.hook(sms(account, "once", "same"))[0] == 200
    site.settled(account.did, "once", "delivered")
    assert site.stop() == 0
    site.start()
    assert site.hook(sms(account, "once", "same"))[0] == 200
    nested = {"data": {"from": {"phone": HANDSET}, "to": [{"phone": account.did}], "text": "by another", "id": "same"}}
    assert site.hook(nested, "other", "nested") == (202, '{"ok": true}')
    assert phone.wait_texts(2) == ["once", "by another"]
    phone.assert_nothing_more(2)


@pytest.mark.req("F-20", "G03")
def test_a_hundred_at_once_are_one_message(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.register().ok
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: site.hook(sms(account, "storm", "s1")), range(100)))
    assert set(answers) == {(200, "ok")}
    assert [row["text"] for row in site.rows(account.did)] == ["storm"]
    assert phone.wait_texts(1) == ["storm"]
    phone.assert_nothing_more(1)


@pytest.mark.req("S-111")
@pytest.mark.parametrize("form", ["{0}", "+1{0}", "1{0}"])
def test_numbers_in_any_form_are_normalised(site: Site, make_phone: MakePhone, form: str) -> None:
    """As 10 digits, E.164 or without its plus: the phone sees ten digits."""
    account = site.account()
    phone = make_phone(account)
    assert phone.register().ok
    fields = {"from": form.format(HANDSET), "to": form.format(account.did), "text": "any form", "id": f"f{form}"}
    assert site.hook(fields)[0] == 200
    got = phone.wait_message("any form")
    assert (got.sender, got.header("X-SMS-To")) == (HANDSET, account.did)


@pytest.mark.parametrize("way", ["form", "query"])
def test_a_hook_is_read_as_form_and_as_query(site: Site, way: str) -> None:
    account = site.account()
    encoded = urlencode(sms(account, "ünd 👋 & =", f"e-{way}"))
    url = f"{site.url}/hooks/door/{SECRET}"
    request = (
        urllib.request.Request(url, encoded.encode(), {"Content-Type": "application/x-www-form-urlencoded"})
        if way == "form"
        else urllib.request.Request(f"{url}?{encoded}")
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.read() == b"ok"
    assert [row["text"] for row in site.rows(account.did)] == ["ünd 👋 & ="]


def test_what_is_not_understood_is_refused_and_not_stored(site: Site, account: Account) -> None:
    good = sms(account, "x", "b1")
    assert site.hook({**good, "to": "4449998888"})[0] == 404  # no DID of ours
    assert site.hook({**good, "to": "nonsense"})[0] == 404
    for field in ("from", "to", "text", "id"):
        status, said = site.hook({key: value for key, value in good.items() if key != field})
        assert status == 400
        assert field in said
    for body in (b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 5000, json.dumps({**good, "text": 7}).encode()):
        assert site.hook(body)[0] == 400, body[:20]
    assert site.hook(b"x" * (256 * 1024 + 1))[0] == 413
    assert site.rows(account.did) == []
    assert site.hook(good)[0] == 200


def test_other_urls_of_the_hook_server_are_refused(site: Site, account: Account) -> None:
    def status(path: str, method: str = "GET") -> int:
        request = urllib.request.Request(site.url + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert status("/hooks") == status("/hooks/door") == status("/hooks/door/a/b") == 404
    assert status(f"/hooks/door/{SECRET}", "DELETE") == 405
    assert status("/healthz") == status("/readyz") == status("/metrics") == 200


def raw(site: Site, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"{site.url}{path}", body, {"Content-Type": kind} if kind else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_callbacks_are_read_in_any_charset_and_with_any_separator(site: Site, account: Account) -> None:
    """A carrier repeats what is refused: nothing that can be read somehow is lost."""
    to = f"to={account.did}&from={HANDSET}"
    form = "application/x-www-form-urlencoded"
    assert raw(site, f"/hooks/voipms/vms?{to}&message=caf%E9+%93q%94&id=71") == (200, "ok")
    assert raw(site, f"/hooks/voipms/vms?{to}&message=a%3Bb;+c&id=72".replace("&", ";")) == (200, "ok")
    assert raw(site, "/hooks/voipms/vms/", f"{to}&message=slash&id=73".encode(), form) == (200, "ok")
    assert raw(site, "/hooks/voipms/vms", f"{to}&message=l%E9&id=74".encode(), f"{form}; charset=latin1") == (200, "ok")
    assert site.hook(b"\xef\xbb\xbf" + json.dumps(sms(account, "\ufeffbom \ud83d\0", "75")).encode()) == (200, "ok")
    texts = {row["text"] for row in site.rows(account.did)}
    assert texts == {"café “q”", "a;b; c", "slash", "lé", "bom \ufffd\ufffd"}


def test_a_message_without_text_and_files_is_taken(site: Site, account: Account, make_phone: MakePhone) -> None:
    phone = make_phone(account)
    assert phone.register().ok
    payload = {
        "id": "n1", "from": {"phone_number": f"+1{HANDSET}"}, "to": [{"phone_number": f"+1{account.did}"}],
        "text": None, "media": [],
    }  # fmt: skip
    event = {"data": {"event_type": "message.received", "payload": payload}}
    assert raw(site, "/hooks/telnyx/tx", json.dumps(event).encode(), "application/json")[0] == 200
    del payload["text"]
    payload["id"] = "n2"
    assert raw(site, "/hooks/telnyx/tx", json.dumps(event).encode(), "application/json")[0] == 200
    assert site.hook({"from": HANDSET, "to": account.did, "text": None, "id": "n3"})[0] == 200
    assert [row["text"] for row in site.rows(account.did)] == ["", "", ""]
    assert site.hook(sms(account, "after it", "n4")) == (200, "ok")
    phone.wait_message("after it")
