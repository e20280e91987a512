"""An HTTP carrier: what it is sent, and what each of its answers means. Nothing is ever sent twice."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.node.ledger import Ledger, Sender
from tests.support.node.stub_carrier import HANG_UP, Answer, StubCarrier

from .site import HANDSET, Account, Site

pytestmark = pytest.mark.e2e

ACME = {
    "type": "http",
    "auth": {"bearer": "env:ACME_TOKEN"},
    "headers": {"X-Customer": "4711"},
    "fields": {"message.from": "{from}", "message.to": "{to}", "text": "{text}", "ref": "{id}", "dlr": True},
    "numbers": "e164",
    "ok": {"status": [200, 202], "id": "data.id"},
    "timeout": "2s",
}
Send = Callable[..., Awaitable[None]]


@pytest.fixture(scope="module")
def stub() -> Iterator[StubCarrier]:
    with StubCarrier() as stub:
        yield stub


@pytest.fixture(scope="module")
def settings(stub: StubCarrier) -> dict[str, Any]:
    return {
        "carriers": {"acme": {**ACME, "url": stub.url}},
        "queue": {"retry_min": "200ms", "retry_max": "1s", "keep": "1h"},
    }


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACME_TOKEN", "t0k3n")  # the commands of this process read it, too
        with Site(tmp_path_factory.mktemp("site"), **settings) as site:
            yield site


@pytest.fixture(autouse=True)
def fresh(stub: StubCarrier) -> Iterator[None]:
    """No story sees another's requests or answers."""
    stub.taken.clear()
    yield
    stub.default = Answer()
    if stub._server is None:
        stub.start()


@pytest.fixture
def send(site: Site, tmp_path: Path) -> Send:
    """Send from an account's phone; it has its 202."""
    ledger = Ledger(tmp_path / "ledger.jsonl")

    async def act(account: Account, *texts: str) -> None:
        sender = Sender(site.address, account.name, account.password, ledger)
        for text in texts:
            assert await sender.send(HANDSET, text) == 202
        sender.close()

    return act


@pytest.mark.req("S-111", "G04")
async def test_the_carrier_gets_the_configured_fields_and_credentials(
    site: Site, account: Account, stub: StubCarrier, send: Send
) -> None:
    """The configured fields, form of numbers, and credentials; its id is kept."""
    text = '"quotes" {from} 👋\r\nX-Injected: 1'
    await send(account, text)
    (taken,) = stub.wait(1)
    assert (taken.method, taken.path) == ("POST", "/send")
    assert taken.headers["authorization"] == "Bearer t0k3n"
    assert taken.headers["x-customer"] == "4711"
    assert "x-injected" not in taken.headers
    kept = text.replace("\r\n", "\n")
    row = site.settled(account.did, kept, "accepted")
    assert taken.json["message"] == {"from": f"+1{account.did}", "to": f"+1{HANDSET}"}
    assert (taken.json["text"], taken.json["dlr"]) == (kept, True)
    assert taken.json["ref"].isdigit()
    assert (row["carrier"], row["carrier_id"]) == ("acme", "c-1")
    assert "t0k3n" not in site.log_path.read_text()


@pytest.mark.req("F-12", "I2")
@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_refused_for_now_is_sent_again(site: Site, stub: StubCarrier, send: Send, status: int) -> None:
    """Once more, under the same reference; it is one message."""
    account = site.account()
    stub.script(Answer(status, {"error": "later"}))
    await send(account, "try again")
    first, second = stub.wait(2)
    assert first.json == second.json
    row = site.settled(account.did, "try again", "accepted")
    assert row["deliveries"][0]["attempts"] == 2
    assert len(stub.taken) == 2


@pytest.mark.req("F-12")
async def test_retry_after_is_heeded(site: Site, account: Account, stub: StubCarrier, send: Send) -> None:
    stub.script(Answer(429, {}, {"Retry-After": "1"}))
    await send(account, "not so fast")
    first, second = stub.wait(2)
    assert second.at - first.at >= 0.95
    site.settled(account.did, "not so fast", "accepted")


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_refused_for_good_is_failed(site: Site, stub: StubCarrier, send: Send, status: int) -> None:
    """The next message to the same number goes out all the same."""
    account = site.account()
    stub.script(Answer(status, {"error": "never"}))
    await send(account, "refused", "the next")
    row = site.settled(account.did, "refused", "failed")
    assert str(status) in row["deliveries"][0]["last_error"]
    site.settled(account.did, "the next", "accepted")
    assert [taken.json["text"] for taken in stub.taken] == ["refused", "the next"]


@pytest.mark.parametrize("status", [401, 403, 302])
async def test_a_key_that_is_refused_keeps_the_message(site: Site, stub: StubCarrier, send: Send, status: int) -> None:
    """The operator has something to mend; until then it waits."""
    account = site.account()
    stub.script(Answer(status, {"error": "who are you"}))
    await send(account, "patience")
    row = site.settled(account.did, "patience", "accepted", seconds=15)
    assert row["deliveries"][0]["attempts"] == 2


