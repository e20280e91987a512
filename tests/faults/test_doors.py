"""The HTTP APIs when things break: a store that is locked, kill -9 under clients that ask again blindly."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import random
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from e2e.site import HANDSET, Account, Site

from sipsms.store.sqlite import sqlite3
from tests.support.node.stub_carrier import StubCarrier

from .conftest import MakeSite

pytestmark = pytest.mark.e2e

API: dict[str, Any] = {"daily_sends": 0, "per_minute": 0}
Answer = tuple[int, str]
Send = Callable[[str], Answer]


class Client:
    """Somebody with all credentials, who knows how each door says "taken"."""

    def __init__(self, site: Site, account: Account) -> None:
        self.site = site
        self.account = account
        self.key = site.cli("account", "api-password", account.name).stdout.strip()
        self.token = site.cli("token", "add", f"t-{account.name}", "--account", account.name).stdout.strip()

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Status 0: no answer."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            request = urllib.request.Request(self.site.url + path, body, headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, ValueError, http.client.HTTPException) as error:  # nobody there, or hung up
            return 0, str(error)

    def rest(self, text: str) -> Answer:
        fields = {
            "api_username": self.account.name, "api_password": self.key, "method": "sendSMS", "did": self.account.did,
            "dst": HANDSET, "message": text,
        }  # fmt: skip
        return self.ask("/api/v1/rest.php?" + urllib.parse.urlencode(fields))

    def telnyx(self, text: str) -> Answer:
        body = json.dumps({"from": self.account.did, "to": HANDSET, "text": text}).encode()
        return self.ask("/v2/messages", body, Authorization=f"Bearer {self.token}")

    def native(self, text: str) -> Answer:
        body = json.dumps({"from": self.account.did, "to": HANDSET, "text": text}).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content_Type": "application/json"}
        headers["Idempotency_Key"] = text.replace(" ", "-")
        return self.ask("/v1/messages", body, **headers)

    def originate(self, text: str) -> Answer:
        login = base64.b64encode(f"{self.account.name}:{self.key}".encode()).decode()
        fields = urllib.parse.urlencode({"message": text, "number": HANDSET}).encode()
        return self.ask("/api/v1/originate/sms", fields, Authorization=f"Basic {login}")

    def kannel(self, text: str) -> Answer:
        fields = {"username": self.account.name, "password": self.key, "to": HANDSET, "text": text}
        return self.ask("/cgi-bin/sendsms?" + urllib.parse.urlencode(fields))

    def acrobits(self, text: str) -> Answer:
        fields = {"username": self.account.name, "password": self.key, "sms_to": HANDSET, "sms_body": text}
        return self.ask("/acrobits/send", urllib.parse.urlencode(fields).encode())

    @property
    def doors(self) -> dict[str, tuple[Send, str]]:
        """And what is in an answer that says "taken"."""
        return {
            "rest": (self.rest, '"success"'), "v1": (self.native, '"accepted"'), "v2": (self.telnyx, '"queued"'),
            "originate": (self.originate, '"Success"'), "kannel": (self.kannel, "0: Accepted"),
            "acrobits": (self.acrobits, '"sms_id"'),
        }  # fmt: skip


@contextmanager
def locked(site: Site) -> Iterator[None]:
    db = sqlite3.connect(site.store, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
        db.close()


@pytest.mark.req("F-05", "F-03")
def test_every_api_answers_later_while_the_store_is_locked(make_site: MakeSite) -> None:
    """Every door says "later" in its own words, nothing is taken; the same asked again afterwards is one message."""
    site = make_site(api=API)
    client = Client(site, site.account())
    site.start()
    with locked(site):
        for name, (send, taken) in client.doors.items():
            status, said = send(f"by {name}")
            assert taken not in said, (name, status, said)
            assert status == (200 if name == "rest" else 503), (name, status, said)
    assert site.rows(client.account.did) == []
    for name, (send, taken) in client.doors.items():
        assert taken in send(f"by {name}")[1], name
    texts = Counter(row["text"] for row in site.rows(client.account.did))
    assert texts == {f"by {name}": 1 for name in client.doors}
    site.no_crash()


@pytest.mark.req("F-01", "F-21", "I1", "I2")
async def test_clients_that_retry_through_kills_send_each_message_once(
    make_site: MakeSite, stub: StubCarrier, carried: dict[str, Any]
) -> None:
    """Clients of all doors send without a break, and ask the same again until they hear "taken"; the server is killed
    at random moments. Then each text is in the store once, and left at most once (once, unless it is `unknown`)."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    site = make_site(api=API, **carried)
    clients = [Client(site, site.account()) for _ in range(3)]
    site.start()
    over = threading.Event()
    told: list[str] = []
    again: Counter[str] = Counter()

    def work(client: Client, name: str) -> None:
        send, taken = client.doors[name]
        number = 0
        while not over.is_set():
            text = f"{client.account.name} {name} {number}"
            number += 1
            while taken not in send(text)[1]:
                again[name] += 1
                if over.wait(0.05):
                    return
            told.append(text)

    threads = [threading.Thread(target=work, args=(one, name)) for one in clients for name in one.doors]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            before = len(told)
            async with asyncio.timeout(20):
                await asyncio.to_thread(site.wait, lambda before=before: len(told) > before + 100, 20)
            await asyncio.sleep(dice.uniform(0.0, 0.5))
            site.kill()
            await asyncio.to_thread(site.start)
        before = len(told)
        await asyncio.to_thread(site.wait, lambda: len(told) > before + 100, 20)
    finally:
        over.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, 30)
    await asyncio.to_thread(settle, site)
    rows = site.rows()
    stored = Counter(row["text"] for row in rows)
    left = Counter(taken.json["text"] for taken in stub.taken)
    unknown = {row["text"] for row in rows if row["state"] == "unknown"}
    books = f"{len(told)} taken, {len(rows)} stored, {sum(left.values())} sent, {len(unknown)} unknown"
    print(f"{books}; asked again: {again}")
    assert [text for text in told if stored[text] != 1] == []
    assert [text for text, count in stored.items() if count > 1] == []
    assert [text for text, count in left.items() if count > 1] == []
    assert [row["text"] for row in rows if row["text"] not in unknown and left[row["text"]] != 1] == []
    assert sum(again.values()) > 0, "no request was ever repeated: the kills hit nothing"
    site.no_crash()


def settle(site: Site) -> None:
    """Until nothing waits any more."""
    states = {"accepted", "delivered", "unknown"}
    site.wait(lambda: all(row["state"] in states for row in site.rows()), 120)


@pytest.mark.req("F-21")
def test_a_client_that_times_out_and_asks_again_sends_one_message(make_site: MakeSite) -> None:
    """Its time is over before the answer comes, as with the Android app's three tries: one message, one id."""
    site = make_site(api=API)
    client = Client(site, site.account())
    site.start()

    def impatient(text: str) -> None:
        fields = {
            "api_username": client.account.name, "api_password": client.key, "method": "sendSMS",
            "did": client.account.did, "dst": HANDSET, "message": text,
        }  # fmt: skip
        with pytest.raises(OSError):
            urllib.request.urlopen(f"{site.url}/api/v1/rest.php?{urllib.parse.urlencode(fields)}", timeout=0.3)

    with locked(site):
        impatient("did you get it?")
        impatient("did you get it?")
    first = json.loads(client.rest("did you get it?")[1])
    assert first["status"] == "success"
    assert [row["id"] for row in site.rows(client.account.did)] == [first["sms"]]
    second = json.loads(client.rest("did you get it?")[1])
    assert second["sms"] != first["sms"], "it has heard the answer: this is another message"