@pytest.mark.parametrize("status", [504, 524])
async def test_a_proxy_that_heard_nothing_leaves_it_in_doubt(
    site: Site, stub: StubCarrier, send: Send, status: int
) -> None:
    account = site.account()
    stub.script(Answer(status))
    await send(account, "who knows")
    site.settled(account.did, "who knows", "unknown")
    assert len(stub.taken) == 1


@pytest.mark.req("F-10", "I2", "I6")
async def test_no_carrier_there_waits(site: Site, account: Account, stub: StubCarrier, send: Send) -> None:
    """Connection refused: nothing left, so it waits; when the carrier is back all goes out in order, once."""
    stub.stop()
    texts = [f"patience {n}" for n in range(5)]
    await send(account, *texts)
    site.wait(lambda: site.rows(account.did)[0]["deliveries"][0]["attempts"] >= 2)
    assert {row["state"] for row in site.rows(account.did)} <= {"queued", "sending"}
    stub.start()
    for text in texts:
        site.settled(account.did, text, "accepted")
    assert [taken.json["text"] for taken in stub.taken] == texts


@pytest.mark.req("F-12", "I2")
async def test_taken_and_hung_up_is_unknown(site: Site, account: Account, stub: StubCarrier, send: Send) -> None:
    """It may have been sent: never again by itself, not after a restart either, and the next message passes it."""
    stub.script(HANG_UP)
    await send(account, "did you get it?")
    row = site.settled(account.did, "did you get it?", "unknown")
    assert row["deliveries"][0]["last_error"]
    await send(account, "the next")
    site.settled(account.did, "the next", "accepted")
    assert site.stop() == 0
    site.start()
    await send(account, "after the restart")
    site.settled(account.did, "after the restart", "accepted")
    assert site.rows(account.did)[0]["state"] == "unknown"
    assert [taken.json["text"] for taken in stub.taken] == ["did you get it?", "the next", "after the restart"]


@pytest.mark.req("F-11", "I2")
async def test_no_answer_in_time_is_unknown(site: Site, account: Account, stub: StubCarrier, send: Send) -> None:
    """The request was written and the carrier is silent: `unknown`, and not sent again."""
    release = threading.Event()
    stub.script(Answer(before=lambda: release.wait(10)))
    await send(account, "so slow")
    site.settled(account.did, "so slow", "unknown")
    release.set()
    await send(account, "and now?")
    site.settled(account.did, "and now?", "accepted")
    assert site.rows(account.did)[0]["state"] == "unknown"
    assert len(stub.taken) == 2


@pytest.mark.req("F-11")
async def test_a_slow_answer_in_time_is_an_answer(site: Site, account: Account, stub: StubCarrier, send: Send) -> None:
    wait = threading.Event()
    stub.script(Answer(before=lambda: wait.wait(1.2)))
    await send(account, "slow")
    assert site.settled(account.did, "slow", "accepted")["carrier_id"] == "c-1"
    assert len(stub.taken) == 1


@pytest.mark.req("F-12")
@pytest.mark.parametrize("answer", [Answer(200, b"<html>"), Answer(204, b""), Answer(201, {"data": {"id": "x"}})])
async def test_an_answer_nobody_understands_is_unknown(
    site: Site, stub: StubCarrier, send: Send, answer: Answer
) -> None:
    """2xx, but not as the carrier's manual says: perhaps it was taken."""
    account = site.account()
    stub.script(answer)
    await send(account, "hm")
    site.settled(account.did, "hm", "unknown")
    assert len(stub.taken) == 1


@pytest.mark.req("I2")
async def test_killed_while_the_carrier_thinks_is_unknown(
    site: Site, account: Account, stub: StubCarrier, send: Send
) -> None:
    """kill -9 between the request and its answer: after the restart it is `unknown` and stays so."""
    release = threading.Event()
    stub.script(Answer(before=lambda: release.wait(10)))
    await send(account, "in between", "behind it")
    stub.wait(1)
    site.kill()
    release.set()
    site.start()
    row = site.settled(account.did, "in between", "unknown")
    assert row["deliveries"][0]["last_error"]
    site.settled(account.did, "behind it", "accepted")
    assert [taken.json["text"] for taken in stub.taken] == ["in between", "behind it"]


async def test_one_refused_message_does_not_hold_up_another_number(
    site: Site, account: Account, stub: StubCarrier, send: Send, tmp_path: Path
) -> None:
    """500 for one conversation: the others go on."""
    other = site.account()
    stub.script(Answer(500, {}, {"Retry-After": "3"}))
    await send(account, "stuck")
    stub.wait(1)
    await send(other, "flowing")
    site.settled(other.did, "flowing", "accepted", seconds=2)
    site.settled(account.did, "stuck", "queued", seconds=2)
    site.settled(account.did, "stuck", "accepted")
